// The U-Net of Stable Diffusion (Rombach et al., 2022; diffusers' UNet2DConditionModel), and without a text to attend
// to that of the denoising diffusion models before it (Ho et al., 2020; diffusers' UNet2DModel).
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/json.h"
#include "nn/attention.h"
#include "nn/backbone.h"
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
  int mid_resnets = 2;                                 // 0: no middle block; attention stands between two
  bool mid_attention = true;
  std::int64_t mid_layers = 1;
  std::int64_t mid_norm_groups = 32;  // of the pixels' attention alone; 0: it has no norm
  double mid_scale = 1.0;
  ResnetShape resnet;
  bool linear_projection = false;
  std::int64_t downsample_padding = 1;
  std::int64_t conv_in_kernel = 3, conv_out_kernel = 3;
  bool center_input = false;
  bool flip_sin_to_cos = true;
  double freq_shift = 0;
  Activation out_act = nullptr;        // before the last convolution
  Activation time_mid_act = nullptr;   // between the time embedding's layers
  Activation time_post_act = nullptr;  // timestep_post_act: after the time embedding's second layer
  Activation time_act = nullptr;       // time_embedding_act_fn: of the sum of all embeddings
  std::int64_t time_cond_width = 0;    // width of Conditioning::guidance_embed; 0: none
  std::int64_t size_id_width = 0;      // embedding width of each of Conditioning::size_ids; 0: no text_time
  std::int64_t added_width = 0;        // pooled width + ids * size_id_width

  // Of a UNet2DConditionModel. Throws Error(input) that names key and value for whatever is not supported.
  static UNetConfig from(const Config& json);
  // Of a UNet2DModel. Likewise.
  static UNetConfig unconditional(const Config& json);
};

// Sines and cosines of t at geometrically spaced frequencies (Vaswani et al., 2017, section 3.5):
// t [n] -> float32 [n, width].
Tensor sinusoidal_embedding(const Tensor& t, std::int64_t width, bool flip_sin_to_cos, double freq_shift);

// Two linear layers with an activation between (keys linear_1, linear_2, cond_proj), and after where `post_act` is
// given.
struct TimestepEmbedding : Module {
  TimestepEmbedding(const Weights& w, std::int64_t in, std::int64_t out, Activation act, Activation post_act = nullptr,
                    std::int64_t condition_width = 0);
  Tensor forward(const Tensor& x, const Tensor& condition = {}) const;

 private:
  Activation act_, post_act_;
  std::shared_ptr<Linear> in_, out_, condition_;
};

// One level on the way down: resnets, each followed by attention where the level has it, then half the size.
struct DownBlock : Module {
  DownBlock(const Weights& w, const UNetConfig& config, std::size_t level, bool downsample);
  // Appends every intermediate result to `skips`; returns the last.
  Tensor forward(Tensor x, const Tensor& time, const Tensor& context, std::vector<Tensor>& skips) const;

 private:
  std::vector<std::shared_ptr<ResnetBlock>> resnets_;
  std::vector<std::shared_ptr<ImageAttention>> attentions_;
  std::shared_ptr<Downsample> downsample_;
};

struct MidBlock : Module {
  MidBlock(const Weights& w, const UNetConfig& config);
  Tensor forward(const Tensor& x, const Tensor& time, const Tensor& context) const;

 private:
  std::vector<std::shared_ptr<ResnetBlock>> resnets_;
  std::shared_ptr<ImageAttention> attention_;
};

// One level on the way up: takes the skips back in reverse order, then twice the size.
struct UpBlock : Module {
  UpBlock(const Weights& w, const UNetConfig& config, std::size_t level, bool upsample);
  Tensor forward(Tensor x, const Tensor& time, const Tensor& context, std::vector<Tensor>& skips) const;

 private:
  std::vector<std::shared_ptr<ResnetBlock>> resnets_;
  std::vector<std::shared_ptr<ImageAttention>> attentions_;
  std::shared_ptr<Upsample> upsample_;
};

class UNet : public Module, public Backbone {
 public:
  UNet(const Weights& w, UNetConfig config);

  Tensor predict(const Tensor& x, double t, const Conditioning& conditioning) const override;

  // The two halves, so that others can work between them (a ControlNet adds to both parts of Features).
  struct Features {
    std::vector<Tensor> skips;  // in the order of the way down
    Tensor mid;
    Tensor time;  // [B, 4*channels], activated
  };
  Features encode(const Tensor& x, double t, const Conditioning& conditioning) const;
  Tensor decode(Features features, const Tensor& context) const;

  const UNetConfig& config() const { return config_; }

 private:
  // [B, time width], with everything added that the model embeds beside t.
  Tensor embed_time(double t, const Conditioning& conditioning, std::int64_t batch) const;

  UNetConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<Conv2d> conv_in_, conv_out_;
  std::shared_ptr<TimestepEmbedding> time_embedding_, add_embedding_;
  std::vector<std::shared_ptr<DownBlock>> down_;
  std::shared_ptr<MidBlock> mid_;
  std::vector<std::shared_ptr<UpBlock>> up_;
  std::shared_ptr<GroupNorm> norm_out_;
};

}  // namespace sdgen
