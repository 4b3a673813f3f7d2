#include "io/hash.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "io/file.h"
#include "sdgen/error.h"

namespace sdgen {

std::string sha256_of_file(const std::filesystem::path& path, std::uint64_t begin, std::uint64_t length) {
  const auto require = [](bool done) {
    if (!done) throw Error(Fault::internal, "OpenSSL's SHA-256 failed");
  };
  const InputFile file(path);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  require(context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1);
  std::vector<std::byte> piece(1 << 20);
  for (std::uint64_t offset = begin; length > 0;) {
    const std::size_t wanted = std::min<std::uint64_t>(piece.size(), length);
    const std::size_t size = file.read_some(offset, std::span(piece).first(wanted));
    require(EVP_DigestUpdate(context.get(), piece.data(), size) == 1);
    if (size < wanted) break;
    offset += size;
    length -= size;
  }
  std::array<unsigned char, 32> digest{};
  require(EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1);
  std::string text;
  for (const unsigned char byte : digest) {
    constexpr char digits[] = "0123456789abcdef";
    text += {digits[byte >> 4], digits[byte & 15]};
  }
  return text;
}

}  // namespace sdgen
