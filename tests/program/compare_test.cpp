// `sdgen compare` as a user meets it.
#include <nlohmann/json.hpp>

#include "image/picture.h"
#include "image/png.h"
#include "program/program.h"

namespace sdgen::test {
namespace {

using Json = nlohmann::json;
const std::string kPhoto = SDGEN_FIXTURES "/images/rgb16.png";  // 57x43

class Compare : public Program {
 protected:
  void SetUp() override {
    Program::SetUp();
    fs::create_directory(folder_ / "a");
    fs::create_directory(folder_ / "b");
  }
  // The photograph with its first sample `added` higher.
  void save(const std::string& name, int added = 0, int width = 0) {
    Image image = read_picture(kPhoto);
    image.rgb[0] = static_cast<std::uint8_t>(image.rgb[0] + added);
    if (width) image = {1, 1, {1, 2, 3}};
    const auto bytes = encode_png(image, {});
    write(name, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  void write(const std::string& name, const std::string& bytes) {
    std::ofstream(folder_ / name, std::ios::binary) << bytes;
  }
  std::vector<Json> json(const Outcome& outcome) {
    std::vector<Json> lines;
    std::istringstream text(outcome.out);
    for (std::string line; std::getline(text, line);) lines.push_back(Json::parse(line));
    return lines;
  }
};

TEST_F(Compare, TwoPictures) {
  save("a/x.png");
  save("b/x.png", 2);
  Outcome outcome = run({"compare", "a/x.png", "a/x.png"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, "a/x.png a/x.png: same\n");
  EXPECT_TRUE(contains(outcome.err, "of 1: 1 the same")) << outcome.err;
  outcome = run({"compare", "a/x.png", "b/x.png"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(outcome.out.starts_with("a/x.png b/x.png: different: max 2, mean 0.000, PSNR ")) << outcome.out;
  EXPECT_EQ(run({"compare", "a/x.png", "b/x.png", "--max", "2"}).exit_code, 0);
  EXPECT_EQ(run({"compare", "a/x.png", "b/x.png", "--max", "1"}).exit_code, 1);
  EXPECT_EQ(run({"compare", "a/x.png", "b/x.png", "--psnr", "40", "--ssim", "0.98", "--hash", "4"}).exit_code, 0);
  EXPECT_EQ(run({"compare", "a/x.png", "b/x.png", "--psnr", "99"}).exit_code, 1);
  EXPECT_EQ(run({"compare", "a/x.png", "b/"}).exit_code, 1) << "the one of its name";
  EXPECT_EQ(run({"compare", kPhoto, "a/x.png"}).exit_code, 0) << "a picture of 16 bits keeps its high bytes";
}

TEST_F(Compare, TheDifferenceIsAPicture) {
  save("a/x.png");
  save("b/x.png", 2);
  save("a/y.png");
  save("b/y.png");
  EXPECT_EQ(run({"compare", "a/x.png", "b/x.png", "-o", "d.png"}).exit_code, 1);
  const Image image = read_picture(folder_ / "d.png");
  EXPECT_EQ(image.rgb[0], 255);
  EXPECT_EQ(image.rgb[1], 0);
  EXPECT_EQ(run({"compare", "a/x.png", "b/x.png", "-o", "d.png", "--no-clobber"}).exit_code, 4);
  EXPECT_EQ(run({"compare", "a/y.png", "b/y.png", "-o", "d.png"}).exit_code, 0);
  EXPECT_EQ(read_picture(folder_ / "d.png").rgb[0], 0) << "of equal ones too: it tells of this call";
  EXPECT_EQ(run({"compare", "a", "b", "-o", "d"}).exit_code, 1);
  EXPECT_TRUE(fs::exists(folder_ / "d/x.png"));
  EXPECT_FALSE(fs::exists(folder_ / "d/y.png"));
  EXPECT_EQ(run({"compare", "a", "b", "-o", "d"}).exit_code, 4) << "in folders nothing is replaced unasked";
  EXPECT_EQ(run({"compare", "a", "b", "-o", "d", "--overwrite"}).exit_code, 1);
  const std::string before = contents(folder_ / "b/x.png");
  for (const char* flag : {"--overwrite", "--no-clobber"})
    EXPECT_EQ(run({"compare", "a", "b", "-o", "b", flag}).exit_code, 4) << "it is compared";
  EXPECT_EQ(run({"compare", "a/x.png", "b/x.png", "-o", "b/x.png"}).exit_code, 4);
  EXPECT_EQ(contents(folder_ / "b/x.png"), before);
}

TEST_F(Compare, FoldersMeetByNames) {
  for (const char* name : {"a/same.png", "b/same.png", "a/left.png", "b/right.png", "a/size.png", "a/damaged.png"})
    save(name);
  save("b/size.png", 0, 1);
  write("b/damaged.png", contents(folder_ / "a/damaged.png").substr(0, 2000));
  write("a/notes.txt", "no picture");
  const Outcome outcome = run({"compare", "a", "b", "--json", "--junit", "r/report.xml"});
  EXPECT_EQ(outcome.exit_code, 3) << outcome.err;
  std::map<std::string, Json> by_name;
  for (const Json& line : json(outcome)) by_name[fs::path(line.at("b").get<std::string>()).filename().string()] = line;
  ASSERT_EQ(by_name.size(), 5u) << outcome.out;
  EXPECT_EQ(by_name["same.png"]["same"], true);
  EXPECT_EQ(by_name["same.png"]["psnr"], nullptr);
  EXPECT_EQ(by_name["left.png"]["verdict"], "missing");
  EXPECT_EQ(by_name["left.png"]["why"], "b/left.png is not there");
  EXPECT_EQ(by_name["right.png"]["why"], "a/right.png is not there");
  EXPECT_EQ(by_name["size.png"]["verdict"], "different");
  EXPECT_EQ(by_name["size.png"]["why"], "57x43 and 1x1 pixels");
  EXPECT_EQ(by_name["size.png"]["max"], nullptr);
  EXPECT_EQ(by_name["damaged.png"]["verdict"], "unreadable");
  const std::string xml = contents(folder_ / "r/report.xml");
  EXPECT_TRUE(contains(xml, "<testsuite name=\"sdgen compare\" tests=\"5\" failures=\"3\" errors=\"1\"")) << xml;
  fs::remove(folder_ / "b/damaged.png");
  fs::remove(folder_ / "a/damaged.png");
  EXPECT_EQ(run({"compare", "a", "b"}).exit_code, 1);
  fs::create_directory(folder_ / "empty");
  EXPECT_EQ(run({"compare", "empty", "empty"}).exit_code, 3) << "nothing is not the same as nothing";
}

TEST_F(Compare, AnotherEndingIsTheSameName) {
  save("a/x.png");
  fs::copy(SDGEN_FIXTURES "/images/jpeg.jpg", folder_ / "b/x.jpg");
  const std::vector<Json> lines = json(run({"compare", "a", "b", "--json", "--psnr", "5"}));
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["b"], "b/x.jpg");
  EXPECT_GT(lines[0]["max"], 0);
  save("b/x.png");
  EXPECT_EQ(json(run({"compare", "a", "b", "--json"})).size(), 2u) << "the name itself comes first";
}

TEST_F(Compare, AManifestStandsForItsPictures) {
  save("a/x.png");
  save("a/grid-x.png");
  save("b/x.png");
  FILE* pipe = popen(("sha256sum < '" + (folder_ / "a/x.png").string() + "'").c_str(), "r");
  char sha256[65] = {};
  ASSERT_EQ(fread(sha256, 1, 64, pipe), 64u);
  pclose(pipe);
  write("a/manifest.jsonl", "{\"file\":\"x.png\",\"sha256\":\"" + std::string(sha256) + "\"}\n");
  EXPECT_EQ(run({"compare", "a/manifest.jsonl", "a"}).exit_code, 0) << "a sheet is no picture of a manifest";
  EXPECT_EQ(run({"compare", "a/manifest.jsonl", "b"}).exit_code, 0);
  fs::remove(folder_ / "a/x.png");
  Outcome outcome = run({"compare", "a/manifest.jsonl", "b"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out;
  EXPECT_EQ(outcome.out, "a/x.png b/x.png: same: the bytes that the manifest tells of\n");
  save("b/x.png", 1);
  outcome = run({"compare", "b", "a/manifest.jsonl"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(contains(outcome.out, "different: other bytes than the manifest tells of")) << outcome.out;
  save("a/x.png", 2);
  outcome = run({"compare", "a/manifest.jsonl", "a"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(contains(outcome.out, "a/x.png has other bytes than its manifest tells of")) << outcome.out;
  write("a/manifest.jsonl", "{\"file\":\"../b/x.png\"}\n");
  outcome = run({"compare", "a/manifest.jsonl", "b"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "a/manifest.jsonl:1: names '../b/x.png'")) << outcome.err;
}

TEST_F(Compare, WrongUsage) {
  save("a/x.png");
  for (const Words& words : {Words{"compare"},
                             {"compare", "a/x.png"},
                             {"compare", "a/x.png", "a/x.png", "a/x.png"},
                             {"compare", "a/x.png", "a/x.png", "--max", "256"},
                             {"compare", "a/x.png", "a/x.png", "--ssim", "2"},
                             {"compare", "a/x.png", "a/x.png", "--steps", "2"}})
    EXPECT_EQ(run(words).exit_code, 2) << words.size();
  EXPECT_EQ(run({"compare", "a/x.png", "gone.png"}).exit_code, 3);
  EXPECT_EQ(run({"compare", "a/x.png", "a/x.png", "--junit", "/proc/x.xml"}).exit_code, 4);
  EXPECT_EQ(files(), (std::set<std::string>{"a", "a/x.png", "b"}));
}

}  // namespace
}  // namespace sdgen::test
