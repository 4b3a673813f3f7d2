#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "image/png.h"
#include "sdgen/error.h"

namespace {

// The decoder is asked for one picture at a time; no piece of its memory may be larger than this. A few kilobytes of
// compressed zeros would be gigabytes otherwise.
thread_local std::size_t most_bytes = 0;

void* bounded_realloc(void* old, std::size_t size) { return size > most_bytes ? nullptr : std::realloc(old, size); }

}  // namespace

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#define STBI_NO_LINEAR
#define STBI_MAX_DIMENSIONS sdgen::kMostSide
#define STBI_MALLOC(size) bounded_realloc(nullptr, size)
#define STBI_REALLOC(old, size) bounded_realloc(old, size)
#define STBI_FREE(memory) std::free(memory)
#include <stb_image.h>
#pragma GCC diagnostic pop

namespace sdgen {

std::vector<std::uint8_t> png_samples(std::string_view bytes, const std::string& who, Size size, int channels) {
  // Twice the file, for the joined chunks of a PNG; the samples of a 16-bit RGBA picture, filtered, and doubled as the
  // decoder's buffer grows.
  most_bytes = 2 * bytes.size() + 16 * (std::size_t(size.width) + 64) * (std::size_t(size.height) + 64) + (1 << 20);
  int width = 0, height = 0, in_file = 0;
  const std::unique_ptr<stbi_uc, decltype(&std::free)> pixels(
      stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(bytes.data()), static_cast<int>(bytes.size()), &width,
                            &height, &in_file, channels),
      &std::free);
  if (!pixels) {
    const char* reason = stbi_failure_reason();  // none where its memory was bounded too early
    const char* why = reason != nullptr ? reason : "more bytes than pixels";
    throw Error(Fault::input, concat(who, ": its pixels are damaged or of an unknown kind (", why, ")"));
  }
  return {pixels.get(), pixels.get() + std::size_t(channels) * width * height};
}

}  // namespace sdgen
