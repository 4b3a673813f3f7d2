#include "formats/lora_positions.h"

#include <set>

#include "io/json.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// The classes whose layers were trained, as the metadata lists them, or the trainer's default.
std::set<std::string> targets_of(const TensorTable& table, const char* component, std::set<std::string> fallback) {
  const auto& metadata = table.files().front()->metadata();
  const auto text = metadata.find(component);
  if (text == metadata.end()) return fallback;
  const Json json = Json::parse(text->second, nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) return fallback;
  std::set<std::string> targets;
  for (const Json& name : json)
    if (name.is_string()) targets.insert(name.get<std::string>());
  return targets;
}

// Collects the modules that the model has, in the order in which they are asked for.
class Walk {
 public:
  explicit Walk(const LoraNames::Parameters& parameters) : parameters_(parameters) {}
  bool has(const std::string& module) const { return parameters_.contains(module + ".weight"); }
  void visit(const std::string& module) {
    if (has(module)) modules.push_back(module);
  }
  std::vector<std::string> modules;

 private:
  const LoraNames::Parameters& parameters_;
};

// torch's modules() in diffusers' U-Net: the ways down and up, then the middle, which is assigned last. Until release
// 0.16 a transformer block had its feed-forward layers before the second attention.
std::vector<std::string> walk_unet(const LoraNames::Parameters& parameters, const std::set<std::string>& targets,
                                   bool feed_forward_last) {
  Walk walk(parameters);
  const bool attention = targets.contains("CrossAttention") || targets.contains("Attention");
  const auto attend = [&](const std::string& name) {
    for (const char* layer : {".to_q", ".to_k", ".to_v", ".to_out.0"})
      if (attention) walk.visit(name + layer);
  };
  const auto feed = [&](const std::string& block) {
    if (targets.contains("GEGLU")) walk.visit(block + "ff.net.0.proj");
  };
  const auto visit_block = [&](const std::string& name) {
    for (int i = 0; walk.has(concat(name, "attentions.", i, ".proj_in")); ++i)
      for (int j = 0;; ++j) {
        const std::string block = concat(name, "attentions.", i, ".transformer_blocks.", j, '.');
        if (!walk.has(block + "attn1.to_q")) break;
        attend(block + "attn1");
        if (!feed_forward_last) feed(block);
        attend(block + "attn2");
        if (feed_forward_last) feed(block);
      }
    for (int i = 0; targets.contains("ResnetBlock2D") && walk.has(concat(name, "resnets.", i, ".conv1")); ++i)
      for (const char* layer : {".conv1", ".time_emb_proj", ".conv2", ".conv_shortcut"})
        walk.visit(concat(name, "resnets.", i, layer));
  };
  for (const char* way : {"down_blocks.", "up_blocks."})
    for (int i = 0; walk.has(concat(way, i, ".resnets.0.conv1")); ++i) visit_block(concat(way, i, '.'));
  visit_block("mid_block.");
  return walk.modules;
}

std::vector<std::string> walk_text(const LoraNames::Parameters& parameters, const std::set<std::string>& targets) {
  Walk walk(parameters);
  for (int i = 0; targets.contains("CLIPAttention") && walk.has(concat("encoder.layers.", i, ".self_attn.k_proj")); ++i)
    for (const char* layer : {"k_proj", "v_proj", "q_proj", "out_proj"})  // as transformers' CLIPAttention makes them
      walk.visit(concat("encoder.layers.", i, ".self_attn.", layer));
  return walk.modules;
}

// Do the numbered layers have the modules' widths?
bool fits(const TensorTable& table, const LoraNames::Parameters& parameters, const std::vector<std::string>& modules) {
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const StoredTensor* up = table.find(concat("unet:", i, ":up"));
    const StoredTensor* down = table.find(concat("unet:", i, ":down"));
    if (!up || !down || up->shape.empty() || down->shape.size() < 2) return false;
    const std::vector<std::int64_t>& weight = parameters.at(modules[i] + ".weight");
    if (up->shape[0] != weight[0] || down->shape[1] != weight[1]) return false;
  }
  return true;
}

}  // namespace

std::map<std::string, LoraNames::Module> numbered_modules(const TensorTable& table, const LoraNames& names) {
  std::map<std::string, LoraNames::Module> result;
  const auto number = [&result](const ModelPart& part, const std::vector<std::string>& modules) {
    for (std::size_t i = 0; i < modules.size(); ++i)
      result.insert({concat(part.name, ':', i), LoraNames::Module{&part, modules[i]}});
  };
  const ModelPart &network = model_part("unet"), &text_encoder = model_part("text_encoder");
  if (const auto* unet = names.parameters(network); unet && table.find("unet:0:up")) {
    const auto targets = targets_of(table, network.name, {"CrossAttention", "Attention", "GEGLU"});
    const std::vector<std::string> newer = walk_unet(*unet, targets, /*feed_forward_last=*/true);
    number(network, fits(table, *unet, newer) ? newer : walk_unet(*unet, targets, /*feed_forward_last=*/false));
  }
  if (const auto* text = names.parameters(text_encoder); text && table.find("text_encoder:0:up"))
    number(text_encoder, walk_text(*text, targets_of(table, text_encoder.name, {"CLIPAttention"})));
  return result;
}

}  // namespace sdgen
