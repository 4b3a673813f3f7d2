// How many files a flag of a picture takes: who names one more has found a fact that stands in two places.
#include <gtest/gtest.h>

#include <cctype>
#include <set>

#include "base/project_files.h"
#include "cli/settings.h"

namespace sdgen::cli {
namespace {

// Is it there, and no part of a longer name?
bool names(const std::string& text, const std::string& name) {
  const auto in_name = [&](std::size_t at) {
    return at < text.size() &&
           (std::isalnum(static_cast<unsigned char>(text[at])) || text[at] == '_' || text[at] == '-');
  };
  for (std::size_t at = 0; (at = text.find(name, at)) != std::string::npos; ++at)
    if (!in_name(at - 1) && !in_name(at + name.size())) return true;
  return false;
}

// The files that name an option by its flag or its key.
std::set<std::string> files_that_name(const std::string& flag, const std::vector<std::string>& folders) {
  return files_that(
      SDGEN_SOURCE, folders, [](const std::string& path) { return path == "tests/fuzz/corpus"; },
      [&](const std::string& text) { return names(text, flag) || names(text, key_of(flag)); });
}

// The field, the row, a line of documents. Batch lines, sweeps, records, AUTOMATIC1111's text, the schema, completions
// and the fuzzers' words are made of the row.
TEST(FilesOfAFlag, AreThreeOutsideOfWhatItDoes) {
  const std::set<std::string> front = {"include/sdgen/sdgen.h", "src/cli/README.md", "src/cli/picture_options.cpp"};
  for (const char* flag : {"--guidance-rescale", "--clip-skip", "--original-size", "--target-size"})
    EXPECT_EQ(files_that_name(flag, {"include", "src/cli", "src/program", "scripts", "tests/fuzz"}), front) << flag;
}

// And what it does: its range, its default and its arithmetic stand in the file of the stage that has a use for it.
TEST(FilesOfAFlag, AreFourWithWhatItDoes) {
  for (const char* flag : {"--guidance-rescale", "--original-size"})
    EXPECT_LE(files_that_name(flag, {"include", "src", "scripts", "tests/fuzz"}).size(), 4u) << flag;
}

}  // namespace
}  // namespace sdgen::cli
