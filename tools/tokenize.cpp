// sdgen_tokenize FOLDER: the token ids that a tokenizer folder gives, for comparison with transformers
// (tools/token_parity.py).
//
// Reads texts from standard input, one JSON string per line, and writes for each a line
// [[ids of encode()], [ids of tokenize()]].
#include <iostream>
#include <string>
#include <vector>

#include "io/json.h"
#include "sdgen/error.h"
#include "text/tokenizer.h"

namespace {

void print(const std::vector<int>& ids) {
  std::cout << '[';
  for (std::size_t i = 0; i < ids.size(); ++i) std::cout << (i == 0 ? "" : ",") << ids[i];
  std::cout << ']';
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: sdgen_tokenize FOLDER < texts\n";
    return static_cast<int>(sdgen::Fault::usage);
  }
  try {
    std::ios::sync_with_stdio(false);
    const auto tokenizer = sdgen::load_tokenizer(argv[1]);
    std::size_t number = 0;
    for (std::string line; std::getline(std::cin, line);) {
      const std::string who = sdgen::concat("standard input, line ", ++number);
      const sdgen::Json json = sdgen::parse_json(line, who);
      if (!json.is_string()) throw sdgen::Error(sdgen::Fault::usage, who + ": is not a JSON string");
      const auto& text = json.get_ref<const std::string&>();
      std::cout << '[';
      print(tokenizer->encode(text));
      std::cout << ',';
      print(sdgen::tokenize(*tokenizer, text).ids);
      std::cout << "]\n";
    }
  } catch (const sdgen::Error& error) {
    std::cerr << "sdgen_tokenize: " << error.what() << '\n';
    return static_cast<int>(error.fault());
  }
  return std::cout.flush() ? 0 : static_cast<int>(sdgen::Fault::output);
}
