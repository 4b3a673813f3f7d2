#include "nn/attention.h"

#include <ATen/ops/gelu.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include "sdgen/error.h"

namespace sdgen {

Tensor multi_head_attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, bool causal) {
  const auto split = [heads](const Tensor& x) {  // [B, N, heads*width] -> [B, heads, N, width]
    return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
  };
  const Tensor out = at::scaled_dot_product_attention(split(q), split(k), split(v), {}, 0.0, causal);
  return out.transpose(1, 2).reshape(q.sizes());
}

Attention::Attention(const Weights& w, const Shape& shape)
    : heads_(shape.heads),
      to_q_(add<Linear>(w, "to_q", shape.width, shape.width, shape.projection_bias)),
      to_k_(add<Linear>(w, "to_k", shape.context_width, shape.width, shape.projection_bias)),
      to_v_(add<Linear>(w, "to_v", shape.context_width, shape.width, shape.projection_bias)),
      to_out_(add<Linear>(w, "to_out.0", shape.width, shape.width)) {
  if (shape.heads <= 0 || shape.width % shape.heads != 0)
    throw Error(Fault::input, concat(w.source(), ": an attention of width ", shape.width, " does not divide into ",
                                     shape.heads, " heads: attention_head_dim does not belong to this model"));
}

Tensor Attention::forward(const Tensor& x, const Tensor& context) const {
  return to_out_->forward(
      multi_head_attention(to_q_->forward(x), to_k_->forward(context), to_v_->forward(context), heads_));
}

FeedForward::FeedForward(const Weights& w, std::int64_t width)
    : in_(add<Linear>(w, "net.0.proj", width, 8 * width)), out_(add<Linear>(w, "net.2", 4 * width, width)) {}

Tensor FeedForward::forward(const Tensor& x) const {
  const auto halves = in_->forward(x).chunk(2, -1);
  return out_->forward(halves[0] * at::gelu(halves[1]));
}

TransformerBlock::TransformerBlock(const Weights& w, std::int64_t width, std::int64_t heads, std::int64_t context_width,
                                   bool only_cross)
    : only_cross_(only_cross),
      norm1_(add<LayerNorm>(w, "norm1", width)),
      norm2_(add<LayerNorm>(w, "norm2", width)),
      norm3_(add<LayerNorm>(w, "norm3", width)),
      attn1_(add<Attention>(w, "attn1", Attention::Shape{width, only_cross ? context_width : width, heads})),
      attn2_(add<Attention>(w, "attn2", Attention::Shape{width, context_width, heads})),
      ff_(add<FeedForward>(w, "ff", width)) {}

Tensor TransformerBlock::forward(const Tensor& x, const Tensor& context) const {
  Tensor y = norm1_->forward(x);
  Tensor h = x + attn1_->forward(y, only_cross_ ? context : y);
  h = h + attn2_->forward(norm2_->forward(h), context);
  return h + ff_->forward(norm3_->forward(h));
}

PixelAttention::PixelAttention(const Weights& w, const Shape& shape) : output_scale_(shape.output_scale) {
  if (shape.norm_groups) norm_ = add<GroupNorm>(w, "group_norm", shape.norm_groups, shape.channels, shape.norm_eps);
  // The projections' keys stand beside the norm's, so the Attention is built from this very scope.
  attention_ = std::make_shared<Attention>(
      w, Attention::Shape{shape.channels, shape.channels, shape.heads, /*projection_bias=*/true});
  for (auto& child : attention_->named_children()) register_module(child.key(), child.value());
}

Tensor PixelAttention::forward(const Tensor& x, const Tensor&) const {
  const Tensor tokens = (norm_ ? norm_->forward(x) : x).flatten(2).transpose(1, 2);
  const Tensor h = x + attention_->forward(tokens, tokens).transpose(1, 2).reshape(x.sizes());
  return output_scale_ == 1.0 ? h : h / output_scale_;
}

SpatialTransformer::SpatialTransformer(const Weights& w, std::int64_t channels, std::int64_t layers,
                                       const TransformerShape& shape)
    : norm_(add<GroupNorm>(w, "norm", shape.norm_groups, channels, 1e-6)) {
  if (shape.linear_projection) {
    linear_in_ = add<Linear>(w, "proj_in", channels, channels);
    linear_out_ = add<Linear>(w, "proj_out", channels, channels);
  } else {
    conv_in_ = add<Conv2d>(w, "proj_in", channels, channels, Conv2d::Shape{1, 1, 0});
    conv_out_ = add<Conv2d>(w, "proj_out", channels, channels, Conv2d::Shape{1, 1, 0});
  }
  for (std::int64_t i = 0; i < layers; ++i)
    blocks_.push_back(add<TransformerBlock>(w, concat("transformer_blocks.", i), channels, shape.heads,
                                            shape.context_width, shape.only_cross));
}

Tensor SpatialTransformer::forward(const Tensor& x, const Tensor& context) const {
  const auto tokens = [](const Tensor& image) { return image.flatten(2).transpose(1, 2); };  // [B,C,H,W] -> [B,HW,C]
  const auto image = [&x](const Tensor& tokens) { return tokens.transpose(1, 2).reshape(x.sizes()); };
  Tensor h = norm_->forward(x);
  h = conv_in_ ? tokens(conv_in_->forward(h)) : linear_in_->forward(tokens(h));
  for (const auto& block : blocks_) h = block->forward(h, context);
  h = conv_out_ ? conv_out_->forward(image(h)) : image(linear_out_->forward(h));
  return h + x;
}

}  // namespace sdgen
