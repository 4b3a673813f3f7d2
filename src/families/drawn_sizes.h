// The sizes of pictures that PixArt was trained on, in shapes from 1:4 to 4:1 (Chen et al., 2024, appendix; the tables
// ASPECT_RATIO_..._BIN of diffusers).
#pragma once

#include <vector>

#include "sdgen/sdgen.h"

namespace sdgen {

// Of a network of so many latents a side, from the widest to the highest: 32, 64, 128 and 256 are known. Empty: others.
std::vector<Size> drawn_sizes(std::int64_t sample_size);

// That of the shape nearest to `asked`, as far as two decimals of height / width tell. `sizes` must not be empty.
Size nearest_in_shape(const std::vector<Size>& sizes, Size asked);

}  // namespace sdgen
