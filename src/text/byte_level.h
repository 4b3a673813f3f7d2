// The alphabet of byte-level BPE (Radford et al., 2019): a printable character for every byte.
#pragma once

#include <array>
#include <string>

namespace sdgen {

// Characters of two bytes at most (github.com/openai/gpt-2, src/encoder.py). Printable bytes of Latin-1 stand for
// themselves, the others are numbered from U+0100 on.
std::array<std::string, 256> byte_alphabet();

}  // namespace sdgen
