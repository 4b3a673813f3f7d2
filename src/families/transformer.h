// What the families with a diffusion transformer have in common.
#pragma once

#include <concepts>
#include <memory>

#include "adapters/transformer_steering.h"
#include "device/device.h"
#include "families/assembly.h"
#include "families/networks.h"
#include "formats/companions.h"
#include "sdgen/error.h"

namespace sdgen {

// What a family gives its transformer.
struct TransformerInputs {
  TextInputs text;
  LatentScaling scaling = kSdScaling;    // where files do not say it
  std::int64_t patch = 2;                // latents a token, along a side
  bool keeps_shift_in_repaints = false;  // see Latents::repaint_offset
  bool steered = false;                  // ControlNets steer it
};

// What the one encoder says, and nothing else.
Conditioning join_states(std::span<const Encoded> prompt, const TextSettings& settings);

// Throws Error(input) unless `channels`, which the transformer's config calls `key`, are those of the autoencoder's
// latents; and unless its `key` is the width of its language model's states.
void require_latents(const ModelFiles& model, const char* key, std::int64_t channels);
void require_language_model(const ModelFiles& model, const char* key, std::int64_t width);

// What LoRAs come to in the transformer and its text encoders.
std::shared_ptr<LoraFits> transformer_loras(const ModelFiles& model, const Component& transformer, const Family& family,
                                            const TransformerInputs& inputs, const AssembleOptions& options);

// Everything but the backbone. Throws Error(usage) for what no transformer takes yet.
Parts transformer_parts(const ModelFiles& model, const Component& transformer, const Family& family,
                        const TransformerInputs& inputs, const std::shared_ptr<LoraFits>& fits,
                        const AssembleOptions& options, const Warn& warn);

template <class Network, class NetworkConfig>
Parts assemble_transformer(const ModelFiles& model, const NetworkConfig& config, const Family& family,
                           const TransformerInputs& inputs, const AssembleOptions& options, const Warn& warn) {
  const Component& c = model.at("transformer");
  const std::shared_ptr<LoraFits> fits = transformer_loras(model, c, family, inputs, options);
  Parts parts = transformer_parts(model, c, family, inputs, fits, options, warn);
  check<Network>(c, config, warn);
  const Where where = place_on(options, parts.dtype);  // with what steers it, at every step
  TransformerSteering steering;
  if constexpr (std::derived_from<Network, SteerableTransformer>)
    steering =
        open_steering(config, c.config, {options.controlnets, parts.latents.offset, parts.latents.factor}, where, warn);
  parts.cache = CachesBlocks<Network> ? std::optional(StepCache::Kind::first_block) : std::nullopt;
  parts.steering = steering.known;
  parts.notes = steering.known.notes;
  add_step(parts, c, where, [c, config, where, fits, steering](std::span<const Lora> loras) {
    const auto network = std::make_shared<const Network>(fits->set(loras).patch(weights_of(c, where), *c.part), config);
    StepPart step{network};
    if constexpr (std::derived_from<Network, SteerableTransformer>) step.steer = steering.of(network);
    if constexpr (CachesBlocks<Network>)
      step.cached = [network](const StepCache& cache, std::int64_t pictures) {
        return std::make_shared<BlockCached<Network>>(network, cache.threshold, pictures);
      };
    if constexpr (requires { Network::without(network, {}); })
      step.without = [network](const std::vector<int>& layers) { return Network::without(network, layers); };
    return step;
  });
  return parts;
}

}  // namespace sdgen
