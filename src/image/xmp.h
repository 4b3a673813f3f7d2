// XMP (ISO 16684-1): the packet of a picture that says, in IPTC's words, that a model made it, and has sdgen's record
// where a format has no other place for it.
#pragma once

#include <string>
#include <string_view>

namespace sdgen {

// Values of DigitalSourceType, from IPTC's NewsCodes (https://cv.iptc.org/newscodes/digitalsourcetype/): made by a
// model alone, and put together of such parts and others.
constexpr std::string_view kMadeByModel = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";
constexpr std::string_view kMadeByModelOfPictures =
    "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia";

struct XmpTexts {
  std::string source_type = {};  // Iptc4xmpExt:DigitalSourceType; "": not said
  std::string record = {};       // sdgen:record
  bool operator==(const XmpTexts&) const = default;
};

// A packet in UTF-8 that says this and nothing else, no time either; "": there is nothing to say. The texts are ASCII.
std::string xmp_packet(const XmpTexts& texts);

// What a packet says: of each property the first one, at the top of a description, in any of the forms that XMP allows
// for it. One that is malformed, has a document type (whose entities could be anything), or more than 4 MiB, says
// nothing.
XmpTexts read_xmp(std::string_view packet);

}  // namespace sdgen
