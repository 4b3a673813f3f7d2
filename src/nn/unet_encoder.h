// The first half of a U-Net (Rombach et al., 2022; diffusers' UNet2DConditionModel): from the noisy picture down to the
// middle block. ControlNets are copies of it (Zhang et al., 2023, section 3).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "nn/attention.h"
#include "nn/backbone.h"
#include "nn/blocks.h"
#include "nn/unet_config.h"

namespace sdgen {

// Sines and cosines of t at geometrically spaced frequencies (Vaswani et al., 2017, section 3.5):
// t [n] -> float32 [n, width].
Tensor sinusoidal_embedding(const Tensor& t, std::int64_t width, bool flip_sin_to_cos, double freq_shift);

// Two linear layers with an activation between (keys linear_1, linear_2, cond_proj), and after where `post_act` is
// given.
struct TimestepEmbedding : Module {
  TimestepEmbedding(const Weights& w, std::int64_t in, std::int64_t out, Activation act, Activation post_act = {},
                    std::int64_t condition_width = 0);
  Tensor forward(const Tensor& x, const Tensor& condition = {}) const;

 private:
  Activation act_, post_act_;
  std::shared_ptr<Linear> in_, out_, condition_;
};

// The attention of a level, or of the middle block below it, after resnet `index`: key attentions.INDEX of `block`.
std::shared_ptr<ImageAttention> add_attention(Module& block, const Weights& w, std::int64_t index, std::int64_t layers,
                                              const UNetConfig& config, const UNetConfig::Level& level,
                                              bool mid = false);

// Padding for results as large as what goes in.
Conv2d::Params same_size(std::int64_t kernel);

// One level on the way down: resnets, each followed by attention where the level has it, then half the size.
struct DownBlock : Module {
  DownBlock(const Weights& w, const UNetConfig& config, std::size_t level, bool downsample);
  // Appends every intermediate result to `skips`; returns the last. `more`, where defined, is added where T2I-Adapters
  // want it: to the last attention's result, before the size is halved; without attention, to the block's result.
  Tensor forward(Tensor x, const Tensor& time, const Conditioning& conditioning, std::vector<Tensor>& skips,
                 const Tensor& more) const;
  // One resnet, and its attention.
  Tensor layer(std::size_t index, const Tensor& x, const Tensor& time, const Conditioning& conditioning) const;

 private:
  std::vector<std::shared_ptr<ResnetBlock>> resnets_;
  std::vector<std::shared_ptr<ImageAttention>> attentions_;
  std::shared_ptr<Downsample> downsample_;
};

struct MidBlock : Module {
  MidBlock(const Weights& w, const UNetConfig& config);
  Tensor forward(const Tensor& x, const Tensor& time, const Conditioning& conditioning) const;

 private:
  std::vector<std::shared_ptr<ResnetBlock>> resnets_;
  std::shared_ptr<ImageAttention> attention_;
};

// What goes in between; undefined tensors and missing entries add nothing.
struct Additions {
  Tensor input;                // like the first convolution's result
  std::vector<Tensor> levels;  // one a level from the finest, and one for the middle block's result
};

// Parameters have diffusers' names, at the top of the network that is made of this half.
class UNetEncoder : public Module {
 public:
  UNetEncoder(const Weights& w, UNetConfig config);

  // What the way up takes over.
  struct Features {
    std::vector<Tensor> skips;  // in the order of the way down
    Tensor mid;
    Tensor time;  // [B, 4*channels], activated
  };
  // x [B, in_channels, H, W], t [B] the timesteps (0..999).
  Features encode(const Tensor& x, const Tensor& t, const Conditioning& conditioning,
                  const Additions& additions = {}) const;

  // The first `skips` of the features alone, all of the finest level; no mid.
  Features encode_finest(const Tensor& x, const Tensor& t, const Conditioning& conditioning, std::size_t skips) const;

  const UNetConfig& config() const { return config_; }

 protected:
  UNetConfig config_;
  at::ScalarType dtype_;

 private:
  // [B, time width], activated, with everything added that the model embeds beside t.
  Tensor embed_time(const Tensor& t, const Conditioning& conditioning) const;
  // The time, and the first convolution's result as the first skip.
  Features begin(const Tensor& x, const Tensor& t, const Conditioning& conditioning, const Tensor& added) const;

  std::shared_ptr<Conv2d> conv_in_;
  std::shared_ptr<TimestepEmbedding> time_embedding_, add_embedding_;
  std::vector<std::shared_ptr<DownBlock>> down_;
  std::shared_ptr<MidBlock> mid_;
};

}  // namespace sdgen
