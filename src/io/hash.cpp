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
namespace {

class Sha256 {
 public:
  Sha256() { require(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1); }
  void add(const void* bytes, std::size_t size) { require(EVP_DigestUpdate(context_.get(), bytes, size) == 1); }
  std::string digits() {
    std::array<unsigned char, 32> digest{};
    require(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr) == 1);
    std::string text;
    for (const unsigned char byte : digest) {
      constexpr char digits[] = "0123456789abcdef";
      text += {digits[byte >> 4], digits[byte & 15]};
    }
    return text;
  }

 private:
  static void require(bool done) {
    if (!done) throw Error(Fault::internal, "OpenSSL's SHA-256 failed");
  }
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_{EVP_MD_CTX_new(), &EVP_MD_CTX_free};
};

}  // namespace

std::string sha256_of(std::string_view bytes) {
  Sha256 hash;
  hash.add(bytes.data(), bytes.size());
  return hash.digits();
}

std::string sha256_of_file(const std::filesystem::path& path, std::uint64_t begin, std::uint64_t length,
                           const std::stop_token& stop) {
  const InputFile file(path);
  Sha256 hash;
  std::vector<std::byte> piece(1 << 20);
  for (std::uint64_t offset = begin; length > 0;) {
    if (stop.stop_requested()) throw Cancelled();
    const std::size_t wanted = std::min<std::uint64_t>(piece.size(), length);
    const std::size_t size = file.read_some(offset, std::span(piece).first(wanted));
    hash.add(piece.data(), size);
    if (size < wanted) break;
    offset += size;
    length -= size;
  }
  return hash.digits();
}

}  // namespace sdgen
