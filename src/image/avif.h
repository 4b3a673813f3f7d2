// AVIF files (AV1 Image File Format, 1.1.0, in HEIF, ISO/IEC 23008-12), by libavif.
#pragma once

#include "image/image_format.h"

namespace sdgen {

// At quality 100 nothing is lost; colours are in full resolution at any. AUTOMATIC1111's text is in the EXIF item,
// sdgen's record and the mark in the XMP item. Sequences are refused by name. libavif is opened when it is first
// needed: it and its codecs, 27 libraries, would add 3.5 ms to every start of the program. `encode` is null where the
// build found none.
extern const ImageFormat kAvif;

}  // namespace sdgen
