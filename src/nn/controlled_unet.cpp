#include "nn/controlled_unet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

namespace sdgen {
namespace {

void accumulate(Tensor& sum, const Tensor& more) { sum = sum.defined() ? sum + more : more; }

// All but the first `rows` of a batch.
Tensor without(const Tensor& x, std::int64_t rows) { return x.defined() ? x.narrow(0, rows, x.size(0) - rows) : x; }

Conditioning without(const Conditioning& c, std::int64_t rows) {
  Conditioning rest = c;
  for (Tensor* part : {&rest.context, &rest.pooled, &rest.size_ids, &rest.guidance_embed}) *part = without(*part, rows);
  return rest;
}

// Nothing for so many rows at the front.
Tensor behind_zeros(const Tensor& x, std::int64_t rows) {
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape[0] = rows;
  return rows ? at::cat({at::zeros(shape, x.options()), x}) : x;
}

}  // namespace

Additions ControlledUNet::adapted(std::size_t call) const {
  Additions sum;
  for (const AdapterControl& adapter : adapters_) {
    if (!adapter.calls.contain(call)) continue;
    sum.levels.resize(std::max(sum.levels.size(), adapter.features.size()));
    for (std::size_t i = 0; i < adapter.features.size(); ++i) accumulate(sum.levels[i], adapter.features[i]);
  }
  return sum;
}

Tensor ControlledUNet::predict(const Tensor& x, double t, const Conditioning& conditioning) const {
  const std::size_t call = call_++;
  UNet::Features f = unet_.encode(x, t, conditioning, adapted(call));
  const std::int64_t spared = mode_.guess ? mode_.negative : 0;
  const Tensor given_x = without(x, spared);
  const Conditioning given = without(conditioning, spared);
  ControlNet::Residuals sum{std::vector<Tensor>(f.skips.size()), {}};
  for (const NetControl& control : nets_) {
    if (!control.calls.contain(call)) continue;
    const auto more = control.net->forward(given_x, t, given, control.embedded, control.scale, mode_.guess);
    for (std::size_t i = 0; i < more.skips.size(); ++i) accumulate(sum.skips[i], more.skips[i]);
    accumulate(sum.mid, more.mid);
  }
  if (sum.mid.defined()) {
    for (std::size_t i = 0; i < f.skips.size(); ++i) f.skips[i] = f.skips[i] + behind_zeros(sum.skips[i], spared);
    f.mid = f.mid + behind_zeros(sum.mid, spared);
  }
  return unet_.decode(std::move(f), conditioning.context).to(at::kFloat);
}

}  // namespace sdgen
