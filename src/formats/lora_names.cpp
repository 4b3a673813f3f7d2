#include "formats/lora_names.h"

#include <algorithm>
#include <utility>

#include "formats/transformer_names.h"
#include "formats/unet_walk.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

using Part = LoraPart;
constexpr auto kNamedOnly = std::nullopt;

constexpr LoraEnding kEndings[] = {
    {".lora_down.weight", Part::down, "LoRA", "kohya"},
    {".lora_up.weight", Part::up, "LoRA", "kohya"},
    {".lora_mid.weight", Part::mid, "LoRA", "kohya"},
    {".lora_A.weight", Part::down, "LoRA", "PEFT"},
    {".lora_B.weight", Part::up, "LoRA", "PEFT"},
    {".lora_A.*.weight", Part::down, "LoRA", "PEFT"},
    {".lora_B.*.weight", Part::up, "LoRA", "PEFT"},
    {".lora_linear_layer.down.weight", Part::down, "LoRA", "diffusers"},
    {".lora_linear_layer.up.weight", Part::up, "LoRA", "diffusers"},
    {".lora.down.weight", Part::down, "LoRA", "diffusers"},
    {".lora.up.weight", Part::up, "LoRA", "diffusers"},
    {"_lora.down.weight", Part::down, "LoRA", "diffusers"},
    {"_lora.up.weight", Part::up, "LoRA", "diffusers"},
    {"_lora1.down.weight", Part::down, "LoRA", "XLabs", 6},  // of the picture's tokens
    {"_lora1.up.weight", Part::up, "LoRA", "XLabs", 6},
    {"_lora2.down.weight", Part::down, "LoRA", "XLabs", 6},  // of the words'
    {"_lora2.up.weight", Part::up, "LoRA", "XLabs", 6},
    {":down", Part::down, "LoRA", "cloneofsimo"},
    {":up", Part::up, "LoRA", "cloneofsimo"},
    {".alpha", Part::alpha, "", ""},
    {".hada_w1_a", Part::hada_w1_a, "LoHa", ""},
    {".hada_w1_b", Part::hada_w1_b, "LoHa", ""},
    {".hada_w2_a", Part::hada_w2_a, "LoHa", ""},
    {".hada_w2_b", Part::hada_w2_b, "LoHa", ""},
    {".hada_t1", Part::hada_t1, "LoHa", ""},
    {".hada_t2", Part::hada_t2, "LoHa", ""},
    {".lokr_w1", Part::lokr_w1, "LoKr", ""},
    {".lokr_w1_a", Part::lokr_w1_a, "LoKr", ""},
    {".lokr_w1_b", Part::lokr_w1_b, "LoKr", ""},
    {".lokr_w2", Part::lokr_w2, "LoKr", ""},
    {".lokr_w2_a", Part::lokr_w2_a, "LoKr", ""},
    {".lokr_w2_b", Part::lokr_w2_b, "LoKr", ""},
    {".lokr_t2", Part::lokr_t2, "LoKr", ""},
    {".dora_scale", Part::dora_scale, "DoRA", ""},
    {".lora_magnitude_vector", Part::magnitude, "DoRA", "PEFT"},
    {".lora_magnitude_vector.weight", Part::magnitude, "DoRA", "PEFT"},
    {".lora_magnitude_vector.*.weight", Part::magnitude, "DoRA", "PEFT"},
    {".diff", Part::diff, "full difference", ""},
    {".diff_b", Part::diff_b, "", ""},
    {".lora_B.bias", Part::up_bias, "LoRA", "PEFT"},
    {".lora_B.*.bias", Part::up_bias, "LoRA", "PEFT"},
    {".set_weight", Part::replaced, "", ""},
    {"_norm.scale", Part::replaced, "", "", 5},  // Black Forest Labs' norms of queries and keys
    {".w_norm", Part::diff, "", ""},             // LyCORIS' norms: whole differences too
    {".b_norm", Part::diff_b, "", ""},
    {".a1.weight", Part::glora_a1, "GLoRA", ""},
    {".a2.weight", Part::glora_a2, "GLoRA", ""},
    {".b1.weight", Part::glora_b1, "GLoRA", ""},
    {".b2.weight", Part::glora_b2, "GLoRA", ""},
    {".bm.weight", Part::glora_bm, "GLoRA", ""},
    {".on_input", Part::on_input, "(IA)^3", ""},
    {".oft_blocks", Part::oft_blocks, "OFT", ""},
    {".rescale", Part::rescale, "", ""},
    {".oft_diag", kNamedOnly, "OFT of another kind", ""},
    {".oft_R.weight", kNamedOnly, "PEFT's OFT", "PEFT"},
    {".oft_R.*.weight", kNamedOnly, "PEFT's OFT", "PEFT"},
    {".oft_r", kNamedOnly, "PEFT's OFT", "PEFT"},
    {".oft_r.*", kNamedOnly, "PEFT's OFT", "PEFT"},
    {".boft_R", kNamedOnly, "PEFT's BOFT", "PEFT"},
    {".boft_R.*", kNamedOnly, "PEFT's BOFT", "PEFT"},
    {".boft_s", kNamedOnly, "PEFT's BOFT", "PEFT"},
    {".boft_s.*", kNamedOnly, "PEFT's BOFT", "PEFT"},
    {".ia3_l", kNamedOnly, "PEFT's (IA)^3", "PEFT"},
    {".ia3_l.*", kNamedOnly, "PEFT's (IA)^3", "PEFT"},
    {".vera_lambda_b", kNamedOnly, "VeRA", "PEFT"},
    {".vera_lambda_b.*", kNamedOnly, "VeRA", "PEFT"},
    {".vera_lambda_d", kNamedOnly, "VeRA", "PEFT"},
    {".vera_lambda_d.*", kNamedOnly, "VeRA", "PEFT"},
    {".lora_E", kNamedOnly, "AdaLoRA", "PEFT"},
    {".lora_E.*", kNamedOnly, "AdaLoRA", "PEFT"},
    {".fourierft_spectrum", kNamedOnly, "FourierFT", "PEFT"},
    {".fourierft_spectrum.*", kNamedOnly, "FourierFT", "PEFT"},
    {".hra_u", kNamedOnly, "HRA", "PEFT"},
    {".hra_u.*", kNamedOnly, "HRA", "PEFT"},
    {".lambda_layer", kNamedOnly, "T-LoRA", ""},
    {".q_layer.weight", kNamedOnly, "T-LoRA", ""},
    {".p_layer.weight", kNamedOnly, "T-LoRA", ""},
};

