#include "nn/controlled_transformer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>

namespace sdgen {

Tensor ControlledTransformer::predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const {
  LayerAdditions additions;
  for (const TransformerControl& control : controls_) {
    const std::int64_t spared = control.net->sees_prompts_alone() && x.size(0) > pictures_ ? pictures_ : 0,
                       rows = x.size(0) - spared;
    LayerSamples said =
        control.net->samples({x.slice(0, spared), t.slice(0, spared), conditioning.rows(spared, spared + rows),
                              control.picture.repeat({rows / control.picture.size(0), 1, 1, 1}), control.mode},
                             *transformer_);
    for (Tensor& sample : said.samples) {
      sample = sample * control.scale;
      if (spared) sample = at::cat({sample.slice(0, 0, spared), sample});
    }
    additions.of_networks.push_back(std::move(said));
  }
  return transformer_->predict(x, t, conditioning, additions);
}

}  // namespace sdgen
