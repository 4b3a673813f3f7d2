// Whatever a picture says of itself, its settings are good for their options, or it is refused with Error(input).
#include "cli/a1111_text.h"
#include "cli/from_image.h"
#include "cli/metadata.h"
#include "cli/options.h"
#include "cli/record.h"
#include "fuzz.h"
#include "image/jpeg.h"
#include "image/png.h"
#include "rows.h"

using namespace sdgen;
using fuzz::accepts;
using fuzz::rows;

namespace {

void require_good(const cli::FromImage& found) {
  cli::Options options;
  cli::apply(found.settings, rows(), options);
}

std::string_view chars(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

// The first byte says where the rest is in the file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const Image dot{1, 1, {1, 2, 3}};
  std::string_view text = fuzz::text_of(bytes, size);
  const int place = fuzz::take_byte(text) % 5;
  const std::string words(text);
  if (place == 0) {
    const cli::A1111Text parsed = cli::parse_a1111(text);
    for (const auto& [key, value] : parsed.values) fuzz::require(parsed.value(key) == value, "each key once", key);
    accepts({Fault::input}, [&] { require_good(cli::settings_of_a1111(words, "fuzz", {}, rows())); });
    return 0;
  }
  const auto ignore = [](const std::string&) {};
  const std::vector<PictureText> texts = {{place == 1 ? kRecordKeyword : "parameters", words}};
  const auto picture = place <= 2   ? encode_png(dot, texts)
                       : place == 3 ? encode_jpeg(dot, {words, ""}, ignore)
                                    : encode_jpeg(dot, {"", words}, ignore);
  const fuzz::MemoryFile file(chars(picture));
  const std::string path = file.path().string();
  accepts({Fault::input}, [&] { require_good(cli::read_from_image(path, {}, rows())); });
  const cli::Settings given = {{"--scheduler", "euler"}, {"--init-image", "a.png"}, {"--model", "m"}};
  accepts({Fault::input}, [&] { require_good(cli::read_from_image(path, given, rows())); });
  const std::string line = cli::json_line_of(path, "file");
  fuzz::require(line.ends_with('\n') && fuzz::fit_for_terminal(line), "a line of a manifest", line);
  return 0;
}
