#include "ops/ops.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mish.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/upsample_nearest2d.h>
#include <ATen/ops/var_mean.h>
#include <ATen/ops/view_as_complex.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <array>

#include "ops/cpu.h"
#include "ops/cuda.h"
#include "ops/int8_conv.h"
#include "ops/onednn.h"
#include "ops/panels.h"
#include "ops/tally.h"

namespace sdgen {

at::Tensor Activation::operator()(const at::Tensor& x) const {
  if (!ops::wants_gradient(x) && ops::cpu::activates(x, kind)) return ops::cpu::activated(x, kind);
  switch (kind) {
    case silu:
      return at::silu(x);
    case gelu:
      return at::gelu(x);
    case quick_gelu:
      return x * at::sigmoid(1.702 * x);
    case relu:
      return at::relu(x);
    case mish:
      return at::mish(x);
    case gelu_tanh:
      return at::gelu(x, "tanh");
    case none:
      break;
  }
  return x;
}

namespace ops {
namespace {

// `fresh` is not shared yet.
Tensor plus_in_place(const Tensor& fresh, const Tensor& plus) { return plus.defined() ? fresh.add_(plus) : fresh; }

// Throws where a product with a packed weight would lose a gradient on its way.
void require_no_gradient(const Tensor& x, const Tensor& bias, const Tensor& plus = {}) {
  TORCH_CHECK(!wants_gradient(x, bias, plus),
              "a weight that is laid out for kernels has no gradients: read the network with Keep::trainable");
}

Tensor channels_in_front(const Tensor& pixels) { return pixels.permute({0, 3, 1, 2}); }
Tensor channels_behind(const Tensor& image) { return image.permute({0, 2, 3, 1}).contiguous(); }

// [B, N, heads*width] <-> [B, heads, N, width]
Tensor heads_apart(const Tensor& x, std::int64_t heads) {
  return x.unflatten(2, {heads, x.size(2) / heads}).transpose(1, 2);
}
Tensor heads_joined(const Tensor& x) { return x.transpose(1, 2).flatten(2); }

// On the meta device: a picture of other sizes.
Tensor picture_like(const Tensor& x, std::int64_t channels, std::int64_t height, std::int64_t width) {
  return at::empty({x.size(0), channels, height, width}, x.options().memory_format(at::MemoryFormat::ChannelsLast));
}

Call call_of_attention(const Tensor& q, const Tensor& k, std::int64_t heads) {
  return {Call::Kind::attention, q.scalar_type(), {q.size(0), q.size(1), k.size(1), heads, q.size(2) / heads}};
}

bool is_packed_linear(const Tensor& weight) { return panels::is_packed(weight) || weight.is_mkldnn(); }

}  // namespace

Tensor packed_linear(const Tensor& weight) {
  if (panels::takes(weight.device(), weight.scalar_type())) return panels::packed(weight);
  return onednn::takes(weight) ? onednn::packed_linear(weight) : weight;
}

Tensor packed_conv2d(const Tensor& weight, std::int64_t stride, std::int64_t padding, bool large_pictures) {
  if (weight.is_meta()) return weight;
  if (panels::takes(weight.device(), weight.scalar_type()))
    return panels::packed_conv2d(weight, stride, padding, large_pictures);
  // A 1x1 convolution is a matrix product over the pixels. (oneDNN's reorder picks a layout for it that its convolution
  // does not take, and then undoes that in every call.)
  if (weight.size(2) == 1 && weight.size(3) == 1 && stride == 1 && padding == 0)
    return packed_linear(weight.flatten(1));
  return onednn::takes(weight) ? onednn::packed_conv2d(weight, stride, padding)
                               : weight.contiguous(at::MemoryFormat::ChannelsLast);
}

Tensor unpacked_linear(const Tensor& packed) {
  if (!is_packed_linear(packed)) return packed;
  // Whatever the layout: a matrix is what it makes of the unit vectors. In parts, for a matrix may be wide.
  constexpr std::int64_t most = 1024;
  const std::int64_t out = packed.size(0), in = packed.size(1);
  const auto options = at::TensorOptions().dtype(packed.scalar_type());
  const Tensor weight = at::empty({out, in}, options);
  for (std::int64_t first = 0; first < in; first += most) {
    const std::int64_t count = std::min(most, in - first);
    const Tensor units = at::zeros({count, in}, options);
    units.narrow(1, first, count).fill_diagonal_(1);
    weight.narrow(1, first, count).copy_(linear(units, packed, Tensor()).t());
  }
  return weight;
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& plus) {
  if (x.is_meta()) {
    std::vector<std::int64_t> sizes = x.sizes().vec();
    const std::int64_t in = sizes.back(), out = sizes.back() = weight.size(0);
    return counted({Call::Kind::product, x.scalar_type(), {x.numel() / in, in, out}}, at::empty(sizes, x.options()));
  }
  if (is_packed_linear(weight)) {
    require_no_gradient(x, bias, plus);
    return panels::is_packed(weight) ? panels::linear(x, weight, bias, plus) : onednn::linear(x, weight, bias, plus);
  }
  return plus_in_place(at::linear(x, weight, if_defined(bias)), plus);
}

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, std::int64_t stride, std::int64_t padding,
              const Tensor& plus) {
  if (x.is_meta()) {
    const std::int64_t side = weight.size(2);
    const auto result = [&](std::int64_t of) { return (of + 2 * padding - side) / stride + 1; };
    return counted({Call::Kind::convolution,
                    x.scalar_type(),
                    {x.size(0), x.size(1), x.size(2), x.size(3), weight.size(0), side, stride, padding}},
                   picture_like(x, weight.size(0), result(x.size(2)), result(x.size(3))));
  }
  if (panels::is_packed(weight) || onednn::is_packed_conv2d(weight) || int8::is_packed(weight))
    require_no_gradient(x, bias, plus);
  if (panels::is_packed(weight)) return panels::conv2d(x, weight, bias, stride, padding, plus);
  if (int8::is_packed(weight)) return int8::conv2d(x, weight, bias, plus);
  if (weight.dim() == 2)
    return channels_in_front(
        linear(channels_behind(x), weight, bias, plus.defined() ? channels_behind(plus) : Tensor()));
  if (onednn::is_packed_conv2d(weight)) return plus_in_place(onednn::conv2d(x, weight, bias, stride, padding), plus);
  return plus_in_place(at::conv2d(x, weight, if_defined(bias), {stride, stride}, {padding, padding}), plus);
}

Tensor packed_doubling_conv2d(const Tensor& weight) {
  if (weight.is_meta()) return weight;
  // Of rows 2i and 2i+1 of the large picture, the first sees small rows i-1, i, i, the second i, i, i+1.
  const auto halves = [](const Tensor& w, std::int64_t dim) {
    const auto k = w.unbind(dim);
    return std::array{at::stack({k[0], k[1] + k[2]}, dim), at::stack({k[0] + k[1], k[2]}, dim)};
  };
  std::vector<Tensor> kernels;
  const bool half = at::isReducedFloatingType(weight.scalar_type());
  for (const Tensor& row : halves(half ? weight.to(at::kFloat) : weight, 2))
    for (const Tensor& kernel : halves(row, 3)) kernels.push_back(kernel);
  if (panels::takes(weight.device(), weight.scalar_type())) return panels::packed_doubling(kernels);
  return packed_conv2d(at::cat(kernels).to(weight.scalar_type()), /*stride=*/1, /*padding=*/1);
}

Tensor doubling_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (x.is_meta())
    return counted(
        {Call::Kind::doubling, x.scalar_type(), {x.size(0), x.size(1), x.size(2), x.size(3), weight.size(0)}},
        picture_like(x, weight.size(0), 2 * x.size(2), 2 * x.size(3)));
  if (weight.size(2) == 3)  // plain
    return at::conv2d(at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)}), weight, if_defined(bias), 1, 1);
  require_no_gradient(x, bias);
  if (panels::is_packed(weight)) return panels::doubling_conv2d(x, weight, bias);
  const std::int64_t batch = x.size(0), height = x.size(2), width = x.size(3), out = weight.size(0) / 4;
  const Tensor large = at::empty({batch, height, 2, width, 2, out}, x.options()), biases = bias.repeat(4);
  // On the CPU in strips whose results stay in the cache until they are in their places. Each is computed with a row of
  // neighbours above and below, as far as there are any.
  constexpr std::int64_t bytes_at_once = std::int64_t{16} << 20;
  const std::int64_t row_bytes = batch * (width + 1) * 4 * out * x.element_size();
  const std::int64_t strip =
      x.is_cpu() ? std::min(std::max<std::int64_t>(bytes_at_once / row_bytes, 16), height) : height;
  for (std::int64_t top = 0; top < height; top += strip) {
    const std::int64_t rows = std::min(strip, height - top);
    const std::int64_t first = std::max<std::int64_t>(top - 1, 0), end = std::min(top + rows + 1, height);
    const Tensor all =  // [B, end-first+1, W+1, 4 out]
        conv2d(x.narrow(2, first, end - first), weight, biases, 1, 1).permute({0, 2, 3, 1});
    for (std::int64_t row = 0; row < 2; ++row)
      for (std::int64_t column = 0; column < 2; ++column)
        large.select(4, column)
            .select(2, row)
            .narrow(1, top, rows)
            .copy_(all.narrow(1, top - first + row, rows)
                       .narrow(2, column, width)
                       .narrow(3, (2 * row + column) * out, out));
  }
  return channels_in_front(large.view({batch, 2 * height, 2 * width, out}));
}

Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias, double eps,
                  Activation act, const Tensor& shift) {
  if (x.is_meta()) return at::empty_like(x);
  const bool silu = act.kind == Activation::silu, composite = wants_gradient(x, weight, bias, shift);
  if (!composite && cpu::takes(x) && x.dim() == 4 && x.numel() > 0 && x.is_contiguous(at::MemoryFormat::ChannelsLast)) {
    RECORD_FUNCTION("sdgen::group_norm", {});
    const Tensor y = cpu::group_norm(x, groups, weight, bias, eps, silu, shift);
    return silu ? y : act(y);
  }
  if (!composite && x.dim() == 4 && cuda::takes(x) &&
      x.is_contiguous(at::MemoryFormat::ChannelsLast)) {  // ATen has none for that layout
    const Tensor y = cuda::group_norm(x, groups, weight, bias, eps, silu, shift);
    return silu ? y : act(y);
  }
  const Tensor y = shift.defined() ? x + shift.unsqueeze(-1).unsqueeze(-1) : x;
  return act(at::group_norm(y, groups, weight, bias, eps));
}