// Whose tensor is called like any module's.
constexpr LoraEnding kIa3Weight{".weight", Part::ia3, "(IA)^3", ""};

// How many of the last letters of `name` are what an ending says; 0: it does not end so.
std::size_t matched(std::string_view name, std::string_view text) {
  const std::size_t star = text.find('*');
  if (star == std::string_view::npos) return name.ends_with(text) ? text.size() : 0;
  const std::string_view before = text.substr(0, star), after = text.substr(star + 1);
  if (!name.ends_with(after)) return 0;
  const std::string_view front = name.substr(0, name.size() - after.size());
  const std::size_t own = front.size() - (front.rfind('.') + 1);  // modules' names have no dots
  if (own == 0 || !front.substr(0, front.size() - own).ends_with(before)) return 0;
  return before.size() + own + after.size();
}

bool remove_prefix(std::string& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.erase(0, prefix.size());
  return true;
}

// "a.b.c" with another last part, when that part is `from`.
std::optional<std::string> with_leaf(const std::string& name, std::string_view from, std::string_view to) {
  if (!name.ends_with(from)) return std::nullopt;
  return name.substr(0, name.size() - from.size()) + std::string(to);
}

std::string underscored(std::string name) {
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

// "a.b.weight" -> "a.b"
std::string module_of(const std::string& parameter) { return parameter.substr(0, parameter.rfind('.')); }

using Spellings = std::initializer_list<std::pair<const char*, const char*>>;

// What a part's modules are called in their makers' files, and by those who have names of their own for them.
std::vector<const NameTable*> foreign_names(Architecture architecture) {
  switch (architecture) {
    case Architecture::sd3_transformer:
      return {&kSd3Names};
    case Architecture::flux_transformer:
      return {&kFluxNames, &kXlabsNames};
    case Architecture::flux2_transformer:
      return {&kFlux2Names};
    case Architecture::chroma_transformer:
      return {&kChromaNames};
    case Architecture::pixart_transformer:
      return {&kPixArtNames};
    case Architecture::z_image_transformer:
      return {&kZImageNames};
    case Architecture::lumina2_transformer:
      return {&kLumina2Names};
    default:
      return {};
  }
}

std::shared_ptr<const LoraNames::Modules> alone(const ModelPart& part, const std::string& name) {
  return std::make_shared<const LoraNames::Modules>(1, LoraNames::Module{&part, name});
}

}  // namespace

