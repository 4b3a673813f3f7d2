// The ControlNets and T2I-Adapters of a model: loaded with it, put to work by each batch.
#pragma once

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <filesystem>
#include <functional>
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

// What a request says of one of the networks: its picture on the device, as its Sight says, and when it acts.
struct ControlInput {
  at::Tensor picture;  // pixels [1, 3, H, W], or latents [1 or rows, C, h, w]
  double scale = 1;
  Calls calls = {};
  std::int64_t mode = 0;  // which of Sight::modes
};

// What a network sees of its picture.
struct Sight {
  // Pixels in [0, 1], or their lightness alone; pixels in [-1, 1]; what the autoencoder makes of these.
  enum class Of { unit_pixels, lightness, pixels, latents };
  Of of = Of::unit_pixels;
  bool drawn = false;      // of latents: a sample, drawn before any other noise, not their mean
  double offset = 0;       // that is added to the latents
  std::int64_t modes = 0;  // kinds of pictures that the network is told apart; 0: it knows one kind
};

// What is known of the networks that steer a model.
struct Steering {
  std::vector<ControlInfo> infos = {};  // ControlNets, then adapters
  std::vector<Sight> sights = {};       // of each of them
  std::int64_t size_multiple = 1;       // of the picture's sides
  std::int64_t most = kMostSide;        // of these sides
  bool can_guess = true;                // see Request::guess_mode
  bool always_guesses = false;
  bool told_guidance = false;  // a guidance scale, whatever the network that they steer is told

  std::vector<std::string> notes = {};  // what their files do not tell, and was decided

  bool any() const { return !infos.empty(); }
  std::size_t nets() const {
    return std::size_t(std::ranges::count(infos, ControlInfo::Kind::controlnet, &ControlInfo::kind));
  }
};

struct SteeringMode {
  bool guess = false;
  std::int64_t pictures = 1;  // of a batch; where it has more rows, so many at its front are the negative prompts'
};

// A network as those that act steer it.
using Steered = std::function<std::shared_ptr<const Backbone>(const std::vector<bool>& acting)>;
// The same for the pictures of a batch: one input for each of Steering::infos.
using Steer = std::function<Steered(const std::vector<ControlInput>& uses, const SteeringMode& mode)>;

// A network as `uses` steer it through the `calls` network calls of a run. `recorder`: see Replayed.
PerCall<std::shared_ptr<const Backbone>> steer_calls(const Steer& steer, const std::vector<ControlInput>& uses,
                                                     const SteeringMode& mode, std::size_t calls,
                                                     const Replays::Recorder& recorder);

// What the web UI's ControlNet extension knows a file by, and what people call it.
ControlInfo control_info(const std::filesystem::path& path, const Component& c, ControlInfo::Kind kind);

// The networks that steer a U-Net.
struct UNetSteering {
  struct Adapter {
    std::shared_ptr<const T2IAdapter> network;
    std::size_t used;  // of its features: those that have a place in the U-Net
  };
  Steer of(const std::shared_ptr<const UNet>& unet) const;

  std::vector<std::shared_ptr<const ControlNet>> nets = {};
  std::vector<Adapter> adapters = {};
  Steering known = {};
};

struct SteeringFiles {
  const std::vector<std::filesystem::path>&controlnets, &adapters;
  std::int64_t factor;  // pixels a latent, along a side
};

// For a U-Net `unet` that has the config `json`: misfits are found before it is loaded. Throws Error(input) for a file
// that is not such a network, is malformed, or was made for another U-Net.
UNetSteering open_steering(const UNetConfig& unet, const Config& json, const SteeringFiles& files, const Where& where,
                           const Warn& warn);

}  // namespace sdgen
