// What SDXL's networks are told of a picture's sizes (Podell et al., 2023, section 2.2).
#pragma once

#include "families/family.h"

namespace sdgen {

extern const SizeInputs kSdxlSizes;     // original size, crop, target size; heights before widths
extern const SizeInputs kRefinerSizes;  // original size, crop, aesthetic score

}  // namespace sdgen
