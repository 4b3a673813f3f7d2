#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <type_traits>

#include "ops/cpu.h"
#include "ops/simd.h"

namespace sdgen::ops::cpu {
namespace {

using namespace simd;
using at::native::cpublas::brgemm;

// Rows of one head: element [i][d] is at begin[i * stride + d].
template <class T>
struct Rows {
  T* begin;
  std::int64_t stride;
};

// The second factors of oneDNN's products of bfloat16 have pairs of rows interleaved: [K/2][N][2].
template <class T>
constexpr std::int64_t kPair = std::is_same_v<T, c10::BFloat16> ? 2 : 1;

std::int64_t round_up(std::int64_t n, std::int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

struct Blocks {
  std::int64_t rows, keys;  // of queries and of keys at a time, keys in whole vectors
  // A block of keys and one of values stay in the second-level cache, with the scores between keys and queries. Many
  // keys at a time and few queries, where there are many: every block of keys costs each query a sum over a vector. Yet
  // every thread shall have some blocks of queries.
  Blocks(std::int64_t width, std::int64_t size, std::int64_t all_heads, std::int64_t queries, std::int64_t all_keys) {
    const std::int64_t fitting = std::max((std::int64_t{1} << 18) / (width * size) / kWidth, std::int64_t{1}) * kWidth;
    keys = std::min({std::int64_t{2048}, fitting, round_up(all_keys, kWidth)});
    rows = std::clamp((std::int64_t{1} << 16) / keys, std::int64_t{32}, std::int64_t{256});
    while (rows > 32 && all_heads * (queries / rows) < 4 * at::get_num_threads()) rows /= 2;
    rows = std::min(rows, queries);
  }
};

// Memory of one thread.
template <class T>
struct Scratch {
  static constexpr std::size_t kAlign = 64;
  template <class U>
  struct Buffer {
    explicit Buffer(std::int64_t n)
        : memory(
              static_cast<U*>(std::aligned_alloc(kAlign, round_up(std::max<std::int64_t>(n, 1) * sizeof(U), kAlign))),
              std::free) {
      if (!memory) throw std::bad_alloc();
    }
    U* get() const { return memory.get(); }
    std::unique_ptr<U, void (*)(void*)> memory;
  };
  Scratch(const Blocks& blocks, std::int64_t width, std::int64_t keys)
      : packed_keys(round_up(keys, blocks.keys) * width),
        packed_values(round_up(keys, blocks.keys) * width),
        scores(blocks.rows * blocks.keys),
        weights(blocks.rows * blocks.keys),
        out(blocks.rows * width),
        offset(blocks.rows),
        sum(blocks.rows) {}
  Buffer<T> packed_keys, packed_values;
  Buffer<float> scores;
  Buffer<T> weights;
  Buffer<float> out, offset, sum;
  float longest_key = 0;
};

// keys [n][width] -> [width/pair][padded][pair]: the transpose, as a second factor; what is padded is zero.
template <class T>
void pack_keys(Rows<const T> keys, std::int64_t n, std::int64_t padded, std::int64_t width, T* to) {
  constexpr std::int64_t pair = kPair<T>;
  for (std::int64_t d = 0; d < width; d += pair, to += padded * pair) {
    for (std::int64_t i = 0; i < n; ++i) std::memcpy(to + i * pair, keys.begin + i * keys.stride + d, pair * sizeof(T));
    std::fill(to + n * pair, to + padded * pair, T(0));
  }
}

// values [n][width] -> [padded/pair][width][pair].
template <class T>
void pack_values(Rows<const T> values, std::int64_t n, std::int64_t padded, std::int64_t width, T* to) {
  constexpr std::int64_t pair = kPair<T>;
  for (std::int64_t i = 0; i < padded; ++i)
    for (std::int64_t d = 0; d < width; ++d)
      to[(i / pair * width + d) * pair + i % pair] = i < n ? values.begin[i * values.stride + d] : T(0);
}

// 2^x for x < 127, to 2e-7 in float32 and, by a polynomial of least largest error, to 1e-4 for bfloat16's weights;
// below 2^-126 that.
template <class T>
SDGEN_INLINE Floats exp2_of(Floats x) {
  x = simd::max(x, broadcast(-126.0f));
  const Floats shifter = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to whole numbers
  const Floats shifted = x + shifter;
  const Floats f = x - (shifted - shifter);
  Floats p;
  if constexpr (std::is_same_v<T, float>) {  // the Taylor series of e^(f ln 2), |f| <= 1/2
    p = (broadcast(1.52527338e-5f) * f + 1.54035304e-4f) * f + 1.33335581e-3f;
    p = p * f + 9.61812911e-3f;
    p = p * f + 5.55041087e-2f;
    p = p * f + 2.40226507e-1f;
    p = p * f + 6.93147181e-1f;
    p = p * f + 1.0f;
  } else {
    p = broadcast(5.58263178e-2f) * f + 2.42630824e-1f;
    p = p * f + 6.93120360e-1f;
    p = p * f + 9.99924183e-1f;
  }
  return bits<Floats>(bits<Ints>(p) + (bits<Ints>(shifted) << 23));
}

// Returns what was stored: sums of that make the weights' rounding errors cancel where one weight is nearly all.
SDGEN_INLINE Floats store_weight(float* to, Floats x) {
  store(to, x);
  return x;
}
SDGEN_INLINE Floats store_weight(c10::BFloat16* to, Floats x) {  // never a NaN, and a tie may go up
  const Words rounded = bits<Words>(x) + 0x8000;
  const Halves y = __builtin_convertvector(rounded >> 16, Halves);
  __builtin_memcpy(to, &y, sizeof y);
  return bits<Floats>(rounded & 0xFFFF0000);
}

// weights = 2^(scale score - offset) for a row of n scores, a multiple of 16; their sum.
template <class T>
SDGEN_SIMD float weigh_row(const float* scores, std::int64_t n, float scale, float offset, T* weights) {
  Floats total = broadcast(0);
  for (std::int64_t i = 0; i < n; i += kWidth) {
    total += store_weight(weights + i, exp2_of<T>(load(scores + i) * scale - offset));
  }
  return simd::sum(total);
}

SDGEN_SIMD float largest_of(const float* scores, std::int64_t n) {
  Floats most = load(scores);
  for (std::int64_t i = kWidth; i < n; i += kWidth) most = simd::max(most, load(scores + i));
  return simd::max(most);
}

template <class T>
SDGEN_SIMD float length_of(const T* x, std::int64_t n) {
  Floats squares = broadcast(0);
  std::int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) squares += load(x + i) * load(x + i);
  if (i < n) squares += load(x + i, n - i) * load(x + i, n - i);
  return std::sqrt(simd::sum(squares));
}

template <class T>
SDGEN_SIMD void scale_row(const float* from, float factor, T* to, std::int64_t n) {
  for_each_vector(n, [=](std::int64_t i, std::int64_t m) { store_some(to + i, load_some(from + i, m) * factor, m); });
}

// `rows` queries of a head against all its keys, packed: what the rows of scores are weighed with, and by how much.
template <class T>
struct Queries {
  Rows<const T> q;
  std::int64_t rows, keys, width;
  const Blocks& blocks;
  Scratch<T>& s;
  float scale = static_cast<float>(M_LOG2E / std::sqrt(static_cast<double>(width)));
  static constexpr bool interleaved = kPair<T> == 2;
  static constexpr float kVanishing = 0x1p-80f;  // far above what exp2_of gives for anything small
  static constexpr float kExact = 0x1p20f;       // offsets below it are rounded to less than a half

