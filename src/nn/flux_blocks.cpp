#include "nn/flux_blocks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/pixel_shuffle.h>
#include <ATen/ops/pixel_unshuffle.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include <utility>

#include "nn/config_size.h"

namespace sdgen {
namespace {

at::TensorOptions exactly_beside(const Tensor& x) { return at::TensorOptions().device(x.device()).dtype(at::kDouble); }

}  // namespace

void FluxSizes::read(const Config& json) {
  const auto size = [&json](const char* key, std::int64_t fallback, std::int64_t most = 1'000'000) {
    return config_size(json, key, fallback, most);
  };
  json.require("patch_size", 1);
  in_channels = size("in_channels", in_channels);
  out_channels = size("out_channels", in_channels);
  double_layers = size("num_layers", double_layers);
  single_layers = size("num_single_layers", single_layers);
  heads = size("num_attention_heads", heads);
  const std::int64_t head = size("attention_head_dim", 128, 100'000);
  width = heads * head;
  context_width = size("joint_attention_dim", context_width);
  axes = rotary_axes(json, "axes_dims_rope", std::move(axes), axes.size(), head);
}

Tensor packed(const Tensor& x) { return at::pixel_unshuffle(x, kFluxPatch).flatten(2).transpose(1, 2).contiguous(); }

Tensor unpacked(const Tensor& tokens, std::int64_t height, std::int64_t width) {
  return at::pixel_shuffle(tokens.transpose(1, 2).unflatten(2, {height, width}), kFluxPatch);
}

Tensor places_of(double picture, std::int64_t height, std::int64_t width, const Tensor& like, std::int64_t axes) {
  const at::TensorOptions options = exactly_beside(like);
  std::vector<Tensor> places{at::full({height, width}, picture, options),
                             at::arange(height, options).unsqueeze(1).expand({height, width}),
                             at::arange(width, options).expand({height, width})};
  while (std::int64_t(places.size()) < axes) places.push_back(at::zeros({height, width}, options));
  return at::stack(places, -1).flatten(0, 1);
}

Tensor places_of(double picture, const Tensor& latents) {
  return places_of(picture, latents.size(2) / kFluxPatch, latents.size(3) / kFluxPatch, latents);
}

Tensor places_of_words(const Tensor& context, std::int64_t axes, bool numbered) {
  const Tensor places = at::zeros({context.size(1), axes}, exactly_beside(context));
  if (numbered) places.select(1, axes - 1).copy_(at::arange(context.size(1), places.options()));
  return places;
}

Tensor clipped(const Tensor& x) {
  constexpr double most = 65504;
  return x.scalar_type() == at::kHalf ? x.clamp(-most, most) : x;
}

FluxDoubleBlock::FluxDoubleBlock(const Weights& w, std::int64_t width, std::int64_t heads)
    : image_(add<Modulation>(w, "norm1", width, 6)),
      text_(add<Modulation>(w, "norm1_context", width, 6)),
      block_(std::make_shared<MovedDoubleBlock<GeluFeedForward>>(w, FluxDoubleParams{width, heads})) {
  adopt_children(*block_);
}

void FluxDoubleBlock::forward(Tensor& x, Tensor& context, const Tensor& embedding, const Tensor& rotations) const {
  block_->forward(x, context, image_->forward(embedding), text_->forward(embedding), rotations);
}

MovedSingleBlock::MovedSingleBlock(const Weights& w, std::int64_t width, std::int64_t heads)
    : attention_(add<JointAttention>(w, "attn",
                                     JointAttention::Params{width, heads, /*qk_norm=*/true,
                                                            JointAttention::Second::none, /*projects_out=*/false})),
      ff_(add<Linear>(w, "proj_mlp", width, 4 * width)),
      out_(add<Linear>(w, "proj_out", 5 * width, width)) {}

Tensor MovedSingleBlock::forward(const Tensor& x, const std::vector<Tensor>& m, const Tensor& rotations,
                                 const Tensor& bias) const {
  const Tensor normed = modulated(x, m[0], m[1]);
  const Tensor attended = attention_->forward(normed, {}, rotations, bias).first;
  const Tensor fed_forward = Activation{Activation::gelu_tanh}(ff_->forward(normed));
  return clipped(gated(x, m[2], out_->forward(at::cat({attended, fed_forward}, -1))));
}

FluxSingleBlock::FluxSingleBlock(const Weights& w, std::int64_t width, std::int64_t heads)
    : norm_(add<Modulation>(w, "norm", width, 3)), block_(std::make_shared<MovedSingleBlock>(w, width, heads)) {
  adopt_children(*block_);
}

Tensor FluxSingleBlock::forward(const Tensor& x, const Tensor& embedding, const Tensor& rotations) const {
  return block_->forward(x, norm_->forward(embedding), rotations);
}

}  // namespace sdgen
