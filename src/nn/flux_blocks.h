// What the transformers of Flux.1, Chroma and FLUX.2 are made of, and the ControlNets for the first.
#pragma once

#include "io/json.h"
#include "nn/dit.h"

namespace sdgen {

// Latents a token, along a side, of Flux.1 and Chroma.
inline constexpr std::int64_t kFluxPatch = 2;

// What the configs of all of them say. The numbers are Flux.1's.
struct FluxSizes {
  std::int64_t in_channels = 64, out_channels = 64;     // of a token; in_channels: all of what it is given there
  std::int64_t double_layers = 19, single_layers = 38;  // num_layers, num_single_layers
  std::int64_t heads = 24, width = 3072;                // num_attention_heads; with attention_head_dim
  std::int64_t context_width = 4096;                    // joint_attention_dim
  std::vector<std::int64_t> axes = {16, 56,
                                    56};  // axes_dims_rope: numbers of a head that say which picture, row, column

  // Reads them; of a key that is absent the number stays. Throws Error(input) that names key and value.
  void read(const Config& json);
};

// Pictures in squares of kFluxPatch latents, [B, C, H, W] -> [B, tokens, C kFluxPatch^2]: of a token all numbers of a
// channel, then those of the next.
Tensor packed(const Tensor& x);
Tensor unpacked(const Tensor& tokens, std::int64_t height, std::int64_t width);

// Where tokens are: of pictures which picture, row and column, [height*width, axes] float64, 0 on further axes; of
// words: their number on the last axis where they are `numbered`, else nowhere, [tokens, axes]. On the device of
// `like`.
Tensor places_of(double picture, std::int64_t height, std::int64_t width, const Tensor& like, std::int64_t axes = 3);
Tensor places_of(double picture, const Tensor& latents);  // in squares of kFluxPatch
Tensor places_of_words(const Tensor& context, std::int64_t axes = 3, bool numbered = false);

// What float16 cannot say, it takes for the largest number that it can.
Tensor clipped(const Tensor& x);

// Attention, then a feed-forward network, of both streams, each moved by six vectors that it is given.
struct FluxDoubleParams {
  std::int64_t width, heads;
  bool with_bias = true;
};
template <class FeedForward>
struct MovedDoubleBlock : Module {
  template <class... Args>  // of the feed-forward networks
  MovedDoubleBlock(const Weights& w, const FluxDoubleParams& p, const Args&... args)
      : attention_(add<JointAttention>(
            w, "attn",
            JointAttention::Params{p.width, p.heads, /*qk_norm=*/true, JointAttention::Second::in_and_out,
                                   /*projects_out=*/true, p.with_bias})),
        image_(add<FeedForward>(w, "ff", p.width, args...)),
        text_(add<FeedForward>(w, "ff_context", p.width, args...)) {}

  // m, n: shift, scale and gate of the attention, then of the network, of the pictures' tokens and of the words'.
  void forward(Tensor& x, Tensor& context, const std::vector<Tensor>& m, const std::vector<Tensor>& n,
               const Tensor& rotations, const Tensor& bias = {}) const {
    const JointAttention::Streams attended =
        attention_->forward(modulated(x, m[0], m[1]), modulated(context, n[0], n[1]), rotations, bias);
    const auto fed_forward = [](const FeedForward& network, const Tensor& h, const std::vector<Tensor>& by) {
      return gated(h, by[5], network.forward(modulated(h, by[3], by[4])));
    };
    x = fed_forward(*image_, gated(x, m[2], attended.first), m);
    context = clipped(fed_forward(*text_, gated(context, n[2], attended.second), n));
  }

 private:
  std::shared_ptr<JointAttention> attention_;
  std::shared_ptr<FeedForward> image_, text_;
};

// The same, moved by what it makes of the embedding itself.
struct FluxDoubleBlock : Module {
  FluxDoubleBlock(const Weights& w, std::int64_t width, std::int64_t heads);
  void forward(Tensor& x, Tensor& context, const Tensor& embedding, const Tensor& rotations) const;

 private:
  std::shared_ptr<Modulation> image_, text_;
  std::shared_ptr<MovedDoubleBlock<GeluFeedForward>> block_;
};

// Attention and a feed-forward network beside it, of all tokens, and one layer that puts them together; moved by shift,
// scale and gate that it is given.
struct MovedSingleBlock : Module {
  MovedSingleBlock(const Weights& w, std::int64_t width, std::int64_t heads);
  Tensor forward(const Tensor& x, const std::vector<Tensor>& m, const Tensor& rotations, const Tensor& bias = {}) const;

 private:
  std::shared_ptr<JointAttention> attention_;
  std::shared_ptr<Linear> ff_, out_;
};

// The same, moved by what it makes of the embedding itself.
struct FluxSingleBlock : Module {
  FluxSingleBlock(const Weights& w, std::int64_t width, std::int64_t heads);
  Tensor forward(const Tensor& x, const Tensor& embedding, const Tensor& rotations) const;

 private:
  std::shared_ptr<Modulation> norm_;
  std::shared_ptr<MovedSingleBlock> block_;
};

}  // namespace sdgen