  // Calls each(row, its scores, how many, whether the first) for every row of a block of keys, then done(begin, how
  // many).
  template <class Each, class Done>
  void for_each_row(const Each& each, const Done& done) const {
    for (std::int64_t begin = 0; begin < keys; begin += blocks.keys) {
      const std::int64_t n = std::min(blocks.keys, keys - begin), padded = round_up(n, kWidth);
      brgemm(rows, padded, width, q.stride, padded, padded, /*add_C=*/false, q.begin,
             s.packed_keys.get() + begin * width, s.scores.get(), interleaved);
      for (std::int64_t i = 0; i < rows; ++i) {
        float* scores = s.scores.get() + i * padded;
        std::fill(scores + n, scores + padded, -std::numeric_limits<float>::infinity());
        each(i, scores, padded);
      }
      done(begin, padded);
    }
  }

  // Any offset will do for a softmax that neither overflows nor vanishes. By Cauchy and Schwarz no score is above this
  // one; whether it is small enough for the difference to be told.
  bool offset_by_lengths() const {
    for (std::int64_t i = 0; i < rows; ++i)
      s.offset.get()[i] = scale * length_of(q.begin + i * q.stride, width) * s.longest_key;
    return std::all_of(s.offset.get(), s.offset.get() + rows, [](float offset) { return offset < kExact; });
  }
  void offset_by_scores() const {
    std::fill_n(s.offset.get(), rows, -std::numeric_limits<float>::infinity());
    for_each_row(
        [&](std::int64_t i, const float* scores, std::int64_t n) {
          s.offset.get()[i] = std::max(s.offset.get()[i], scale * largest_of(scores, n));
        },
        [](std::int64_t, std::int64_t) {});
  }

