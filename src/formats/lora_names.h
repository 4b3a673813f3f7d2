// From the names in LoRA files to the parameters of a model. Every spelling of a module is made from the model's own
// names and looked up whole: taking underscores apart would have to guess where "to_out_0" has its dots. No torch here.
// Spellings: kohya-ss/sd-scripts, LyCORIS, peft, diffusers' loaders, OneTrainer, XLabs' x-flux and ComfyUI's
// comfy/lora.py.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/components.h"
#include "io/tensor_table.h"

namespace sdgen {

// What a tensor of a LoRA file is to its module.
enum class LoraPart {
  down,
  up,
  mid,
  alpha,  // LoRA, LoCon: up x down, with a core between (Tucker)
  hada_w1_a,
  hada_w1_b,
  hada_w2_a,
  hada_w2_b,
  hada_t1,
  hada_t2,  // LoHa
  lokr_w1,
  lokr_w1_a,
  lokr_w1_b,
  lokr_w2,
  lokr_w2_a,
  lokr_w2_b,
  lokr_t2,  // LoKr
  dora_scale,
  magnitude,  // DoRA: LyCORIS' and PEFT's
  glora_a1,
  glora_a2,
  glora_b1,
  glora_b2,
  glora_bm,  // GLoRA
  ia3,
  on_input,  // (IA)^3: of the weight's columns, or of its rows
  oft_blocks,
  rescale,  // OFT and BOFT, whose alpha is a limit
  diff,
  diff_b,    // full differences, of weight and bias
  up_bias,   // what PEFT's up adds besides, to the bias
  replaced,  // what stands for the weight
};

// One spelling of the tensors that belong to a module: their names are MODULE + text. A star stands for the name that
// an adapter was given.
struct LoraEnding {
  std::string_view text;
  std::optional<LoraPart> part;  // none: of an algorithm that is known by name alone
  std::string_view algorithm;    // "": the tensor alone does not tell (alpha)
  std::string_view spelling;     // whose; "": shared by all
  std::size_t kept = 0;          // so many of its first letters belong to the module's name
};
// The words that come with a LoRA (AUTOMATIC1111's bundles): "bundle_emb.WORD.emb_params", or .clip_l and .clip_g.
inline constexpr std::string_view kBundle = "bundle_emb.";

// Is the first dimension of this part's tensor the product's rank?
bool carries_rank(LoraPart part);

struct LoraKey {
  std::string module;
  const LoraEnding* ending;  // the longest that fits
};
// A tensor's name taken apart; empty for a name that ends like none of the known spellings.
std::optional<LoraKey> lora_key(const std::string& name);
// The same of a tensor of a file: a plain ".weight" is (IA)^3's beside its ".on_input".
std::optional<LoraKey> lora_key(const TensorTable& file, const std::string& name);

// The modules of a model by all the names that LoRA files have for them.
class LoraNames {
 public:
  using Parameters = std::map<std::string, std::vector<std::int64_t>>;  // name -> shape
  struct Module {
    const ModelPart* part;
    std::string name;  // diffusers' or transformers', without "text_model.": "encoder.layers.0.mlp.fc1"
    // The rows of the file's weight that are this module's.
    Place rows{""};
  };
  // What a file calls one module: several where it has their weights one on the other.
  using Modules = std::vector<Module>;

  // `parameters`: the network's own, by diffusers' names; of text encoders without "text_model.".
  void add(const ModelPart& part, Architecture architecture, Parameters parameters);

  // Null when no module is spelled so.
  const Modules* find(const std::string& spelling) const;
  // Of a part; null when it was not added.
  const Parameters* parameters(const ModelPart& part) const;
  // The shape of a module's "weight" or "bias"; null when it has none.
  const std::vector<std::int64_t>* shape(const Module& module, const std::string& leaf) const;

 private:
  void spell_unet(const ModelPart& part, const Parameters& parameters);
  void spell_transformer(const ModelPart& part, const Parameters& parameters, Architecture architecture);
  void spell_decoder_text(const ModelPart& part, const Parameters& parameters);
  void spell_clip_text(const ModelPart& part, const Parameters& parameters);
  void spell_t5(const ModelPart& part, const Parameters& parameters);
  using Spelled = std::shared_ptr<const Modules>;
  void spell(const Spelled& modules, const std::string& spelling) { modules_.try_emplace(spelling, modules); }

  std::map<const ModelPart*, Parameters> parameters_;
  std::unordered_map<std::string, Spelled> modules_;  // by spelling
};

// The names that a U-Net's modules have in the original layout ("input_blocks.4.1.proj_in"), by diffusers' names. The
// blocks are counted as the model has them, not as some released model does.
std::map<std::string, std::string> original_unet_modules(const LoraNames::Parameters& parameters);

}  // namespace sdgen
