// LoRA files, added to a model's weights as these are read: a step of the sampler costs the same as without.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
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

// What a model makes of LoRA files. Each is looked at once, whatever the number of sets that it is in. Thread-safe.
class LoraFits {
 public:
  // `names`: of the model's networks, asked for with the first file. `strict`, `family`: as LoraSet has them.
  LoraFits(std::function<LoraNames()> names, std::string family, bool strict)
      : names_(std::move(names)), family_(std::move(family)), strict_(strict) {}

  // Throws as LoraSet does.
  std::vector<LoraInfo> infos(std::span<const Lora> files);
  LoraSet set(std::span<const Lora> files);

 private:
  const LoraNames& names();  // with the lock

  std::mutex lock_;
  std::function<LoraNames()> names_;
  std::optional<LoraNames> known_names_;
  std::string family_;
  bool strict_;
  std::map<std::filesystem::path, LoraInfo> known_;  // at scale 1
};

// The part that LoRAs have in NaN or infinity, for an error message: which file has numbers that are none, else that it
// may be one of them; "": there are none.
std::string blame(std::span<const LoraInfo> loras);

}  // namespace sdgen
