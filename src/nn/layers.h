// Leaf layers. Not torch::nn's: those initialise their weights at random first, 8-10 s a billion parameters, only for
// the checkpoint to overwrite them. Weights that are not where x is are fetched for the call (weights/residency.h).
#pragma once

#include <functional>
#include <optional>

#include "nn/module.h"
#include "ops/ops.h"

namespace sdgen {

struct Linear : Module {
  Linear(const Weights& w, std::int64_t in, std::int64_t out, bool with_bias = true);
  Tensor forward(const Tensor& x, const Tensor& plus = {}) const;  // [..., in] -> [..., out], plus the like

 private:
  Matrix matrix_;
  Tensor bias_;
};

struct Conv2d : Module {
  struct Params {
    std::int64_t kernel = 3, stride = 1, padding = 1;
    bool with_bias = true;
  };
  Conv2d(const Weights& w, std::int64_t in, std::int64_t out, Params params);
  Conv2d(const Weights& w, std::int64_t in, std::int64_t out) : Conv2d(w, in, out, Params{}) {}
  Tensor forward(const Tensor& x, const Tensor& plus = {}) const;  // [B, in, H, W] -> [B, out, H', W'], plus the like
  Params params;
  Tensor weight, bias;
};

struct GroupNorm : Module {
  GroupNorm(const Weights& w, std::int64_t groups, std::int64_t channels, double eps);
  // x [B, channels, ...] -> act(norm(x + shift)), shift [B, channels] where defined
  Tensor forward(const Tensor& x, Activation act = {}, const Tensor& shift = {}) const;
  // On this thread, where it answers, that counts instead: x is but a piece of the picture whose moments count
  // (nn/tiles.h).
  using Instead = std::function<std::optional<Tensor>(const GroupNorm& norm, const Tensor& x, Activation act)>;
  static inline thread_local Instead instead = {};
  std::int64_t groups;
  double eps;
  Tensor weight, bias;
};

struct LayerNorm : Module {
  LayerNorm(const Weights& w, std::int64_t width, double eps = 1e-5);
  Tensor forward(const Tensor& x) const;  // [..., width]
  double eps;
  Tensor weight, bias;
};

struct Embedding : Module {
  // `more` [n, width]: rows of the next n ids; undefined: none
  Embedding(const Weights& w, std::int64_t count, std::int64_t width, const Tensor& more = {});
  Tensor forward(const Tensor& ids) const;  // int64 [...] -> [..., width]

 private:
  Matrix table_;  // codes stay codes: a prompt has few rows
  at::ScalarType dtype_;
};

// An activation by the name that configs give it: silu | swish, gelu, quick_gelu (x sigmoid(1.702 x)), relu, mish.
// Throws Error(input) that names `who` (config file and key) for an unknown name.
Activation activation(const std::string& name, const std::string& who);

}  // namespace sdgen
