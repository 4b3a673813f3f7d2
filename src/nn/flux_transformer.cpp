#include "nn/flux_transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/pixel_shuffle.h>
#include <ATen/ops/pixel_unshuffle.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "nn/config_size.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// Pictures in squares of kPatch latents, [B, C, H, W] -> [B, tokens, C kPatch^2]: of a token all numbers of a channel,
// then those of the next.
Tensor packed(const Tensor& x) {
  return at::pixel_unshuffle(x, FluxConfig::kPatch).flatten(2).transpose(1, 2).contiguous();
}
Tensor unpacked(const Tensor& tokens, std::int64_t height, std::int64_t width) {
  return at::pixel_shuffle(tokens.transpose(1, 2).unflatten(2, {height, width}), FluxConfig::kPatch);
}

// Which picture, row and column: [height * width, 3] float64.
Tensor places(double picture, std::int64_t height, std::int64_t width, const at::TensorOptions& options) {
  const Tensor rows = at::arange(height, options).unsqueeze(1).expand({height, width});
  const Tensor columns = at::arange(width, options).expand({height, width});
  return at::stack({at::full({height, width}, picture, options), rows, columns}, -1).flatten(0, 1);
}

// What float16 cannot say, it takes for the largest number that it can.
Tensor clipped(const Tensor& x) {
  constexpr double most = 65504;
  return x.scalar_type() == at::kHalf ? x.clamp(-most, most) : x;
}

}  // namespace

