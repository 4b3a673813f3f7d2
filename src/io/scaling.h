// From what codes say to a tensor's numbers: one description of what every format does beside its codes, for numbers
// that are read from files (tensor_table.h) and for those that wait in memory (weights/codes.h). No torch here.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "io/tensor_file.h"

namespace sdgen {

// number = code * scale * factor + offset in float32, rounded after each; then rotated and rounded as it says.
struct Scaling {
  // What a byte means, where it is a place in a list of 256 numbers; else what decode() makes of it.
  std::vector<float> table = {};
  // So many numbers, in the tensor's order, have a scale together; 0: there is none.
  std::uint64_t span = 0;
  float factor = 1, offset = 0;
  // Groups of so many numbers of a row, a power of 4, were multiplied by the regular Hadamard matrix of that size over
  // its square root, which is its own inverse ("ConvRot": Hadamard matrices whose rows have equal sums); 0: they were
  // not.
  std::uint32_t rotated = 0;
  // The type that the format's own reader makes of them: F32, F16 or BF16.
  Encoding rounded = Encoding::F32;
};

// Whole blocks -> what their codes say, `to` has room for all of them.
void decode(const Scaling& scaling, Encoding encoding, std::span<const std::byte> blocks, float* to);

// In place, from what codes say: the numbers of a tensor from the one with index `first` on. scales[0] is that of the
// first one, and all that they need are there. Where they are rotated, they are whole groups.
void apply(const Scaling& scaling, std::uint64_t first, std::span<const float> scales, std::span<float> numbers);

// Index of the first scale that these numbers need, and how many.
struct ScaleRange {
  std::uint64_t first, count;
};
ScaleRange scales_of(const Scaling& scaling, std::uint64_t first, std::uint64_t count);

}  // namespace sdgen
