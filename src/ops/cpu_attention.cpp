#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <type_traits>
#include <vector>

#include "ops/brgemm.h"
#include "ops/buffer.h"
#include "ops/cpu.h"

namespace sdgen::ops::cpu {
namespace {

constexpr std::int64_t kVector = 16;  // scores come in whole vectors: what RowKernels::weigh takes

std::int64_t round_up(std::int64_t n, std::int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Rows of one head: element [i][d] is at begin[i * stride + d].
template <class T>
struct Rows {
  T* begin;
  std::int64_t stride;
  Rows from(std::int64_t row) const { return {begin + row * stride, stride}; }
};

// How many keys and queries are held against each other at a time, by the shape alone. A block of keys and one of
// values stay in the second-level cache, with the scores between keys and queries. Every block of keys costs each query
// a sum over a vector. There are enough blocks of queries for several threads, where there are many queries.
struct Blocks {
  std::int64_t rows, keys;  // keys in whole vectors
  Blocks(std::int64_t most_rows, std::int64_t most_keys, std::int64_t queries, std::int64_t all_keys)
      : rows(most_rows), keys(std::min(most_keys, round_up(all_keys, kVector))) {
    while (rows > 24 && queries < 8 * rows) rows /= 2;
    rows = std::min(rows, queries);
  }
};

// For Kernels::multiply: scores that are not far from the first-level cache, in whole tiles of rows.
inline Blocks blocks_for(const float*, std::int64_t, std::int64_t queries, std::int64_t keys) {
  return {96, 256, queries, keys};
}
// For oneDNN's products, each of which has its own cost: many keys at a time, and as many queries as the cache takes.
inline Blocks blocks_for(const bfloat16*, std::int64_t width, std::int64_t queries, std::int64_t keys) {
  constexpr std::int64_t several = 4 * kVector;
  const std::int64_t fitting = std::max((std::int64_t{1} << 17) / width / several, std::int64_t{1}) * several;
  const std::int64_t at_once = std::min({std::int64_t{2048}, fitting, round_up(keys, kVector)});
  return {std::clamp((std::int64_t{1} << 16) / at_once, std::int64_t{32}, std::int64_t{256}), at_once, queries, keys};
}

// The two products of a head, with keys and values packed for them, a block of keys after another.
template <class T>
class Products;

// In float32 by Kernels::multiply.
template <>
class Products<float> {
 public:
  Products(const Blocks& blocks, std::int64_t width, std::int64_t keys)
      : width_(width),
        block_(blocks.keys),
        keys_of_block_(use_.packed_size(block_, 1, width)),
        values_of_block_(use_.packed_size(width, 1, block_)),
        keys_(round_up(keys, block_) / block_ * keys_of_block_),
        values_(round_up(keys, block_) / block_ * values_of_block_),
        rows_(blocks.rows),
        out_(blocks.rows) {}

  void pack(std::int64_t begin, std::int64_t n, std::int64_t padded, Rows<const float> keys, Rows<const float> values) {
    const std::int64_t used = use_.packed_size(n, 1, width_), all = use_.packed_size(padded, 1, width_);
    use_.pack(keys.begin, n, 1, width_, keys.stride, 0, 1, keys_at(begin));
    std::fill_n(keys_at(begin) + used, all - used, 0.0f);
    use_.pack(values.begin, width_, 1, n, 1, 0, values.stride, values_at(begin));
  }
  // scores [rows][padded] of the block of keys that begins there
  void score(std::int64_t begin, std::int64_t, std::int64_t padded, Rows<const float> queries, std::int64_t rows,
             float* scores) {
    for (std::int64_t i = 0; i < rows; ++i) {
      rows_[i] = queries.from(i).begin;
      out_[i] = scores + i * padded;
    }
    use_.multiply({rows_.data(), rows, rows, 1, width_, keys_at(begin), 0, padded, out_.data(), nullptr, nullptr,
                   values_at(begin)});
  }
  // out [rows][width] (+)= weights [rows][padded] times the n values of the block
  void sum(std::int64_t begin, std::int64_t n, std::int64_t padded, const float* weights, std::int64_t rows,
           float* out) {
    for (std::int64_t i = 0; i < rows; ++i) {
      rows_[i] = weights + i * padded;
      out_[i] = out + i * width_;
    }
    use_.multiply({rows_.data(), rows, rows, 1, n, values_at(begin), 0, width_, out_.data(),
                   begin > 0 ? out_.data() : nullptr, nullptr, keys_at(begin + block_)});
  }
  static void release() {}

 private:
  float* keys_at(std::int64_t begin) const { return keys_.get() + begin / block_ * keys_of_block_; }
  float* values_at(std::int64_t begin) const { return values_.get() + begin / block_ * values_of_block_; }

  const Kernels& use_ = kernels();
  std::int64_t width_, block_, keys_of_block_, values_of_block_;  // numbers
  Buffer<float> keys_, values_;
  std::vector<const float*> rows_;
  std::vector<float*> out_;
};

// In bfloat16 by oneDNN's small products, whose second factors have pairs of rows interleaved: [K/2][N][2].
template <>
class Products<bfloat16> {
 public:
  Products(const Blocks& blocks, std::int64_t width, std::int64_t keys)
      : width_(width), keys_(round_up(keys, blocks.keys) * width), values_(round_up(keys, blocks.keys) * width) {}

  void pack(std::int64_t begin, std::int64_t n, std::int64_t padded, Rows<const bfloat16> keys,
            Rows<const bfloat16> values) {
    bfloat16* to = keys_.get() + begin * width_;
    for (std::int64_t d = 0; d < width_; d += 2, to += padded * 2) {
      for (std::int64_t i = 0; i < n; ++i) std::copy_n(keys.from(i).begin + d, 2, to + i * 2);
      std::fill(to + n * 2, to + padded * 2, bfloat16());
    }
    to = values_.get() + begin * width_;
    for (std::int64_t i = 0; i < padded; ++i)
      for (std::int64_t d = 0; d < width_; ++d)
        to[(i / 2 * width_ + d) * 2 + i % 2] = i < n ? values.from(i).begin[d] : bfloat16();
  }
  void score(std::int64_t begin, std::int64_t, std::int64_t padded, Rows<const bfloat16> queries, std::int64_t rows,
             float* scores) {
    brgemm({rows, padded, width_}, queries.begin, queries.stride, keys_.get() + begin * width_, false, scores);
  }
  void sum(std::int64_t begin, std::int64_t, std::int64_t padded, const bfloat16* weights, std::int64_t rows,
           float* out) {
    brgemm({rows, width_, padded}, weights, padded, values_.get() + begin * width_, begin > 0, out);
  }
  static void release() { release_brgemm(); }

 private:
  std::int64_t width_;
  Buffer<bfloat16> keys_, values_;
};

// Memory of one thread.
template <class T>
struct Scratch {
  Scratch(const Blocks& blocks, std::int64_t width, std::int64_t keys)
      : products(blocks, width, keys),
        scores(blocks.rows * blocks.keys),
        weights(blocks.rows * blocks.keys),
        out(blocks.rows * width),
        offset(blocks.rows),
        sum(blocks.rows) {}
  Products<T> products;
  Buffer<float> scores;
  Buffer<T> weights;
  Buffer<float> out, offset, sum;
  float longest_key = 0;
};

// `rows` queries of a head against its keys, packed: what the rows of scores are weighed with, and by how much.
template <class T>
struct Queries {
  Rows<const T> q;
  std::int64_t rows, keys, width;
  std::int64_t first_limit;  // the first query sees so many keys, each one more; far beyond `keys`: all see all
  const Blocks& blocks;
  Scratch<T>& s;
  float scale = static_cast<float>(M_LOG2E / std::sqrt(static_cast<double>(width)));
  static constexpr float kVanishing = 0x1p-80f;  // far above what weigh() gives for anything small
  static constexpr float kExact = 0x1p20f;       // offsets below it are rounded to less than a half

  // Calls each(row, its scores, how many) for every row of a block of keys, then done(begin, keys, padded).
  template <class Each, class Done>
  void for_each_row(const Each& each, const Done& done) const {
    for (std::int64_t begin = 0; begin < keys; begin += blocks.keys) {
      const std::int64_t n = std::min(blocks.keys, keys - begin), padded = round_up(n, kVector);
      s.products.score(begin, n, padded, q, rows, s.scores.get());
      for (std::int64_t i = 0; i < rows; ++i) {
        float* scores = s.scores.get() + i * padded;
        const std::int64_t seen = std::clamp<std::int64_t>(first_limit + i - begin, 0, n);
        std::fill(scores + seen, scores + padded, -std::numeric_limits<float>::infinity());
        each(i, scores, padded);
      }
      done(begin, n, padded);
    }
  }

  // Any offset will do for a softmax that neither overflows nor vanishes. By Cauchy and Schwarz no score is above this
  // one. Is it small enough for the differences to survive?
  bool offset_by_lengths() const {
    for (std::int64_t i = 0; i < rows; ++i)
      s.offset.get()[i] = scale * row_kernels<T>().length(q.from(i).begin, width) * s.longest_key;
    return std::all_of(s.offset.get(), s.offset.get() + rows, [](float offset) { return offset < kExact; });
  }
  void offset_by_scores() const {
    std::fill_n(s.offset.get(), rows, -std::numeric_limits<float>::infinity());
    for_each_row(
        [&](std::int64_t i, const float* scores, std::int64_t n) {
          s.offset.get()[i] = std::max(s.offset.get()[i], scale * kernels().largest(scores, n));
        },
        [](std::int64_t, std::int64_t, std::int64_t) {});
  }

  // out = the sums of the values, weighed; whether the sums of the weights tell rows apart from nothing. A NaN or an
  // infinity among a row's numbers makes its offset one, and its sums NaN.
  bool weigh() const {
    for (std::int64_t i = 0; i < rows; ++i) s.sum.get()[i] = 0 * s.offset.get()[i];
    for_each_row(
        [&](std::int64_t i, const float* scores, std::int64_t n) {
          s.sum.get()[i] += row_kernels<T>().weigh(scores, n, scale, s.offset.get()[i], s.weights.get() + i * n);
        },
        [&](std::int64_t begin, std::int64_t n, std::int64_t padded) {
          s.products.sum(begin, n, padded, s.weights.get(), rows, s.out.get());
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
    row_kernels<T>().scale(queries.s.out.get() + i * queries.width, 1 / queries.s.sum.get()[i], out.from(i).begin,
                           queries.width);
}

template <class T>
Rows<T> head_of(const Tensor& x, std::int64_t batch, std::int64_t head, std::int64_t width) {
  return {numbers<T>(x) + batch * x.stride(0) + head * width, x.stride(1)};
}

template <class T>
void pack_head(Rows<const T> keys, Rows<const T> values, std::int64_t n_keys, std::int64_t width, const Blocks& blocks,
               Scratch<T>& scratch) {
  scratch.longest_key = 0;
  for (std::int64_t j = 0; j < n_keys; ++j)
    scratch.longest_key = std::max(scratch.longest_key, row_kernels<T>().length(keys.from(j).begin, width));
  for (std::int64_t from = 0; from < n_keys; from += blocks.keys) {
    const std::int64_t n = std::min(blocks.keys, n_keys - from);
    scratch.products.pack(from, n, round_up(n, kVector), keys.from(from), values.from(from));
  }
}

template <class T>
void attention_of(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, bool causal,
                  const Tensor& out) {
  const std::int64_t width = q.size(2) / heads, queries = q.size(1), keys = k.size(1);
  const Blocks blocks = blocks_for(static_cast<const T*>(nullptr), width, queries, keys);
  const std::int64_t row_blocks = (queries + blocks.rows - 1) / blocks.rows, all = q.size(0) * heads * row_blocks,
                     threads = std::min<std::int64_t>(at::get_num_threads(), all);
  std::atomic<std::int64_t> next = 0;  // threads take blocks as they come: one that is held up does less
  at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) {
    Scratch<T> scratch(blocks, width, keys);
    std::int64_t packed = -1;
    for (std::int64_t i; (i = next++) < all;) {
      const std::int64_t head = i / row_blocks, first = i % row_blocks * blocks.rows;
      const auto part = [&](const Tensor& x) { return head_of<const T>(x, head / heads, head % heads, width); };
      if (head != packed) pack_head<T>(part(k), part(v), keys, width, blocks, scratch);
      packed = head;
      attend<T>({part(q).from(first), std::min(blocks.rows, queries - first), keys, width, causal ? first + 1 : keys,
                 blocks, scratch},
                head_of<T>(out, head / heads, head % heads, width).from(first));
    }
    Products<T>::release();
  });
}

}  // namespace

bool attention_usable(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads) {
  const auto fits = [&q](const Tensor& x) {
    return takes(x) && x.scalar_type() == q.scalar_type() && x.dim() == 3 && x.stride(2) == 1;
  };
  if (!fits(q) || !fits(k) || !fits(v) || q.numel() == 0 || k.numel() == 0) return false;
  return q.scalar_type() == at::kFloat || (q.size(2) / heads % 2 == 0 && has_brgemm());
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, bool causal) {
  const Tensor out = at::empty(q.sizes(), q.options());
  by_type(q, [&]<class T>(T) { attention_of<T>(q, k, v, heads, causal, out); });
  return out;
}

}  // namespace sdgen::ops::cpu
