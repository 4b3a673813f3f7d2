#include "formats/lora_names.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "formats/original_unet.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

using Part = LoraPart;

constexpr std::pair<std::string_view, Part> kPartEndings[] = {
    {".lora_down.weight", Part::down},
    {".lora_up.weight", Part::up},
    {".lora_mid.weight", Part::mid},
    {".lora_A.weight", Part::down},
    {".lora_B.weight", Part::up},
    {".lora_A.default.weight", Part::down},
    {".lora_B.default.weight", Part::up},
    {".lora_linear_layer.down.weight", Part::down},
    {".lora_linear_layer.up.weight", Part::up},
    {".lora.down.weight", Part::down},
    {".lora.up.weight", Part::up},
    {"_lora.down.weight", Part::down},
    {"_lora.up.weight", Part::up},
    {":down", Part::down},
    {":up", Part::up},
    {".alpha", Part::alpha},
    {".hada_w1_a", Part::hada_w1_a},
    {".hada_w1_b", Part::hada_w1_b},
    {".hada_w2_a", Part::hada_w2_a},
    {".hada_w2_b", Part::hada_w2_b},
    {".hada_t1", Part::hada_t1},
    {".hada_t2", Part::hada_t2},
    {".lokr_w1", Part::lokr_w1},
    {".lokr_w1_a", Part::lokr_w1_a},
    {".lokr_w1_b", Part::lokr_w1_b},
    {".lokr_w2", Part::lokr_w2},
    {".lokr_w2_a", Part::lokr_w2_a},
    {".lokr_w2_b", Part::lokr_w2_b},
    {".lokr_t2", Part::lokr_t2},
    {".dora_scale", Part::dora_scale},
    {".lora_magnitude_vector", Part::magnitude},
    {".lora_magnitude_vector.weight", Part::magnitude},
    {".lora_magnitude_vector.default.weight", Part::magnitude},
    {".diff", Part::diff},
    {".diff_b", Part::diff_b},
    {".w_norm", Part::diff},  // LyCORIS' norms: whole differences too
    {".b_norm", Part::diff_b},
};

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

}  // namespace

std::optional<LoraKey> lora_key(const std::string& name) {
  const std::pair<std::string_view, Part>* longest = nullptr;
  for (const auto& ending : kPartEndings)
    if (name.ends_with(ending.first) && (!longest || ending.first.size() > longest->first.size())) longest = &ending;
  if (!longest) return std::nullopt;
  LoraKey key{name.substr(0, name.size() - longest->first.size()), longest->second};
  remove_prefix(key.module, "base_model.model.");  // PEFT's wrapper
  return key;
}

std::map<std::string, std::string> original_unet_modules(const LoraNames::Parameters& parameters) {
  // Blocks first, then the modules in them.
  std::map<std::string, std::string> blocks = fixed_unet_modules();
  blocks["conv_norm_out"] = "out.0";
  blocks["conv_out"] = "out.2";
  const auto has = [&parameters](const std::string& name) { return parameters.contains(name); };
  for (const auto& [ours, theirs, first] :
       {std::tuple{"down_blocks.", "input_blocks.", 1}, {"up_blocks.", "output_blocks.", 0}}) {
    for (int level = 0, n = first; has(concat(ours, level, ".resnets.0.conv1.weight")); ++level) {
      const std::string block = concat(ours, level, '.');
      bool attends = false;
      for (int i = 0; has(concat(block, "resnets.", i, ".conv1.weight")); ++i, ++n) {
        blocks[concat(block, "resnets.", i)] = concat(theirs, n, ".0");
        blocks[concat(block, "attentions.", i)] = concat(theirs, n, ".1");
        attends = has(concat(block, "attentions.", i, ".proj_in.weight"));
      }
      if (has(block + "downsamplers.0.conv.weight"))
        blocks[block + "downsamplers.0.conv"] = concat(theirs, n++, ".0.op");
      blocks[block + "upsamplers.0.conv"] = concat(theirs, n - 1, attends ? ".2.conv" : ".1.conv");
    }
  }
  std::map<std::string, std::string> modules;
  for (const auto& [parameter, shape] : parameters) {
    if (const auto original = original_unet_tensor(blocks, parameter))
      modules[module_of(parameter)] = module_of(*original);
  }
  return modules;
}

void LoraNames::add_unet(const std::map<std::string, std::string>& modules) {
  for (const auto& [name, original] : modules) {
    const Module module{"unet", name};
    for (const char* prefix : {"", "unet."}) {
      spell(module, prefix + name);
      // diffusers' attention processors had the weights once.
      for (const char* leaf : {".to_q", ".to_k", ".to_v"})
        if (const auto old = with_leaf(name, leaf, std::string(".processor") + leaf)) spell(module, prefix + *old);
      if (const auto old = with_leaf(name, ".to_out.0", ".processor.to_out")) spell(module, prefix + *old);
    }
    for (const char* prefix : {"diffusion_model.", "model.diffusion_model."}) spell(module, prefix + original);
    for (const char* prefix : {"lora_unet_", "lycoris_", "lycoris_unet_"})
      for (const std::string& spelled : {name, original}) spell(module, prefix + underscored(spelled));
  }
}

void LoraNames::add(const std::string& component, Parameters parameters) {
  if (component == "unet") {
    add_unet(original_unet_modules(parameters));
  } else {
    const bool second = component == "text_encoder_2";
    using Prefixes = std::vector<const char*>;
    const Prefixes dotted = second ? Prefixes{"text_encoder_2.", "text_encoders.clip_g.transformer."}
                                   : Prefixes{"", "text_encoder.", "text_encoders.clip_l.transformer."};
    const Prefixes joined = second ? Prefixes{"lora_te2_", "lycoris_text_encoder_2_"}
                                   : Prefixes{"lora_te_", "lora_te1_", "lycoris_text_encoder_"};
    for (const auto& [parameter, shape] : parameters) {
      const Module module{component, module_of(parameter)};
      for (const char* model : {"text_model.", ""}) {
        const std::string name = model + module.name;
        for (const char* prefix : joined) spell(module, prefix + underscored(name));
        for (const char* prefix : dotted) {
          spell(module, prefix + name);
          // diffusers once gave text encoders the names of its own attention.
          for (const auto& [ours, old] :
               Spellings{{".q_proj", ".to_q"}, {".k_proj", ".to_k"}, {".v_proj", ".to_v"}, {".out_proj", ".to_out"}})
            if (const auto spelled = with_leaf(name, ours, old)) spell(module, prefix + *spelled);
        }
      }
    }
  }
  parameters_[component] = std::move(parameters);
}

const LoraNames::Module* LoraNames::find(const std::string& spelling) const {
  const auto found = modules_.find(spelling);
  return found == modules_.end() ? nullptr : &found->second;
}

const LoraNames::Parameters* LoraNames::parameters(const std::string& component) const {
  const auto found = parameters_.find(component);
  return found == parameters_.end() ? nullptr : &found->second;
}

const std::vector<std::int64_t>* LoraNames::shape(const Module& module, const std::string& leaf) const {
  const Parameters& parameters = parameters_.at(module.component);
  const auto found = parameters.find(module.name + '.' + leaf);
  return found == parameters.end() ? nullptr : &found->second;
}

}  // namespace sdgen
