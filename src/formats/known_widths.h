// Families told by the widths of their released networks, for what people are shown: nothing is loaded by them.
#pragma once

#include <cstdint>
#include <string>

namespace sdgen {

// The family whose U-Net has cross-attention of this width; "" for others.
std::string family_of_context(std::int64_t width);

// The family whose transformer has a stream of patches of this width; "" for others.
std::string family_of_stream(std::int64_t width);

// The families that have a text encoder of this width: "Stable Diffusion 1 or SDXL"; "" where none has.
std::string families_of_text(std::int64_t width);
// The first of them.
std::string family_of_text(std::int64_t width);

// The language model whose hidden states are so wide, of those that tell networks of the prompt; "" for others.
std::string language_model_of(std::int64_t width);

}  // namespace sdgen
