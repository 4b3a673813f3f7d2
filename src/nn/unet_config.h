// What unet/config.json says of a U-Net, or of a copy of its first half (a ControlNet).
#pragma once

#include <cstdint>
#include <vector>

#include "io/json.h"
#include "nn/blocks.h"

namespace sdgen {

// The fields of unet/config.json that this network implements; everything else must have diffusers' default.
struct UNetConfig {
  struct Level {
    std::int64_t channels;
    std::int64_t resnets;                   // layers_per_block; the up path has one more
    std::vector<std::int64_t> down_layers;  // transformer layers after each resnet; empty: no attention
    std::vector<std::int64_t> up_layers;
    std::int64_t heads;
    std::int64_t context_width;  // 0: the pixels attend to themselves alone (UNet2DModel)
    bool only_cross = false;
  };
  std::int64_t in_channels = 4, out_channels = 4;
  std::int64_t sample_height = 64, sample_width = 64;  // latents
  std::vector<Level> levels;                           // from the finest; 0 resnets never occurs
  int mid_resnets = 2;                                 // 0: no middle block; attention lies between two
  bool mid_attention = true;
  std::int64_t mid_layers = 1;
  std::int64_t mid_norm_groups = 32;  // of the pixels' attention alone; 0: it has no norm
  double mid_scale = 1.0;
  ResnetConfig resnet;
  std::int64_t downsample_padding = 1;
  std::int64_t conv_in_kernel = 3, conv_out_kernel = 3;
  bool center_input = false;
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  Activation out_act;                // before the last convolution
  Activation time_mid_act;           // between the time embedding's layers
  Activation time_post_act;          // timestep_post_act: after the time embedding's second layer
  Activation time_act;               // time_embedding_act_fn: of the sum of all embeddings
  std::int64_t time_cond_width = 0;  // of Conditioning::guidance as the network embeds it; 0: none
  std::int64_t size_id_width = 0;    // embedding width of each of Conditioning::size_ids; 0: no text_time
  std::int64_t added_width = 0;      // pooled width + ids * size_id_width

  // Of a UNet2DConditionModel. Throws Error(input) that names key and value for whatever is not supported.
  static UNetConfig from(const Config& json);
  // Of a UNet2DModel. Likewise.
  static UNetConfig unconditional(const Config& json);
};

}  // namespace sdgen
