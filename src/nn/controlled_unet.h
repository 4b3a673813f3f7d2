// A U-Net that pictures steer.
#pragma once

#include <memory>
#include <vector>

#include "nn/controlnet.h"
#include "nn/unet.h"

namespace sdgen {

// Which network calls of a run something acts in: begin <= call < end, from 0.
struct Calls {
  std::size_t begin = 0, end = 0;
  bool contain(std::size_t call) const { return begin <= call && call < end; }
};

// A ControlNet at work.
struct NetControl {
  std::shared_ptr<const ControlNet> net;
  Tensor embedded;  // its picture, by ControlNet::embed()
  double scale = 1;
  Calls calls;
};

// A T2I-Adapter at work: its features, scaled, one a level of the U-Net from the finest, then the middle's.
struct AdapterControl {
  std::vector<Tensor> features;
  Calls calls;
};

// Decorates a U-Net for one run of one batch: it counts its calls. The ControlNets' residuals are summed (diffusers'
// MultiControlNetModel), and so are the adapters' features (MultiAdapter).
class ControlledUNet : public Backbone {
 public:
  struct Mode {
    bool guess = false;         // ControlNets see the prompted part of the batch alone; their residuals rise with depth
    std::int64_t negative = 0;  // rows of the batch, at its front, that are the negative prompts'
  };
  // `unet` must outlive this.
  ControlledUNet(const UNet& unet, std::vector<NetControl> nets, std::vector<AdapterControl> adapters, Mode mode)
      : unet_(unet), nets_(std::move(nets)), adapters_(std::move(adapters)), mode_(mode) {}

  Tensor predict(const Tensor& x, double t, const Conditioning& conditioning) const override;

 private:
  Additions adapted(std::size_t call) const;

  const UNet& unet_;
  std::vector<NetControl> nets_;
  std::vector<AdapterControl> adapters_;
  Mode mode_;
  mutable std::size_t call_ = 0;
};

}  // namespace sdgen
