// T2I-Adapter (Mou et al., 2023, "T2I-Adapter: Learning Adapters to Dig out More Controllable Ability for Text-to-Image
// Diffusion Models"; diffusers' T2IAdapter): a small network that turns a picture into features, one a level of a
// U-Net, once for all steps.
#pragma once

#include <memory>
#include <vector>

#include "io/json.h"
#include "nn/layers.h"

namespace sdgen {

struct T2IAdapterConfig {
  enum class Type { full, full_xl, light } type = Type::full;
  std::int64_t in_channels = 3;  // 1: the picture is grey
  std::vector<std::int64_t> channels{320, 640, 1280, 1280};
  std::int64_t resnets = 2;  // a block
  std::int64_t factor = 8;   // pixels along a side that are folded into channels first

  // One feature a block, and what a block does before its convolutions.
  struct Block {
    std::int64_t in, out;
    bool halve;
  };
  std::vector<Block> blocks() const;

  // Throws Error(input) that names key and value for whatever is not supported.
  static T2IAdapterConfig from(const Config& json);
};

// Half the size where it is to be (mean of 2x2, rounding up), then residual blocks: narrow ones between 1x1
// convolutions (light), or as wide as the result, after a 1x1 convolution where that is another width.
struct AdapterBlock : Module {
  AdapterBlock(const Weights& w, const T2IAdapterConfig::Block& block, std::int64_t resnets, bool light);
  Tensor forward(const Tensor& x) const;

 private:
  struct Resnet {
    std::shared_ptr<Conv2d> conv1, conv2;
  };
  bool halve_;
  std::shared_ptr<Conv2d> conv_in_, conv_out_;
  std::vector<Resnet> resnets_;
};

class T2IAdapter : public Module {
 public:
  T2IAdapter(const Weights& w, T2IAdapterConfig config);

  // A picture [1, 3, H, W] in [0, 1], sides multiples of config().factor -> a feature a block, in the network's type.
  // Where the adapter takes one channel the picture is grey, and its first is taken.
  std::vector<Tensor> features(const Tensor& picture) const;

  const T2IAdapterConfig& config() const { return config_; }

 private:
  T2IAdapterConfig config_;
  at::ScalarType dtype_;
  std::shared_ptr<Conv2d> conv_in_;
  std::vector<std::shared_ptr<AdapterBlock>> blocks_;
};

}  // namespace sdgen
