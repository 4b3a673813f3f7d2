// A transformer that pictures steer.
#pragma once

#include "nn/steerable_transformer.h"

namespace sdgen {

// A ControlNet at work.
struct TransformerControl {
  std::shared_ptr<const TransformerControlNet> net;
  Tensor picture;  // [1 or rows, C, H, W]; under guidance a batch is [rows; rows]
  double scale = 1;
  std::int64_t mode = 0;
};

// Decorates a transformer. What several ControlNets say is summed.
class ControlledTransformer final : public Backbone {
 public:
  // `pictures`: of a batch; where it has more rows, so many at its front are the negative prompts'.
  ControlledTransformer(std::shared_ptr<const SteerableTransformer> transformer,
                        std::vector<TransformerControl> controls, std::int64_t pictures)
      : transformer_(std::move(transformer)), controls_(std::move(controls)), pictures_(pictures) {}

  Tensor predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const override;

 private:
  std::shared_ptr<const SteerableTransformer> transformer_;
  std::vector<TransformerControl> controls_;
  std::int64_t pictures_;
};

}  // namespace sdgen
