#include "io/scaling.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "io/decode.h"

namespace sdgen {
namespace {

// To the nearest number of this type, of two the even one.
float nearest_bfloat16(float x) {
  if (std::isnan(x)) return x;
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return std::bit_cast<float>((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000);
}
float nearest_half(float x) {
  if (!std::isfinite(x)) return x;
  if (std::fabs(x) >= 65520) return std::copysign(INFINITY, x);
  // Below 2^-14 they are multiples of 2^-24, as the numbers of float32 from 1/2 to 1 are.
  if (std::fabs(x) < 0x1p-14F) return std::copysign(std::fabs(x) + 0.5F - 0.5F, x);
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return std::bit_cast<float>((bits + 0xFFF + (bits >> 13 & 1)) & 0xFFFFE000);
}

// numbers H / sqrt(size), H = H4 x H4 x ... (Kronecker), H4 = 1 - 2 J, J with ones from corner to corner: a sum, and of
// each number that of the opposite place.
void rotate(std::span<float> numbers) {
  for (std::size_t stride = 1; stride < numbers.size(); stride *= 4)
    for (std::size_t block = 0; block < numbers.size(); block += 4 * stride)
      for (std::size_t i = block; i < block + stride; ++i) {
        float &a = numbers[i], &b = numbers[i + stride], &c = numbers[i + 2 * stride], &d = numbers[i + 3 * stride];
        const float half = (a + b + (c + d)) * 0.5F, first = half - d, second = half - c;
        d = half - a;
        c = half - b;
        a = first;
        b = second;
      }
}

}  // namespace

void decode(const Scaling& scaling, Encoding encoding, std::span<const std::byte> blocks, float* to) {
  if (scaling.table.empty()) return decode(encoding, blocks, to);
  for (std::size_t i = 0; i < blocks.size(); ++i) to[i] = scaling.table[std::to_integer<std::uint8_t>(blocks[i])];
}

ScaleRange scales_of(const Scaling& scaling, std::uint64_t first, std::uint64_t count) {
  if (scaling.span == 0 || count == 0) return {0, 0};
  const std::uint64_t begin = first / scaling.span;
  return {begin, (first + count - 1) / scaling.span - begin + 1};
}

void apply(const Scaling& scaling, std::uint64_t first, std::span<const float> scales, std::span<float> numbers) {
  if (scaling.span != 0) {
    std::size_t next = 0;
    for (std::uint64_t done = 0; done < numbers.size(); ++next) {
      const std::uint64_t left = scaling.span - (first + done) % scaling.span,
                          here = std::min<std::uint64_t>(left, numbers.size() - done);
      for (float& number : numbers.subspan(done, here)) number *= scales[next];
      done += here;
    }
  }
  if (scaling.factor != 1)
    for (float& number : numbers) number *= scaling.factor;
  if (scaling.offset != 0)
    for (float& number : numbers) number += scaling.offset;
  if (scaling.rotated != 0)
    for (std::size_t group = 0; group < numbers.size(); group += scaling.rotated)
      rotate(numbers.subspan(group, scaling.rotated));
  if (scaling.rounded == Encoding::BF16) std::ranges::transform(numbers, numbers.begin(), nearest_bfloat16);
  if (scaling.rounded == Encoding::F16) std::ranges::transform(numbers, numbers.begin(), nearest_half);
}

}  // namespace sdgen
