// Reads codes with the scales that go with them.
#pragma once

#include <functional>
#include <span>

#include "io/tensor_table.h"
#include "weights/codes.h"

namespace sdgen {

// Does each row of `in` numbers begin with a block, a scale and a rotated group of its own?
bool has_whole_rows(const TensorTable::Entry& entry, std::int64_t in);

// Numbers of a tensor, in its order.
struct Stretch {
  std::uint64_t first, count;
};
// Memory that lasts: uint8 [rows, bytes].
using TakeBytes = std::function<at::Tensor(std::int64_t rows, std::int64_t bytes)>;

// Stretches of a tensor, one after the other, as rows of `in` codes. Requires stretches of whole rows, and
// has_whole_rows().
Codes read_codes(const TensorTable::Entry& entry, std::span<const Stretch> stretches, std::int64_t in,
                 const TakeBytes& take);

}  // namespace sdgen
