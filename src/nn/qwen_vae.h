// The autoencoder of Qwen-Image (Wu et al., 2025; diffusers' AutoencoderKLQwenImage), which was made for films, as it
// treats a single picture. Its convolutions in time look back: of a film of one frame they see that frame alone, with
// the last plane of their kernels, and are convolutions of pictures.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/autoencoder.h"
#include "nn/module.h"

namespace sdgen {

struct QwenVaeConfig {
  std::vector<std::int64_t> channels = {96, 192, 384, 384};  // from the finest
  std::int64_t latent_channels = 16, resnets = 2;            // resnets a level; the decoder has one more
  std::vector<double> means, deviations;  // latents of the loop = (posterior sample - mean) / deviation

  // Pixels a latent.
  std::int64_t factor() const { return std::int64_t{1} << (channels.size() - 1); }
  // Every channel is moved by an offset of its own.
  AutoencoderInfo info() const { return {latent_channels, factor(), /*force_upcast=*/true}; }
  // Throws Error(input) that names key and value.
  static QwenVaeConfig from(const Config& json);
};

class QwenVae : public Module, public Autoencoder {
 public:
  QwenVae(const Weights& w, QwenVaeConfig config);

  Tensor decode(const Tensor& latents) const override;
  Tensor decode_in_tiles(const Tensor& latents) const override {
    return decode_in_tiles(latents, std::max<std::int64_t>(512 / config_.factor(), 1));
  }
  Tensor decode_in_tiles(const Tensor& latents, std::int64_t tile) const;  // tiles of tile x tile latents
  Tensor encode(const Tensor& pictures, const std::function<Tensor()>& noise) const override;

  const QwenVaeConfig& config() const { return config_; }

 private:
  struct Conv;
  struct Norm;
  struct Resnet;
  struct Attention;
  struct Mid;
  struct Encoder;
  struct Decoder;
  Tensor of_channels(const std::vector<double>& numbers, const Tensor& like) const;  // [1, C, 1, 1]
  Tensor unscaled(const Tensor& latents) const;

  QwenVaeConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<Encoder> encoder_;  // absent where a file has no encoder
  std::shared_ptr<Decoder> decoder_;
  std::shared_ptr<Conv> quant_, post_quant_;
};

}  // namespace sdgen
