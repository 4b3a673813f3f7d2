#include "ops/decoded.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "ops/brgemm.h"
#include "ops/buffer.h"
#include "ops/code_kernels.h"
#include "ops/cpu.h"

namespace sdgen::ops {
namespace {

constexpr std::int64_t kAtOnce = 256;     // numbers of a row that are made before they are laid out
constexpr std::int64_t kRowsAtOnce = 16;  // and rows

const DecodedMatrix::Numbers<float>& numbers_of(const DecodedMatrix& m, const float*) { return m.to_float; }
const DecodedMatrix::Numbers<bfloat16>& numbers_of(const DecodedMatrix& m, const bfloat16*) { return m.to_bfloat16; }

// Some rows of the matrix as columns beside each other: words of 32 bits, which are one number or two, [in as words][
// columns].
template <class T>
class Columns {
 public:
  // Room for `all` columns: several such parts, one after another.
  Columns(const DecodedMatrix& matrix, std::int64_t columns, std::int64_t all)
      : matrix_(matrix),
        columns_(columns),
        at_once_(std::max<std::int64_t>(kAtOnce / matrix.block, 1) * matrix.block),
        made_(kRowsAtOnce * at_once_),
        words_(matrix.in / kNumbers * all) {}

  // Those of rows [first, first + count), as part number `part`; columns beyond are zeros.
  void fill(std::int64_t first, std::int64_t count, std::int64_t part = 0) {
    std::uint32_t* words = words_.get() + part * (matrix_.in / kNumbers * columns_);
    for (std::int64_t row = 0; row < columns_; row += kRowsAtOnce) {
      const std::int64_t rows = std::min(kRowsAtOnce, columns_ - row),
                         there = std::clamp<std::int64_t>(count - row, 0, rows);
      for (std::int64_t at = 0; at < matrix_.in; at += at_once_) {
        const std::int64_t n = std::min(at_once_, matrix_.in - at);
        for (std::int64_t i = 0; i < there; ++i)
          numbers_of(matrix_, made_.get())(first + row + i, at, n, made_.get() + i * at_once_);
        std::fill(made_.get() + there * at_once_, made_.get() + rows * at_once_, T());
        code_kernels().transpose(reinterpret_cast<const std::uint32_t*>(made_.get()), rows, n / kNumbers,
                                 at_once_ / kNumbers, words + at / kNumbers * columns_ + row, columns_);
      }
    }
  }

  // From number `at` of the rows on.
  const T* from(std::int64_t at) const { return reinterpret_cast<const T*>(words_.get() + at / kNumbers * columns_); }

 private:
  static constexpr std::int64_t kNumbers = sizeof(std::uint32_t) / sizeof(T);
  const DecodedMatrix& matrix_;
  std::int64_t columns_, at_once_;
  Buffer<T> made_;
  Buffer<std::uint32_t> words_;
};

// A product of rows [rows, in], and where its parts lie.
template <class T>
struct Operands {
  const T *x, *plus;  // plus may be null
  const float* bias;  // may be null
  T* y;
  std::int64_t rows, in, out;
};

// Some columns of a product, for some rows: a thread's, with memory of its own.
template <class T>
class Piece;

// Several panels, for the rows of a block after another, which stay in the cache while all panels are multiplied.
template <>
class Piece<float> {
 public:
  static std::int64_t columns(const DecodedMatrix& matrix) {
    constexpr std::int64_t cached_numbers = 128 << 10;
    const std::int64_t panel = kernels().panel, panels = (matrix.out + panel - 1) / panel,
                       share = (panels + at::get_num_threads() - 1) / at::get_num_threads();
    return panel * std::clamp<std::int64_t>(cached_numbers / (panel * matrix.in), 1, share);
  }
  explicit Piece(const DecodedMatrix& matrix) : panel_(kernels().panel), weight_(matrix, panel_, columns(matrix)) {}

  void fill(std::int64_t first, std::int64_t count) {
    for (std::int64_t at = 0; at < count; at += panel_)
      weight_.fill(first + at, std::min(panel_, count - at), at / panel_);
  }
  void multiply(const Operands<float>& o, std::int64_t row, std::int64_t rows, std::int64_t first, std::int64_t count) {
    for (const std::int64_t end = row + rows, at_once = kernels().rows_at_once; row < end; row += at_once)
      multiply_some(o, row, std::min(at_once, end - row), first, count);
  }
  static void release() {}

 private:
  void multiply_some(const Operands<float>& o, std::int64_t row, std::int64_t rows, std::int64_t first,
                     std::int64_t count) {
    in_.resize(rows), out_.resize(rows), plus_.resize(rows);
    for (std::int64_t i = 0; i < rows; ++i) {
      in_[i] = o.x + (row + i) * o.in;
      out_[i] = o.y + (row + i) * o.out + first;
      if (o.plus) plus_[i] = o.plus + (row + i) * o.out + first;
    }
    kernels().multiply({in_.data(), rows, rows, 1, o.in, weight_.from(0), 0, count, out_.data(),
                        o.plus ? plus_.data() : nullptr, o.bias ? o.bias + first : nullptr, weight_.from(0)});
  }

  std::int64_t panel_;
  Columns<float> weight_;
  std::vector<const float*> in_, plus_;
  std::vector<float*> out_;
};

template <>
class Piece<bfloat16> {
 public:
  static std::int64_t columns(const DecodedMatrix&) { return kColumns; }
  explicit Piece(const DecodedMatrix& matrix) : weight_(matrix, kColumns, kColumns), sums_(kRows * kColumns) {}

