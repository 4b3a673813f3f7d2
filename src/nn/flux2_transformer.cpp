#include "nn/flux2_transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

#include <cmath>

#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr double kFlux2Eps = 1e-6;  // of every norm

// The first half of the last dimension through silu, times the second: [..., 2n] -> [..., n].
Tensor swiglu(const Tensor& x) {
  const auto halves = x.chunk(2, -1);
  return kSilu(halves[0].contiguous()).mul_(halves[1]);
}

// Latents as tokens, [B, C, H, W] -> [B, H*W, C].
Tensor flattened(const Tensor& x) { return x.flatten(2).transpose(1, 2).contiguous(); }

// How far the pictures that it is shown are from the one that is drawn, and from each other.
constexpr double kBetweenPictures = 10;

}  // namespace

Flux2Config Flux2Config::from(const Config& json) {
  Flux2Config c;
  c.read(json);
  json.require("timestep_guidance_channels", 256);
  json.require("eps", kFlux2Eps);
  const double ratio = json.positive("mlp_ratio", 3.0);
  if (ratio > 100 || ratio * double(c.width) < 1)
    json.unsupported("mlp_ratio", "expected a network of 1 to 100 widths");
  c.inner_width = static_cast<std::int64_t>(ratio * double(c.width));
  c.guidance = json.boolean("guidance_embeds", c.guidance);
  c.theta = json.positive("rope_theta", c.theta);
  return c;
}

SwigluFeedForward::SwigluFeedForward(const Weights& w, std::int64_t width, std::int64_t inner)
    : in_(add<Linear>(w, "linear_in", width, 2 * inner, /*with_bias=*/false)),
      out_(add<Linear>(w, "linear_out", inner, width, /*with_bias=*/false)) {}

Tensor SwigluFeedForward::forward(const Tensor& x) const { return out_->forward(swiglu(in_->forward(x))); }

Flux2SingleBlock::Flux2SingleBlock(const Weights& w, std::int64_t width, std::int64_t heads, std::int64_t inner)
    : width_(width),
      heads_(heads),
      in_(add<Linear>(w, "attn.to_qkv_mlp_proj", width, 3 * width + 2 * inner, /*with_bias=*/false)),
      out_(add<Linear>(w, "attn.to_out", width + inner, width, /*with_bias=*/false)),
      norm_q_(add<RmsNorm>(w, "attn.norm_q", width / heads, kFlux2Eps)),
      norm_k_(add<RmsNorm>(w, "attn.norm_k", width / heads, kFlux2Eps)) {}

Tensor Flux2SingleBlock::forward(const Tensor& x, const std::vector<Tensor>& m, const Tensor& rotations) const {
  const Tensor all = in_->forward(modulated(x, m[0], m[1]));
  const auto part = [&](std::int64_t i) { return all.slice(-1, i * width_, (i + 1) * width_).contiguous(); };
  const auto turned = [&](std::int64_t i, const RmsNorm& norm) {
    const ops::Heads heads{part(i), fetched(norm.weight, x)};
    return ops::joined_heads({&heads, 1}, heads_, kFlux2Eps, rotations);
  };
  const Tensor attended = ops::attention(turned(0, *norm_q_), turned(1, *norm_k_), part(2), heads_);
  const Tensor fed_forward = swiglu(all.slice(-1, 3 * width_));
  return clipped(gated(x, m[2], out_->forward(at::cat({attended, fed_forward}, -1))));
}

Flux2Transformer::Flux2Transformer(const Weights& w, const Flux2Config& c)
    : Module(w),
      config_(c),
      dtype_(w.dtype()),
      tokens_(add<Linear>(w, "x_embedder", c.in_channels, c.width, /*with_bias=*/false)),
      context_(add<Linear>(w, "context_embedder", c.context_width, c.width, /*with_bias=*/false)),
      embedding_(add<TimeTextEmbedding>(w, "time_guidance_embed", /*pooled_width=*/0, c.width, c.guidance,
                                        /*with_bias=*/false)),
      image_moves_(add<Modulation>(w, "double_stream_modulation_img", c.width, 6, /*with_bias=*/false)),
      text_moves_(add<Modulation>(w, "double_stream_modulation_txt", c.width, 6, /*with_bias=*/false)),
      single_moves_(add<Modulation>(w, "single_stream_modulation", c.width, 3, /*with_bias=*/false)),
      norm_out_(add<Modulation>(w, "norm_out", c.width, 2, /*with_bias=*/false)),
      out_(add<Linear>(w, "proj_out", c.width, c.out_channels, /*with_bias=*/false)) {
  const FluxDoubleParams params{c.width, c.heads, /*with_bias=*/false};
  for (std::int64_t i = 0; i < c.double_layers; ++i)
    double_blocks_.push_back(
        add<MovedDoubleBlock<SwigluFeedForward>>(w, concat("transformer_blocks.", i), params, c.inner_width));
  for (std::int64_t i = 0; i < c.single_layers; ++i)
    single_blocks_.push_back(
        add<Flux2SingleBlock>(w, concat("single_transformer_blocks.", i), c.width, c.heads, c.inner_width));
}

Tensor Flux2Transformer::run(BlockCache* cache, const Tensor& x, const Tensor& t,
                             const Conditioning& conditioning) const {
  take_up_device();
  const std::int64_t height = x.size(2), width = x.size(3), axes = std::int64_t(config_.axes.size());
  std::vector<Tensor> pictures, places;
  const auto show = [&](double picture, const Tensor& latents) {
    pictures.push_back(flattened(latents.to(dtype_)));
    places.push_back(places_of(picture, latents.size(2), latents.size(3), latents, axes));
  };
  show(0, x);
  for (const Tensor& shown : conditioning.references) show(kBetweenPictures * double(pictures.size()), shown);
  Tensor context = context_->forward(conditioning.context.to(dtype_));
  places.push_back(places_of_words(context, axes, /*numbered=*/true));
  const Tensor rotations = sdgen::rotations(at::cat(places), config_.axes, config_.theta);
  const Tensor embedding = embedding_->forward(t, {}, conditioning.guidance);

  const std::size_t doubles = double_blocks_.size(), count = doubles + single_blocks_.size();
  const auto layers = [&](std::size_t begin, std::size_t end, BlockCache::Streams s, const BlockCache::Rows& rows) {
    const Tensor of_rows = rows.of(embedding);
    const std::vector<Tensor> of_image = image_moves_->forward(of_rows), of_text = text_moves_->forward(of_rows),
                              of_all = single_moves_->forward(of_rows);
    for (std::size_t i = begin; i < end; ++i) {
      if (i == doubles) s = {at::cat(s, 1)};
      if (i < doubles)
        double_blocks_[i]->forward(s[0], s[1], of_image, of_text, rotations);
      else
        s[0] = single_blocks_[i - doubles]->forward(s[0], of_all, rotations);
    }
    if (end == count) s = {s[0].slice(1, 0, height * width)};
    return s;
  };
  const Tensor h = BlockCache::through(cache, count, layers,
                                       BlockCache::streams(tokens_->forward(at::cat(pictures, 1)), std::move(context)));
  const std::vector<Tensor> m = norm_out_->forward(embedding);
  const Tensor drawn = out_->forward(modulated(h, m[1], m[0]));
  return drawn.transpose(1, 2).unflatten(2, {height, width}).to(at::kFloat);
}

}  // namespace sdgen
