// Multi-head attention and what the blocks of U-Nets and autoencoders carry of it.
#pragma once

#include "nn/backbone.h"
#include "nn/layers.h"

namespace sdgen {

// Projections around ops::attention: keys to_q, to_k, to_v, to_out.0.
struct Attention : Module {
  struct Params {
    std::int64_t width;          // of x and of the result; also the inner width
    std::int64_t context_width;  // of what is attended to
    std::int64_t heads;
    bool projection_bias = false;  // of to_q, to_k, to_v
  };
  Attention(const Weights& w, const Params& params);
  // x [B, N, width], context [B, M, context_width] -> [B, N, width], plus a tensor of that shape. mask [B, M] bool:
  // what of the context counts; undefined: all.
  Tensor forward(const Tensor& x, const Tensor& context, const Tensor& plus = {}, const Tensor& mask = {}) const {
    return forward(x, told(context), plus, mask);
  }
  // The same in two halves: keys and values, [B, M, width] each, and what they give.
  TextMemory::Tensors told(const Tensor& context) const;
  Tensor forward(const Tensor& x, const TextMemory::Tensors& told, const Tensor& plus, const Tensor& mask = {}) const;

 private:
  std::int64_t heads_, head_width_;
  std::shared_ptr<Linear> to_q_, to_k_, to_v_, to_out_;
};

// Linear -> GEGLU -> Linear (Shazeer, 2020, "GLU Variants Improve Transformer"), four times as wide inside.
struct FeedForward : Module {
  FeedForward(const Weights& w, std::int64_t width);
  Tensor forward(const Tensor& x, const Tensor& plus) const;

 private:
  std::shared_ptr<Linear> in_, out_;
};

// Norm -> self-attention, norm -> cross-attention, norm -> feed-forward, each with a residual (diffusers'
// BasicTransformerBlock).
struct TransformerBlock : Module {
  // only_cross: the first attention looks at the context too.
  TransformerBlock(const Weights& w, std::int64_t width, std::int64_t heads, std::int64_t context_width,
                   bool only_cross);
  Tensor forward(const Tensor& x, const Conditioning& conditioning) const;

 private:
  bool only_cross_;
  std::shared_ptr<LayerNorm> norm1_, norm2_, norm3_;
  std::shared_ptr<Attention> attn1_, attn2_;
  std::shared_ptr<FeedForward> ff_;
};

// What a block's spatial transformers have in common.
struct TransformerConfig {
  std::int64_t heads;
  std::int64_t context_width;
  std::int64_t norm_groups;
  bool only_cross = false;
};

// Attention whose tokens are the pixels.
struct ImageAttention : Module {
  // [B, channels, H, W], and the text, which those without ignore; -> like x
  virtual Tensor forward(const Tensor& x, const Conditioning& conditioning) const = 0;
};

// The pixels among themselves: norm, attention, residual (Ho et al., 2020, appendix B).
struct PixelAttention : ImageAttention {
  struct Params {
    std::int64_t channels, heads;
    std::int64_t norm_groups;  // 0: there is no norm
    double norm_eps;
    double output_scale = 1.0;  // the sum is divided by this
  };
  PixelAttention(const Weights& w, const Params& params);
  Tensor forward(const Tensor& x, const Conditioning& conditioning) const override;

 private:
  double output_scale_;
  std::shared_ptr<GroupNorm> norm_;
  std::shared_ptr<Attention> attention_;
};

// Norm, projection, `layers` transformer blocks, projection, residual (Rombach et al., 2022, section 3.3).
struct SpatialTransformer : ImageAttention {
  SpatialTransformer(const Weights& w, std::int64_t channels, std::int64_t layers, const TransformerConfig& config);
  Tensor forward(const Tensor& x, const Conditioning& conditioning) const override;

 private:
  std::shared_ptr<GroupNorm> norm_;
  std::shared_ptr<Linear> in_, out_;  // files may have them as 1x1 convolutions, which are the same
  std::vector<std::shared_ptr<TransformerBlock>> blocks_;
};

}  // namespace sdgen
