// The core names the fields of requests; what people read has the flags that they know.
#include "cli/fields.h"

#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "base/scratch.h"
#include "cli/command_line.h"
#include "request/validate.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

TEST(Fields, AreNamesInTheLibraryAndFlagsOnTheCommandLine) {
  const Error error(Fault::usage, concat(FieldName{"mask_blur"}, " needs ", FieldName{"mask"}, " of \x01"));
  EXPECT_EQ(std::string(error.what()), "mask_blur needs mask of \x01");
  EXPECT_EQ(in_flags(error), "--mask-blur needs --mask of \x01");
  EXPECT_EQ(in_flags(Error(Fault::input, concat("a: ", error.text()))), "a: " + in_flags(error));
  EXPECT_EQ(in_flags(Error(Fault::input, "")), "");
}

// One rule, in the words of each side.
TEST(Fields, OfWhatNoModelCanDoAreInBothWords) {
  const auto image = std::make_shared<const Image>();
  const std::vector<std::tuple<std::function<void(Request&)>, std::vector<std::string>, std::string, std::string>>
      cases = {
          {[](Request& r) { r.strength = 0.5; },
           {"--strength", "0.5"},
           "strength needs init_image, the picture that it is about",
           "--strength needs --init-image, the picture that it is about"},
          {[&](Request& r) { r.init_image = image, r.mask_blur = 3; },
           {"-i", "a.png", "--mask-blur", "3"},
           "mask_blur needs mask",
           "--mask-blur needs --mask"},
          {[](Request& r) { r.refiner_start = 0.5; },
           {"--refiner-start", "0.5"},
           "refiner_start needs refiner",
           "--refiner-start needs --refiner"},
          {[](Request& r) { r.guess_mode = true; },
           {"--guess-mode"},
           "guess_mode needs controlnets",
           "--guess-mode needs --controlnet"},
          // One the model itself may take.
          {[&](Request& r) {
             r.controls = {{image}, {image}};
           },
           {"--control-image", "a.png", "--control-image", "b.png"},
           "controls: 2 for 0 controlnets and 0 adapters; each needs one",
           "--control-image: 2 for 0 --controlnet and 0 --t2i-adapter; each needs one"},
      };
  for (const auto& [change, words, of_library, of_program] : cases) {
    Request r;
    change(r);
    EXPECT_EQ(message_of(Fault::usage, [&] { validate(r, {}); }), of_library);
    std::vector<std::string> line = {"--prompt", "a fox"};
    line.insert(line.end(), words.begin(), words.end());
    try {
      parse_command_line(line);
      ADD_FAILURE() << of_program;
    } catch (const Error& error) {
      EXPECT_EQ(in_flags(error), of_program);
    }
  }
}

TEST(Fields, OfTheCoreHaveFlags) {
  const auto rows = option_rows();
  const std::regex named(R"re(FieldName\{"(\w+)"\})re");
  std::set<std::string> fields;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(SDGEN_SOURCE) / "src")) {
    const std::string text = entry.is_regular_file() ? contents(entry.path()) : "";
    for (std::sregex_iterator found(text.begin(), text.end(), named); found != std::sregex_iterator(); ++found)
      fields.insert((*found)[1]);
  }
  EXPECT_GE(fields.size(), 20u);
  for (const std::string& field : fields) EXPECT_NE(find(rows, flag_of(field)), nullptr) << field;
}

// The library's users have no command line.
TEST(Fields, AreAllThatTheCoreNames) {
  const std::regex flag(R"re("[^"\n]*--[a-z])re");
  for (const auto& room : fs::directory_iterator(fs::path(SDGEN_SOURCE) / "src")) {
    if (!room.is_directory() || room.path().filename() == "cli" || room.path().filename() == "program") continue;
    for (const auto& file : fs::directory_iterator(room.path())) {
      std::smatch found;
      const std::string text = contents(file.path());
      EXPECT_FALSE(std::regex_search(text, found, flag)) << file.path() << ": " << found.str();
    }
  }
}

}  // namespace
}  // namespace sdgen::cli
