#include "cli/results.h"

#include <cstddef>
#include <vector>

#include "cli/process.h"
#include "io/file.h"
#include "io/jpeg.h"
#include "sdgen/error.h"

namespace sdgen::cli {

namespace {

using Warn = std::function<void(const std::string&)>;

void put(const std::filesystem::path& file, std::span<const std::byte> bytes, bool overwrite) {
  if (file.empty())
    write_stdout({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  else
    write_file_atomically(file, bytes, overwrite);
}

std::vector<std::byte> encoded(const Options& options, const Image& image, const Made& made, const Warn& warn) {
  std::string parameters, record;
  if (options.metadata) parameters = a1111_parameters(made), record = record_text(made);
  if (output_format(options.output, options.format) == Format::jpeg)
    return encode_jpeg(image, {parameters, record}, warn);
  std::vector<PngText> texts;
  if (options.metadata) texts = {{"parameters", parameters}, {kRecordKeyword, record}};
  return encode_png(image, texts);
}

}  // namespace

void save_png(const std::filesystem::path& file, const Image& image, std::span<const PngText> texts, bool overwrite) {
  put(file, encode_png(image, texts), overwrite);
}

void save_picture(const Options& options, const std::filesystem::path& file, const Image& image, const Made& made,
                  const Timings& timings, const Warn& warn) {
  put(file,
      encoded(options, image, made,
              [&](const std::string& what) { warn(file.empty() ? what : concat(file.string(), ": ", what)); }),
      options.overwrite);
  if (!file.empty()) write_stdout(options.json ? json_line(made, file, timings) : file.string() + "\n");
}

}  // namespace sdgen::cli
