// LoRA files, added to a model's weights as these are read: a step of the sampler costs the same as without.
// Products: LoRA (Hu et al., 2021), LoCon, LoHa and LoKr (Yeh et al., 2023, "LyCORIS"), DoRA (Liu et al., 2024).
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

  struct Change;  // of one parameter by one file

 private:
  using Changes = std::map<std::string, std::vector<Change>>;  // by parameter
  std::map<const ModelPart*, std::shared_ptr<Changes>> changes_;
  std::vector<LoraInfo> infos_;
};

}  // namespace sdgen
