#include "nn/controlled_unet.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/zeros_like.h>

namespace sdgen {
namespace {

void accumulate(Tensor& sum, const Tensor& more) { sum = sum.defined() ? sum + more : more; }

// The prompted half of a batch.
Tensor second_half(const Tensor& x) { return x.defined() ? x.chunk(2)[1] : x; }

Conditioning second_half(const Conditioning& c) {
  return {second_half(c.context), second_half(c.pooled), second_half(c.size_ids), second_half(c.guidance_embed)};
}

// Nothing for the first half of the batch.
Tensor for_both_halves(const Tensor& second) { return at::cat({at::zeros_like(second), second}); }

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
  const bool half = mode_.guess && mode_.guided;
  const Tensor seen = half ? second_half(x) : x;
  const Conditioning heard = half ? second_half(conditioning) : conditioning;
  ControlNet::Residuals sum{std::vector<Tensor>(f.skips.size()), {}};
  for (const NetControl& control : nets_) {
    if (!control.calls.contain(call)) continue;
    const auto more = control.net->forward(seen, t, heard, control.embedded, control.scale, mode_.guess);
    for (std::size_t i = 0; i < more.skips.size(); ++i) accumulate(sum.skips[i], more.skips[i]);
    accumulate(sum.mid, more.mid);
  }
  if (sum.mid.defined()) {
    const auto whole = [half](const Tensor& r) { return half ? for_both_halves(r) : r; };
    for (std::size_t i = 0; i < f.skips.size(); ++i) f.skips[i] = f.skips[i] + whole(sum.skips[i]);
    f.mid = f.mid + whole(sum.mid);
  }
  return unet_.decode(std::move(f), conditioning.context).to(at::kFloat);
}

}  // namespace sdgen
