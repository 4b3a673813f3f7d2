#include "nn/flux_transformer.h"

#include <ATen/ops/cat.h>

#include "nn/config_size.h"
#include "sdgen/error.h"

namespace sdgen {

FluxConfig FluxConfig::from(const Config& json) {
  FluxConfig c;
  c.read(json);
  c.pooled_width = config_size(json, "pooled_projection_dim", c.pooled_width, 1'000'000);
  c.guidance = json.boolean("guidance_embeds", c.guidance);
  return c;
}

FluxTransformer::FluxTransformer(const Weights& w, const FluxConfig& c)
    : Module(w),
      config_(c),
      dtype_(w.dtype()),
      tokens_(add<Linear>(w, "x_embedder", c.in_channels, c.width)),
      context_(add<Linear>(w, "context_embedder", c.context_width, c.width)),
      embedding_(add<TimeTextEmbedding>(w, "time_text_embed", c.pooled_width, c.width, c.guidance)),
      norm_out_(add<Modulation>(w, "norm_out", c.width, 2)),
      out_(add<Linear>(w, "proj_out", c.width, c.out_channels)) {
  for (std::int64_t i = 0; i < c.double_layers; ++i)
    double_blocks_.push_back(add<FluxDoubleBlock>(w, concat("transformer_blocks.", i), c.width, c.heads));
  for (std::int64_t i = 0; i < c.single_layers; ++i)
    single_blocks_.push_back(add<FluxSingleBlock>(w, concat("single_transformer_blocks.", i), c.width, c.heads));
}

Tensor FluxTransformer::tokens(const Tensor& x) const {
  take_up_device();
  return tokens_->forward(packed(x.to(dtype_)));
}

Tensor FluxTransformer::run(const LayerAdditions& additions, BlockCache* cache, const Tensor& x, const Tensor& t,
                            const Conditioning& conditioning) const {
  take_up_device();
  const std::int64_t height = x.size(2) / kFluxPatch, width = x.size(3) / kFluxPatch;
  std::vector<Tensor> pictures{packed(x.to(dtype_))}, places{places_of(0, x)};
  for (const Tensor& shown : conditioning.references) {
    pictures.push_back(packed(shown.to(dtype_)));
    places.push_back(places_of(1, shown));
  }
  Tensor context = context_->forward(conditioning.context.to(dtype_));
  places.push_back(places_of_words(context));
  const Tensor rotations = sdgen::rotations(at::cat(places), config_.axes);
  const Tensor embedding = embedding_->forward(t, conditioning.pooled, conditioning.guidance);

  const std::size_t doubles = double_blocks_.size(), count = doubles + single_blocks_.size();
  const auto layers = [&](std::size_t begin, std::size_t end, BlockCache::Streams s, const BlockCache::Rows& rows) {
    const Tensor of_rows = rows.of(embedding);
    for (std::size_t i = begin; i < end; ++i) {
      if (i == doubles) s = {at::cat(s, 1)};
      if (i < doubles)
        double_blocks_[i]->forward(s[0], s[1], of_rows, rotations);
      else
        s[0] = single_blocks_[i - doubles]->forward(s[0], of_rows, rotations);
      s[0] = additions.behind(i, s[0]);
    }
    if (end == count) s = {s[0].slice(1, 0, height * width)};
    return s;
  };
  const Tensor h = BlockCache::through(cache, count, layers,
                                       BlockCache::streams(tokens_->forward(at::cat(pictures, 1)), std::move(context)));
  const std::vector<Tensor> m = norm_out_->forward(embedding);
  return unpacked(out_->forward(modulated(h, m[1], m[0])), height, width).to(at::kFloat);
}

}  // namespace sdgen