Tensor channel_moments(const Tensor& x) {
  if (!wants_gradient(x) && cpu::takes(x) && cpu::channels_adjoin(x)) return cpu::channel_moments(x);
  const auto [variance, mean] = at::var_mean(x.to(at::kFloat), at::IntArrayRef{0, 2, 3}, /*correction=*/0);
  return at::stack({mean, variance}).to(at::kCPU, at::kDouble);
}

Tensor scale_channels(const Tensor& x, const Tensor& scale, const Tensor& offset, Activation act) {
  const bool silu = act.kind == Activation::silu;
  if (!wants_gradient(x, scale, offset) && cpu::takes(x) && x.numel() > 0 &&
      x.is_contiguous(at::MemoryFormat::ChannelsLast)) {
    const Tensor y = cpu::scale_channels(x, scale, offset, silu);
    return silu ? y : act(y);
  }
  const auto over_pixels = [&](const Tensor& of) { return of.to(x.device()).view({-1, 1, 1}); };
  return act((x * over_pixels(scale) + over_pixels(offset)).to(x.scalar_type()));
}

Tensor modulated_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, double eps) {
  TORCH_CHECK(x.dim() == 3 && scale.sizes() == shift.sizes() && scale.numel() == x.size(0) * x.size(2), "a norm of ",
              x.sizes(), " is not moved by ", scale.sizes(), " and ", shift.sizes());
  if (!wants_gradient(x, scale, shift) && cpu::takes(x) && x.is_contiguous()) {
    RECORD_FUNCTION("sdgen::modulated_norm", {});
    return cpu::modulated_norm(x, scale, shift, eps);
  }
  if (x.is_meta()) return at::empty_like(x);
  // What a norm's own weights would do, which it does in the same pass; a row of the batch has its own.
  std::vector<Tensor> rows;
  const Tensor factor = 1 + scale;
  for (std::int64_t b = 0; b < x.size(0); ++b)
    rows.push_back(at::layer_norm(x[b], {x.size(-1)}, factor[b].contiguous(), shift[b].contiguous(), eps));
  return rows.size() == 1 ? rows[0].unsqueeze(0) : at::stack(rows);
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  TORCH_CHECK(weight.numel() == x.size(-1), "a norm of ", x.sizes(), " has no weight of ", weight.sizes());
  if (!wants_gradient(x, weight) && cpu::takes(x) && x.is_contiguous()) {
    RECORD_FUNCTION("sdgen::rms_norm", {});
    return cpu::rms_norm(x, weight, eps);
  }
  if (x.is_meta()) return at::empty_like(x);
  const Tensor exact = x.scalar_type() == at::kDouble ? x : x.to(at::kFloat);
  return (exact * at::rsqrt(exact.square().mean(-1, /*keepdim=*/true) + eps)).to(x.scalar_type()) * weight;
}

