#include "nn/flux_blocks.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/pixel_shuffle.h>
#include <ATen/ops/pixel_unshuffle.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

namespace sdgen {
namespace {

at::TensorOptions exactly_beside(const Tensor& x) { return at::TensorOptions().device(x.device()).dtype(at::kDouble); }

}  // namespace

Tensor clipped(const Tensor& x) {
  constexpr double most = 65504;
  return x.scalar_type() == at::kHalf ? x.clamp(-most, most) : x;
}

Tensor packed(const Tensor& x) { return at::pixel_unshuffle(x, kFluxPatch).flatten(2).transpose(1, 2).contiguous(); }

Tensor unpacked(const Tensor& tokens, std::int64_t height, std::int64_t width) {
  return at::pixel_shuffle(tokens.transpose(1, 2).unflatten(2, {height, width}), kFluxPatch);
}

Tensor places_of(double picture, const Tensor& latents) {
  const std::int64_t height = latents.size(2) / kFluxPatch, width = latents.size(3) / kFluxPatch;
  const at::TensorOptions options = exactly_beside(latents);
  const Tensor rows = at::arange(height, options).unsqueeze(1).expand({height, width});
  const Tensor columns = at::arange(width, options).expand({height, width});
  return at::stack({at::full({height, width}, picture, options), rows, columns}, -1).flatten(0, 1);
}

Tensor places_of_words(const Tensor& context) { return at::zeros({context.size(1), 3}, exactly_beside(context)); }

FluxDoubleBlock::FluxDoubleBlock(const Weights& w, std::int64_t width, std::int64_t heads)
    : attention_(add<JointAttention>(
          w, "attn", JointAttention::Params{width, heads, /*qk_norm=*/true, JointAttention::Second::in_and_out})),
      image_(std::make_shared<ModulatedStream>(w, "norm1", "ff", width, 6)),
      text_(std::make_shared<ModulatedStream>(w, "norm1_context", "ff_context", width, 6)) {
  adopt_children(*image_);
  adopt_children(*text_);
}

void FluxDoubleBlock::forward(Tensor& x, Tensor& context, const Tensor& embedding, const Tensor& rotations) const {
  const std::vector<Tensor> m = image_->norm->forward(embedding), n = text_->norm->forward(embedding);
  const JointAttention::Streams attended =
      attention_->forward(modulated(x, m[0], m[1]), modulated(context, n[0], n[1]), rotations);
  x = image_->fed_forward(gated(x, m[2], attended.first), m);
  context = clipped(text_->fed_forward(gated(context, n[2], attended.second), n));
}

FluxSingleBlock::FluxSingleBlock(const Weights& w, std::int64_t width, std::int64_t heads)
    : norm_(add<Modulation>(w, "norm", width, 3)),
      attention_(add<JointAttention>(w, "attn",
                                     JointAttention::Params{width, heads, /*qk_norm=*/true,
                                                            JointAttention::Second::none, /*projects_out=*/false})),
      ff_(add<Linear>(w, "proj_mlp", width, 4 * width)),
      out_(add<Linear>(w, "proj_out", 5 * width, width)) {}

Tensor FluxSingleBlock::forward(const Tensor& x, const Tensor& embedding, const Tensor& rotations) const {
  const std::vector<Tensor> m = norm_->forward(embedding);
  const Tensor normed = modulated(x, m[0], m[1]);
  const Tensor attended = attention_->forward(normed, {}, rotations).first;
  const Tensor fed_forward = Activation{Activation::gelu_tanh}(ff_->forward(normed));
  return clipped(gated(x, m[2], out_->forward(at::cat({attended, fed_forward}, -1))));
}

}  // namespace sdgen
