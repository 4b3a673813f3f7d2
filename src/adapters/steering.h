// The ControlNets and T2I-Adapters of a model: loaded with it, put to work by each batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "formats/model_files.h"
#include "model/network_files.h"
#include "model/per_call.h"
#include "nn/controlled_unet.h"
#include "nn/replayed.h"
#include "nn/t2i_adapter.h"
#include "sdgen/sdgen.h"

namespace sdgen {

// Which network calls of a run something acts in: begin <= call < end, from 0.
struct Calls {
  std::size_t begin = 0, end = 0;
  bool contain(std::size_t call) const { return begin <= call && call < end; }
};

// What a request says of one of the networks: its picture [1, 3, H, W] in [0, 1] on the device, and when it acts.
struct ControlInput {
  at::Tensor picture;
  double scale = 1;
  Calls calls;
};

struct Steering {
  struct Adapter {
    std::shared_ptr<const T2IAdapter> network;
    std::size_t used;  // of its features: those that have a place in the U-Net
  };

  bool any() const { return !infos.empty(); }
  // The U-Net as `uses`, one for each of `infos`, steer it through the `calls` network calls of a run. `recorder`: see
  // Replayed.
  PerCall<std::shared_ptr<const Backbone>> steer(const std::shared_ptr<const UNet>& unet,
                                                 const std::vector<ControlInput>& uses, ControlledUNet::Mode mode,
                                                 std::size_t calls, const Replays::Recorder& recorder) const;

  std::vector<std::shared_ptr<const ControlNet>> nets;
  std::vector<Adapter> adapters;
  std::vector<ControlInfo> infos;  // of nets, then of adapters
  std::int64_t size_multiple = 1;  // of the picture's sides: what the adapters fold

  // Was the first ControlNet trained for guess mode (global_pool_conditions)?
  bool always_guess() const { return !nets.empty() && nets.front()->control_config().global_pool; }
  // Does network i of `infos` see the lightness alone?
  bool grey(std::size_t i) const {
    return i >= nets.size() && adapters[i - nets.size()].network->config().in_channels == 1;
  }
};

struct SteeringFiles {
  const std::vector<std::filesystem::path>&controlnets, &adapters;
  std::int64_t factor;  // pixels a latent, along a side
};

// For a U-Net `unet` that has the config `json`: misfits are found before it is loaded. Throws Error(input) for a file
// that is not such a network, is malformed, or was made for another U-Net.
Steering open_steering(const UNetConfig& unet, const Config& json, const SteeringFiles& files, const Where& where,
                       const Warn& warn);

}  // namespace sdgen
