#include "nn/t2i_adapter.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/pixel_unshuffle.h>
#include <ATen/ops/relu.h>

#include "sdgen/error.h"

namespace sdgen {

T2IAdapterConfig T2IAdapterConfig::from(const Config& json) {
  json.require("_class_name", "T2IAdapter");
  T2IAdapterConfig c;
  const std::string type = json.string("adapter_type", "full_adapter");
  if (type == "full_adapter_xl")
    c.type = Type::full_xl;
  else if (type == "light_adapter")
    c.type = Type::light;
  else if (type != "full_adapter")
    json.unsupported("adapter_type", "full_adapter, full_adapter_xl and light_adapter are");
  c.in_channels = json.integer("in_channels", 3);
  if (c.in_channels != 1 && c.in_channels != 3) json.unsupported("in_channels", "1 and 3 are pictures");
  if (json.has("channels")) c.channels = json.integers("channels");
  if (c.channels.empty() || c.channels.size() > 16) json.unsupported("channels", "expected 1 to 16 numbers");
  for (const std::int64_t n : c.channels)
    if (n < (c.type == Type::light ? 4 : 1) || n > 65536) json.unsupported("channels", "expected 4 to 65536");
  c.resnets = json.integer("num_res_blocks", 2);
  if (c.resnets < 1 || c.resnets > 100) json.unsupported("num_res_blocks", "expected 1 to 100");
  c.factor = json.integer("downscale_factor", 8);
  if (c.factor < 1 || c.factor > 256) json.unsupported("downscale_factor", "expected 1 to 256");
  return c;
}

std::vector<T2IAdapterConfig::Block> T2IAdapterConfig::blocks() const {
  std::vector<Block> list;
  const std::size_t n = channels.size();
  if (type == Type::light) {  // it has no convolution before its blocks, and one block more than widths
    list.push_back({in_channels * factor * factor, channels[0], false});
    for (std::size_t i = 0; i < n; ++i) list.push_back({channels[i], channels[std::min(i + 1, n - 1)], true});
    return list;
  }
  for (std::size_t i = 0; i < n; ++i) {
    // SDXL's second level is as large as the adapter's first feature, and the middle block's as its third.
    const bool xl = type == Type::full_xl;
    const std::size_t before = i == 0 || (xl && i > 2) ? i : i - 1;
    list.push_back({channels[before], channels[i], xl ? i == 2 : i > 0});
  }
  return list;
}

AdapterBlock::AdapterBlock(const Weights& w, const T2IAdapterConfig::Block& block, std::int64_t resnets, bool light)
    : halve_(block.halve) {
  const std::int64_t inner = light ? block.out / 4 : block.out;
  constexpr Conv2d::Params point{1, 1, 0};
  if (light || block.in != block.out) conv_in_ = add<Conv2d>(w, "in_conv", block.in, inner, point);
  for (std::int64_t i = 0; i < resnets; ++i)
    resnets_.push_back(
        {add<Conv2d>(w, concat("resnets.", i, ".block1"), inner, inner),
         add<Conv2d>(w, concat("resnets.", i, ".block2"), inner, inner, light ? Conv2d::Params{} : point)});
  if (light) conv_out_ = add<Conv2d>(w, "out_conv", inner, block.out, point);
}

Tensor AdapterBlock::forward(const Tensor& x) const {
  Tensor h = halve_ ? at::avg_pool2d(x, {2, 2}, {2, 2}, {0, 0}, /*ceil_mode=*/true) : x;
  if (conv_in_) h = conv_in_->forward(h);
  for (const Resnet& resnet : resnets_) h = resnet.conv2->forward(at::relu(resnet.conv1->forward(h))) + h;
  return conv_out_ ? conv_out_->forward(h) : h;
}

T2IAdapter::T2IAdapter(const Weights& w, T2IAdapterConfig config)
    : Module(w), config_(std::move(config)), dtype_(w.dtype()) {
  const bool light = config_.type == T2IAdapterConfig::Type::light;
  const std::int64_t folded = config_.in_channels * config_.factor * config_.factor;
  if (!light) conv_in_ = add<Conv2d>(w, "adapter.conv_in", folded, config_.channels[0]);
  for (const auto& block : config_.blocks())
    blocks_.push_back(add<AdapterBlock>(w, concat("adapter.body.", blocks_.size()), block, config_.resnets, light));
}

std::vector<Tensor> T2IAdapter::features(const Tensor& picture) const {
  take_up_device();
  Tensor h = at::pixel_unshuffle(picture.narrow(1, 0, config_.in_channels).to(dtype_), config_.factor);
  if (conv_in_) h = conv_in_->forward(h);
  std::vector<Tensor> list;
  for (const auto& block : blocks_) list.push_back(h = block->forward(h));
  return list;
}

}  // namespace sdgen
