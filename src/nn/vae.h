// The autoencoder between pictures and latents (Rombach et al., 2022, section 3.1; diffusers' AutoencoderKL), and that
// of FLUX.2, whose latents come in squares, brought to mean 0 and deviation 1 (AutoencoderKLFlux2).
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/autoencoder.h"
#include "nn/blocks.h"

namespace sdgen {

// The fields of vae/config.json.
struct VaeConfig {
  std::int64_t in_channels = 3, out_channels = 3, latent_channels = 4;
  std::vector<std::int64_t> channels;          // block_out_channels, from the finest
  std::vector<std::int64_t> decoder_channels;  // the same of the decoder
  std::int64_t resnets = 1;                    // layers_per_block; the decoder has one more
  std::int64_t norm_groups = 32;
  Activation act;
  double scaling_factor = 0.18215;  // latents of the loop = (posterior sample - shift_factor) * scaling_factor
  double shift_factor = 0;
  bool quant_conv = true, post_quant_conv = true, mid_attention = true;
  bool force_upcast = true;  // float16 overflows: run in float32
  // Latents of the loop are squares of so many, along a side, less the mean that their channels had in training,
  // divided by the root of their variance + norm_eps. 1: they are latents, and no such numbers are known.
  std::int64_t patch = 1;
  double norm_eps = 1e-4;

  // Pixels a latent: 2^(blocks-1).
  std::int64_t factor() const { return std::int64_t{1} << (channels.size() - 1); }
  AutoencoderInfo info() const {
    return {latent_channels * patch * patch, factor() * patch, force_upcast, -shift_factor * scaling_factor};
  }
  // Throws Error(input) that names key and value.
  static VaeConfig from(const Config& json);
  static VaeConfig flux2(const Config& json);  // of AutoencoderKLFlux2
};

class Vae : public Module, public Autoencoder {
 public:
  Vae(const Weights& w, VaeConfig config);

  // Latents of the loop [B, latent, h, w] -> pictures [B, 3, h*factor, w*factor] in about [-1, 1]; of squares
  // [B, latent*patch*patch, h/patch, w/patch].
  Tensor decode(const Tensor& latents) const override;
  Tensor decode_in_tiles(const Tensor& latents) const override { return decode_in_tiles(latents, tile()); }
  Tensor decode_in_tiles(const Tensor& latents, std::int64_t tile) const;  // tiles of tile x tile latents
  // Pictures in [-1, 1] -> mean and log variance of the posterior, each [B, latent, h, w], neither shifted nor scaled.
  struct Posterior {
    Tensor mean, log_variance;
  };
  Posterior encode(const Tensor& pictures) const;
  Posterior encode_in_tiles(const Tensor& pictures, std::int64_t tile) const;  // tiles as above
  Tensor encode(const Tensor& pictures, const std::function<Tensor()>& noise) const override {
    return drawn(encode(pictures), noise);
  }
  Tensor encode_in_tiles(const Tensor& pictures, const std::function<Tensor()>& noise) const override {
    return drawn(encode_in_tiles(pictures, tile()), noise);
  }
  bool draws() const override { return config_.patch == 1; }  // FLUX.2's pipelines take the means

  const VaeConfig& config() const { return config_; }

 private:
  std::int64_t tile() const { return std::max<std::int64_t>(512 / config_.factor(), 1); }  // latents of 512 pixels
  Tensor mean(const Tensor& x) const;
  Tensor deviation(const Tensor& x) const;
  Tensor unscaled(const Tensor& latents) const;
  Tensor prepared(const Tensor& pictures) const;
  Posterior posterior(const Tensor& encoded) const;
  Tensor drawn(const Posterior& posterior, const std::function<Tensor()>& noise) const;
  struct Mid;
  struct Encoder;
  struct Decoder;
  VaeConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<Encoder> encoder_;  // absent where a file has no encoder
  std::shared_ptr<Decoder> decoder_;
  std::shared_ptr<Conv2d> quant_, post_quant_;
  Tensor mean_, variance_;  // of squares' channels
};

}  // namespace sdgen
