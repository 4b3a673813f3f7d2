// What the transformer of Flux.1 is made of, and the ControlNets for it.
#pragma once

#include "nn/dit.h"

namespace sdgen {

// Latents a token, along a side.
inline constexpr std::int64_t kFluxPatch = 2;

// Pictures in squares of kFluxPatch latents, [B, C, H, W] -> [B, tokens, C kFluxPatch^2]: of a token all numbers of a
// channel, then those of the next.
Tensor packed(const Tensor& x);
Tensor unpacked(const Tensor& tokens, std::int64_t height, std::int64_t width);

// What float16 cannot say, it takes for the largest number that it can.
Tensor clipped(const Tensor& x);

// Which picture, row and column the tokens of these latents are, [N, 3] float64; of words: none.
Tensor places_of(double picture, const Tensor& latents);
Tensor places_of_words(const Tensor& context);

// Attention, then a feed-forward network, of both streams, each moved by the embedding.
struct FluxDoubleBlock : Module {
  FluxDoubleBlock(const Weights& w, std::int64_t width, std::int64_t heads);
  void forward(Tensor& x, Tensor& context, const Tensor& embedding, const Tensor& rotations) const;

 private:
  std::shared_ptr<JointAttention> attention_;
  std::shared_ptr<ModulatedStream> image_, text_;
};

// Attention and a feed-forward network beside it, of all tokens, and one layer that puts them together.
struct FluxSingleBlock : Module {
  FluxSingleBlock(const Weights& w, std::int64_t width, std::int64_t heads);
  Tensor forward(const Tensor& x, const Tensor& embedding, const Tensor& rotations) const;

 private:
  std::shared_ptr<Modulation> norm_;
  std::shared_ptr<JointAttention> attention_;
  std::shared_ptr<Linear> ff_, out_;
};

}  // namespace sdgen
