#include "adapters/steering.h"

#include <ATen/TensorOperators.h>

#include <algorithm>
#include <numeric>

#include "formats/control_files.h"
#include "io/file.h"
#include "io/hash.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void misfit(const Component& c, const std::string& what) {
  throw Error(Fault::input, concat(c.tensors->source(), ": ", what, ": it was made for another model"));
}

// A ControlNet's results are added to the U-Net's, block by block.
void require_fit(const Component& c, const ControlNetConfig& net, const UNetConfig& unet, std::int64_t factor) {
  const UNetConfig& own = net.encoder;
  const auto equal = [&c](const char* what, std::int64_t a, std::int64_t b) {
    if (a != b) misfit(c, concat("the ControlNet's ", what, " is ", a, ", the U-Net's ", b));
  };
  for (const auto& level : own.levels)
    if (!level.down_layers.empty() || own.mid_attention)
      equal("cross_attention_dim", level.context_width, unet.levels.front().context_width);
  equal("number of levels", own.levels.size(), unet.levels.size());
  for (std::size_t i = 0; i < own.levels.size(); ++i) {
    equal("channels (block_out_channels)", own.levels[i].channels, unet.levels[i].channels);
    equal("layers_per_block", own.levels[i].resnets, unet.levels[i].resnets);
  }
  equal("projection_class_embeddings_input_dim", own.added_width, unet.added_width);
  if (own.in_channels > unet.in_channels) equal("in_channels", own.in_channels, unet.in_channels);
  if (net.factor() != factor)
    misfit(c, concat("the ControlNet makes a latent of ", net.factor(), "x", net.factor(),
                     " pixels (conditioning_embedding_out_channels), the autoencoder of ", factor, "x", factor));
}

// The features of an adapter that have a place in the U-Net: one a level, where DownBlock adds it, and one after the
// middle block if it is as large (diffusers leaves it out otherwise).
std::size_t require_fit(const Component& c, const T2IAdapterConfig& adapter, const UNetConfig& unet,
                        std::int64_t factor) {
  const auto blocks = adapter.blocks();
  const std::size_t n = unet.levels.size();
  std::int64_t fold = adapter.factor;
  std::size_t used = 0;
  for (; used < blocks.size() && used <= n; ++used) {
    const std::size_t i = std::min(used, n - 1);
    const auto& level = unet.levels[i];
    const bool late = used < n && level.down_layers.empty() && i + 1 < n;  // after the size is halved
    const std::int64_t expected = factor << (late ? i + 1 : i);
    if (blocks[used].halve) fold *= 2;
    if (blocks[used].out == level.channels && fold == expected) continue;
    if (used == n) break;
    misfit(c, concat("the adapter's feature ", used, " has ", blocks[used].out, " channels at a ", fold,
                     "th of the picture's sides, the U-Net's level ", level.channels, " at a ", expected, "th"));
  }
  return used;
}

std::vector<Tensor> scaled_features(const UNetSteering::Adapter& adapter, const ControlInput& use) {
  std::vector<Tensor> features = adapter.network->features(use.picture);
  features.resize(adapter.used);
  for (Tensor& feature : features) feature = feature * use.scale;
  return features;
}

}  // namespace

ControlInfo control_info(const fs::path& path, const Component& c, ControlInfo::Kind kind) {
  // The extension reads a piece in the middle.
  const std::string hash = sha256_of_file(c.tensors->files().front()->path(), 0x100000, 0x10000).substr(0, 8);
  return {kind, path, name_of(path), hash};
}

PerCall<std::shared_ptr<const Backbone>> steer_calls(const Steer& steer, const std::vector<ControlInput>& uses,
                                                     const SteeringMode& mode, std::size_t calls,
                                                     const Replays::Recorder& recorder) {
  const Steered steered = steer(uses, mode);
  PerCall<std::shared_ptr<const Backbone>> result;
  std::map<std::vector<bool>, std::size_t> known;  // which of the uses act -> which of the distinct
  for (std::size_t call = 0; call < calls; ++call) {
    std::vector<bool> acting;
    for (const ControlInput& use : uses) acting.push_back(use.calls.contain(call));
    const auto [found, is_new] = known.try_emplace(acting, result.distinct.size());
    result.of_call.push_back(found->second);
    if (is_new) result.distinct.push_back(std::make_shared<Replayed>(steered(acting), recorder));
  }
  return result;
}

Steer UNetSteering::of(const std::shared_ptr<const UNet>& unet) const {
  return [unet, nets = nets, adapters = adapters](const std::vector<ControlInput>& uses, const SteeringMode& mode) {
    std::vector<NetControl> controls;
    std::vector<std::vector<Tensor>> features;
    for (std::size_t i = 0; i < nets.size(); ++i)
      controls.push_back({nets[i], nets[i]->embed(uses[i].picture), uses[i].scale});
    for (std::size_t i = 0; i < adapters.size(); ++i)
      features.push_back(scaled_features(adapters[i], uses[nets.size() + i]));
    return [unet, controls, features, mode](const std::vector<bool>& acting) {
      std::vector<NetControl> of_nets;
      std::vector<std::vector<Tensor>> of_adapters;
      for (std::size_t i = 0; i < acting.size(); ++i) {
        if (!acting[i]) continue;
        if (i < controls.size())
          of_nets.push_back(controls[i]);
        else
          of_adapters.push_back(features[i - controls.size()]);
      }
      return std::make_shared<ControlledUNet>(unet, std::move(of_nets), of_adapters,
                                              ControlledUNet::Mode{mode.guess, mode.pictures});
    };
  };
}

UNetSteering open_steering(const UNetConfig& unet, const Config& json, const SteeringFiles& files, const Where& where,
                           const Warn& warn) {
  UNetSteering s;
  for (const fs::path& path : files.controlnets) {
    const Component c = open_controlnet(path, component_class(Architecture::controlnet), &json);
    const ControlNetConfig config = ControlNetConfig::from(c.config);
    require_fit(c, config, unet, files.factor);
    check<ControlNet>(c, config, warn);
    s.nets.push_back(std::make_shared<const ControlNet>(weights_of(c, where), config));
    if (s.nets.size() == 1) s.known.always_guesses = config.global_pool;  // it was trained for that
    s.known.infos.push_back(control_info(path, c, ControlInfo::Kind::controlnet));
    s.known.sights.push_back({});
  }
  // Adapters work once, before the first step.
  const Where once{where.device, where.dtype, where.residency ? where.residency->another() : nullptr};
  for (const fs::path& path : files.adapters) {
    const Component c = open_t2i_adapter(path);
    const T2IAdapterConfig config = T2IAdapterConfig::from(c.config);
    const std::size_t used = require_fit(c, config, unet, files.factor);
    check<T2IAdapter>(c, config, warn);
    s.adapters.push_back({std::make_shared<const T2IAdapter>(weights_of(c, once), config), used});
    s.known.size_multiple = std::lcm(s.known.size_multiple, config.factor);
    s.known.infos.push_back(control_info(path, c, ControlInfo::Kind::t2i_adapter));
    s.known.sights.push_back({config.in_channels == 1 ? Sight::Of::lightness : Sight::Of::unit_pixels});
  }
  return s;
}

}  // namespace sdgen
