#include "nn/sd3_controlnet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>

#include "nn/config_size.h"
#include "nn/sd3_transformer.h"
#include "sdgen/error.h"

namespace sdgen {

Sd3ControlNetConfig Sd3ControlNetConfig::from(const Config& json) {
  json.require("_class_name", "SD3ControlNetModel");
  if (json.integer("extra_conditioning_channels", 0) != 0)
    json.unsupported("extra_conditioning_channels", "ControlNets that are shown a mask, too, are not supported");
  const auto null = [&json](const char* key) { return json.json().contains(key) && json.json().at(key).is_null(); };
  Sd3ControlNetConfig c;
  c.own_tokens = json.boolean("use_pos_embed", c.own_tokens);
  c.zero_pooled = json.boolean("force_zeros_for_pooled_projection", c.zero_pooled);
  const bool placed = c.own_tokens && !null("pos_embed_type"), told = !null("joint_attention_dim");
  if (placed) {
    json.require("pos_embed_type", "sincos");
    if (null("pos_embed_max_size")) json.unsupported("pos_embed_max_size", "a table of positions has a size");
  }
  // The rest is a transformer's config. What only its last layer, or its prompt, has a use for is not read.
  Json rest = json.json();
  for (const char* key : {"out_channels", "_class_name"}) rest.erase(key);
  if (!told)
    for (const char* key : {"joint_attention_dim", "qk_norm", "dual_attention_layers"}) rest.erase(key);
  if (!told)
    rest["caption_projection_dim"] = config_size(json, "num_attention_heads", c.heads, 1'000'000) *
                                     config_size(json, "attention_head_dim", 64, 100'000);
  const Sd3Config base = Sd3Config::from(Config(std::move(rest), json.who()));
  c.patch = base.patch;
  c.in_channels = base.in_channels;
  c.layers = base.layers;
  c.heads = base.heads;
  c.width = base.width;
  c.context_width = told ? base.context_width : 0;
  c.pooled_width = base.pooled_width;
  c.table_size = placed ? base.table_size : 0;
  c.qk_norm = base.qk_norm;
  c.dual_layers = base.dual_layers;
  return c;
}

Sd3ControlNet::Sd3ControlNet(const Weights& w, const Sd3ControlNetConfig& c)
    : Module(w), config_(c), dtype_(w.dtype()) {
  if (c.own_tokens)
    patches_ = add<PlacedPatches>(w, "pos_embed", PlacedPatches::Params{c.in_channels, c.patch, c.width, c.table_size});
  picture_ = add<PlacedPatches>(w, "pos_embed_input", PlacedPatches::Params{c.in_channels, c.patch, c.width, 0});
  embedding_ = add<TimeTextEmbedding>(w, "time_text_embed", c.pooled_width, c.width);
  if (c.context_width) context_ = add<Linear>(w, "context_embedder", c.context_width, c.width);
  for (std::int64_t i = 0; i < c.layers; ++i) {
    blocks_.push_back(
        add<Sd3Block>(w, concat("transformer_blocks.", i),
                      Sd3Block::Params{c.width, c.heads, c.qk_norm, c.dual_layers.contains(i),
                                       c.context_width ? Sd3Block::Prompt::goes_on : Sd3Block::Prompt::none}));
    zero_.push_back(add<Linear>(w, concat("controlnet_blocks.", i), c.width, c.width));
  }
}

LayerSamples Sd3ControlNet::samples(const ControlView& view, const SteerableTransformer& steered) const {
  const Tensor theirs = patches_ ? Tensor() : steered.tokens(view.x);
  take_up_device();
  Tensor h = (patches_ ? patches_->forward(view.x.to(dtype_)) : theirs) + picture_->forward(view.picture.to(dtype_));
  const Tensor& pooled = view.conditioning.pooled;
  const Tensor embedding = embedding_->forward(view.t, config_.zero_pooled ? at::zeros_like(pooled) : pooled);
  Tensor context = context_ ? context_->forward(view.conditioning.context.to(dtype_)) : Tensor();
  LayerSamples said;
  for (std::size_t i = 0; i < blocks_.size(); ++i) {
    blocks_[i]->forward(h, context, embedding);
    said.samples.push_back(zero_[i]->forward(h));
  }
  // In floating point, as diffusers has it.
  const std::size_t layers = steered.layers().joint;
  const double share = double(layers) / double(blocks_.size());
  for (std::size_t i = 0; i < layers; ++i) said.of_layer.push_back(std::size_t(double(i) / share));
  return said;
}

}  // namespace sdgen
