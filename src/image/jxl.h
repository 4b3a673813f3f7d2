// JPEG XL files (ISO/IEC 18181), by libjxl.
#pragma once

#include "image/image_format.h"

namespace sdgen {

// Without --quality, and at 100, nothing is lost. AUTOMATIC1111's text is in the Exif box, sdgen's record and the mark
// in the XMP box. Animations are refused by name. libjxl is opened when it is first needed: it would add 4.5 ms to
// every start of the program. `encode` is null where the build found none.
extern const ImageFormat kJxl;

}  // namespace sdgen