Tensor joined_heads(std::span<const Heads> streams, std::int64_t heads, double eps, const Tensor& rotations) {
  const std::int64_t width = streams[0].x.size(-1);
  std::int64_t tokens = 0;
  for (const Heads& s : streams) {
    TORCH_CHECK(s.x.size(-1) == width && (!s.norm.defined() || s.norm.numel() == width / heads), "heads of ",
                s.x.sizes(), " do not go beside others of ", width);
    tokens += s.x.size(1);
  }
  TORCH_CHECK(!rotations.defined() || (rotations.size(0) == tokens && 2 * rotations.size(1) == width / heads), tokens,
              " tokens are not turned by ", rotations.sizes());
  const auto ours = [&first = streams[0].x](const Heads& s) {
    return !wants_gradient(s.x, s.norm) && cpu::takes(s.x) && s.x.is_contiguous() &&
           s.x.scalar_type() == first.scalar_type() && s.x.size(0) == first.size(0);
  };
  if (streams.size() == 1 && !streams[0].norm.defined() && !rotations.defined()) return streams[0].x;
  if (std::ranges::all_of(streams, ours)) {
    RECORD_FUNCTION("sdgen::joined_heads", {});
    return cpu::joined_heads(streams, heads, eps, rotations);
  }
  if (streams[0].x.is_meta()) return at::empty({streams[0].x.size(0), tokens, width}, streams[0].x.options());
  std::vector<Tensor> parts;
  for (const Heads& s : streams)
    parts.push_back(s.norm.defined() ? rms_norm(s.x.unflatten(-1, {heads, -1}), s.norm, eps).flatten(-2) : s.x);
  const Tensor all = parts.size() == 1 ? parts[0] : at::cat(parts, 1);
  if (!rotations.defined()) return all;
  const Tensor exact = all.scalar_type() == at::kDouble ? all : all.to(at::kFloat);
  const Tensor pairs = at::view_as_complex(exact.unflatten(-1, {heads, -1, 2}));
  return at::view_as_real(pairs * rotations.unsqueeze(1)).flatten(-3).to(all.scalar_type());
}

