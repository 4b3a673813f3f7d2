// What picture files say, by their paths.
#pragma once

#include "base/scratch.h"
#include "image/jpeg.h"
#include "image/png.h"

namespace sdgen {

inline std::vector<PictureText> read_png_text(const std::filesystem::path& path) {
  return png_texts(contents(path), path.string());
}
inline Size read_png_size(const std::filesystem::path& path) { return png_size(contents(path), path.string()); }

}  // namespace sdgen
