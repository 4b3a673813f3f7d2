// The encoder of T5 version 1.1 (Raffel et al., 2020; Shazeer, 2020; transformers' T5EncoderModel).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "io/json.h"
#include "nn/dit.h"

namespace sdgen {

struct T5Config {
  std::int64_t vocab_size = 32128, width = 512, head_width = 64, inner_width = 2048, layers = 6, heads = 8;
  std::int64_t buckets = 32, max_distance = 128;  // of the distances between tokens
  double norm_eps = 1e-6;

  // Throws Error(input) that names key and value.
  static T5Config from(const Config& json);
};

class T5 : public Module {
 public:
  T5(const Weights& w, const T5Config& config);

  // int64 [1, N] -> [1, N, width], after the final norm. All tokens count, padding too; or the first `seen` alone: the
  // others look at them, and nothing at those. In float16 the network overflows; it is made for bfloat16 and float32.
  Tensor forward(const Tensor& ids, std::optional<std::int64_t> seen = {}) const;

  const T5Config& config() const { return config_; }

 private:
  struct Layer;
  Tensor position_bias(std::int64_t tokens, const Tensor& ids) const;  // [1, heads, tokens, tokens]

  T5Config config_;
  std::shared_ptr<Embedding> tokens_, distances_;
  std::vector<std::shared_ptr<Layer>> layers_;
  std::shared_ptr<RmsNorm> final_norm_;
};

}  // namespace sdgen
