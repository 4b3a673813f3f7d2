#include "nn/chroma_transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros_like.h>

#include <limits>

#include "nn/config_size.h"
#include "nn/unet_encoder.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// What diffusers' pipeline makes of the mask: 1 is added to a score where query and key both count, nothing elsewhere,
// so that what is masked is attended to a little less (diffusers issue 11724). Pictures' tokens come first. Undefined
// where all words count: then it changes nothing.
Tensor bias_of_mask(const Tensor& mask, std::int64_t pictures, at::ScalarType dtype) {
  if (!mask.defined()) return {};
  const Tensor counts = at::cat({at::ones({mask.size(0), pictures}, mask.options()), mask}, 1).to(dtype);
  return counts.unsqueeze(1).unsqueeze(2) * counts.unsqueeze(1).unsqueeze(3);
}

}  // namespace

ChromaConfig ChromaConfig::from(const Config& json) {
  ChromaConfig c;
  const auto size = [&json](const char* key, std::int64_t fallback, std::int64_t most = 1'000'000) {
    return config_size(json, key, fallback, most);
  };
  c.read(json);
  c.move_channels = size("approximator_num_channels", c.move_channels);
  if (c.move_channels % 8 != 0) json.unsupported("approximator_num_channels", "expected a multiple of 8");
  c.move_width = size("approximator_hidden_dim", c.move_width);
  c.move_layers = size("approximator_layers", c.move_layers, 1000);
  return c;
}

// What moves the layers, from the step: every vector's row of numbers through the same network. Of the numbers a
// quarter are sines of the step, a quarter those of a guidance scale, which is always 0, and half those of the vector's
// number.
struct ChromaTransformer::Moves : Module {
  Moves(const Weights& w, const ChromaConfig& c)
      : config(c), dtype(w.dtype()), in(add<Linear>(w, "in_proj", c.move_channels, c.move_width)) {
    constexpr double eps = std::numeric_limits<float>::epsilon();
    for (std::int64_t i = 0; i < c.move_layers; ++i) {
      norms.push_back(add<RmsNorm>(w, concat("norms.", i), c.move_width, eps));
      layers.push_back(add<Mlp2>(w, concat("layers.", i), c.move_width, c.move_width, c.move_width, kSilu));
    }
    out = add<Linear>(w, "out_proj", c.move_width, c.width);
  }

  Tensor forward(const Tensor& t) const {  // [B] -> [B, moves, width]
    const std::int64_t rows = t.size(0), count = config.moves(), quarter = config.move_channels / 4;
    const auto sines = [](const Tensor& numbers, std::int64_t width) {
      return sinusoidal_embedding(numbers, width, /*flip_sin_to_cos=*/true, 0);
    };
    const Tensor step = at::cat({sines(t, quarter), sines(at::zeros_like(t), quarter)}, -1);
    const Tensor numbers = sines(at::arange(count, t.options()) * 1000, 2 * quarter);
    Tensor h = at::cat(
        {step.unsqueeze(1).expand({rows, count, 2 * quarter}), numbers.unsqueeze(0).expand({rows, count, 2 * quarter})},
        -1);
    h = in->forward(h.to(dtype));
    for (std::size_t i = 0; i < layers.size(); ++i) h = h + layers[i]->forward(norms[i]->forward(h));
    return out->forward(h);
  }

  ChromaConfig config;
  at::ScalarType dtype;
  std::shared_ptr<Linear> in, out;
  std::vector<std::shared_ptr<RmsNorm>> norms;
  std::vector<std::shared_ptr<Mlp2>> layers;
};

ChromaTransformer::ChromaTransformer(const Weights& w, const ChromaConfig& c)
    : Module(w),
      config_(c),
      dtype_(w.dtype()),
      tokens_(add<Linear>(w, "x_embedder", c.in_channels, c.width)),
      context_(add<Linear>(w, "context_embedder", c.context_width, c.width)),
      moves_(add<Moves>(w, "distilled_guidance_layer", c)),
      out_(add<Linear>(w, "proj_out", c.width, c.out_channels)) {
  for (std::int64_t i = 0; i < c.double_layers; ++i)
    double_blocks_.push_back(add<MovedDoubleBlock<GeluFeedForward>>(w, concat("transformer_blocks.", i),
                                                                    FluxDoubleParams{c.width, c.heads}));
  for (std::int64_t i = 0; i < c.single_layers; ++i)
    single_blocks_.push_back(add<MovedSingleBlock>(w, concat("single_transformer_blocks.", i), c.width, c.heads));
}

Tensor ChromaTransformer::run(BlockCache* cache, const Tensor& x, const Tensor& t,
                              const Conditioning& conditioning) const {
  take_up_device();
  const std::int64_t height = x.size(2) / kFluxPatch, width = x.size(3) / kFluxPatch, drawn = height * width;
  Tensor h = tokens_->forward(packed(x.to(dtype_)));
  Tensor context = context_->forward(conditioning.context.to(dtype_));
  const Tensor rotations = sdgen::rotations(at::cat({places_of(0, x), places_of_words(context)}), config_.axes);
  const Tensor bias = bias_of_mask(conditioning.context_mask, drawn, dtype_), all_moves = moves_->forward(t);
  // The vectors of layers with one stream are first, then those of the others' pictures, then of their words.
  const auto moves = [](const Tensor& all, std::size_t first, std::size_t count) {
    std::vector<Tensor> some;
    for (std::size_t i = first; i < first + count; ++i) some.push_back(all.select(1, std::int64_t(i)).contiguous());
    return some;
  };
  const std::size_t doubles = double_blocks_.size(), singles = single_blocks_.size(), count = doubles + singles;
  const auto layers = [&](std::size_t begin, std::size_t end, BlockCache::Streams s, const BlockCache::Rows& rows) {
    const Tensor m = rows.of(all_moves), b = rows.of(bias);
    for (std::size_t i = begin; i < end; ++i) {
      if (i == doubles) s = {at::cat(s, 1)};
      if (i < doubles)
        double_blocks_[i]->forward(s[0], s[1], moves(m, 3 * singles + 6 * i, 6),
                                   moves(m, 3 * singles + 6 * (doubles + i), 6), rotations, b);
      else
        s[0] = single_blocks_[i - doubles]->forward(s[0], moves(m, 3 * (i - doubles), 3), rotations, b);
    }
    if (end == count) s = {s[0].slice(1, 0, drawn)};
    return s;
  };
  h = BlockCache::through(cache, count, layers, BlockCache::streams(std::move(h), std::move(context)));
  const std::vector<Tensor> m = moves(all_moves, std::size_t(config_.moves()) - 2, 2);
  return unpacked(out_->forward(modulated(h, m[0], m[1])), height, width).to(at::kFloat);
}

}  // namespace sdgen
