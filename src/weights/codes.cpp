#include "weights/codes.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/record_function.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <numeric>
#include <type_traits>

#include "ops/code_kernels.h"
#include "ops/cpu.h"
#include "ops/decoded.h"

namespace sdgen {
namespace {

constexpr std::int64_t kTile = 24 << 20;  // bytes of numbers that there are at once, in types that have no kernels

// The kernel for an encoding, or null where there is none.
template <class T>
ops::Decode<T> kernel_of(const ops::Decoders<T>& all, Encoding encoding) {
  switch (encoding) {
    case Encoding::Q4_0:
      return all.q4_0;
    case Encoding::Q4_1:
      return all.q4_1;
    case Encoding::Q5_0:
      return all.q5_0;
    case Encoding::Q5_1:
      return all.q5_1;
    case Encoding::Q8_0:
      return all.q8_0;
    case Encoding::IQ4_NL:
      return all.iq4_nl;
    case Encoding::Q2_K:
      return all.q2_k;
    case Encoding::Q3_K:
      return all.q3_k;
    case Encoding::Q4_K:
      return all.q4_k;
    case Encoding::Q5_K:
      return all.q5_k;
    case Encoding::Q6_K:
      return all.q6_k;
    case Encoding::F8_E4M3:
      return all.f8_e4m3;
    case Encoding::F8_E5M2:
      return all.f8_e5m2;
    case Encoding::I8:
      return all.i8;
    default:
      return nullptr;
  }
}

// As the kernels have the type; null for types that they do not have.
template <class T>
struct AsKernelsHaveIt : std::type_identity<void> {};
template <>
struct AsKernelsHaveIt<float> : std::type_identity<float> {};
template <>
struct AsKernelsHaveIt<at::BFloat16> : std::type_identity<ops::bfloat16> {};
template <>
struct AsKernelsHaveIt<ops::bfloat16> : std::type_identity<ops::bfloat16> {};

ops::Decode<float> kernel_for(const float*, Encoding encoding) {
  return kernel_of(ops::code_kernels().to_float, encoding);
}
ops::Decode<ops::bfloat16> kernel_for(const ops::bfloat16*, Encoding encoding) {
  return kernel_of(ops::code_kernels().to_bfloat16, encoding);
}

}  // namespace

void Codes::read(std::int64_t first, std::span<float> to) const {
  const EncodingInfo& info = info_of(encoding);
  const std::size_t size = to.size() / info.elements * info.bytes;
  const auto* from = static_cast<const std::byte*>(bytes.const_data_ptr()) + first / info.elements * info.bytes;
  decode(scaling, encoding, {from, size}, to.data());
  std::vector<float> needed;
  if (scales) {
    const ScaleRange range = scales_of(scaling, static_cast<std::uint64_t>(first), to.size());
    needed.resize(range.count);
    scales->read(std::int64_t(range.first), needed);
  }
  apply(scaling, static_cast<std::uint64_t>(first), needed, to);
}

template <class T>
void Codes::numbers(std::int64_t row, std::int64_t first, std::int64_t count, T* to) const {
  const EncodingInfo& info = info_of(encoding);
  const std::int64_t start = row * in + first;
  const ScaleRange range = scales ? scales_of(scaling, std::uint64_t(start), std::uint64_t(count)) : ScaleRange{0, 0};
  using Kernel = typename AsKernelsHaveIt<T>::type;
  if constexpr (!std::is_void_v<Kernel>) {
    auto* numbers = reinterpret_cast<Kernel*>(to);
    if (const auto kernel = kernel_for(numbers, encoding); kernel && scaling.only_scales() && range.count <= 1) {
      float scale = 1;
      if (range.count == 1) scales->read(std::int64_t(range.first), {&scale, 1});
      const auto* from = static_cast<const std::uint8_t*>(bytes.const_data_ptr()) + start / info.elements * info.bytes;
      return kernel(from, count / info.elements, scale, numbers);
    }
  }
  std::vector<float> exact(static_cast<std::size_t>(count));
  read(start, exact);
  using Plain = std::conditional_t<std::is_same_v<T, ops::bfloat16>, at::BFloat16, T>;
  std::ranges::transform(exact, reinterpret_cast<Plain*>(to), [](float x) { return static_cast<Plain>(x); });
}

void Codes::widen(std::int64_t first, const at::Tensor& to) const {
  RECORD_FUNCTION("sdgen::widen", {});
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, to.scalar_type(), "widen", [&] {
    auto* all = to.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, to.size(0), std::max<std::int64_t>(1, 65536 / in), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) numbers(first + i, 0, in, all + i * in);
    });
  });
}

