// Blurred pictures, as Pillow makes them.
#pragma once

#include "sdgen/sdgen.h"

namespace sdgen {

// Pillow's ImageFilter.GaussianBlur(radius), bit for bit: three box filters with fractional edges along each row and
// then each column (Gwosdek et al., 2011, "Theoretical foundations of Gaussian convolution by extended box filtering"),
// in fixed point, each pass rounded to 8 bits; beyond the edges the outermost pixels go on. radius > 0: the standard
// deviation in pixels.
Image gaussian_blur(const Image& image, float radius);

}  // namespace sdgen
