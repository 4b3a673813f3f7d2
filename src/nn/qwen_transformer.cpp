#include "nn/qwen_transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "nn/config_size.h"
#include "nn/flux_blocks.h"
#include "sdgen/error.h"

namespace sdgen {

QwenImageConfig QwenImageConfig::from(const Config& json) {
  QwenImageConfig c;
  const auto size = [&json](const char* key, std::int64_t fallback, std::int64_t most = 1'000'000) {
    return config_size(json, key, fallback, most);
  };
  json.require("patch_size", 2);
  c.in_channels = size("in_channels", c.in_channels);
  c.out_channels = kFluxPatch * kFluxPatch * size("out_channels", 16);
  c.layers = size("num_layers", c.layers, 10'000);
  c.heads = size("num_attention_heads", c.heads);
  const std::int64_t head = size("attention_head_dim", 128, 100'000);
  c.width = c.heads * head;
  c.context_width = size("joint_attention_dim", c.context_width);
  for (const char* key : {"guidance_embeds", "zero_cond_t", "use_additional_t_cond", "use_layer3d_rope"})
    json.require(key, false);
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

namespace {

// One of the two streams of tokens: how the timestep moves it, and its feed-forward network.
struct QwenStream : Module {
  QwenStream(const Weights& w, const std::string& name, std::int64_t width)
      : mod(add<Linear>(w, name + "_mod.1", width, 6 * width)), mlp(add<GeluFeedForward>(w, name + "_mlp", width)) {}
  // Shift, scale and gate of the attention, then of the network.
  std::vector<Tensor> moves(const Tensor& embedding) const { return mod->forward(kSilu(embedding)).chunk(6, -1); }
  // Behind the attention.
  Tensor forward(const Tensor& x, const Tensor& attended, const std::vector<Tensor>& m) const {
    const Tensor h = gated(x, m[2], attended);
    return clipped(gated(h, m[5], mlp->forward(modulated(h, m[3], m[4]))));
  }
  std::shared_ptr<Linear> mod;
  std::shared_ptr<GeluFeedForward> mlp;
};

// Where tokens are: those of a picture are centred about 0, those of words go on along all axes behind its middle.
// [N + M, 3] float64
Tensor places_about_middle(std::int64_t height, std::int64_t width, std::int64_t words, const Tensor& x) {
  const auto options = at::TensorOptions().device(x.device()).dtype(at::kDouble);
  Tensor picture = places_of(0, x);
  picture = picture - at::cat({at::zeros({1}, options), at::full({1}, double(height - height / 2), options),
                               at::full({1}, double(width - width / 2), options)});
  const Tensor behind = at::arange(words, options) + double(std::max(height / 2, width / 2));
  return at::cat({picture, behind.unsqueeze(1).expand({words, 3})});
}

}  // namespace

struct QwenImageTransformer::Block : Module {
  Block(const Weights& w, const QwenImageConfig& c)
      : attention(add<JointAttention>(
            w, "attn", JointAttention::Params{c.width, c.heads, /*qk_norm=*/true, JointAttention::Second::in_and_out})),
        image(std::make_shared<QwenStream>(w, "img", c.width)),
        text(std::make_shared<QwenStream>(w, "txt", c.width)) {
    adopt_children(*image);
    adopt_children(*text);
  }
  void forward(Tensor& x, Tensor& context, const Tensor& embedding, const Tensor& rotations) const {
    const std::vector<Tensor> m = image->moves(embedding), n = text->moves(embedding);
    const JointAttention::Streams attended =
        attention->forward(modulated(x, m[0], m[1]), modulated(context, n[0], n[1]), rotations);
    x = image->forward(x, attended.first, m);
    context = text->forward(context, attended.second, n);
  }
  std::shared_ptr<JointAttention> attention;
  std::shared_ptr<QwenStream> image, text;
};

QwenImageTransformer::QwenImageTransformer(const Weights& w, const QwenImageConfig& c)
    : Module(w),
      config_(c),
      dtype_(w.dtype()),
      tokens_(add<Linear>(w, "img_in", c.in_channels, c.width)),
      context_(add<Linear>(w, "txt_in", c.context_width, c.width)),
      out_(add<Linear>(w, "proj_out", c.width, c.out_channels)),
      context_norm_(add<RmsNorm>(w, "txt_norm", c.context_width, 1e-6)),
      time_(add<Mlp2>(w, "time_text_embed.timestep_embedder", 256, c.width, c.width, kSilu)),
      norm_out_(add<Modulation>(w, "norm_out", c.width, 2)) {
  for (std::int64_t i = 0; i < c.layers; ++i) blocks_.push_back(add<Block>(w, concat("transformer_blocks.", i), c));
}

Tensor QwenImageTransformer::run(BlockCache* cache, const Tensor& x, const Tensor& t,
                                 const Conditioning& conditioning) const {
  take_up_device();
  const std::int64_t height = x.size(2) / kFluxPatch, width = x.size(3) / kFluxPatch;
  Tensor context = context_->forward(context_norm_->forward(conditioning.context.to(dtype_)));
  const Tensor rotations = sdgen::rotations(places_about_middle(height, width, context.size(1), x), config_.axes);
  const Tensor embedding = time_->forward(sinusoids_256(t).to(dtype_));
  Tensor h = tokens_->forward(packed(x.to(dtype_)));
  const auto layers = [&](std::size_t begin, std::size_t end, BlockCache::Streams s, const BlockCache::Rows& rows) {
    for (std::size_t i = begin; i < end; ++i) blocks_[i]->forward(s[0], s[1], rows.of(embedding), rotations);
    return s;
  };
  h = BlockCache::through(cache, blocks_.size(), layers, BlockCache::streams(std::move(h), std::move(context)));
  const std::vector<Tensor> m = norm_out_->forward(embedding);
  return unpacked(out_->forward(modulated(h, m[1], m[0])), height, width).to(at::kFloat);
}

}  // namespace sdgen