void Codes::round_tokens() {
  if (encoding != Encoding::I8 || !scaling.only_scales() || !scales || !ops::multiplies_int8(in) || !ops::has_int8())
    return;
  const at::Tensor of_rows = at::empty({out}, at::TensorOptions().dtype(at::kFloat));
  auto* to = of_rows.mutable_data_ptr<float>();
  for (std::int64_t row = 0; row < out; ++row) {
    const ScaleRange range = scales_of(scaling, std::uint64_t(row * in), std::uint64_t(in));
    if (range.count != 1) return;
    scales->read(std::int64_t(range.first), {to + row, 1});
  }
  int8 = ops::int8_matrix(bytes.view(at::kChar), of_rows);
}

void Codes::require_unchanged() const {
  if (file) file->require_unchanged();
  if (scales) scales->require_unchanged();
}

at::Tensor Codes::checked(at::Tensor made) const {
  require_unchanged();
  return made;
}

at::Tensor Codes::times(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& plus) const {
  return checked(product(x, bias, plus));
}

at::Tensor Codes::product(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& plus) const {
  if (int8 && x.dim() == 3 && ops::cpu::takes(x)) return ops::linear_int8(x, *int8, bias, plus);
  const auto elements = std::int64_t(info_of(encoding).elements), together = std::max<std::int64_t>(1, scaling.rotated);
  const ops::DecodedMatrix matrix{
      out, in, std::lcm(std::lcm(elements, together), std::int64_t{2}),
      [this](std::int64_t row, std::int64_t first, std::int64_t count, float* to) { numbers(row, first, count, to); },
      [this](std::int64_t row, std::int64_t first, std::int64_t count, ops::bfloat16* to) {
        numbers(row, first, count, to);
      }};
  if (ops::multiplies_decoded(x, matrix)) return ops::decoded_linear(x, matrix, bias, plus);
  const at::Tensor rows = x.reshape({-1, in});
  const at::Tensor y = at::empty({rows.size(0), out}, x.options());
  const std::int64_t height = std::clamp<std::int64_t>(kTile / (in * x.element_size()), 1, out);
  const at::Tensor tile = at::empty({height, in}, x.options());
  for (std::int64_t first = 0; first < out; first += height) {
    const std::int64_t count = std::min(height, out - first);
    const at::Tensor numbers = tile.narrow(0, 0, count);
    widen(first, numbers);
    y.narrow(1, first, count)
        .copy_(at::linear(rows, numbers, bias.defined() ? std::optional(bias.narrow(0, first, count)) : std::nullopt));
  }
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.back() = out;
  const at::Tensor shaped = y.view(sizes);
  return plus.defined() ? shaped.add_(plus) : shaped;
}

at::Tensor Codes::rows(const at::Tensor& ids, at::ScalarType type) const {
  const at::Tensor flat = ids.reshape(-1).contiguous(), numbers = at::empty({flat.numel(), in}, type);
  const auto* id = flat.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < flat.numel(); ++i) {
    TORCH_CHECK_INDEX(id[i] >= 0 && id[i] < out, "row ", id[i], " of a table of ", out);
    widen(id[i], numbers.narrow(0, i, 1));
  }
  std::vector<std::int64_t> sizes = ids.sizes().vec();
  sizes.push_back(in);
  return checked(numbers.view(sizes));
}

at::Tensor Codes::dense(at::ScalarType type) const {
  const at::Tensor numbers = at::empty({out, in}, at::TensorOptions().dtype(type));
  widen(0, numbers);
  return checked(numbers);
}

}  // namespace sdgen
