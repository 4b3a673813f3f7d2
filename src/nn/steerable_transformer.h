// Transformers that pictures steer, and the networks that do so: copies of a transformer's first layers, which see a
// picture too (Zhang et al., 2023, carried over to transformers). What they say is added to the tokens of the picture
// that is drawn, behind the transformer's layers.
#pragma once

#include <memory>
#include <vector>

#include "nn/backbone.h"
#include "nn/module.h"

namespace sdgen {

// What a network says, and behind which layers of a transformer it is added.
struct LayerSamples {
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  std::vector<Tensor> samples;        // [B, N, width]
  std::vector<std::size_t> of_layer;  // which of them comes behind each layer, or kNone
};

// The same of several networks.
struct LayerAdditions {
  std::vector<LayerSamples> of_networks = {};
  // Tokens [B, M, width] as they leave the layer; what comes behind it is of the first N of them.
  Tensor behind(std::size_t layer, const Tensor& tokens) const;
};

// Layers of a transformer: those of two streams, then those of one.
struct LayerCounts {
  std::size_t joint = 0, single = 0;
};

struct SteerableTransformer : Backbone {
  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const final {
    return predict(x, t, conditioning, {});
  }
  virtual Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning,
                         const LayerAdditions& additions) const = 0;
  // What is drawn, as the first layer takes it: [B, N, width].
  virtual Tensor tokens(const Tensor& x) const = 0;
  virtual LayerCounts layers() const = 0;
};

// What a ControlNet sees: as Backbone::predict(), and a picture that steers, [B, C, H, W], as it was trained on it.
struct ControlView {
  Tensor x, t;
  Conditioning conditioning;
  Tensor picture;
  std::int64_t mode = 0;  // which of the kinds of pictures that it knows, if there are several
};

struct TransformerControlNet {
  virtual ~TransformerControlNet() = default;
  // For this transformer, whose tokens some of them take as they are.
  virtual LayerSamples samples(const ControlView& view, const SteerableTransformer& steered) const = 0;
  // Is it asked with the prompt alone, and is its answer added where the negative prompt is asked with, too?
  virtual bool sees_prompts_alone() const = 0;
};

}  // namespace sdgen
