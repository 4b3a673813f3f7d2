#include "cli/previews.h"

#include <utility>

#include "cli/results.h"
#include "image/image_format.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {

namespace fs = std::filesystem;

fs::path preview_file(const fs::path& picture) {
  fs::path name = picture.stem();
  name += ".preview.png";
  return picture.parent_path() / name;
}

void Previews::expect(std::vector<Of> pictures) {
  if (every_ == 0) return;
  for (const auto& [file, of_pictures] : pictures) {
    std::error_code ignored;
    if (fs::exists(file, ignored) && !fs::is_regular_file(file, ignored))
      throw Error(Fault::usage, concat("--preview-every: '", printable(file.string()),
                                       "' is not a regular file, so no preview can be written next to it"));
    if (const fs::path preview = preview_file(file); !replace_ && fs::exists(preview, ignored))
      throw Error(Fault::output, concat("--preview-every: '", printable(preview.string()),
                                        "' exists; --overwrite or --skip-existing replaces it"));
  }
  pictures_ = std::move(pictures);
}

void Previews::finished(const fs::path& file) {
  const std::lock_guard guard(lock_);
  shown_.erase(file);
}

bool Previews::wants_preview(int done, int total) { return every_ > 0 && done < total && done % every_ == 0; }

void Previews::preview(std::size_t first, const std::vector<Image>& pictures) {
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    const auto& [file, of_pictures] = pictures_.at(first + i);
    const std::vector<std::byte> png =
        png_format().encode(pictures[i], {.source_type = source_type(mark_, of_pictures)}, {});
    {
      const std::lock_guard guard(lock_);
      shown_.try_emplace(file, preview_file(file)).first->second.write(png);
    }
    if (written_) written_(file, preview_file(file));
  }
}

}  // namespace sdgen::cli