std::optional<LoraKey> lora_key(const std::string& name) {
  const LoraEnding* longest = nullptr;
  std::size_t most = 0;
  for (const LoraEnding& ending : kEndings)
    if (const std::size_t n = matched(name, ending.text); n > most) longest = &ending, most = n;
  if (!longest) return std::nullopt;
  LoraKey key{name.substr(0, name.size() - most + longest->kept), longest};
  remove_prefix(key.module, "base_model.model.");  // PEFT's wrapper
  return key;
}

std::optional<LoraKey> lora_key(const TensorTable& file, const std::string& name) {
  if (auto key = lora_key(name)) return key;
  const std::string module = name.substr(0, name.size() - std::min(name.size(), kIa3Weight.text.size()));
  if (!name.ends_with(kIa3Weight.text) || !file.find(module + ".on_input")) return std::nullopt;
  return LoraKey{module, &kIa3Weight};
}

bool carries_rank(Part part) {
  return part == Part::down || part == Part::hada_w1_b || part == Part::lokr_w1_b || part == Part::lokr_w2_b ||
         part == Part::glora_a2;
}

std::map<std::string, std::string> original_unet_modules(const LoraNames::Parameters& parameters) {
  const auto has = [&parameters](const std::string& name) { return parameters.contains(name); };
  // Whether there is a transformer after each resnet of a block.
  const auto layers_of = [&has](const std::string& block) {
    std::vector<std::int64_t> layers;
    while (has(concat(block, ".resnets.", layers.size(), ".conv1.weight")))
      layers.push_back(has(concat(block, ".attentions.", layers.size(), ".proj_in.weight")));
    return layers;
  };
  std::vector<UNetLevel> levels;
  while (has(concat("down_blocks.", levels.size(), ".resnets.0.conv1.weight")))
    levels.emplace_back().down = layers_of(concat("down_blocks.", levels.size()));
  for (std::size_t i = 0; i < levels.size(); ++i) levels[levels.size() - 1 - i].up = layers_of(concat("up_blocks.", i));
  const std::map<std::string, std::string> blocks = original_unet_blocks(levels);
  std::map<std::string, std::string> modules;
  for (const auto& [parameter, shape] : parameters) {
    if (const auto original = original_unet_tensor(blocks, parameter))
      modules[module_of(parameter)] = module_of(*original);
  }
  return modules;
}

void LoraNames::spell_unet(const ModelPart& part, const Parameters& parameters) {
  for (const auto& [name, original] : original_unet_modules(parameters)) {
    const Spelled module = alone(part, name);
    for (const char* prefix : part.lora_dotted) {
      spell(module, prefix + name);
      // diffusers' attention processors had the weights once.
      for (const char* leaf : {".to_q", ".to_k", ".to_v"})
        if (const auto old = with_leaf(name, leaf, std::string(".processor") + leaf)) spell(module, prefix + *old);
      if (const auto old = with_leaf(name, ".to_out.0", ".processor.to_out")) spell(module, prefix + *old);
    }
    for (const char* prefix : {"diffusion_model.", "model.diffusion_model."}) spell(module, prefix + original);
    for (const char* prefix : part.lora_joined)
      for (const std::string& spelled : {name, original}) spell(module, prefix + underscored(spelled));
  }
}

void LoraNames::spell_clip_text(const ModelPart& part, const Parameters& parameters) {
  for (const auto& [parameter, shape] : parameters) {
    const std::string own = module_of(parameter);
    const Spelled module = alone(part, own);
    for (const char* model : {"text_model.", ""}) {
      const std::string name = model + own;
      for (const char* prefix : part.lora_joined) spell(module, prefix + underscored(name));
      for (const char* prefix : part.lora_dotted) {
        spell(module, prefix + name);
        // diffusers once gave text encoders the names of its own attention.
        for (const auto& [ours, old] :
             Spellings{{".q_proj", ".to_q"}, {".k_proj", ".to_k"}, {".v_proj", ".to_v"}, {".out_proj", ".to_out"}})
          if (const auto spelled = with_leaf(name, ours, old)) spell(module, prefix + *spelled);
      }
    }
  }
}

