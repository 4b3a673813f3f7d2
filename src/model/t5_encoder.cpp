#include "model/t5_encoder.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/constant_pad_nd.h>

#include <algorithm>

namespace sdgen {

T5Encoder::T5Encoder(std::unique_ptr<Tokenizer> tokenizer, std::unique_ptr<T5> network, Padding padding,
                     at::Device device)
    : tokenizer_(std::move(tokenizer)), network_(std::move(network)), padding_(padding), device_(device) {
  require_ids(*tokenizer_, network_->config().vocab_size, "T5");
}

Encoded T5Encoder::encode(const std::vector<int>& ids, int) const {
  if (padding_ == Padding::counts) return {network_->forward(row_of(ids, device_)), {}, {}};
  const auto end = std::find(ids.begin(), ids.end(), tokenizer_->end_id());
  const std::vector<int> text(ids.begin(), end == ids.end() ? end : end + 1);
  const auto length = static_cast<std::int64_t>(ids.size()), used = static_cast<std::int64_t>(text.size());
  const auto first = [&](std::int64_t count) {
    return at::arange(length, at::TensorOptions().device(device_)).lt(count).unsqueeze(0);
  };
  if (padding_ == Padding::looks) return {network_->forward(row_of(ids, device_), used), {}, first(used + 1)};
  // What is masked changes nothing: biases depend on distances alone. So it need not be computed.
  return {at::constant_pad_nd(network_->forward(row_of(text, device_)), {0, 0, 0, length - used}), {}, first(used)};
}

}  // namespace sdgen
