// What counts as the same picture, and how it is told: lines, JSON, JUnit; which pictures folders and manifests have.
#include "cli/comparison.h"

#include <gtest/gtest.h>

#include "base/scratch.h"
#include "cli/junit.h"
#include "cli/picture_set.h"
#include "io/json.h"

namespace sdgen::cli {
namespace {

TEST(Limits, WithoutAnyNoSampleMayDiffer) {
  EXPECT_EQ(beyond({.ssim = 1}, {}), "");
  EXPECT_EQ(beyond({.max = 1, .psnr = 60, .ssim = 1}, {}), "max is above 0");
}

TEST(Limits, AllThatAreGivenCount) {
  const Difference d{.max = 3, .mean = 1, .psnr = 40.5, .ssim = 0.97, .hash = 2};
  EXPECT_EQ(beyond(d, {.max = 3}), "");
  EXPECT_EQ(beyond(d, {.max = 2}), "max is above 2");
  EXPECT_EQ(beyond(d, {.psnr = 40.5}), "") << "another limit alone says nothing of the largest difference";
  EXPECT_EQ(beyond(d, {.psnr = 41}), "PSNR is below 41");
  EXPECT_EQ(beyond(d, {.ssim = 0.98}), "SSIM is below 0.98");
  EXPECT_EQ(beyond(d, {.hash = 2}), "");
  EXPECT_EQ(beyond(d, {.hash = 1}), "hash is above 1");
  EXPECT_EQ(beyond(d, {.max = 1, .psnr = 50, .ssim = 0.5, .hash = 0}),
            "max is above 1, PSNR is below 50, hash is above 0");
  EXPECT_NE(beyond({.max = 1, .psnr = 60}, {.ssim = 0.1}), "") << "it cannot be known";
  EXPECT_EQ(beyond({}, {.psnr = 99, .ssim = 1}), "") << "they are equal";
}

TEST(Comparison, IsALine) {
  Compared c{"a.png", "b.png", Compared::Verdict::same, no_difference({7, 7})};
  EXPECT_EQ(line_of(c), "a.png b.png: same\n");
  EXPECT_EQ(json_line_of(c), R"({"a":"a.png","b":"b.png","same":true,"verdict":"same","max":0,"mean":0.0,"psnr":null,)"
                             R"("ssim":1.0,"hash":0})"
                             "\n");
  c.difference = Difference{.max = 2, .mean = 0.25, .psnr = 51.5, .ssim = 0.5, .hash = 1};
  EXPECT_EQ(line_of(c), "a.png b.png: alike: max 2, mean 0.250, PSNR 51.50 dB, SSIM 0.50000, hash 1\n");
  c.verdict = Compared::Verdict::different;
  c.why = "max is above 1";
  EXPECT_EQ(line_of(c),
            "a.png b.png: different: max 2, mean 0.250, PSNR 51.50 dB, SSIM 0.50000, hash 1; max is above 1\n");
  const Compared gone{"a\nb\x1b.png", "", Compared::Verdict::missing, {}, "it is \xFF gone"};
  EXPECT_EQ(line_of(gone), "a\\x0ab\\x1b.png: missing: it is \\xff gone\n");
  const Json json = Json::parse(json_line_of(gone));
  EXPECT_EQ(json["same"], false);
  EXPECT_TRUE(json["max"].is_null() && json["ssim"].is_null() && json["hash"].is_null());
}

TEST(Junit, SpellsOutWhatXmlCannotHold) {
  const TestCase cases[] = {{.name = "a & b.png", .seconds = 0.25},
                            {.name = "\"<\x1b\xFF\xEF\xBF\xBE>\"",
                             .outcome = TestCase::Outcome::failed,
                             .type = "different",
                             .message = "x\ny"},
                            {.name = "é", .outcome = TestCase::Outcome::error, .type = "unreadable"}};
  EXPECT_EQ(
      junit("sdgen compare", cases),
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
      "<testsuites name=\"sdgen compare\" tests=\"3\" failures=\"1\" errors=\"1\" skipped=\"0\" time=\"0.250\">\n"
      "  <testsuite name=\"sdgen compare\" tests=\"3\" failures=\"1\" errors=\"1\" skipped=\"0\" time=\"0.250\">\n"
      "    <testcase classname=\"sdgen compare\" name=\"a &amp; b.png\" time=\"0.250\"/>\n"
      "    <testcase classname=\"sdgen compare\" name=\"&quot;&lt;\\x1b\\xff\xEF\xBF\xBD&gt;&quot;\" time=\"0.000\">\n"
      "      <failure message=\"x&#10;y\" type=\"different\">x&#10;y</failure>\n    </testcase>\n"
      "    <testcase classname=\"sdgen compare\" name=\"é\" time=\"0.000\">\n"
      "      <error message=\"unreadable\" type=\"unreadable\"></error>\n    </testcase>\n"
      "  </testsuite>\n</testsuites>\n");
}

struct PictureSets : testing::Test {
  std::set<std::string> names(const PictureSet& pictures) {
    std::set<std::string> found;
    for (const auto& [name, picture] : pictures) found.insert(name);
    return found;
  }
  std::string refusal(const std::string& lines) {
    const auto file = scratch_.write("m.jsonl", lines);
    return message_of(Fault::input, [&] { pictures_of_manifest(file); });
  }
  Scratch scratch_;
};

TEST_F(PictureSets, AFolderHasWhatIsNamedAsAPicture) {
  std::filesystem::create_directories(scratch_ / "sub/.hidden");
  for (const char* name : {"a.png", "b.JPG", "c.jpeg", "f.webp", "g.avif", "h.jxl", "i.gif", "x.preview.png", ".d.png",
                           "notes.txt", "manifest.jsonl", "sub/e.png", "sub/.hidden/f.png", "grid-a.png"})
    scratch_.write(name, "");
  const PictureSet found = pictures_of_folder(scratch_.folder());
  EXPECT_EQ(names(found), (std::set<std::string>{"a.png", "b.JPG", "c.jpeg", "f.webp", "g.avif", "grid-a.png", "h.jxl",
                                                 "sub/e.png"}));
  EXPECT_TRUE(is_sheet("grid-a.png", found));
  EXPECT_FALSE(is_sheet("grid-z.png", found)) << "there is no z";
  EXPECT_FALSE(is_sheet("sub/grid-a.png", found)) << "its picture is elsewhere";
  EXPECT_FALSE(is_sheet("a.png", found));
  std::filesystem::create_directory(scratch_ / "empty");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { picture_set(scratch_ / "empty"); }), "there is no picture in it");
  EXPECT_THROW(picture_set(scratch_ / "gone"), Error);
}

