#include "image/xmp.h"

#include <expat.h>

#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#include "io/text.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::size_t kMostPacket = std::size_t{4} << 20;  // bytes

// expat gives names as namespace, this, and the local name.
constexpr char kBetween = '\n';
constexpr std::string_view kRdf = "http://www.w3.org/1999/02/22-rdf-syntax-ns#";
constexpr std::string_view kIptc = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/";
constexpr std::string_view kOwn = "urn:sdgen:xmp:1.0:";

bool is(std::string_view name, std::string_view space, std::string_view local) {
  return name.size() == space.size() + 1 + local.size() && name.starts_with(space) && name[space.size()] == kBetween &&
         name.ends_with(local);
}

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else
      out += c;
  }
  return out;
}

// Follows elements down: rdf:RDF, rdf:Description, and the property in it.
class Reader {
 public:
  explicit Reader(XML_Parser parser) : parser_(parser) {}

  static void start(void* self, const XML_Char* name, const XML_Char** attributes) {
    static_cast<Reader*>(self)->begin(name, attributes);
  }
  static void end(void* self, const XML_Char*) { static_cast<Reader*>(self)->end(); }
  static void characters(void* self, const XML_Char* text, int size) {
    if (std::string* value = static_cast<Reader*>(self)->value_) value->append(text, static_cast<std::size_t>(size));
  }
  static void document_type(void* self, const XML_Char*, const XML_Char*, const XML_Char*, int) {
    XML_StopParser(static_cast<Reader*>(self)->parser_, XML_FALSE);
  }
  const XmpTexts& found() const { return found_; }

 private:
  // Where the property's value goes; null: it is not one of ours, or known already.
  std::string* place(std::string_view name) {
    std::string* to = is(name, kIptc, "DigitalSourceType") ? &found_.source_type
                      : is(name, kOwn, "record")           ? &found_.record
                                                           : nullptr;
    return to && to->empty() ? to : nullptr;
  }
  void begin(std::string_view name, const XML_Char** attributes) {
    value_ = nullptr;
    const bool property = !above_.empty() && above_.back() == Element::description;
    const bool description = is(name, kRdf, "Description") && !above_.empty() && above_.back() == Element::rdf;
    above_.push_back(is(name, kRdf, "RDF") ? Element::rdf : description ? Element::description : Element::other);
    if (property) value_ = place(name);
    for (; *attributes; attributes += 2) {
      if (description)
        if (std::string* to = place(attributes[0])) *to = attributes[1];
      if (value_ && is(attributes[0], kRdf, "resource")) *value_ = attributes[1];
    }
  }
  void end() {
    value_ = nullptr;
    above_.pop_back();
  }

  XML_Parser parser_;
  enum class Element : char { rdf, description, other };
  std::vector<Element> above_;
  std::string* value_ = nullptr;
  XmpTexts found_;
};

}  // namespace

std::string xmp_packet(const XmpTexts& texts) {
  if (texts == XmpTexts()) return "";
  std::string properties;
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) properties += concat("   <", name, '>', escaped(value), "</", name, ">\n");
  };
  add("Iptc4xmpExt:DigitalSourceType", texts.source_type);
  add("sdgen:record", texts.record);
  return concat("<?xpacket begin=\"\uFEFF\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n",
                "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\n <rdf:RDF xmlns:rdf=\"", kRdf, "\">\n",
                "  <rdf:Description rdf:about=\"\"",
                texts.source_type.empty() ? "" : concat(" xmlns:Iptc4xmpExt=\"", kIptc, "\""),
                texts.record.empty() ? "" : concat(" xmlns:sdgen=\"", kOwn, "\""), ">\n", properties,
                "  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end=\"w\"?>");
}

XmpTexts read_xmp(std::string_view packet) {
  if (packet.size() > kMostPacket) return {};
  while (!packet.empty() && packet.back() == '\0') packet.remove_suffix(1);  // some writers fill up with them
  const std::unique_ptr<std::remove_pointer_t<XML_Parser>, decltype(&XML_ParserFree)> parser(
      XML_ParserCreateNS(nullptr, kBetween), &XML_ParserFree);
  if (!parser) throw std::bad_alloc();
  Reader reader(parser.get());
  XML_SetUserData(parser.get(), &reader);
  XML_SetElementHandler(parser.get(), Reader::start, Reader::end);
  XML_SetCharacterDataHandler(parser.get(), Reader::characters);
  XML_SetStartDoctypeDeclHandler(parser.get(), Reader::document_type);
  if (XML_Parse(parser.get(), packet.data(), static_cast<int>(packet.size()), /*isFinal=*/1) != XML_STATUS_OK)
    return {};
  XmpTexts found = reader.found();
  found.source_type = trimmed(found.source_type, " \t\r\n");
  return found;
}

}  // namespace sdgen
