// What diffusion transformers are made of (Peebles and Xie, 2023; Esser et al., 2024), with the names of parameters
// that diffusers has.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "io/json.h"
#include "nn/layers.h"

namespace sdgen {

// A number a row, [B] -> [B, 256] float32: its cosines, then its sines.
Tensor sinusoids_256(const Tensor& numbers, double freq_shift = 0);

// Linear, activation, Linear: keys linear_1 and linear_2.
struct Mlp2 : Module {
  Mlp2(const Weights& w, std::int64_t in, std::int64_t inner, std::int64_t out, Activation act, bool with_bias = true);
  Tensor forward(const Tensor& x) const;  // [..., in] -> [..., out]

 private:
  Activation act_;
  std::shared_ptr<Linear> first_, second_;
};

// What a network knows of the step and of the whole prompt: the sum of what it makes of each, and of the guidance
// scale, if it was distilled on one. Keys timestep_embedder, guidance_embedder, text_embedder.
struct TimeTextEmbedding : Module {
  // pooled_width 0: it is told nothing of the whole prompt.
  TimeTextEmbedding(const Weights& w, std::int64_t pooled_width, std::int64_t width, bool guidance = false,
                    bool with_bias = true);
  // [B], [B, pooled_width], [B] -> [B, width]
  Tensor forward(const Tensor& t, const Tensor& pooled, const Tensor& guidance = {}) const;

 private:
  at::ScalarType dtype_;
  std::shared_ptr<Mlp2> time_, guidance_, pooled_;
};

// How an embedding moves a branch of the network ("adaLN-Zero", Peebles and Xie, 2023, figure 3): silu, then Linear, in
// equal parts of the last dimension. Key: linear.
struct Modulation : Module {
  Modulation(const Weights& w, std::int64_t width, std::int64_t parts, bool with_bias = true);
  std::vector<Tensor> forward(const Tensor& embedding) const;  // [B, width] -> parts of [B, width]

 private:
  std::int64_t parts_;
  std::shared_ptr<Linear> linear_;
};

// norm(x) (1 + scale) + shift with a norm that has no weights: x [B, N, width], shift and scale [B, width].
Tensor modulated(const Tensor& x, const Tensor& shift, const Tensor& scale, double eps = 1e-6);
// x + gate * branch, gate [B, width].
Tensor gated(const Tensor& x, const Tensor& gate, const Tensor& branch);

// x / sqrt(mean of its squares) * weight over the last dimension (Zhang and Sennrich, 2019).
struct RmsNorm : Module {
  RmsNorm(const Weights& w, std::int64_t width, double eps);
  Tensor forward(const Tensor& x) const;
  double eps;
  Tensor weight;
};

// Linear -> GELU -> Linear, four times as wide inside: keys net.0.proj and net.2.
struct GeluFeedForward : Module {
  GeluFeedForward(const Weights& w, std::int64_t width);
  Tensor forward(const Tensor& x) const;

 private:
  std::shared_ptr<Linear> in_, out_;
};

// A stream of tokens in a layer that an embedding moves: the norm before its attention, and a feed-forward network.
struct ModulatedStream : Module {
  ModulatedStream(const Weights& w, const std::string& norm, const std::string& ff, std::int64_t width,
                  std::int64_t parts);
  // `m`: shift, scale and gate of the attention, then those of the network.
  Tensor fed_forward(const Tensor& x, const std::vector<Tensor>& m) const;
  std::shared_ptr<Modulation> norm;
  std::shared_ptr<GeluFeedForward> ff;
};

// Rotary positions (Su et al., 2021): by what every pair of numbers of a head's queries and keys is turned. `places`
// [tokens, axes] float64; axis i turns widths[i] / 2 pairs, the first ones fastest, the slowest by nearly 1 / theta of
// a radian a place -> [tokens, pairs] complex64. `angles`: the type that angles are rounded to.
Tensor rotations(const Tensor& places, const std::vector<std::int64_t>& widths, double theta = 10000,
                 at::ScalarType angles = at::kDouble);
// How many numbers of a head each axis turns, from a config. Throws Error(input) unless they are `axes` even numbers
// above 0 that make `head` together.
std::vector<std::int64_t> rotary_axes(const Config& json, const char* key, std::vector<std::int64_t> fallback,
                                      std::size_t axes, std::int64_t head);

// Self-attention over one stream of tokens, or over two that have weights of their own and see each other (Esser et
// al., 2024, figure 2b). Keys to_q, to_k, to_v, to_out.0, of the second stream add_q_proj, ..., to_add_out.
struct JointAttention : Module {
  enum class Second { none, in, in_and_out };  // whether the second stream goes on behind it
  struct Params {
    std::int64_t width, heads;
    bool qk_norm = false;  // RMS norms of every head's queries and keys: norm_q, norm_k, norm_added_q, norm_added_k
    Second second = Second::none;
    bool projects_out = true;   // of one stream: else what is attended to is the answer
    bool with_bias = true;      // of all layers
    std::int64_t kv_heads = 0;  // of keys and values, each for as many heads of the queries; 0: a head each
    double norm_eps = 1e-6;     // of the RMS norms
  };
  JointAttention(const Weights& w, const Params& params);

  struct Streams {
    Tensor first, second;  // [B, N, width], [B, M, width]; undefined where there is none
  };
  // `rotations`: of the first stream's tokens, then of the second's; undefined: no positions. `bias` of the scores, see
  // ops::biased_attention(); undefined: none.
  Streams forward(const Tensor& first, const Tensor& second = {}, const Tensor& rotations = {},
                  const Tensor& bias = {}) const;

 private:
  struct Projections;
  std::int64_t heads_, kv_heads_;
  double norm_eps_;
  std::shared_ptr<Projections> first_, second_;
  std::shared_ptr<Linear> out_, second_out_;
};

// Pictures in squares of `patch` pixels as tokens, and back. Key: proj.
struct Patches : Module {
  Patches(const Weights& w, std::int64_t channels, std::int64_t patch, std::int64_t width);
  Tensor forward(const Tensor& picture) const;  // [B, channels, H, W] -> [B, H/patch * W/patch, width]

 private:
  std::shared_ptr<Conv2d> proj_;
};
// Where patches are, [1, H*W, width] float32: sines and cosines of the column, then of the row (Peebles and Xie, 2023,
// section 3.2; Chen et al., 2024). A side is `base` patches long, whatever number it has of them, and `scale` times
// closer. On the device of `like`.
Tensor patch_positions(std::int64_t height, std::int64_t width, std::int64_t channels, double base, double scale,
                       const Tensor& like);
// What the configs of networks with such positions have in common: their width is divided by sines and cosines of two
// axes, and they may give a learned variance beside what they are asked for. Throws Error(input) that names key and
// value.
void require_patch_network(const Config& json, std::int64_t width, std::int64_t in_channels, std::int64_t out_channels);

// [B, C, H*patch, W*patch] -> [B, H*W, patch*patch*C], channels fastest, and back.
Tensor patched(const Tensor& picture, std::int64_t patch);
Tensor unpatched(const Tensor& tokens, std::int64_t height, std::int64_t width, std::int64_t patch);

}  // namespace sdgen