TEST_F(PictureSets, OfAManifestsLinesTheLastCounts) {
  const auto file = scratch_.write("m.jsonl",
                                   "{\"file\":\"a.png\",\"sha256\":\"1\"}\r\n\n{\"file\":\"./b/c.png\",\"sha256\":7}\n"
                                   "{\"file\":\"a.png\",\"sha256\":\"2\",\"seed\":3}\n{\"file\":\"torn");
  const PictureSet found = pictures_of_manifest(file);
  EXPECT_EQ(names(found), (std::set<std::string>{"a.png", "b/c.png"}));
  EXPECT_EQ(found.at("a.png").sha256, "2");
  EXPECT_EQ(found.at("a.png").line["seed"], 3);
  EXPECT_EQ(found.at("a.png").file, scratch_ / "a.png");
  EXPECT_EQ(found.at("b/c.png").sha256, "");
  EXPECT_TRUE(is_manifest(file));
  EXPECT_TRUE(is_manifest(scratch_.write("list", "{\"file\":\"a.png\"}\n")));
  EXPECT_FALSE(is_manifest(scratch_.write("x.png", "{\"fil")));
}

TEST_F(PictureSets, AManifestNamesNothingOutsideOfItsFolder) {
  for (const char* name : {"../a.png", "/etc/passwd", "a/../../b.png", "..", "", "a/", "a\\u0000b"})
    EXPECT_CONTAINS(refusal("{\"file\":\"ok.png\"}\n{\"file\":\"" + std::string(name) + "\"}\n"), "m.jsonl:2: ")
        << name;
  EXPECT_CONTAINS(refusal("{\"file\":\"../a.png\"}\n"), "names '../a.png', which is not in the manifest's own folder");
  for (const char* line : {"[]\n", "7\n", "{\"file\":3}\n", "{\n", "{\"file\":\"a\",\"file\":\"b\"}\n", "\xFF\n"})
    EXPECT_CONTAINS(refusal(line), "m.jsonl:1") << line;
}

}  // namespace
}  // namespace sdgen::cli
