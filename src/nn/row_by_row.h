// A network that is asked about each row of a batch alone.
#pragma once

#include <ATen/ops/cat.h>

#include <memory>
#include <vector>

#include "nn/backbone.h"

namespace sdgen {

// Rows whose contexts are of different lengths (context_mask, on the CPU: the first tokens of each count) are computed
// one by one, each with the tokens that count and without a mask: no row depends on its neighbours, and none pays for
// the length of another. A context without a mask passes as it is.
class RowByRow final : public Backbone {
 public:
  explicit RowByRow(std::shared_ptr<const Backbone> network) : network_(std::move(network)) {}

  at::Tensor predict(const at::Tensor& x, const at::Tensor& t, const Conditioning& conditioning) const override {
    if (!conditioning.context_mask.defined()) return network_->predict(x, t, conditioning);
    std::vector<at::Tensor> rows;
    for (std::int64_t i = 0; i < x.size(0); ++i) {
      Conditioning one = conditioning.rows(i, i + 1);
      one.context = one.context.slice(1, 0, one.context_mask.sum().item<std::int64_t>());
      one.context_mask = at::Tensor();
      rows.push_back(network_->predict(x.slice(0, i, i + 1), t.slice(0, i, i + 1), one));
    }
    return rows.size() == 1 ? rows[0] : at::cat(rows);
  }

 private:
  std::shared_ptr<const Backbone> network_;
};

}  // namespace sdgen