Tensor geglu(const Tensor& x) {
  const bool composite = wants_gradient(x);
  if (!composite && cpu::takes(x) && x.is_contiguous()) {
    RECORD_FUNCTION("sdgen::geglu", {});
    return cpu::geglu(x);
  }
  if (!composite && x.is_contiguous() && cuda::takes(x)) return cuda::geglu(x);
  const auto halves = x.chunk(2, -1);
  if (x.is_meta()) return at::empty_like(halves[0], at::MemoryFormat::Contiguous);
  return halves[0] * at::gelu(halves[1]);
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, bool causal) {
  if (q.is_meta()) return counted(call_of_attention(q, k, heads), at::empty_like(q));
  if (!wants_gradient(q, k, v) && cpu::attention_usable(q, k, v, heads)) {
    RECORD_FUNCTION("sdgen::attention", {});
    return cpu::attention(q, k, v, heads, causal);
  }
  return heads_joined(at::scaled_dot_product_attention(heads_apart(q, heads), heads_apart(k, heads),
                                                       heads_apart(v, heads), {}, 0.0, causal));
}

Tensor biased_attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, const Tensor& bias,
                        double scale) {
  if (q.is_meta()) return counted(call_of_attention(q, k, heads), at::empty_like(q));
  const Tensor of_scores = bias.scalar_type() == at::kBool ? bias : bias.to(q.scalar_type());
  return heads_joined(at::scaled_dot_product_attention(
      heads_apart(q, heads), heads_apart(k, heads), heads_apart(v, heads), of_scores, 0.0, /*is_causal=*/false, scale));
}

}  // namespace ops
}  // namespace sdgen
