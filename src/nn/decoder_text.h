// Decoder language models as text encoders: Qwen3 (Qwen Team, 2025), the language part of Qwen2.5-VL (Bai et al., 2025)
// and Gemma 2 (Gemma Team, 2024), of which a family takes hidden states (transformers' Qwen3Model,
// Qwen2_5_VLTextModel, Gemma2Model).
#pragma once

#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/layers.h"

namespace sdgen {

struct DecoderTextConfig {
  std::int64_t vocab_size = 151936, width = 4096, inner_width = 22016, layers = 32;
  std::int64_t heads = 32, kv_heads = 32, head_width = 128;  // groups of heads share keys and values
  double norm_eps = 1e-6, rope_theta = 10000;
  double score_scale = 0;  // what scores are multiplied by
  double score_cap = 0;    // they are kept below this by a tanh; 0: they are not
  Activation act{Activation::silu};
  bool qkv_bias = false, out_bias = false;
  bool head_norms = false;         // every head's queries and keys are normalised
  bool centred_norms = false;      // the weights of norms are kept less 1
  bool norms_after = false;        // of what attention and network give, before it is added
  bool scaled_embeddings = false;  // times the root of the width
  // The hidden states that it gives, as transformers numbers them: 0 are the embeddings, i what layer i gives, `layers`
  // what the last one gives, normalised. Layers beyond the last of them are not read.
  std::vector<std::int64_t> hidden = {};

  // Of config.json, by its "model_type"; a text model within another has it in "text_config", or beside the other
  // keys. Gives the last hidden state. Throws Error(input) that names key and value.
  static DecoderTextConfig from(const Config& json);
  // The same with these hidden states, counted from the end if they are negative. Throws Error(input) that names
  // `who` for one that it does not have.
  DecoderTextConfig giving(const std::vector<std::int64_t>& states, const std::string& who) const;
};

class DecoderText : public Module {
 public:
  // Names of weights are those of transformers' text model, without what stands before "layers".
  DecoderText(const Weights& w, const DecoderTextConfig& config);

  // int64 [1, N], of which the first `counted` count -> [1, N, width * states], the states side by side. A token sees
  // those before it, and itself; those behind the counted ones are padding, which see the counted ones alone. In
  // float16 such networks overflow; they are made for bfloat16 and float32.
  Tensor forward(const Tensor& ids, std::int64_t counted) const;

  const DecoderTextConfig& config() const { return config_; }

 private:
  struct Norm;
  struct Attention;
  struct Layer;

  DecoderTextConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<Embedding> tokens_;
  std::vector<std::shared_ptr<Layer>> layers_;
  std::shared_ptr<Norm> norm_;  // null: the last state is not wanted
};

}  // namespace sdgen
