// The ControlNets and T2I-Adapters of a model: loaded with it, put to work by each batch.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "adapters/model_files.h"
#include "nn/controlled_unet.h"
#include "sdgen/sdgen.h"

namespace sdgen {

struct Steering {
  // What a request says of one of them: its picture [1, 3, H, W] in [0, 1] on the device, and when it acts.
  struct Use {
    at::Tensor picture;
    double scale = 1;
    Calls calls;
  };

  std::vector<ControlInfo> infos;  // ControlNets, then T2I-Adapters
  std::int64_t size_multiple = 1;  // of the picture's sides: what the adapters fold
  std::vector<bool> grey;          // of each: it sees the lightness alone
  bool always_guess = false;       // its first ControlNet was trained for guess mode (global_pool_conditions)
  // The U-Net as `uses`, one for each of `infos`, steer it through one run. Null where there are none.
  std::function<std::unique_ptr<Backbone>(const std::vector<Use>& uses, ControlledUNet::Mode mode)> steer;

  bool any() const { return !infos.empty(); }
  std::size_t controlnets() const;
};

struct SteeringFiles {
  const std::vector<std::filesystem::path>&controlnets, &adapters;
  std::int64_t factor;  // pixels a latent, along a side
};

struct Where {
  at::Device device;
  at::ScalarType dtype;
};

// `unet` must outlive the result; `config` is its own. Throws Error(input) for a file that is no such network, is
// malformed, or was made for another U-Net.
Steering open_steering(const UNet& unet, const Config& config, const SteeringFiles& files, const Where& where,
                       const Warn& warn);

}  // namespace sdgen
