#include "image/xmp.h"

#include <gtest/gtest.h>

#include "sdgen/error.h"

namespace sdgen {
namespace {

const std::string kSource(kMadeByModel);

std::string packet(const std::string& attributes, const std::string& properties, const std::string& before = "") {
  return concat("<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?>", before,
                "<x:xmpmeta xmlns:x='adobe:ns:meta/'><r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#' "
                "xmlns:e='http://iptc.org/std/Iptc4xmpExt/2008-02-29/' xmlns:o='urn:other:'><r:Description r:about='' ",
                attributes, ">", properties, "</r:Description></r:RDF></x:xmpmeta><?xpacket end='w'?>");
}

TEST(Xmp, SaysWhatWasWritten) {
  for (const XmpTexts& texts : {XmpTexts{kSource, ""}, {"", "{\"sdgen\":\"<&>]]>\"}"}, {kSource, "{}"}})
    EXPECT_EQ(read_xmp(xmp_packet(texts)), texts) << xmp_packet(texts);
  EXPECT_EQ(xmp_packet({}), "");
  EXPECT_EQ(xmp_packet({kSource, ""}).find("sdgen"), std::string::npos);
}

// ISO 16684-1, 7.9: a simple value is an element, an attribute, or, as a URI, a resource.
TEST(Xmp, ReadsEveryFormOfAProperty) {
  const std::string element = concat("<e:DigitalSourceType>\n ", kSource, " </e:DigitalSourceType>");
  EXPECT_EQ(read_xmp(packet("", element)).source_type, kSource);
  EXPECT_EQ(read_xmp(packet(concat("e:DigitalSourceType='", kSource, "'"), "")).source_type, kSource);
  EXPECT_EQ(read_xmp(packet("", concat("<e:DigitalSourceType r:resource='", kSource, "'/>"))).source_type, kSource);
  EXPECT_EQ(read_xmp(packet("", element) + std::string(30, '\0')).source_type, kSource);
}

TEST(Xmp, OtherPropertiesSayNothing) {
  const std::string value = concat("DigitalSourceType>", kSource, "</");
  EXPECT_EQ(read_xmp(packet("", concat("<o:", value, "o:DigitalSourceType>"))), XmpTexts());
  EXPECT_EQ(read_xmp(packet("", concat("<o:x><e:", value, "e:DigitalSourceType></o:x>"))), XmpTexts()) << "of a part";
  EXPECT_EQ(
      read_xmp(packet("", concat("<o:x><r:Description><e:", value, "e:DigitalSourceType></r:Description></o:x>"))),
      XmpTexts());
}

TEST(Xmp, MalformedPacketsSayNothing) {
  const std::string good = packet(concat("e:DigitalSourceType='", kSource, "'"), "");
  for (std::size_t size = 0; size < good.size() - 25; ++size)
    EXPECT_EQ(read_xmp(good.substr(0, size)), XmpTexts()) << size;
  const std::string entities = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>]>";
  EXPECT_EQ(read_xmp(packet("", "<e:DigitalSourceType>&b;</e:DigitalSourceType>", entities)), XmpTexts());
  EXPECT_EQ(read_xmp(packet("e:DigitalSourceType='x'", "", entities)), XmpTexts());
  EXPECT_EQ(read_xmp(packet("e:DigitalSourceType='x'", std::string(5 << 20, ' '))), XmpTexts());
  EXPECT_EQ(read_xmp(packet("e:DigitalSourceType='x'", std::string(3 << 20, ' '))).source_type, "x");
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "<o:x>";
  EXPECT_EQ(read_xmp(packet("", deep)), XmpTexts());
}

}  // namespace
}  // namespace sdgen
