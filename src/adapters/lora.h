// LoRA files, added to a model's weights as these are read: a step of the sampler costs the same as without.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/lora_names.h"
#include "formats/model_files.h"
#include "sdgen/sdgen.h"
#include "weights/weights.h"

namespace sdgen {

struct LoraChange;  // of one parameter by one file

class LoraSet {
 public:
  LoraSet() = default;
  // Reads the files' headers and matches their modules with the model's; `family` is what people call the model. Throws
  // Error(input) for a file that is not a LoRA, fits nowhere or has a wrong shape, and, when `strict`, for one that
  // fits only in part; else that is a warning to `warn`.
  LoraSet(std::span<const Lora> files, const LoraNames& names, const std::string& family, bool strict,
          const Warn& warn);

  // `w`, changed as it is read: products are added in float32 on the CPU, in the order of the files.
  Weights patch(const Weights& w, const ModelPart& part) const;
  const std::vector<LoraInfo>& infos() const { return infos_; }

 private:
  using Changes = std::map<std::string, std::vector<LoraChange>>;  // by parameter
  std::map<const ModelPart*, std::shared_ptr<Changes>> changes_;
  std::vector<LoraInfo> infos_;
};

}  // namespace sdgen
