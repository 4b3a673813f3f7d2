// A U-Net that pictures steer.
#pragma once

#include <memory>
#include <vector>

#include "nn/controlnet.h"
#include "nn/unet.h"

namespace sdgen {

// A ControlNet at work.
struct NetControl {
  std::shared_ptr<const ControlNet> net;
  Tensor embedded;  // its picture, by ControlNet::embed()
  double scale = 1;
};

// Decorates a U-Net. The ControlNets' residuals are summed (diffusers' MultiControlNetModel), and so are the adapters'
// features (MultiAdapter).
class ControlledUNet final : public Backbone {
 public:
  struct Mode {
    bool guess = false;         // ControlNets see the prompted part of the batch alone; their residuals rise with depth
    std::int64_t pictures = 1;  // of a batch; where it has more rows, so many at its front are the negative prompts'
  };
  // `features`: of T2I-Adapters, scaled, each one a level of the U-Net from the finest, then the middle's.
  ControlledUNet(std::shared_ptr<const UNet> unet, std::vector<NetControl> nets,
                 const std::vector<std::vector<Tensor>>& features, Mode mode);

  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const override;

 private:
  std::shared_ptr<const UNet> unet_;
  std::vector<NetControl> nets_;
  Additions adapted_;
  Mode mode_;
};

}  // namespace sdgen
