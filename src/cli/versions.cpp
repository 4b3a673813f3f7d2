#include "cli/versions.h"

#include <expat.h>
#include <openssl/crypto.h>
#include <unicode/uversion.h>
#include <zlib.h>

#include <CLI/Version.hpp>
#include <nlohmann/json.hpp>
#include <vector>

#include "cli/toml.h"
#include "image/image_format.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

std::string icu_version() {
  UVersionInfo version;
  u_getVersion(version);
  char text[U_MAX_VERSION_STRING_LENGTH];
  u_versionToString(version, text);
  return text;
}

// What the library of a format says of itself.
std::string version_of(const ImageFormat& format) {
  if (!format.encode) return concat("is missing: ", format.name, " is neither read nor written");
  try {
    return format.version();
  } catch (const Error& error) {
    return concat("is missing: ", error.what());
  }
}

}  // namespace

std::string version_text(std::span<const Version> linked) {
  std::vector<Version> versions = {{"sdgen", SDGEN_VERSION}};
  versions.insert(versions.end(), linked.begin(), linked.end());
  versions.insert(versions.end(),
                  {{"zlib", zlibVersion()},
                   {"ICU", icu_version()},
                   {"Expat", concat(XML_ExpatVersionInfo().major, '.', XML_ExpatVersionInfo().minor, '.',
                                    XML_ExpatVersionInfo().micro)},
                   {"OpenSSL", OpenSSL_version(OPENSSL_VERSION_STRING)},
                   {"SentencePiece", SDGEN_SENTENCEPIECE_VERSION},
                   {"stb_image", SDGEN_STB_IMAGE_VERSION},
                   {"stb_image_write", SDGEN_STB_IMAGE_WRITE_VERSION},
                   {"stb_truetype", SDGEN_STB_TRUETYPE_VERSION},
                   {"CLI11", CLI11_VERSION},
                   {"nlohmann_json", concat(NLOHMANN_JSON_VERSION_MAJOR, '.', NLOHMANN_JSON_VERSION_MINOR, '.',
                                            NLOHMANN_JSON_VERSION_PATCH)},
                   {"toml++", concat(TOML_LIB_MAJOR, '.', TOML_LIB_MINOR, '.', TOML_LIB_PATCH)}});
  for (const ImageFormat* format : image_formats())
    if (!format->library.empty()) versions.push_back({std::string(format->library), version_of(*format)});
  std::string text;
  for (const Version& version : versions) text += concat(version.of, ' ', version.is, '\n');
  return text;
}

}  // namespace sdgen::cli
