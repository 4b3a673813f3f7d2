// Reading the text that AUTOMATIC1111's web UI and others leave in pictures.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sdgen::cli {

struct A1111Text {
  std::string prompt, negative_prompt;
  std::vector<std::pair<std::string, std::string>> values;  // "Steps" -> "20", in the text's order, each key once

  // "": not there.
  std::string value(std::string_view key) const;
};

// Reads UTF-8 text as the web UI does (1.10, modules/infotext_utils.py parse_generation_parameters): the last line has
// the values if it is three or more times "KEY: VALUE"; what comes before is the prompt, and from a line that begins
// with "Negative prompt:" on what the picture should not show. Quoted values are read as JSON strings, of keys that
// come again the last value counts, and keys without a value count as not there. Takes linear time.
A1111Text parse_a1111(std::string_view text);

}  // namespace sdgen::cli
