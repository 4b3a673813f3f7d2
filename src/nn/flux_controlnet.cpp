#include "nn/flux_controlnet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>

#include "sdgen/error.h"

namespace sdgen {
namespace {

// Which of `count` samples from number `first` on comes behind each of `layers`: each behind some that follow each
// other, or all in turn, again and again.
void add_places(std::vector<std::size_t>& of_layer, std::size_t first, std::size_t count, std::size_t layers,
                bool repeat) {
  const std::size_t each = count ? (layers + count - 1) / count : 0;
  for (std::size_t i = 0; i < layers; ++i)
    of_layer.push_back(!count ? LayerSamples::kNone : first + (repeat ? i % count : i / each));
}

}  // namespace

FluxControlNetConfig FluxControlNetConfig::from(const Config& json) {
  json.require("_class_name", "FluxControlNetModel");
  const auto count = [&json](const char* key, std::int64_t fallback) {
    const std::int64_t n = json.integer(key, fallback);
    if (n < 0 || n > 1'000'000) json.unsupported(key, "expected 0 to 1000000");
    return n;
  };
  FluxControlNetConfig c;
  c.modes = count("num_mode", 0);
  c.folded = count("conditioning_embedding_channels", 0);
  // The rest is a transformer's config, of as many layers as there are, of either kind.
  Json rest = json.json();
  for (const char* key : {"_class_name", "patch_size", "num_layers", "num_single_layers", "out_channels"})
    rest.erase(key);
  c.copied = FluxConfig::from(Config(std::move(rest), json.who()));
  c.copied.double_layers = count("num_layers", c.copied.double_layers);
  c.copied.single_layers = count("num_single_layers", c.copied.single_layers);
  const std::int64_t patch = c.folded ? kFluxPatch : 1, in_token = kFluxPatch * kFluxPatch;
  if (json.integer("patch_size", 1) != patch)
    json.unsupported("patch_size", concat("expected ", patch, c.folded ? ", as latents are packed" : ""));
  if (c.folded && c.folded * in_token != c.copied.in_channels)
    json.unsupported("conditioning_embedding_channels",
                     concat("four of them make a token, and in_channels is ", c.copied.in_channels));
  return c;
}

FluxControlNet::FluxControlNet(const Weights& w, const FluxControlNetConfig& config)
    : Module(w), config_(config), dtype_(w.dtype()) {
  const FluxConfig& c = config.copied;
  tokens_ = add<Linear>(w, "x_embedder", c.in_channels, c.width);
  context_ = add<Linear>(w, "context_embedder", c.context_width, c.width);
  picture_ = add<Linear>(w, "controlnet_x_embedder", c.in_channels, c.width);
  if (config.folded)
    fold_ = add<PictureEmbedding>(w, "input_hint_block", std::vector<std::int64_t>{16, 16, 16, 16}, config.folded);
  if (config.modes) mode_ = add<Embedding>(w, "controlnet_mode_embedder", config.modes, c.width);
  embedding_ = add<TimeTextEmbedding>(w, "time_text_embed", c.pooled_width, c.width, c.guidance);
  for (std::int64_t i = 0; i < c.double_layers; ++i) {
    double_blocks_.push_back(add<FluxDoubleBlock>(w, concat("transformer_blocks.", i), c.width, c.heads));
    zero_.push_back(add<Linear>(w, concat("controlnet_blocks.", i), c.width, c.width));
  }
  for (std::int64_t i = 0; i < c.single_layers; ++i) {
    single_blocks_.push_back(add<FluxSingleBlock>(w, concat("single_transformer_blocks.", i), c.width, c.heads));
    single_zero_.push_back(add<Linear>(w, concat("controlnet_single_blocks.", i), c.width, c.width));
  }
}

LayerSamples FluxControlNet::samples(const ControlView& view, const SteerableTransformer& steered) const {
  take_up_device();
  const Tensor seen = fold_ ? fold_->forward(view.picture.to(dtype_)) : view.picture.to(dtype_);
  Tensor h = tokens_->forward(packed(view.x.to(dtype_))) + picture_->forward(packed(seen));
  Tensor context = context_->forward(view.conditioning.context.to(dtype_));
  if (mode_) {
    const auto numbers = at::TensorOptions().device(view.x.device()).dtype(at::kLong);
    context = at::cat({mode_->forward(at::full({h.size(0), 1}, view.mode, numbers)), context}, 1);
  }
  const Tensor rotations =
      sdgen::rotations(at::cat({places_of(0, view.x), places_of_words(context)}), config_.copied.axes);
  const Tensor embedding = embedding_->forward(view.t, view.conditioning.pooled, view.conditioning.guidance);

  LayerSamples said;
  for (std::size_t i = 0; i < double_blocks_.size(); ++i) {
    double_blocks_[i]->forward(h, context, embedding, rotations);
    said.samples.push_back(zero_[i]->forward(h));
  }
  const std::int64_t n = h.size(1);
  Tensor all = at::cat({h, context}, 1);
  for (std::size_t i = 0; i < single_blocks_.size(); ++i) {
    all = single_blocks_[i]->forward(all, embedding, rotations);
    said.samples.push_back(single_zero_[i]->forward(all.slice(1, 0, n)));
  }
  const std::size_t joint = double_blocks_.size(), single = single_blocks_.size();
  add_places(said.of_layer, 0, joint, steered.layers().joint, /*repeat=*/fold_ != nullptr);
  add_places(said.of_layer, joint, single, steered.layers().single, /*repeat=*/false);
  return said;
}

}  // namespace sdgen