FluxConfig FluxConfig::from(const Config& json) {
  FluxConfig c;
  const auto size = [&json](const char* key, std::int64_t fallback, std::int64_t most = 1'000'000) {
    return config_size(json, key, fallback, most);
  };
  json.require("patch_size", 1);
  c.in_channels = size("in_channels", c.in_channels);
  c.out_channels = size("out_channels", c.in_channels);
  c.double_layers = size("num_layers", c.double_layers);
  c.single_layers = size("num_single_layers", c.single_layers);
  c.heads = size("num_attention_heads", c.heads);
  const std::int64_t head = size("attention_head_dim", 128, 100'000);
  c.width = c.heads * head;
  c.context_width = size("joint_attention_dim", c.context_width);
  c.pooled_width = size("pooled_projection_dim", c.pooled_width);
  c.guidance = json.boolean("guidance_embeds", c.guidance);
  if (json.has("axes_dims_rope")) c.axes = json.integers("axes_dims_rope");
  std::int64_t sum = 0;
  bool even = c.axes.size() == 3;
  for (const std::int64_t axis : c.axes) {
    even = even && axis > 0 && axis % 2 == 0 && axis <= head;
    sum += even ? axis : 0;
  }
  if (!even || sum != head)
    json.unsupported("axes_dims_rope",
                     concat("expected three even numbers that make attention_head_dim, ", head, ", together"));
  return c;
}

// Attention, then a feed-forward network, of both streams, each moved by the embedding.
struct FluxTransformer::DoubleBlock : Module {
  DoubleBlock(const Weights& w, const FluxConfig& c)
      : attention(add<JointAttention>(
            w, "attn", JointAttention::Params{c.width, c.heads, /*qk_norm=*/true, JointAttention::Second::in_and_out})),
        image(std::make_shared<ModulatedStream>(w, "norm1", "ff", c.width, 6)),
        text(std::make_shared<ModulatedStream>(w, "norm1_context", "ff_context", c.width, 6)) {
    adopt_children(*image);
    adopt_children(*text);
  }

  void forward(Tensor& x, Tensor& context, const Tensor& embedding, const Tensor& rotations) const {
    const std::vector<Tensor> m = image->norm->forward(embedding), n = text->norm->forward(embedding);
    const JointAttention::Streams attended =
        attention->forward(modulated(x, m[0], m[1]), modulated(context, n[0], n[1]), rotations);
    x = image->fed_forward(gated(x, m[2], attended.first), m);
    context = clipped(text->fed_forward(gated(context, n[2], attended.second), n));
  }

  std::shared_ptr<JointAttention> attention;
  std::shared_ptr<ModulatedStream> image, text;
};

// Attention and a feed-forward network beside it, of all tokens, and one layer that puts them together.
struct FluxTransformer::SingleBlock : Module {
  SingleBlock(const Weights& w, const FluxConfig& c)
      : norm(add<Modulation>(w, "norm", c.width, 3)),
        attention(add<JointAttention>(w, "attn",
                                      JointAttention::Params{c.width, c.heads, /*qk_norm=*/true,
                                                             JointAttention::Second::none, /*projects_out=*/false})),
        ff(add<Linear>(w, "proj_mlp", c.width, 4 * c.width)),
        out(add<Linear>(w, "proj_out", 5 * c.width, c.width)) {}

  Tensor forward(const Tensor& x, const Tensor& embedding, const Tensor& rotations) const {
    const std::vector<Tensor> m = norm->forward(embedding);
    const Tensor normed = modulated(x, m[0], m[1]);
    const Tensor attended = attention->forward(normed, {}, rotations).first;
    const Tensor fed_forward = Activation{Activation::gelu_tanh}(ff->forward(normed));
    return clipped(gated(x, m[2], out->forward(at::cat({attended, fed_forward}, -1))));
  }

  std::shared_ptr<Modulation> norm;
  std::shared_ptr<JointAttention> attention;
  std::shared_ptr<Linear> ff, out;
};

FluxTransformer::FluxTransformer(const Weights& w, const FluxConfig& c)
    : Module(w),
      config_(c),
      dtype_(w.dtype()),
      tokens_(add<Linear>(w, "x_embedder", c.in_channels, c.width)),
      context_(add<Linear>(w, "context_embedder", c.context_width, c.width)),
      norm_out_(add<Modulation>(w, "norm_out", c.width, 2)),
      out_(add<Linear>(w, "proj_out", c.width, c.out_channels)) {
  const auto embedder = [&](const char* name, std::int64_t in) {
    return add<Mlp2>(w, concat("time_text_embed.", name), in, c.width, c.width, Activation{Activation::silu});
  };
  time_ = embedder("timestep_embedder", 256);
  if (c.guidance) guidance_ = embedder("guidance_embedder", 256);
  pooled_ = embedder("text_embedder", c.pooled_width);
  for (std::int64_t i = 0; i < c.double_layers; ++i)
    double_blocks_.push_back(add<DoubleBlock>(w, concat("transformer_blocks.", i), c));
  for (std::int64_t i = 0; i < c.single_layers; ++i)
    single_blocks_.push_back(add<SingleBlock>(w, concat("single_transformer_blocks.", i), c));
}

Tensor FluxTransformer::embed(const Tensor& t, const Conditioning& conditioning) const {
  Tensor sum = time_->forward(sinusoids_256(t).to(dtype_));
  if (guidance_) sum = sum + guidance_->forward(sinusoids_256(1000 * conditioning.guidance).to(dtype_));
  return sum + pooled_->forward(conditioning.pooled.to(dtype_));
}

Tensor FluxTransformer::predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const {
  take_up_device();
  const std::int64_t height = x.size(2) / config_.kPatch, width = x.size(3) / config_.kPatch;
  const auto exact = at::TensorOptions().device(x.device()).dtype(at::kDouble);
  std::vector<Tensor> tokens{packed(x.to(dtype_))}, where{places(0, height, width, exact)};
  if (const Tensor& shown = conditioning.reference; shown.defined()) {
    tokens.push_back(packed(shown.to(dtype_)));
    where.push_back(places(1, shown.size(2) / config_.kPatch, shown.size(3) / config_.kPatch, exact));
  }
  Tensor context = context_->forward(conditioning.context.to(dtype_));
  where.push_back(at::zeros({context.size(1), 3}, exact));  // of words none is anywhere
  const Tensor rotations = sdgen::rotations(at::cat(where), config_.axes), embedding = embed(t, conditioning);

  Tensor h = tokens_->forward(at::cat(tokens, 1));
  for (const auto& block : double_blocks_) block->forward(h, context, embedding, rotations);
  h = at::cat({h, context}, 1);
  for (const auto& block : single_blocks_) h = block->forward(h, embedding, rotations);
  const std::vector<Tensor> m = norm_out_->forward(embedding);
  const Tensor drawn = modulated(h.slice(1, 0, height * width), m[1], m[0]);
  return unpacked(out_->forward(drawn), height, width).to(at::kFloat);
}

}  // namespace sdgen
