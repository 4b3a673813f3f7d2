// What the families with a diffusion transformer have in common.
#pragma once

#include <memory>

#include "device/device.h"
#include "families/assembly.h"
#include "families/networks.h"
#include "ops/cuda.h"
#include "sdgen/error.h"

namespace sdgen {

// What a family gives its transformer.
struct TransformerInputs {
  TextInputs text;
  LatentScaling scaling = kSdScaling;  // where files do not say it
  std::int64_t patch = 2;              // latents a token, along a side
};

// Throws Error(usage) for what no transformer takes yet.
void refuse_steering(const ModelFiles& model, const Family& family, const AssembleOptions& options);
// Everything but the backbone.
Parts transformer_parts(const ModelFiles& model, const Component& transformer, const Family& family,
                        const TransformerInputs& inputs, const AssembleOptions& options, const Warn& warn);

template <class Network, class NetworkConfig>
Parts assemble_transformer(const ModelFiles& model, const NetworkConfig& config, const Family& family,
                           const TransformerInputs& inputs, const AssembleOptions& options, const Warn& warn) {
  const Component& c = model.at("transformer");
  Parts parts = transformer_parts(model, c, family, inputs, options, warn);
  check<Network>(c, config, warn);
  const Where where = place_on(options, parts.dtype);
  parts.make_step = [c, config, where](std::span<const Lora>) {
    if (where.residency) where.residency->forget_unused();
    return StepPart{std::make_shared<const Network>(weights_of(c, where), config)};
  };
  if (options.device.is_cuda() && !where.residency) parts.recorder = ops::cuda::recorder(options.device);
  return parts;
}

}  // namespace sdgen
