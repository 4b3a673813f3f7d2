#include "nn/sandwich_layer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/zeros_like.h>

namespace sdgen {

SandwichLayer::SandwichLayer(const Weights& w, const SandwichNames& names, const Params& p)
    : embedding_silu_(p.embedding_silu),
      attention_(add<JointAttention>(w, names.attention,
                                     JointAttention::Params{.width = p.width,
                                                            .heads = p.heads,
                                                            .qk_norm = p.qk_norm,
                                                            .with_bias = false,
                                                            .kv_heads = p.kv_heads,
                                                            .norm_eps = 1e-5})),
      before_attention_(add<RmsNorm>(w, names.before_attention, p.width, p.norm_eps)),
      behind_attention_(add<RmsNorm>(w, names.behind_attention, p.width, p.norm_eps)),
      before_ff_(add<RmsNorm>(w, names.before_ff, p.width, p.norm_eps)),
      behind_ff_(add<RmsNorm>(w, names.behind_ff, p.width, p.norm_eps)),
      gate_(add<Linear>(w, names.gate, p.width, p.ff_width, /*with_bias=*/false)),
      value_(add<Linear>(w, names.value, p.width, p.ff_width, /*with_bias=*/false)),
      out_(add<Linear>(w, names.out, p.ff_width, p.width, /*with_bias=*/false)) {
  if (p.embedding_width > 0) modulation_ = add<Linear>(w, names.modulation, p.embedding_width, 4 * p.width);
}

// "SwiGLU" (Shazeer, 2020, equation 6).
Tensor SandwichLayer::fed_forward(const Tensor& x) const {
  return out_->forward(kSilu(gate_->forward(x)) * value_->forward(x));
}

Tensor SandwichLayer::forward(const Tensor& x, const Tensor& rotations, const Tensor& embedding) const {
  if (!modulation_) {
    const Tensor seen =
        x + behind_attention_->forward(attention_->forward(before_attention_->forward(x), {}, rotations).first);
    return seen + behind_ff_->forward(fed_forward(before_ff_->forward(seen)));
  }
  // Scale and gate of the attention, then those of the network.
  const auto m = modulation_->forward(embedding_silu_ ? kSilu(embedding) : embedding).chunk(4, -1);
  const auto scaled = [](const Tensor& normed, const Tensor& scale) { return normed * (1 + scale).unsqueeze(1); };
  const Tensor attended = attention_->forward(scaled(before_attention_->forward(x), m[0]), {}, rotations).first;
  const Tensor seen = gated(x, at::tanh(m[1]), behind_attention_->forward(attended));
  return gated(seen, at::tanh(m[3]), behind_ff_->forward(fed_forward(scaled(before_ff_->forward(seen), m[2]))));
}

ScaledOut::ScaledOut(const Weights& w, const char* scale, const char* out, std::int64_t embedding_width,
                     std::int64_t width, std::int64_t out_width)
    : scale_(add<Linear>(w, scale, embedding_width, width)), out_(add<Linear>(w, out, width, out_width)) {}

Tensor ScaledOut::forward(const Tensor& x, const Tensor& embedding) const {
  const Tensor scale = scale_->forward(kSilu(embedding));
  return out_->forward(modulated(x, at::zeros_like(scale), scale));
}

namespace {

at::TensorOptions places_beside(const Tensor& x) { return at::TensorOptions().device(x.device()).dtype(at::kDouble); }

}  // namespace

Tensor places_in_line(double first, std::int64_t count, const Tensor& like) {
  const Tensor line = first + at::arange(count, places_beside(like)), none = at::zeros_like(line);
  return at::stack({line, none, none}, -1);
}

Tensor places_in_grid(double first, std::int64_t height, std::int64_t width, const Tensor& like) {
  const at::TensorOptions options = places_beside(like);
  const Tensor rows = at::arange(height, options).unsqueeze(1).expand({height, width}),
               columns = at::arange(width, options).expand({height, width});
  return at::stack({at::full({height, width}, first, options), rows, columns}, -1).flatten(0, 1);
}

}  // namespace sdgen