  void fill(std::int64_t first, std::int64_t count) { weight_.fill(first, count); }
  // A few rows at a time, whose sums stay in the cache.
  void multiply(const Operands<bfloat16>& o, std::int64_t row, std::int64_t rows, std::int64_t first,
                std::int64_t count) {
    for (const std::int64_t end = row + rows; row < end; row += kRows) {
      const std::int64_t n = std::min(kRows, end - row);
      for (std::int64_t at = 0; at < o.in; at += kPart)
        brgemm({n, kColumns, std::min(kPart, o.in - at)}, o.x + row * o.in + at, o.in, weight_.from(at), at > 0,
               sums_.get());
      for (std::int64_t i = 0; i < n; ++i) {
        const std::int64_t to = (row + i) * o.out + first;
        kernels().of_bfloat16.finish(sums_.get() + i * kColumns, o.bias ? o.bias + first : nullptr,
                                     o.plus ? o.plus + to : nullptr, o.y + to, count);
      }
    }
  }
  static void release() { release_brgemm(); }

 private:
  static constexpr std::int64_t kColumns = 64, kRows = 128, kPart = 512;
  Columns<bfloat16> weight_;
  Buffer<float> sums_;
};

// Threads take pieces one after another: a thread that is held up by other work does less.
template <class T>
void multiply(const DecodedMatrix& matrix, const Operands<T>& o) {
  constexpr std::int64_t kWorthMaking = 512;  // rows that numbers are made for, at least
  const std::int64_t threads = at::get_num_threads(), width = Piece<T>::columns(matrix),
                     groups = (o.out + width - 1) / width;
  const std::int64_t parts = std::clamp<std::int64_t>((3 * threads + groups - 1) / groups, 1,
                                                      std::max<std::int64_t>(o.rows / kWorthMaking, 1));
  std::atomic<std::int64_t> next = 0;
  at::parallel_for(0, std::min(threads, groups * parts), 1, [&](std::int64_t, std::int64_t) {
    Piece<T> piece(matrix);
    std::int64_t filled = -1;
    for (std::int64_t i; (i = next++) < groups * parts;) {
      const std::int64_t group = i / parts, part = i % parts, first = group * width,
                         count = std::min(width, o.out - first);
      if (group != filled) piece.fill(first, count);
      filled = group;
      const std::int64_t row = o.rows * part / parts;
      piece.multiply(o, row, o.rows * (part + 1) / parts - row, first, count);
    }
    Piece<T>::release();
  });
}

// Of so few rows that laying numbers out for them would take most of the time: a number of the result after another.
constexpr std::int64_t kFewRows = 4;
void multiply_few(const DecodedMatrix& matrix, const Operands<bfloat16>& o) {
  constexpr std::int64_t kWorthAThread = 1 << 16;  // numbers of the matrix
  std::vector<float> x(std::size_t(o.rows * o.in));
  for (std::int64_t i = 0; i < o.rows * o.in; ++i) x[std::size_t(i)] = cpu::value(o.x[i]);
  at::parallel_for(0, o.out, std::max<std::int64_t>(kWorthAThread / o.in, 1),
                   [&](std::int64_t begin, std::int64_t end) {
                     const Buffer<bfloat16> numbers(o.in);
                     for (std::int64_t column = begin; column < end; ++column) {
                       matrix.to_bfloat16(column, 0, o.in, numbers.get());
                       for (std::int64_t i = 0; i < o.rows; ++i) {
                         const std::int64_t at = i * o.out + column;
                         const float sum = kernels().of_bfloat16.dot(numbers.get(), x.data() + i * o.in, o.in);
                         kernels().of_bfloat16.finish(&sum, o.bias ? o.bias + column : nullptr,
                                                      o.plus ? o.plus + at : nullptr, o.y + at, 1);
                       }
                     }
                   });
}
// In float32 a row's result may not depend on how many there are.
bool are_few(const Operands<float>&) { return false; }
bool are_few(const Operands<bfloat16>& o) { return o.rows <= kFewRows; }
void multiply_few(const DecodedMatrix&, const Operands<float>&) {}

}  // namespace

bool multiplies_decoded(const Tensor& x, const DecodedMatrix& matrix) {
  if (!cpu::takes(x)) return false;
  return x.scalar_type() == at::kFloat || (matrix.in % 2 == 0 && matrix.block % 2 == 0 && has_brgemm());
}

Tensor decoded_linear(const Tensor& x, const DecodedMatrix& matrix, const Tensor& bias, const Tensor& plus) {
  RECORD_FUNCTION("sdgen::decoded_linear", {});
  TORCH_CHECK(x.size(-1) == matrix.in, "linear: ", x.sizes(), " does not go with ", matrix.out, "x", matrix.in);
  TORCH_CHECK(!wants_gradient(x, bias, plus), "codes have no gradients: read the network with Keep::trainable");
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.back() = matrix.out;
  const Tensor in = x.contiguous(), y = at::empty(sizes, x.options()),
               added = plus.defined() ? plus.contiguous() : plus,
               offset = bias.defined() ? bias.to(at::kFloat).contiguous() : bias;
  if (y.numel() == 0) return y;
  cpu::by_type(x, [&]<class T>(T) {
    const Operands<T> operands{cpu::numbers<const T>(in),
                               plus.defined() ? cpu::numbers<const T>(added) : nullptr,
                               bias.defined() ? offset.const_data_ptr<float>() : nullptr,
                               cpu::numbers<T>(y),
                               y.numel() / matrix.out,
                               matrix.in,
                               matrix.out};
    if (are_few(operands))
      multiply_few(matrix, operands);
    else
      multiply(matrix, operands);
  });
  return y;
}

}  // namespace sdgen::ops
