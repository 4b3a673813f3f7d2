// A network that is asked about each row of a batch alone.
#pragma once

#include <ATen/ops/cat.h>

#include <functional>
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
  // For networks that remember a run's calls: each row has its own, so that what it remembers is not another row's, and
  // is asked alone even where contexts are of one length. A run at a time.
  explicit RowByRow(std::function<std::shared_ptr<const Backbone>()> make) : make_(std::move(make)) {}

  at::Tensor predict(const at::Tensor& x, const at::Tensor& t, const Conditioning& conditioning) const override {
    if (!conditioning.context_mask.defined() && !make_) return network_->predict(x, t, conditioning);
    std::vector<at::Tensor> rows;
    for (std::int64_t i = 0; i < x.size(0); ++i)
      rows.push_back(of_row(i).predict(x.slice(0, i, i + 1), t.slice(0, i, i + 1), alone(conditioning, i)));
    return rows.size() == 1 ? rows[0] : at::cat(rows);
  }

 private:
  static Conditioning alone(const Conditioning& conditioning, std::int64_t row) {
    Conditioning one = conditioning.rows(row, row + 1);
    if (!one.context_mask.defined()) return one;
    one.context = one.context.slice(1, 0, one.context_mask.sum().item<std::int64_t>());
    one.context_mask = at::Tensor();
    return one;
  }
  const Backbone& of_row(std::int64_t row) const {
    if (!make_) return *network_;
    while (std::int64_t(made_.size()) <= row) made_.push_back(make_());
    return *made_[std::size_t(row)];
  }

  std::shared_ptr<const Backbone> network_;
  std::function<std::shared_ptr<const Backbone>()> make_;
  mutable std::vector<std::shared_ptr<const Backbone>> made_;
};

}  // namespace sdgen
