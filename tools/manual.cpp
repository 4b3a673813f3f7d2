// Writes the manual page and the completions of bash, zsh and fish where package managers look for them:
//   sdgen_manual FOLDER    (FOLDER/man/man1/sdgen.1, FOLDER/bash-completion/completions/sdgen, ...)
#include <filesystem>
#include <fstream>
#include <iostream>

#include "manual_page.h"

int main(int argc, char** argv) {
  using namespace sdgen;
  if (argc != 2) {
    std::cerr << "usage: sdgen_manual FOLDER\n";
    return 2;
  }
  const std::pair<const char*, std::string> files[] = {
      {"man/man1/sdgen.1", cli::manual_page()},
      {"bash-completion/completions/sdgen", cli::bash_completion()},
      {"zsh/site-functions/_sdgen", cli::zsh_completion()},
      {"fish/vendor_completions.d/sdgen.fish", cli::fish_completion()},
  };
  for (const auto& [name, text] : files) {
    const std::filesystem::path file = std::filesystem::path(argv[1]) / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream out(file, std::ios::binary);
    out << text << std::flush;
    if (!out) {
      std::cerr << file << " cannot be written\n";
      return 1;
    }
  }
  return 0;
}