// The names of checkpoints, read backwards: a module of its makers' is rows of several of diffusers'.
void LoraNames::spell_transformer(const ModelPart& part, const Parameters& parameters, Architecture architecture) {
  const auto spell_all = [&](const std::string& name, const Spelled& modules) {
    for (const char* prefix : part.lora_dotted) spell(modules, prefix + name);
    const std::string joined = underscored(name);
    for (const char* prefix : part.lora_joined) spell(modules, prefix + joined);
  };
  std::vector<std::string> weights;
  for (const auto& [parameter, shape] : parameters)
    if (parameter.ends_with(".weight")) weights.push_back(parameter);
  for (const std::string& weight : weights) spell_all(module_of(weight), alone(part, module_of(weight)));
  for (const NameTable* table : foreign_names(architecture)) {
    const Locate locate = original_names(*table, parameters);
    std::map<std::string, Modules> wholes;
    for (const std::string& weight : weights) {
      Place place = locate(weight);
      wholes[module_of(place.name)].push_back({&part, module_of(weight), std::move(place)});
    }
    for (auto& [name, modules] : wholes) spell_all(name, std::make_shared<const Modules>(std::move(modules)));
  }
}

void LoraNames::spell_t5(const ModelPart& part, const Parameters& parameters) {
  for (const auto& [parameter, shape] : parameters) {
    const std::string name = module_of(parameter), joined = underscored(name);
    const Spelled module = alone(part, name);
    for (const char* prefix : part.lora_dotted) spell(module, prefix + name);
    for (const char* prefix : part.lora_joined) spell(module, prefix + joined);
    // ComfyUI and kohya call it so whatever its place in the model is.
    spell(module, "text_encoders.t5xxl.transformer." + name), spell(module, "lora_te3_" + joined);
  }
}

void LoraNames::spell_decoder_text(const ModelPart& part, const Parameters& parameters) {
  for (const auto& [parameter, shape] : parameters) {
    const std::string name = module_of(parameter);
    const Spelled module = alone(part, name);
    // transformers' text model is the part "model" of what makes words.
    for (const char* prefix : part.lora_dotted)
      for (const char* outer : {"", "model."}) spell(module, concat(prefix, outer, name));
    for (const char* prefix : part.lora_joined)
      for (const char* outer : {"", "model_"}) spell(module, concat(prefix, outer, underscored(name)));
  }
}

void LoraNames::add(const ModelPart& part, Architecture architecture, Parameters parameters) {
  switch (architecture) {
    case Architecture::unet:
      spell_unet(part, parameters);
      break;
    case Architecture::sd3_transformer:
    case Architecture::flux_transformer:
    case Architecture::flux2_transformer:
    case Architecture::chroma_transformer:
    case Architecture::pixart_transformer:
    case Architecture::dit_transformer:
    case Architecture::qwen_transformer:
    case Architecture::z_image_transformer:
    case Architecture::lumina2_transformer:
      spell_transformer(part, parameters, architecture);
      break;
    case Architecture::clip_text:
      spell_clip_text(part, parameters);
      break;
    case Architecture::decoder_text:
      spell_decoder_text(part, parameters);
      break;
    case Architecture::t5:
      spell_t5(part, parameters);
      break;
    default:
      throw Error(Fault::internal, concat("nothing is known of LoRAs for ", part.name));
  }
  parameters_[&part] = std::move(parameters);
}

const LoraNames::Modules* LoraNames::find(const std::string& spelling) const {
  const auto found = modules_.find(spelling);
  return found == modules_.end() ? nullptr : found->second.get();
}

const LoraNames::Parameters* LoraNames::parameters(const ModelPart& part) const {
  const auto found = parameters_.find(&part);
  return found == parameters_.end() ? nullptr : &found->second;
}

const std::vector<std::int64_t>* LoraNames::shape(const Module& module, const std::string& leaf) const {
  const Parameters& parameters = parameters_.at(module.part);
  const auto found = parameters.find(module.name + '.' + leaf);
  return found == parameters.end() ? nullptr : &found->second;
}

}  // namespace sdgen
