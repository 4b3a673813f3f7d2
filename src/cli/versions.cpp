#include "cli/versions.h"

#include <openssl/crypto.h>
#include <unicode/uversion.h>
#include <zlib.h>

#include <CLI/Version.hpp>
#include <nlohmann/json.hpp>
#include <vector>

#include "cli/toml.h"
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

}  // namespace

std::string version_text(std::span<const Version> linked) {
  std::vector<Version> versions = {{"sdgen", SDGEN_VERSION}};
  versions.insert(versions.end(), linked.begin(), linked.end());
  versions.insert(versions.end(),
                  {{"zlib", zlibVersion()},
                   {"ICU", icu_version()},
                   {"OpenSSL", OpenSSL_version(OPENSSL_VERSION_STRING)},
                   {"SentencePiece", SDGEN_SENTENCEPIECE_VERSION},
                   {"libjpeg-turbo", SDGEN_TURBOJPEG_VERSION},
                   {"stb_image", SDGEN_STB_IMAGE_VERSION},
                   {"stb_image_write", SDGEN_STB_IMAGE_WRITE_VERSION},
                   {"stb_truetype", SDGEN_STB_TRUETYPE_VERSION},
                   {"CLI11", CLI11_VERSION},
                   {"nlohmann_json", concat(NLOHMANN_JSON_VERSION_MAJOR, '.', NLOHMANN_JSON_VERSION_MINOR, '.',
                                            NLOHMANN_JSON_VERSION_PATCH)},
                   {"toml++", concat(TOML_LIB_MAJOR, '.', TOML_LIB_MINOR, '.', TOML_LIB_PATCH)}});
  std::string text;
  for (const Version& version : versions) text += concat(version.of, ' ', version.is, '\n');
  return text;
}

}  // namespace sdgen::cli
