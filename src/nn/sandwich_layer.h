// The layer that Lumina-Image 2.0 (Qin et al., 2025) and Z-Image (Z-Image Team, 2025) are made of: self-attention, then
// a gated feed-forward network, with RMS norms before and behind each ("sandwich norms", Ding et al., 2021, section
// 3.2). An embedding may move it.
#pragma once

#include "nn/dit.h"

namespace sdgen {

// What diffusers calls its parts.
struct SandwichNames {
  const char *attention, *before_attention, *behind_attention;
  const char *before_ff, *behind_ff;
  const char *gate, *value, *out;  // of the feed-forward network
  const char* modulation;          // of the embedding
};

struct SandwichLayer : Module {
  struct Params {
    std::int64_t width, heads, kv_heads;
    std::int64_t ff_width;
    std::int64_t embedding_width = 0;  // 0: nothing moves it
    bool embedding_silu = false;       // silu of the embedding is what moves it
    bool qk_norm = true;
    double norm_eps = 1e-5;  // of the four norms
  };
  SandwichLayer(const Weights& w, const SandwichNames& names, const Params& params);

  // x [B, N, width], rotations of its tokens, embedding [B, embedding_width] -> [B, N, width].
  Tensor forward(const Tensor& x, const Tensor& rotations, const Tensor& embedding = {}) const;

 private:
  Tensor fed_forward(const Tensor& x) const;

  bool embedding_silu_;
  std::shared_ptr<JointAttention> attention_;
  std::shared_ptr<RmsNorm> before_attention_, behind_attention_, before_ff_, behind_ff_;
  std::shared_ptr<Linear> gate_, value_, out_;
  std::shared_ptr<Linear> modulation_;
};

// The last layer of both: norm(x) (1 + scale) of what an embedding says, and Linear. Keys as they are named.
struct ScaledOut : Module {
  ScaledOut(const Weights& w, const char* scale, const char* out, std::int64_t embedding_width, std::int64_t width,
            std::int64_t out_width);
  Tensor forward(const Tensor& x, const Tensor& embedding) const;  // [B, N, width] -> [B, N, out_width]

 private:
  std::shared_ptr<Linear> scale_, out_;
};

// Where tokens are, [N, 3] float64, on the device of `like`: words at `first`, first + 1, ... of the first axis;
// patches all at `first` of it, and at their row and column.
Tensor places_in_line(double first, std::int64_t count, const Tensor& like);
Tensor places_in_grid(double first, std::int64_t height, std::int64_t width, const Tensor& like);

}  // namespace sdgen
