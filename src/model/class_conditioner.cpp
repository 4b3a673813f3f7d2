#include "model/class_conditioner.h"

#include <ATen/ops/full.h>

namespace sdgen {

Conditioning ClassConditioner::encode(const Texts& texts, const TextSettings&,
                                      const std::function<void(const std::string&)>&) {
  const std::string& prompt = texts[0];
  Conditioning c;
  c.classes = at::full({1}, prompt.empty() ? no_class_ : names_->number_of(prompt),
                       at::TensorOptions().dtype(at::kLong).device(device_));
  return c;
}

}  // namespace sdgen
