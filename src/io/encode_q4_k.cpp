// Q4_K: 256 numbers as d S q - m M, where q has four bits, and a group of 32 its own S and M, of six bits each; d and m
// are float16. What is minimised is the sum of w (x - what is read)^2, where w = |x| + sqrt(mean x^2): large weights
// matter more, small ones still do.
//
// A group alone: numbers lie on a grid, x = scale q - least. From codes the best grid is a linear least-squares problem
// of two unknowns; from a grid the best codes are the nearest. Both are asked in turn, from eleven grids around that of
// the extremes. Then, of the whole block: scales and least numbers are rounded to six bits, with their neighbours
// tried, and d and m are in turn the best for the codes.
//
// The eight groups are the lanes of a vector, so that no sum runs across lanes: the result is the same on every CPU
// (compiled with -ffp-contract=off).
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "io/encode.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__SANITIZE_ADDRESS__)
#define SDGEN_WIDE __attribute__((target_clones("avx2", "default")))
#else
#define SDGEN_WIDE
#endif
#define SDGEN_INLINE [[gnu::always_inline]] inline

namespace sdgen {
namespace {

constexpr int kGroups = 8, kInGroup = 32;
using Lanes = float __attribute__((vector_size(kGroups * 4)));

SDGEN_INLINE Lanes all_of(float x) { return Lanes{} + x; }
SDGEN_INLINE Lanes larger(Lanes a, Lanes b) { return a > b ? a : b; }
SDGEN_INLINE Lanes smaller(Lanes a, Lanes b) { return a < b ? a : b; }
// Of 0 to `most`, the nearest whole number, ties to even.
SDGEN_INLINE Lanes code(Lanes x, float most) {
  constexpr float magic = 12582912;  // 1.5 * 2^23
  const Lanes inside = smaller(larger(x, Lanes{}), all_of(most));
  return (inside + magic) - magic;
}
// a / b, 0 where b is not above 0.
SDGEN_INLINE Lanes ratio(Lanes a, Lanes b) {
  const auto some = b > 0;
  return some ? a / (some ? b : all_of(1)) : Lanes{};
}
inline double sum_of(Lanes x) {
  double sum = 0;
  for (int i = 0; i < kGroups; ++i) sum += x[i];
  return sum;
}
inline float most_in(Lanes x) {
  float most = x[0];
  for (int i = 1; i < kGroups; ++i) most = std::max(most, x[i]);
  return most;
}

struct Numbers {
  Lanes x[kInGroup], w[kInGroup];
  Lanes sum_w{}, sum_wx{}, sum_wxx{}, least{}, most{};  // least: of 0 and all
};

// x = scale q - least
struct Grids {
  Lanes scale, least;
};

// Of codes: sums of w q, w q^2 and w x q.
struct CodeSums {
  Lanes q{}, qq{}, xq{};
};

SDGEN_INLINE CodeSums sums_of(const Numbers& n, const Grids& grids) {
  const Lanes per = ratio(all_of(1), grids.scale);
  CodeSums sums;
  for (int i = 0; i < kInGroup; ++i) {
    const Lanes q = code((n.x[i] + grids.least) * per, 15), wq = n.w[i] * q;
    sums.q += wq;
    sums.qq += wq * q;
    sums.xq += wq * n.x[i];
  }
  return sums;
}

// The best grid for codes, and what it leaves.
SDGEN_INLINE Grids best_for(const Numbers& n, const CodeSums& c, Lanes& error) {
  const Lanes det = n.sum_w * c.qq - c.q * c.q;
  const Lanes least = ratio(c.q * c.xq - c.qq * n.sum_wx, det);
  // Codes that are all alike leave both unknown; least numbers above 0 the format does not have.
  const auto two = (det > 1e-5F * n.sum_w * c.qq) & (least > 0);
  const Lanes m = two ? least : Lanes{};
  const Lanes s = larger(two ? ratio(n.sum_w * c.xq - c.q * n.sum_wx, det) : ratio(c.xq, c.qq), Lanes{});
  error = n.sum_wxx + s * s * c.qq + m * m * n.sum_w + 2 * (m * n.sum_wx - s * c.xq - s * m * c.q);
  return {s, m};
}

// Every group by itself.
SDGEN_INLINE Grids searched(const Numbers& n, const Grids& extremes) {
  Grids best = extremes;
  Lanes least_error = all_of(INFINITY);
  const auto ask = [&](const Grids& grids) __attribute__((always_inline)) {
    Lanes error;
    const Grids fitted = best_for(n, sums_of(n, grids), error);
    const auto better = error < least_error;
    best.scale = better ? fitted.scale : best.scale;
    best.least = better ? fitted.least : best.least;
    least_error = better ? error : least_error;
  };
  for (int step = -5; step <= 5; ++step)
    ask({extremes.scale * (15 / (15 + 0.2F * static_cast<float>(step))), extremes.least});
  for (int again = 0; again < 2; ++again) ask(Grids(best));
  return best;
}

// What a block says of its groups.
struct Choice {
  float d = 0, m = 0;       // as float16 has them
  Lanes scales{}, least{};  // codes
  double error = INFINITY;
};

SDGEN_INLINE Lanes error_of(const Numbers& n, Lanes scale, Lanes least) {
  const Lanes per = ratio(all_of(1), scale);
  Lanes error{};
  for (int i = 0; i < kInGroup; ++i) {
    const Lanes off = n.x[i] - (scale * code((n.x[i] + least) * per, 15) - least);
    error += n.w[i] * off * off;
  }
  return error;
}

// As a block has it: not 0 for what is small, whose codes then take few of their values.
inline float factor(float x) {
  constexpr std::uint16_t least = 1, most = 0x7BFF;
  return x > 0 ? from_half(std::clamp(to_half(x), least, most)) : 0;
}

// The best codes of six bits, near those of these grids.
SDGEN_INLINE Choice chosen(const Numbers& n, const Grids& grids, float d, float m) {
  Choice choice{.d = factor(d), .m = factor(m)};
  const Lanes scales = code(ratio(grids.scale, all_of(choice.d)), 63),
              least = code(ratio(grids.least, all_of(choice.m)), 63);
  Lanes error = all_of(INFINITY);
  for (int i = -1; i <= 1; ++i)
    for (int j = -1; j <= 1; ++j) {
      const Lanes s = code(scales + static_cast<float>(i), 63), l = code(least + static_cast<float>(j), 63);
      const Lanes now = error_of(n, choice.d * s, choice.m * l);
      const auto better = now < error;
      choice.scales = better ? s : choice.scales;
      choice.least = better ? l : choice.least;
      error = better ? now : error;
    }
  choice.error = sum_of(error);
  return choice;
}

// The same with the d and m that are best for its codes.
SDGEN_INLINE Choice refitted(const Numbers& n, const Choice& choice) {
  const Grids grids{choice.d * choice.scales, choice.m * choice.least};
  const CodeSums c = sums_of(n, grids);
  const double ss = sum_of(choice.scales * choice.scales * c.qq), sl = sum_of(choice.scales * choice.least * c.q),
               ll = sum_of(choice.least * choice.least * n.sum_w), xs = sum_of(choice.scales * c.xq),
               xl = sum_of(choice.least * n.sum_wx);
  const double det = ss * ll - sl * sl;
  double d = ss > 0 ? xs / ss : 0, m = 0;
  if (det > 1e-9 * ss * ll) d = (xs * ll - sl * xl) / det, m = (xs * sl - xl * ss) / det;
  if (!(d > 0) || m < 0) return choice;
  const Choice other = chosen(n, grids, static_cast<float>(d), static_cast<float>(m));
  return other.error < choice.error ? other : choice;
}

SDGEN_INLINE Numbers numbers_of(const float* x) {
  Numbers n;
  double squares = 0;
  for (int i = 0; i < kGroups * kInGroup; ++i) squares += double(x[i]) * x[i];
  const auto usual = static_cast<float>(std::sqrt(squares / (kGroups * kInGroup)));
  n.most = all_of(-INFINITY);
  for (int i = 0; i < kInGroup; ++i) {
    for (int group = 0; group < kGroups; ++group) n.x[i][group] = x[group * kInGroup + i];
    n.w[i] = usual + larger(n.x[i], -n.x[i]);
    n.sum_w += n.w[i];
    n.sum_wx += n.w[i] * n.x[i];
    n.sum_wxx += n.w[i] * n.x[i] * n.x[i];
    n.least = smaller(n.least, n.x[i]);
    n.most = larger(n.most, n.x[i]);
  }
  return n;
}

void write(const Numbers& n, const Choice& choice, std::byte* to) {
  std::uint8_t block[144] = {};
  const std::uint16_t d = to_half(choice.d), m = to_half(choice.m);
  std::memcpy(block, &d, 2);
  std::memcpy(block + 2, &m, 2);
  std::uint8_t* packed = block + 4;  // as group_of() in decode.cpp reads them
  for (int j = 0; j < kGroups; ++j) {
    const auto scale = static_cast<std::uint8_t>(choice.scales[j]), least = static_cast<std::uint8_t>(choice.least[j]);
    if (j < 4) {
      packed[j] |= scale;
      packed[j + 4] |= least;
    } else {
      packed[j + 4] = static_cast<std::uint8_t>((scale & 15) | least << 4);
      packed[j - 4] |= static_cast<std::uint8_t>(scale >> 4 << 6);
      packed[j] |= static_cast<std::uint8_t>(least >> 4 << 6);
    }
  }
  const Lanes scale = choice.d * choice.scales, least = choice.m * choice.least, per = ratio(all_of(1), scale);
  for (int i = 0; i < kInGroup; ++i) {
    const Lanes q = code((n.x[i] + least) * per, 15);
    for (int j = 0; j < kGroups; ++j)
      block[16 + 32 * (j / 2) + i] |= static_cast<std::uint8_t>(static_cast<int>(q[j]) << 4 * (j % 2));
  }
  std::memcpy(to, block, sizeof block);
}

}  // namespace

SDGEN_WIDE void encode_q4_k(const float* numbers, std::byte* to) {
  const Numbers n = numbers_of(numbers);
  const Grids extremes{(n.most - n.least) / 15, -n.least}, fitted = searched(n, extremes);
  Choice best;
  for (const Grids& grids : {fitted, extremes}) {  // the extremes alone are rounding to nearest: never worse than that
    const Choice choice = chosen(n, grids, most_in(grids.scale) / 63, most_in(grids.least) / 63);
    if (choice.error < best.error) best = choice;
  }
  for (int again = 0; again < 2; ++again) best = refitted(n, best);
  write(n, best, to);
}

}  // namespace sdgen
