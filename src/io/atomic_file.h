// Large files, made piece by piece, whole or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>

namespace sdgen {

using Put = std::function<void(std::span<const std::byte>)>;

// As write_file_atomically() of bytes (io/file.h): `make` puts `size` bytes in all. Where the file system can, room for
// them is taken first. Where links are forbidden `make` is asked twice. What it throws ends the writing, and leaves
// nothing behind.
void write_file_atomically(const std::filesystem::path& path, std::uint64_t size,
                           const std::function<void(const Put&)>& make, bool overwrite);

}  // namespace sdgen
