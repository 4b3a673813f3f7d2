#include "formats/lora_summary.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

namespace sdgen {
namespace {

// One spelling of a tensor that belongs to a module: MODULE + ending.
struct Ending {
  std::string_view text;
  std::string_view algorithm;  // "": says nothing alone (alpha)
  std::string_view spelling;   // "": shared by all
  int rank_dim = -1;           // the dimension that is the rank; -1: none
  int input_dim = -1;          // the dimension that is the module's input width, or a factor of it (LoKr)
};

constexpr std::array kEndings = {
    Ending{".lora_down.weight", "LoRA", "kohya", 0, 1},
    Ending{".lora_up.weight", "LoRA", "kohya"},
    Ending{".lora_mid.weight", "LoRA", "kohya"},
    Ending{".lora_A.weight", "LoRA", "PEFT", 0, 1},
    Ending{".lora_B.weight", "LoRA", "PEFT"},
    Ending{".lora_A.default.weight", "LoRA", "PEFT", 0, 1},
    Ending{".lora_B.default.weight", "LoRA", "PEFT"},
    Ending{".lora_linear_layer.down.weight", "LoRA", "diffusers", 0, 1},
    Ending{".lora_linear_layer.up.weight", "LoRA", "diffusers"},
    Ending{".lora.down.weight", "LoRA", "diffusers", 0, 1},
    Ending{".lora.up.weight", "LoRA", "diffusers"},
    Ending{"_lora.down.weight", "LoRA", "diffusers", 0, 1},
    Ending{"_lora.up.weight", "LoRA", "diffusers"},
    Ending{":down", "LoRA", "cloneofsimo", 0, 1},
    Ending{":up", "LoRA", "cloneofsimo"},
    Ending{".hada_w1_a", "LoHa", ""},
    Ending{".hada_w1_b", "LoHa", "", 0, 1},
    Ending{".hada_w2_a", "LoHa", ""},
    Ending{".hada_w2_b", "LoHa", ""},
    Ending{".hada_t1", "LoHa", ""},
    Ending{".hada_t2", "LoHa", ""},
    Ending{".lokr_w1", "LoKr", "", -1, 1},
    Ending{".lokr_w1_a", "LoKr", ""},
    Ending{".lokr_w1_b", "LoKr", "", 0, 1},
    Ending{".lokr_w2", "LoKr", "", -1, 1},
    Ending{".lokr_w2_a", "LoKr", ""},
    Ending{".lokr_w2_b", "LoKr", "", 0, 1},
    Ending{".lokr_t2", "LoKr", "", 0},
    Ending{".dora_scale", "DoRA", ""},
    Ending{".lora_magnitude_vector", "DoRA", "PEFT"},
    Ending{".lora_magnitude_vector.weight", "DoRA", "PEFT"},
    Ending{".oft_blocks", "OFT", ""},
    Ending{".oft_diag", "OFT", ""},
    Ending{".a1.weight", "GLoRA", ""},
    Ending{".a2.weight", "GLoRA", ""},
    Ending{".b1.weight", "GLoRA", ""},
    Ending{".b2.weight", "GLoRA", ""},
    Ending{".diff", "full difference", ""},
    Ending{".diff_b", "", ""},
    Ending{".alpha", "", ""},
    Ending{".w_norm", "", ""},
    Ending{".b_norm", "", ""},
};

// Names like "x.a1.weight" occur in other networks: they count only below a prefix that only such files have.
bool needs_prefix(const Ending& ending) { return ending.algorithm == "GLoRA" || ending.algorithm == "full difference"; }

bool has_lora_prefix(std::string_view name) {
  for (const std::string_view prefix : {"lora_", "lycoris_", "unet.", "diffusion_model.", "text_encoder"})
    if (name.starts_with(prefix)) return true;
  return false;
}

const Ending* ending_of(const std::string& name) {
  const Ending* longest = nullptr;
  for (const Ending& ending : kEndings)
    if (name.ends_with(ending.text) && (!longest || ending.text.size() > longest->text.size())) longest = &ending;
  return longest && needs_prefix(*longest) && !has_lora_prefix(name) ? nullptr : longest;
}

bool contains(std::string_view name, std::string_view part) { return name.find(part) != std::string_view::npos; }

// The part of a model that a module belongs to.
const char* part_of(std::string_view module) {
  for (const std::string_view wrapper : {"base_model.model.", "lycoris_"})
    if (module.starts_with(wrapper)) module.remove_prefix(wrapper.size());
  const auto begins = [module](auto... prefixes) { return (module.starts_with(prefixes) || ...); };
  if (begins("lora_te2_", "text_encoder_2.", "te2.")) return "text_encoder_2";
  if (begins("lora_te", "text_encoder", "te.", "te1.", "text_model")) return "text_encoder";
  for (const std::string_view block : {"double_blocks", "single_blocks", "joint_blocks", "single_transformer_blocks"})
    if (contains(module, block)) return "transformer";
  if (begins("transformer.", "transformer_blocks.", "lora_transformer_")) return "transformer";
  if (begins("lora_unet_", "unet.", "unet_", "unet:", "diffusion_model.")) return "unet";
  for (const std::string_view block : {"down_blocks", "up_blocks", "mid_block", "input_blocks", "output_blocks"})
    if (contains(module, block)) return "unet";
  return "other";
}

struct LoraModule {
  std::int64_t rank = 0;
  std::int64_t width = 1;  // of its input: the product of the factors' (LoKr)
};

std::string family_of(const std::map<std::string, LoraModule>& modules, const LoraSummary& summary) {
  for (const auto& [name, module] : modules)
    if (contains(name, "attn2") && (contains(name, "to_k") || contains(name, "to_v")))
      if (std::string family = family_of_context(module.width); !family.empty()) return family;
  for (const auto& [name, module] : modules) {
    if (contains(name, "double_blocks") || contains(name, "single_transformer_blocks")) return "Flux";
    if (contains(name, "joint_blocks")) return "Stable Diffusion 3";
  }
  if (summary.modules.count("transformer")) return "";
  if (summary.modules.count("text_encoder_2")) return "SDXL";
  for (const auto& [name, module] : modules)  // text encoders alone; SDXL's first is Stable Diffusion 1's
    if (contains(name, "q_proj") && std::string_view(part_of(name)) == "text_encoder")
      return module.width == 768 ? "Stable Diffusion 1" : module.width == 1024 ? "Stable Diffusion 2" : "";
  return "";
}

}  // namespace

bool is_lora_tensor(const std::string& name) {
  const Ending* ending = ending_of(name);
  return ending && !ending->algorithm.empty();
}

LoraSummary summarize_lora(const TensorTable& table) {
  LoraSummary summary;
  std::map<std::string, LoraModule> modules;
  for (const auto& [name, entry] : table.tensors()) {
    const Ending* ending = ending_of(name);
    if (!ending) continue;
    if (!ending->algorithm.empty()) summary.algorithms.emplace(ending->algorithm);
    if (!ending->spelling.empty()) summary.spellings.emplace(ending->spelling);
    LoraModule& module = modules[name.substr(0, name.size() - ending->text.size())];
    const auto& shape = entry.where->shape;
    const auto dim = [&shape](int i) { return i >= 0 && i < static_cast<int>(shape.size()) ? shape[i] : 0; };
    module.rank = std::max(module.rank, dim(ending->rank_dim));
    std::int64_t width = 0;
    if (dim(ending->input_dim) > 0 && !__builtin_mul_overflow(module.width, dim(ending->input_dim), &width))
      module.width = width;
  }
  if (summary.algorithms.count("DoRA")) summary.algorithms.erase("LoRA");  // which it is made of
  if (summary.spellings.empty() && !modules.empty() && modules.begin()->first.starts_with("lora_"))
    summary.spellings.emplace("kohya");
  for (const auto& [name, module] : modules) {
    ++summary.modules[part_of(name)];
    if (module.rank > 0) ++summary.ranks[module.rank];
  }
  summary.family = family_of(modules, summary);
  return summary;
}

std::string family_of_context(std::int64_t width) {
  return width == 768    ? "Stable Diffusion 1"
         : width == 1024 ? "Stable Diffusion 2"
         : width == 2048 ? "SDXL"
         : width == 1280 ? "SDXL refiner"
                         : "";
}

}  // namespace sdgen
