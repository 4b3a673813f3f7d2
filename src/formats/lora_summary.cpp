#include "formats/lora_summary.h"

#include <algorithm>
#include <limits>
#include <string_view>

#include "formats/known_widths.h"
#include "formats/lora_names.h"
#include "io/hash.h"

namespace sdgen {
namespace {

// Names like "x.a1.weight" occur in other networks: they count only below a prefix that only such files have.
bool needs_prefix(const LoraEnding& ending) {
  return ending.algorithm == "GLoRA" || ending.algorithm == "T-LoRA" || ending.algorithm == "full difference";
}

bool has_lora_prefix(std::string_view name) {
  for (const std::string_view prefix :
       {"lora_", "lycoris_", "oft_", "unet.", "transformer.", "diffusion_model.", "text_encoder"})
    if (name.starts_with(prefix)) return true;
  return false;
}

std::optional<LoraKey> key_of(const TensorTable& file, const std::string& name) {
  std::optional<LoraKey> key = lora_key(file, name);
  if (key && needs_prefix(*key->ending) && !has_lora_prefix(name)) key.reset();
  return key;
}

// BOFT has a dimension more than OFT: its stages.
std::string algorithm_of(const LoraEnding& ending, const StoredTensor& tensor) {
  const bool butterflies = ending.part == LoraPart::oft_blocks && tensor.shape.size() == 4;
  return butterflies ? "BOFT" : std::string(ending.algorithm);
}

bool contains(std::string_view name, std::string_view part) { return name.find(part) != std::string_view::npos; }

bool contains_any(std::string_view name, std::initializer_list<const char*> parts) {
  return std::ranges::any_of(parts, [name](const char* part) { return contains(name, part); });
}

// The part of a model that a module belongs to.
const char* part_of(std::string_view module) {
  for (const std::string_view wrapper : {"base_model.model.", "unet.base_model.model.", "lycoris_"})
    if (module.starts_with(wrapper)) module.remove_prefix(wrapper.size());
  const auto begins = [module](auto... prefixes) { return (module.starts_with(prefixes) || ...); };
  if (contains_any(module, {"encoder.block.", "encoder_block_"})) return "t5";  // wherever a model has it
  if (begins("lora_te2_", "text_encoder_2", "te2.", "text_encoders.clip_g.")) return "text_encoder_2";
  if (begins("lora_te", "text_encoder", "te.", "te1.", "text_model")) return "text_encoder";
  if (contains_any(module, {"down_blocks", "up_blocks", "mid_block", "input_blocks", "output_blocks", "middle_block"}))
    return "unet";
  // What comes before the first block, between, and after the last one.
  if (contains_any(module, {"double_blocks",    "single_blocks",
                            "joint_blocks",     "transformer_blocks",
                            "unet_blocks_",     "img_in",
                            "txt_in",           "time_in",
                            "vector_in",        "guidance_in",
                            "final_layer",      "x_embedder",
                            "t_embedder",       "y_embedder",
                            "context_embedder", "time_text_embed",
                            "adaln_single",     "caption_projection",
                            "t_block.1",        "t_block_1",
                            "noise_refiner",    "context_refiner",
                            "cap_embedder",     "unet_layers_"}) ||
      begins("transformer.", "lora_transformer_", "blocks.", "diffusion_model.blocks.", "layers.",
             "diffusion_model.layers.", "norm_out", "proj_out"))
    return "transformer";
  if (begins("lora_unet_", "unet.", "unet_", "unet:", "diffusion_model.")) return "unet";
  return "other";
}

struct LoraModule {
  std::int64_t rank = 0;
  std::int64_t width = 1;  // of its input: the product of the factors' (LoKr)
};

// Blocks of several families are called alike, where patches and words meet: there the width tells.
std::string family_of_transformer(const std::map<std::string, LoraModule>& modules) {
  std::string family;
  for (const auto& [name, module] : modules) {
    if (std::string_view(part_of(name)) != "transformer") continue;
    if (contains_any(name, {"double_blocks", "single_blocks", "single_transformer_blocks"})) return "Flux";
    if (contains(name, "joint_blocks")) return "Stable Diffusion 3";
    if (contains_any(name, {"attn1", "cross_attn", "adaln_single", "caption_projection", "t_block.1", "t_block_1"}))
      return "PixArt";
    if (contains_any(name, {"attn.to_q", "attn_to_q", "attn.to_k", "attn_to_k", "attn.add_k", "attn_add_k",
                            "attention.qkv", "attention_qkv", "attention.to_", "attention_to_"}))
      family = family_of_stream(module.width);
  }
  return family;
}

std::string family_of(const std::map<std::string, LoraModule>& modules, const LoraSummary& summary) {
  for (const auto& [name, module] : modules)
    if (contains(name, "attn2") && (contains(name, "to_k") || contains(name, "to_v")))
      if (std::string family = family_of_context(module.width); !family.empty()) return family;
  if (summary.modules.count("transformer")) return family_of_transformer(modules);
  if (summary.modules.count("text_encoder_2")) return "SDXL";
  for (const auto& [name, module] : modules)  // text encoders alone; SDXL's first is Stable Diffusion 1's
    if (contains(name, "q_proj") && std::string_view(part_of(name)) == "text_encoder")
      return family_of_text(module.width);
  return "";
}

}  // namespace

bool is_lora_tensor(const TensorTable& file, const std::string& name) {
  const auto key = key_of(file, name);
  return key && !key->ending->algorithm.empty();
}

bool is_lora(const TensorTable& file) {
  return std::ranges::any_of(file.tensors(),
                             [&file](const auto& tensor) { return is_lora_tensor(file, tensor.first); });
}

LoraSummary summarize_lora(const TensorTable& table) {
  LoraSummary summary;
  std::map<std::string, LoraModule> modules;
  for (const auto& [name, entry] : table.tensors()) {
    const auto key = key_of(table, name);
    if (!key) continue;
    const LoraEnding* ending = key->ending;
    if (!ending->algorithm.empty()) summary.algorithms.insert(algorithm_of(*ending, *entry.where));
    if (!ending->spelling.empty()) summary.spellings.emplace(ending->spelling);
    LoraModule& module = modules[key->module];
    if (!ending->part) continue;
    const auto& shape = entry.where->shape;
    const bool ranked = carries_rank(*ending->part);
    if (ranked && !shape.empty()) module.rank = std::max(module.rank, shape[0]);
    // The module's input width, or a factor of it (LoKr).
    const bool wide = ranked || *ending->part == LoraPart::lokr_w1 || *ending->part == LoraPart::lokr_w2;
    std::int64_t width = 0;
    if (wide && shape.size() > 1 && shape[1] > 0 && !__builtin_mul_overflow(module.width, shape[1], &width))
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

std::string written_lora_hash(const TensorTable& table) {
  const auto& metadata = table.files().front()->metadata();
  const auto known = metadata.find("sshs_model_hash");
  const bool good = known != metadata.end() && known->second.size() >= 12 &&
                    known->second.find_first_not_of("0123456789abcdef") == std::string::npos;
  return good ? known->second.substr(0, 12) : "";
}

std::string lora_hash(const TensorTable& table) {
  if (std::string known = written_lora_hash(table); !known.empty()) return known;
  const TensorFile& file = *table.files().front();
  std::uint64_t begin = std::numeric_limits<std::uint64_t>::max();  // tensors fill what follows the header
  for (const auto& [name, entry] : file.tensors()) begin = std::min(begin, entry.begin);
  return sha256_of_file(file.path(), begin).substr(0, 12);
}

}  // namespace sdgen
