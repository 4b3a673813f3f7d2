// A matrix that is kept as a file has it, in codes: blocks of GGUF, float8, int8 and four bits with scales. Its numbers
// are there a few rows at a time, beside the product that needs them.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <span>

#include "io/scaling.h"
#include "ops/int8.h"

namespace sdgen {

struct Codes {
  Encoding encoding;
  std::int64_t out, in;  // `in` is whole blocks
  at::Tensor bytes;      // uint8 [out, bytes of a row], on the CPU; those of a file are not to be written to
  Scaling scaling = {};
  std::shared_ptr<const Codes> scales = {};      // as scaling has them, [n, 1], codes or float32; null: none
  std::shared_ptr<const MappedBytes> file = {};  // whose bytes these are; null: they have memory of their own
  // The same matrix for products in whole numbers, see round_tokens(); nothing: products are of the exact numbers.
  std::optional<ops::Int8Matrix> int8 = {};

  // From now on tokens, x [batch, tokens, in] in float32 or bfloat16, are rounded to whole numbers of 8 bits before
  // they are multiplied, each token with a scale of its own (ops/int8.h), where the codes are such numbers with a scale
  // a row and the processor has such products; else nothing changes. What is said to all tokens at once, x [batch, in],
  // of which there is little, is multiplied as it is.
  void round_tokens();

  // What uses bytes of a file throws Error(input) where that was cut or written to since it was opened.

  // x matrix^T + bias + plus: x [..., in] on the CPU, plus [..., out]; bias and plus may be undefined.
  at::Tensor times(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& plus = {}) const;
  // Rows, by their numbers: ids int64 [...] on the CPU -> [..., in].
  at::Tensor rows(const at::Tensor& ids, at::ScalarType type) const;
  // Its numbers, [out, in].
  at::Tensor dense(at::ScalarType type) const;
  // Those from the one with index `first` on, in float32: whole blocks, and whole groups of what is rotated.
  void read(std::int64_t first, std::span<float> to) const;

 private:
  // `count` numbers of a row from `first` on: whole blocks, and whole groups of what is rotated.
  template <class T>
  void numbers(std::int64_t row, std::int64_t first, std::int64_t count, T* to) const;
  at::Tensor product(const at::Tensor& x, const at::Tensor& bias, const at::Tensor& plus) const;
  void require_unchanged() const;
  // What was made of them, if it can be trusted.
  at::Tensor checked(at::Tensor made) const;
  // Those of some rows, into `to` [rows, in], contiguous.
  void widen(std::int64_t first, const at::Tensor& to) const;
};

}  // namespace sdgen
