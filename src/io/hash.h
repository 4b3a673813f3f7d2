// SHA-256 of files, by OpenSSL: what model sites and AUTOMATIC1111 tell files apart by.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <stop_token>
#include <string>
#include <string_view>

namespace sdgen {

// SHA-256 (FIPS 180-4) of bytes, as 64 hexadecimal digits.
std::string sha256_of(std::string_view bytes);

// The same of a file's bytes from `begin` on, at most `length`, read in pieces of a megabyte. Throws Error(input) when
// it cannot be read, and Cancelled once it is asked to stop.
std::string sha256_of_file(const std::filesystem::path& path, std::uint64_t begin = 0,
                           std::uint64_t length = std::numeric_limits<std::uint64_t>::max(),
                           const std::stop_token& stop = {});

}  // namespace sdgen
