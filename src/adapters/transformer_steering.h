// The ControlNets of a transformer: loaded with it, put to work by each batch.
#pragma once

#include "adapters/steering.h"
#include "nn/controlled_transformer.h"

namespace sdgen {

struct FluxConfig;
struct Sd3Config;

struct TransformerSteering {
  Steer of(const std::shared_ptr<const SteerableTransformer>& transformer) const;

  std::vector<std::shared_ptr<const TransformerControlNet>> nets = {};
  Steering known = {};
};

struct TransformerSteeringFiles {
  const std::vector<std::filesystem::path>& controlnets;
  double offset;        // that the autoencoder moves latents by
  std::int64_t factor;  // pixels a latent, along a side
};

// For a transformer that has the config `json`: misfits are found before it is loaded. Throws Error(input) for a file
// that is not such a network, is malformed, or was made for another transformer.
TransformerSteering open_steering(const Sd3Config& transformer, const Config& json,
                                  const TransformerSteeringFiles& files, const Where& where, const Warn& warn);
TransformerSteering open_steering(const FluxConfig& transformer, const Config& json,
                                  const TransformerSteeringFiles& files, const Where& where, const Warn& warn);

}  // namespace sdgen