  // out = the sums of the values, weighed; whether the sums of the weights tell rows apart from nothing. A NaN or an
  // infinity among a row's numbers makes its offset one, and its sums NaN.
  bool weigh() const {
    for (std::int64_t i = 0; i < rows; ++i) s.sum.get()[i] = 0 * s.offset.get()[i];
    for_each_row(
        [&](std::int64_t i, const float* scores, std::int64_t n) {
          s.sum.get()[i] += weigh_row(scores, n, scale, s.offset.get()[i], s.weights.get() + i * n);
        },
        [&](std::int64_t begin, std::int64_t n) {
          brgemm(rows, width, n, n, width, width, /*add_C=*/begin > 0, s.weights.get(),
                 s.packed_values.get() + begin * width, s.out.get(), interleaved);
        });
    return std::none_of(s.sum.get(), s.sum.get() + rows, [](float sum) { return sum < kVanishing; });
  }
};

template <class T>
void attend(const Queries<T>& queries, Rows<T> out) {
  if (!queries.offset_by_lengths() || !queries.weigh()) {
    queries.offset_by_scores();
    queries.weigh();
  }
  for (std::int64_t i = 0; i < queries.rows; ++i)
    scale_row(queries.s.out.get() + i * queries.width, 1 / queries.s.sum.get()[i], out.begin + i * out.stride,
              queries.width);
}

template <class T>
Rows<T> head_of(const Tensor& x, std::int64_t batch, std::int64_t head, std::int64_t width) {
  auto* begin = static_cast<T*>(x.data_ptr());
  return {begin + batch * x.stride(0) + head * width, x.stride(1)};
}

template <class T>
void attention_of(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, const Tensor& out) {
  const std::int64_t width = q.size(2) / heads, queries = q.size(1), keys = k.size(1);
  const Blocks blocks(width, sizeof(T), q.size(0) * heads, queries, keys);
  const std::int64_t row_blocks = (queries + blocks.rows - 1) / blocks.rows;
  at::parallel_for(0, q.size(0) * heads * row_blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    Scratch<T> scratch(blocks, width, keys);
    std::int64_t packed = -1;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t head = i / row_blocks, first = i % row_blocks * blocks.rows;
      const auto part = [&](const Tensor& x) { return head_of<const T>(x, head / heads, head % heads, width); };
      if (head != packed) {
        const Rows<const T> key = part(k), value = part(v);
        scratch.longest_key = 0;
        for (std::int64_t j = 0; j < keys; ++j)
          scratch.longest_key = std::max(scratch.longest_key, length_of(key.begin + j * key.stride, width));
        for (std::int64_t from = 0; from < keys; from += blocks.keys) {
          const std::int64_t n = std::min(blocks.keys, keys - from), padded = round_up(n, kWidth);
          pack_keys<T>({key.begin + from * key.stride, key.stride}, n, padded, width,
                       scratch.packed_keys.get() + from * width);
          pack_values<T>({value.begin + from * value.stride, value.stride}, n, padded, width,
                         scratch.packed_values.get() + from * width);
        }
        packed = head;
      }
      const Rows<const T> query = part(q);
      const Rows<T> result = head_of<T>(out, head / heads, head % heads, width);
      attend<T>({{query.begin + first * query.stride, query.stride},
                 std::min(blocks.rows, queries - first),
                 keys,
                 width,
                 blocks,
                 scratch},
                {result.begin + first * result.stride, result.stride});
    }
    at::native::cpublas::brgemm_release(kPair<T> == 2);
  });
}

// Whether oneDNN has the product on this processor, and in the layout that is assumed here.
template <class T>
bool has_brgemm() {
  static const bool works = [] {
    constexpr std::int64_t m = 3, n = 16, k = 4, pair = kPair<T>;
    T a[m * k], b[k * n];
    float c[m * n] = {};
    for (std::int64_t i = 0; i < m * k; ++i) a[i] = T(static_cast<float>(i % 5));
    for (std::int64_t i = 0; i < k; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        b[(i / pair * n + j) * pair + i % pair] = T(static_cast<float>(i * 3 + j % 7));
    try {
      brgemm(m, n, k, k, n, n, false, a, b, c, pair == 2);
      at::native::cpublas::brgemm_release(pair == 2);
    } catch (const c10::Error&) {
      return false;
    }
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        float right = 0;
        for (std::int64_t l = 0; l < k; ++l) right += static_cast<float>((i * k + l) % 5 * (l * 3 + j % 7));
        if (c[i * n + j] != right) return false;
      }
    return true;
  }();
  return works;
}

}  // namespace

bool attention_usable(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads) {
  const auto fits = [&q](const Tensor& x) {
    return takes(x) && x.scalar_type() == q.scalar_type() && x.dim() == 3 && x.stride(2) == 1;
  };
  if (!fits(q) || !fits(k) || !fits(v) || q.numel() == 0 || k.numel() == 0) return false;
  if (q.scalar_type() == at::kFloat) return has_brgemm<float>();
  return q.size(2) / heads % 2 == 0 && has_brgemm<c10::BFloat16>();
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads) {
  const Tensor out = at::empty(q.sizes(), q.options());
  if (q.scalar_type() == at::kFloat)
    attention_of<float>(q, k, v, heads, out);
  else
    attention_of<c10::BFloat16>(q, k, v, heads, out);
  return out;
}

}  // namespace sdgen::ops::cpu
