#include "adapters/transformer_steering.h"

#include "formats/control_files.h"
#include "nn/flux_controlnet.h"
#include "nn/sd3_controlnet.h"
#include "nn/sd3_transformer.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// A size that the two networks have in common, by its name in their configs.
struct Shared {
  const char* what;
  std::int64_t net, transformer;
};

void require_equal(const Component& c, std::initializer_list<Shared> sizes) {
  for (const Shared& size : sizes)
    if (size.net != size.transformer)
      throw Error(Fault::input, concat(c.tensors->source(), ": the ControlNet's ", size.what, " is ", size.net,
                                       ", the transformer's ", size.transformer, ": it was made for another model"));
}

// Opens each of the files as such a network, and keeps it; `see` looks whether it fits, and says what it sees.
template <class Network, class NetworkConfig, class See>
TransformerSteering open_all(Architecture network, const Config& json, const TransformerSteeringFiles& files,
                             const Where& where, const Warn& warn, const See& see) {
  TransformerSteering s;
  s.known.can_guess = false;
  for (const std::filesystem::path& path : files.controlnets) {
    const Component c = open_controlnet(path, component_class(network), &json);
    const NetworkConfig config = NetworkConfig::from(c.config);
    s.known.sights.push_back(see(c, config, s.known));
    check<Network>(c, config, warn);
    s.nets.push_back(std::make_shared<const Network>(weights_of(c, where), config));
    s.known.infos.push_back(control_info(path, c, ControlInfo::Kind::controlnet));
  }
  return s;
}

}  // namespace

Steer TransformerSteering::of(const std::shared_ptr<const SteerableTransformer>& transformer) const {
  return [transformer, nets = nets](const std::vector<ControlInput>& uses, const SteeringMode& mode) {
    std::vector<TransformerControl> controls;
    for (std::size_t i = 0; i < nets.size(); ++i)
      controls.push_back({nets[i], uses[i].picture, uses[i].scale, uses[i].mode});
    return [transformer, controls, pictures = mode.pictures](const std::vector<bool>& acting) {
      std::vector<TransformerControl> at_work;
      for (std::size_t i = 0; i < acting.size(); ++i)
        if (acting[i]) at_work.push_back(controls[i]);
      return std::make_shared<ControlledTransformer>(transformer, std::move(at_work), pictures);
    };
  };
}

TransformerSteering open_steering(const Sd3Config& transformer, const Config& json,
                                  const TransformerSteeringFiles& files, const Where& where, const Warn& warn) {
  const auto see = [&](const Component& c, const Sd3ControlNetConfig& net, Steering& known) {
    require_equal(c, {{"width (num_attention_heads * attention_head_dim)", net.width, transformer.width},
                      {"patch_size", net.patch, transformer.patch},
                      {"in_channels", net.in_channels, transformer.in_channels},
                      {"pooled_projection_dim", net.pooled_width, transformer.pooled_width}});
    if (net.context_width) require_equal(c, {{"joint_attention_dim", net.context_width, transformer.context_width}});
    if (net.table_size) known.most = std::min(known.most, net.table_size * net.patch * files.factor);
    if (c.locate && net.context_width)  // a file, without a config
      known.notes.push_back(concat(c.tensors->source(),
                                   ": the ControlNet is taken for one that is not told the prompt's "
                                   "summary, and sees latents that are not shifted, as InstantX's"));
    // diffusers draws a sample from a generator that no seed sets: this is what its samples lie around. InstantX's were
    // trained on latents that are not shifted.
    return Sight{.of = Sight::Of::latents, .offset = net.zero_pooled ? -files.offset : 0};
  };
  return open_all<Sd3ControlNet, Sd3ControlNetConfig>(Architecture::sd3_controlnet, json, files, where, warn, see);
}

TransformerSteering open_steering(const FluxConfig& transformer, const Config& json,
                                  const TransformerSteeringFiles& files, const Where& where, const Warn& warn) {
  const auto see = [&](const Component& c, const FluxControlNetConfig& net, Steering& known) {
    require_equal(c, {{"width (num_attention_heads * attention_head_dim)", net.copied.width, transformer.width},
                      {"in_channels", net.copied.in_channels, transformer.in_channels},
                      {"joint_attention_dim", net.copied.context_width, transformer.context_width},
                      {"pooled_projection_dim", net.copied.pooled_width, transformer.pooled_width}});
    if (net.folded && files.factor != FluxControlNetConfig::kFold)
      throw Error(Fault::input,
                  concat(c.tensors->source(), ": the ControlNet makes a latent of ", FluxControlNetConfig::kFold, "x",
                         FluxControlNetConfig::kFold, " pixels (input_hint_block), the autoencoder of ", files.factor,
                         "x", files.factor, ": it was made for another model"));
    known.told_guidance |= net.copied.guidance;
    return Sight{.of = net.folded ? Sight::Of::pixels : Sight::Of::latents, .drawn = true, .modes = net.modes};
  };
  return open_all<FluxControlNet, FluxControlNetConfig>(Architecture::flux_controlnet, json, files, where, warn, see);
}

}  // namespace sdgen
