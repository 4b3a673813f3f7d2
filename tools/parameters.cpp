// sdgen_parameters: what sdgen reads in texts of AUTOMATIC1111's form, for comparison with the web UI's rule
// (tools/metadata_check.py).
//
// Reads texts from standard input, one JSON string per line, and writes for each a line [prompt, negative prompt,
// {key: value}].
#include <iostream>
#include <string>

#include "cli/a1111_text.h"
#include "io/json.h"
#include "sdgen/error.h"

int main() {
  try {
    std::ios::sync_with_stdio(false);
    for (std::string line; std::getline(std::cin, line);) {
      const sdgen::Json json = sdgen::parse_json(line, "standard input");
      const auto text = sdgen::cli::parse_a1111(json.get_ref<const std::string&>());
      sdgen::Json values = sdgen::Json::object();
      for (const auto& [key, value] : text.values) values[key] = value;
      std::cout << sdgen::Json{text.prompt, text.negative_prompt, values}.dump() << '\n';
    }
  } catch (const std::exception& error) {
    std::cerr << "sdgen_parameters: " << error.what() << '\n';
    return static_cast<int>(sdgen::Fault::input);
  }
  return std::cout.flush() ? 0 : static_cast<int>(sdgen::Fault::output);
}
