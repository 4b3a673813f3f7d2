// WebP files (RFC 9649), by libwebp: without loss, or at a quality.
#pragma once

#include "image/image_format.h"

namespace sdgen {

// Without --quality nothing is lost. AUTOMATIC1111's text is in the EXIF chunk, sdgen's record and the mark in the XMP
// chunk. Animations are refused by name. `encode` is null where the build found no libwebp.
extern const ImageFormat kWebp;

}  // namespace sdgen
