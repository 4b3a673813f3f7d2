// What conditions a network that draws classes: the number of one.
#pragma once

#include <memory>

#include "model/conditioner.h"
#include "text/class_names.h"

namespace sdgen {

class ClassConditioner final : public TextConditioner {
 public:
  ClassConditioner(std::shared_ptr<const ClassNames> names, std::int64_t no_class, at::Device device)
      : names_(std::move(names)), no_class_(no_class), device_(device) {}
  // An empty text, which guidance is away from, is that of no class.
  Conditioning encode(const Texts& texts, const TextSettings& settings,
                      const std::function<void(const std::string&)>& warn) override;
  std::size_t chunks(const Texts&, int) override { return 1; }

 private:
  std::shared_ptr<const ClassNames> names_;
  std::int64_t no_class_;
  at::Device device_;
};

}  // namespace sdgen
