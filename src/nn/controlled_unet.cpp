#include "nn/controlled_unet.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/zeros.h>

#include <optional>

namespace sdgen {
namespace {

void accumulate(Tensor& sum, const Tensor& more) { sum = sum.defined() ? sum + more : more; }

// Nothing for so many rows at the front.
Tensor behind_zeros(const Tensor& x, std::int64_t rows) {
  std::vector<std::int64_t> shape = x.sizes().vec();
  shape[0] = rows;
  return rows ? at::cat({at::zeros(shape, x.options()), x}) : x;
}

}  // namespace

ControlledUNet::ControlledUNet(std::shared_ptr<const UNet> unet, std::vector<NetControl> nets,
                               const std::vector<std::vector<Tensor>>& features, Mode mode)
    : unet_(std::move(unet)), nets_(std::move(nets)), mode_(mode) {
  for (const std::vector<Tensor>& levels : features) {
    adapted_.levels.resize(std::max(adapted_.levels.size(), levels.size()));
    for (std::size_t i = 0; i < levels.size(); ++i) accumulate(adapted_.levels[i], levels[i]);
  }
}

Tensor ControlledUNet::predict(const Tensor& x, const Tensor& t, const Conditioning& conditioning) const {
  UNet::Features f = unet_->encode(x, t, conditioning, adapted_);
  const std::int64_t rows = x.size(0), spared = mode_.guess && rows > mode_.pictures ? mode_.pictures : 0;
  const Tensor given_x = x.slice(0, spared, rows), given_t = t.slice(0, spared, rows);
  const std::optional<Conditioning> some = spared ? std::optional(conditioning.rows(spared, rows)) : std::nullopt;
  const Conditioning& given = some ? *some : conditioning;
  ControlNet::Residuals sum{std::vector<Tensor>(f.skips.size()), {}};
  for (const NetControl& control : nets_) {
    const auto more = control.net->forward(given_x, given_t, given, control.embedded, control.scale, mode_.guess);
    for (std::size_t i = 0; i < more.skips.size(); ++i) accumulate(sum.skips[i], more.skips[i]);
    accumulate(sum.mid, more.mid);
  }
  if (sum.mid.defined()) {
    for (std::size_t i = 0; i < f.skips.size(); ++i) f.skips[i] = f.skips[i] + behind_zeros(sum.skips[i], spared);
    f.mid = f.mid + behind_zeros(sum.mid, spared);
  }
  return unet_->decode(std::move(f), conditioning).to(at::kFloat);
}

}  // namespace sdgen
