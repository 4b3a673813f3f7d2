// The tiny autoencoder (Bohan, 2023, "TAESD"; diffusers' AutoencoderTiny): a distilled stand-in for AutoencoderKL, some
// fifty times as fast, whose latents need no scaling and no draw.
#pragma once

#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/autoencoder.h"
#include "nn/layers.h"

namespace sdgen {

// The fields of its config.json.
struct TinyAutoencoderConfig {
  std::int64_t latent_channels = 4;
  std::int64_t channels = 64;                  // the same at every level
  std::vector<std::int64_t> encoder, decoder;  // blocks a level, in the order in which they run
  Activation act;                              // inside the blocks
  double scaling_factor = 1;  // latents of the loop = (those of the encoder - shift_factor) * scaling_factor
  double shift_factor = 0;

  AutoencoderInfo info() const {
    return {latent_channels, std::int64_t{1} << (decoder.size() - 1), false, -shift_factor * scaling_factor};
  }
  // Throws Error(input) that names key and value.
  static TinyAutoencoderConfig from(const Config& json);
};

class TinyAutoencoder : public Module, public Autoencoder {
 public:
  TinyAutoencoder(const Weights& w, TinyAutoencoderConfig config);
  Tensor decode(const Tensor& latents) const override;
  Tensor encode(const Tensor& pictures, const std::function<Tensor()>& noise) const override;
  bool draws() const override { return false; }
  bool quick() const override { return true; }

 private:
  struct Block;
  struct Encoder;
  struct Decoder;
  TinyAutoencoderConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<Encoder> encoder_;  // absent where a file has no encoder
  std::shared_ptr<Decoder> decoder_;
};

}  // namespace sdgen
