#include "nn/attention.h"

#include <ATen/TensorOperators.h>

#include <cmath>

#include "sdgen/error.h"

namespace sdgen {

namespace {

// [B, C, H, W] <-> [B, H*W, C], without a copy where pictures are channels_last
Tensor tokens_of(const Tensor& image) { return image.permute({0, 2, 3, 1}).flatten(1, 2); }
Tensor image_of(const Tensor& tokens, const Tensor& like) {
  return tokens.unflatten(1, {like.size(2), like.size(3)}).permute({0, 3, 1, 2});
}

}  // namespace

Attention::Attention(const Weights& w, const Params& params)
    : heads_(params.heads),
      to_q_(add<Linear>(w, "to_q", params.width, params.width, params.projection_bias)),
      to_k_(add<Linear>(w, "to_k", params.context_width, params.width, params.projection_bias)),
      to_v_(add<Linear>(w, "to_v", params.context_width, params.width, params.projection_bias)),
      to_out_(add<Linear>(w, "to_out.0", params.width, params.width)) {
  if (params.heads <= 0 || params.width % params.heads != 0)
    throw Error(Fault::input, concat(w.source(), ": an attention of width ", params.width, " does not divide into ",
                                     params.heads, " heads: attention_head_dim does not belong to this model"));
  head_width_ = params.width / params.heads;
}

TextMemory::Tensors Attention::told(const Tensor& context) const {
  return {to_k_->forward(context), to_v_->forward(context)};
}

Tensor Attention::forward(const Tensor& x, const TextMemory::Tensors& told, const Tensor& plus,
                          const Tensor& mask) const {
  const Tensor q = to_q_->forward(x), &k = told[0], &v = told[1];
  if (!mask.defined()) return to_out_->forward(ops::attention(q, k, v, heads_), plus);
  const Tensor counts = mask.unsqueeze(1).unsqueeze(1);
  return to_out_->forward(ops::biased_attention(q, k, v, heads_, counts, 1 / std::sqrt(double(head_width_))), plus);
}

FeedForward::FeedForward(const Weights& w, std::int64_t width)
    : in_(add<Linear>(w, "net.0.proj", width, 8 * width)), out_(add<Linear>(w, "net.2", 4 * width, width)) {}

Tensor FeedForward::forward(const Tensor& x, const Tensor& plus) const {
  return out_->forward(ops::geglu(in_->forward(x)), plus);
}

TransformerBlock::TransformerBlock(const Weights& w, std::int64_t width, std::int64_t heads, std::int64_t context_width,
                                   bool only_cross)
    : only_cross_(only_cross),
      norm1_(add<LayerNorm>(w, "norm1", width)),
      norm2_(add<LayerNorm>(w, "norm2", width)),
      norm3_(add<LayerNorm>(w, "norm3", width)),
      attn1_(add<Attention>(w, "attn1", Attention::Params{width, only_cross ? context_width : width, heads})),
      attn2_(add<Attention>(w, "attn2", Attention::Params{width, context_width, heads})),
      ff_(add<FeedForward>(w, "ff", width)) {}

Tensor TransformerBlock::forward(const Tensor& x, const Conditioning& conditioning) const {
  const auto told = [&conditioning](const Attention& layer) {
    return conditioning.of_text.of(&layer, [&] { return layer.told(conditioning.context); });
  };
  const Tensor y = norm1_->forward(x);
  Tensor h = attn1_->forward(y, only_cross_ ? told(*attn1_) : attn1_->told(y), x);
  h = attn2_->forward(norm2_->forward(h), told(*attn2_), h);
  return ff_->forward(norm3_->forward(h), h);
}

PixelAttention::PixelAttention(const Weights& w, const Params& params) : output_scale_(params.output_scale) {
  if (params.norm_groups) norm_ = add<GroupNorm>(w, "group_norm", params.norm_groups, params.channels, params.norm_eps);
  // The projections' keys are next to the norm's, so the Attention is built from this very scope.
  attention_ = std::make_shared<Attention>(
      w, Attention::Params{params.channels, params.channels, params.heads, /*projection_bias=*/true});
  adopt_children(*attention_);
}

Tensor PixelAttention::forward(const Tensor& x, const Conditioning&) const {
  const Tensor tokens = tokens_of(norm_ ? norm_->forward(x) : x);
  const Tensor h = image_of(attention_->forward(tokens, tokens, tokens_of(x)), x);
  return output_scale_ == 1.0 ? h : h / output_scale_;
}

SpatialTransformer::SpatialTransformer(const Weights& w, std::int64_t channels, std::int64_t layers,
                                       const TransformerConfig& config)
    : norm_(add<GroupNorm>(w, "norm", config.norm_groups, channels, 1e-6)),
      in_(add<Linear>(w, "proj_in", channels, channels)),
      out_(add<Linear>(w, "proj_out", channels, channels)) {
  for (std::int64_t i = 0; i < layers; ++i)
    blocks_.push_back(add<TransformerBlock>(w, concat("transformer_blocks.", i), channels, config.heads,
                                            config.context_width, config.only_cross));
}

Tensor SpatialTransformer::forward(const Tensor& x, const Conditioning& conditioning) const {
  Tensor h = in_->forward(tokens_of(norm_->forward(x)));
  for (const auto& block : blocks_) h = block->forward(h, conditioning);
  return image_of(out_->forward(h, tokens_of(x)), x);
}

}  // namespace sdgen
