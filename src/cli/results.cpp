#include "cli/results.h"

#include <cstddef>
#include <vector>

#include "cli/process.h"
#include "io/file.h"

namespace sdgen::cli {

void save_png(const std::filesystem::path& file, const Image& image, std::span<const PngText> texts, bool overwrite) {
  const std::vector<std::byte> png = encode_png(image, texts);
  if (file.empty())
    write_stdout({reinterpret_cast<const char*>(png.data()), png.size()});
  else
    write_file_atomically(file, png, overwrite);
}

void save_picture(const Options& options, const std::filesystem::path& file, const Image& image, const Request& request,
                  const ModelInfo& model, const Timings& timings) {
  std::vector<PngText> texts;
  if (options.metadata) texts.push_back({"parameters", a1111_parameters(request, model)});
  save_png(file, image, texts, options.overwrite);
  if (!file.empty()) write_stdout(options.json ? json_line(request, model, file, timings) : file.string() + "\n");
}

}  // namespace sdgen::cli
