// From float32 to encoded numbers, what decode() reads. No torch here.
//
// Q8_0 is ggml's to the bit; Q4_K is searched for (encode_q4_k.cpp). Float8 is rounded to nearest, ties to even; it and
// int8 go with a scale, of a tensor or of a row, by which numbers are divided first.
#pragma once

#include <span>

#include "io/tensor_file.h"

namespace sdgen {

// Can encode() make it? The plain types but float64, Q8_0, Q4_K, and with a scale F8_E4M3 and I8.
bool encodes(Encoding encoding);

// The largest number that it holds: a block's factors are float16.
float most_of(Encoding encoding);

// The largest |number|, 0 of none; NaN where one is NaN.
float largest_of(std::span<const float> numbers);

// What makes the largest number the largest code, where codes have a scale.
float scale_of(Encoding encoding, float largest);

// Whole blocks, into room for all of them. Requires encodes(encoding) and largest_of(numbers) <= most_of(encoding).
// Blocks do not depend on each other, nor on what kind of CPU encodes them.
void encode(Encoding encoding, std::span<const float> numbers, std::byte* to, float scale = 1);

// The nearest float16, ties to even.
std::uint16_t to_half(float number);
float from_half(std::uint16_t bits);

// One block of 256: encode_q4_k.cpp.
void encode_q4_k(const float* numbers, std::byte* to);

}  // namespace sdgen
