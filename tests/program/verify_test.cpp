// `sdgen verify` and --expect as somebody meets them who keeps a golden set.
#include <nlohmann/json.hpp>

#include "base/tables.h"
#include "image/picture.h"
#include "image/png.h"
#include "program/program.h"

namespace sdgen::test {
namespace {

using Json = nlohmann::json;
const std::string kPhoto = SDGEN_FIXTURES "/images/rgb16.png";

class Verify : public ProgramWithModel {
 protected:
  // Pictures of a list, with a manifest.
  void make_golden(Words more = {}) {
    std::ofstream(folder_ / "smoke.txt") << "a fox\na bird --steps 3\n";
    Words words = {"-m", model(), "--prompts", "smoke.txt", "-s", "1", "--steps", "2", "-o", "golden/", "-q"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = run(words);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  // The picture with `added` to its first sample, and the texts that it has.
  void change(const std::string& name, int added) {
    const std::string bytes = contents(folder_ / name);
    Image image = read_picture(folder_ / name);
    image.rgb[0] = static_cast<std::uint8_t>(image.rgb[0] > 127 ? image.rgb[0] - added : image.rgb[0] + added);
    const auto changed = encode_png(image, png_texts(bytes, name));
    std::ofstream(folder_ / name, std::ios::binary)
        << std::string_view(reinterpret_cast<const char*>(changed.data()), changed.size());
  }
  std::map<std::string, Json> verified(const Words& words, int exit_code) {
    Words all = {"verify", "--json", "-q"};
    all.insert(all.end(), words.begin(), words.end());
    const Outcome outcome = run(all);
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.out << outcome.err;
    std::map<std::string, Json> found;
    std::istringstream text(outcome.out);
    for (std::string line; std::getline(text, line);) {
      Json json = Json::parse(line);
      const std::string name = json.at("a");
      EXPECT_TRUE(found.emplace(name, std::move(json)).second) << name << " twice";
    }
    return found;
  }
};

TEST_F(Verify, AGoldenSetIsTwoCommands) {
  make_golden({"--grid", "auto"});
  const auto before = files();
  const auto found = verified({"golden"}, 0);
  ASSERT_EQ(found.size(), 2u) << "the sheet is none";
  for (const auto& [name, line] : found) {
    EXPECT_EQ(line.at("same"), true);
    EXPECT_EQ(line.at("why"), "the same bytes") << name;
    EXPECT_EQ(line.at("max"), 0);
  }
  EXPECT_EQ(files(), before) << "nothing is written";
  EXPECT_EQ(verified({"golden/manifest.jsonl"}, 0).size(), 2u);
  EXPECT_EQ(verified({"golden/00001-2.png"}, 0).size(), 1u);
  const auto every = verified({"golden", "--every", "2"}, 0);
  ASSERT_EQ(every.size(), 1u);
  EXPECT_EQ(every.begin()->first, "golden/00000-1.png");
}

TEST_F(Verify, SeveralProcessesSayWhatOneSays) {
  make_golden({"-b", "3", "--dtype", "float32"});
  change("golden/00002-3.png", 9);
  fs::remove(folder_ / "golden/00003-4.png");
  std::ofstream(folder_ / "golden/00004-5.png") << "no picture";
  const auto one = verified({"golden"}, 3);
  EXPECT_EQ(one.at("golden/00002-3.png").at("max"), 9);
  EXPECT_EQ(verified({"golden", "--jobs", "3"}, 3), one);
  EXPECT_EQ(verified({"golden", "--jobs", "64"}, 3), one) << "more than there are pictures";
}

TEST_F(Verify, AManifestAloneIsEnoughForTheSameBytes) {
  make_golden();
  fs::remove(folder_ / "golden/00000-1.png");
  EXPECT_EQ(verified({"golden/manifest.jsonl"}, 0).at("golden/00000-1.png").at("why"), "the same bytes");
  std::string text = contents(folder_ / "golden/manifest.jsonl");
  text.replace(text.find("\"sha256\":\"") + 10, 4, "0000");
  std::ofstream(folder_ / "golden/manifest.jsonl") << text;
  EXPECT_EQ(verified({"golden/manifest.jsonl"}, 1).at("golden/00000-1.png").at("verdict"), "missing");
}

TEST_F(Verify, PicturesWithoutMetadataAreInTheManifest) {
  make_golden({"--no-metadata"});
  for (const auto& [name, line] : verified({"golden"}, 0)) EXPECT_EQ(line.at("why"), "the same bytes") << name;
  fs::remove(folder_ / "golden/manifest.jsonl");
  for (const auto& [name, line] : verified({"golden"}, 3)) {
    EXPECT_EQ(line.at("verdict"), "unreadable");
    EXPECT_TRUE(contains(line.at("why"), "does not say how it was made")) << line;
  }
}

TEST_F(Verify, EveryKindOfPicture) {
  const Words all = {"-m", model(), "-p", "a fox", "--steps", "2", "-s", "3", "-q"};
  const auto make = [&](Words words) {
    words.insert(words.begin(), all.begin(), all.end());
    const Outcome outcome = run(words);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  };
  make({"-o", "g/a.jpg"});
  make({"-o", "g/f.jpg", "--quality", "40"});
  make({"-o", "g/b-{index}.png", "-b", "3", "--batch-size", "2", "--dtype", "bfloat16"});
  make({"-o", "g/c.png", "-i", kPhoto, "--strength", "0.7"});
  make({"-o", "g/d.png", "--dtype", "float32", "--vae-tiling"});
  ASSERT_EQ(run({"-m", SDGEN_FIXTURES "/tiny-ddpm", "--steps", "2", "-s", "7", "-o", "g/e.png"}).exit_code, 0);
  const auto found = verified({"g"}, 0);
  EXPECT_EQ(found.size(), 8u);
  for (const auto& [name, line] : found) EXPECT_EQ(line.at("why"), "the same bytes") << name;
}

TEST_F(Verify, WhereTheBytesArePromisedASampleIsEnough) {
  make_golden({"--dtype", "float32"});
  change("golden/00000-1.png", 1);
  auto found = verified({"golden"}, 0);
  EXPECT_EQ(found.at("golden/00000-1.png").at("verdict"), "alike") << "the manifest tells of other bytes than these";
  EXPECT_TRUE(contains(found.at("golden/00000-1.png").at("why"), "nobody says on which machine")) << Json(found);
  // The manifest of one that was drawn so.
  FILE* pipe = popen(("sha256sum < '" + (folder_ / "golden/00000-1.png").string() + "'").c_str(), "r");
  char sha256[65] = {};
  ASSERT_EQ(fread(sha256, 1, 64, pipe), 64u);
  pclose(pipe);
  std::string text = contents(folder_ / "golden/manifest.jsonl");
  text.replace(text.find("\"sha256\":\"") + 10, 64, sha256);
  std::ofstream(folder_ / "golden/manifest.jsonl") << text;
  found = verified({"golden"}, 1);
  EXPECT_EQ(found.at("golden/00000-1.png").at("verdict"), "different");
  EXPECT_TRUE(contains(found.at("golden/00000-1.png").at("why"), "promise the same bytes")) << Json(found);
  EXPECT_EQ(found.at("golden/00000-1.png").at("max"), 1);
  EXPECT_EQ(verified({"golden", "--max", "1"}, 0).size(), 2u) << "limits that are given count";
  text.replace(text.find("\"build\":\""), 9, "\"build\":\"other ");
  std::ofstream(folder_ / "golden/manifest.jsonl") << text;
  found = verified({"golden"}, 0);
  EXPECT_TRUE(contains(found.at("golden/00000-1.png").at("why"), "another build: other ")) << Json(found);
  change("golden/00001-2.png", 2);
  found = verified({"golden", "-o", "drawn", "--junit", "r.xml"}, 1);
  EXPECT_TRUE(contains(found.at("golden/00001-2.png").at("why"), "max is above 1")) << Json(found);
  EXPECT_TRUE(fs::exists(folder_ / "drawn/00001-2.png"));
  EXPECT_FALSE(fs::exists(folder_ / "drawn/00000-1.png"));
  EXPECT_TRUE(contains(contents(folder_ / "r.xml"), "tests=\"2\" failures=\"1\" errors=\"0\""));
  EXPECT_EQ(run({"verify", "golden", "-o", "golden"}).exit_code, 4) << "it is verified";
}

TEST_F(Verify, WhatCannotBeDrawnIsNamedAfterTheOthers) {
  fs::copy(model(), folder_ / "moved", fs::copy_options::recursive);
  const Words words = {"--steps", "1", "-s", "3", "-p", "x", "-q"};
  const auto make = [&](Words more) {
    more.insert(more.begin(), words.begin(), words.end());
    ASSERT_EQ(run(more).exit_code, 0);
  };
  fs::copy(kPhoto, folder_ / "photo.png");
  make({"-m", model(), "-o", "g/a.png"});
  make({"-m", "moved", "-o", "g/b.png"});
  make({"-m", model(), "-i", "photo.png", "--strength", "1", "-o", "g/c.png"});
  fs::copy(kPhoto, folder_ / "g/d.png");
  std::ofstream(folder_ / "g/e.png") << contents(folder_ / "g/a.png").substr(0, 300);
  fs::remove_all(folder_ / "moved");
  fs::remove(folder_ / "photo.png");
  const auto found = verified({"g", "--junit", "r.xml"}, 3);
  ASSERT_EQ(found.size(), 5u);
  EXPECT_EQ(found.at("g/a.png").at("same"), true);
  EXPECT_TRUE(contains(found.at("g/b.png").at("why"), "it was made with --model moved, which is not there"))
      << Json(found);
  EXPECT_TRUE(contains(found.at("g/c.png").at("why"), "photo.png, which is not there")) << Json(found);
  EXPECT_TRUE(contains(found.at("g/d.png").at("why"), "does not say how it was made")) << Json(found);
  EXPECT_EQ(found.at("g/e.png").at("verdict"), "unreadable");
  EXPECT_TRUE(contains(contents(folder_ / "r.xml"), "tests=\"5\" failures=\"0\" errors=\"4\""));
  EXPECT_EQ(run({"verify", "gone.png"}).exit_code, 3);
}

TEST_F(Verify, FilesAreKnownByTheirHashes) {
  const Shapes shapes = {{"lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight", {1, 8, 3, 3}},
                         {"lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight", {8, 1, 1, 1}}};
  const Scratch scratch;
  const std::string file = write_table(scratch, "style.safetensors", shapes).string();
  fs::copy(model(), folder_ / "old", fs::copy_options::recursive);
  fs::copy(file, folder_ / "style.safetensors");
  ASSERT_EQ(run({"-m", "old", "-p", "x", "--steps", "1", "-s", "3", "--lora", "style.safetensors:0.5", "-o", "x.png"})
                .exit_code,
            0);
  fs::rename(folder_ / "old", folder_ / "new");
  fs::create_directory(folder_ / "loras");
  fs::rename(folder_ / "style.safetensors", folder_ / "loras/renamed.safetensors");
  EXPECT_TRUE(contains(verified({"x.png", "-m", "new"}, 3).at("x.png").at("why"), "style.safetensors"));
  const Json line =
      verified({"x.png", "-m", SDGEN_FIXTURES "/tiny-ddpm", "-m", "new", "--lora-dir", "loras"}, 0).at("x.png");
  EXPECT_EQ(line.at("max"), 0) << line;
  // Another model is not taken for it.
  EXPECT_TRUE(
      contains(verified({"x.png", "-m", SDGEN_FIXTURES "/tiny-ddpm", "--lora-dir", "loras"}, 3).at("x.png").at("why"),
               "--model old, which is not there"));
  // Its file has changed: that is why.
  fs::rename(folder_ / "new", folder_ / "old");
  fs::rename(folder_ / "loras/renamed.safetensors", folder_ / "style.safetensors");
  const std::string weights = "old/unet/diffusion_pytorch_model.safetensors";
  std::string bytes = contents(folder_ / weights);
  fs::remove(folder_ / weights);
  bytes.back() = static_cast<char>(bytes.back() ^ 0x20);
  std::ofstream(folder_ / weights, std::ios::binary) << bytes;
  const Outcome outcome = run({"verify", "x.png"});
  EXPECT_TRUE(contains(outcome.out, "another file of model: SHA-256 ")) << outcome.out << outcome.err;
}

TEST_F(Verify, ASignalLeavesTheReport) {
  make_golden();
  ASSERT_EQ(run({"-m", model(), "-p", "x", "-s", "9", "--steps", "900", "-o", "golden/zz.png"}).exit_code, 0);
  Process process({"verify", "golden", "--junit", "r.xml"}, top_ / "logs", setup_);
  ASSERT_TRUE(process.wait_until([&] { return contains(contents(top_ / "logs/stdout"), "00001-2.png: same"); }));
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait().exit_code, 143);
  const std::string xml = contents(folder_ / "r.xml");
  EXPECT_TRUE(contains(xml, "<testsuite name=\"sdgen verify\" tests=\"2\"")) << xml;
  EXPECT_TRUE(xml.ends_with("</testsuites>\n"));
}

TEST_F(Verify, ASignalEndsAllProcesses) {
  make_golden();
  ASSERT_EQ(run({"-m", model(), "-p", "x", "-s", "9", "--steps", "900", "-o", "golden/zz.png"}).exit_code, 0);
  Process process({"verify", "golden", "--jobs", "3", "--junit", "r.xml"}, top_ / "logs", setup_);
  ASSERT_TRUE(process.wait_until([&] { return contains(contents(top_ / "logs/stdout"), "00001-2.png: same"); }));
  process.signal(SIGTERM);
  EXPECT_EQ(process.wait().exit_code, 143) << "after the others, which it waits for";
  EXPECT_TRUE(contents(folder_ / "r.xml").ends_with("</testsuites>\n"));
}

TEST_F(Verify, ExpectComparesAtOnce) {
  ASSERT_EQ(make({"-o", "golden.png", "--dtype", "float32"}).exit_code, 0);
  Outcome outcome = make({"-o", "x.png", "--dtype", "float32", "--expect", "golden.png"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  change("golden.png", 1);
  EXPECT_EQ(make({"-o", "x.png", "--dtype", "float32", "--expect", "golden.png"}).exit_code, 0) << "a level is allowed";
  change("golden.png", 40);
  outcome = make({"-o", "x.png", "--dtype", "float32", "--expect", "golden.png", "-q"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(contains(outcome.err, "sdgen: x.png: is not golden.png: max ")) << outcome.err;
  EXPECT_TRUE(fs::exists(folder_ / "x.png")) << "it is there to be looked at";
  outcome = make({"-o", "x.png", "--expect", kPhoto});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(contains(outcome.err, "57x43 pixels are expected")) << outcome.err;
  EXPECT_EQ(make({"-o", "y.png", "--expect", "gone.png"}).exit_code, 3);
  EXPECT_FALSE(fs::exists(folder_ / "y.png")) << "it is known before the first picture";
  EXPECT_EQ(make({"-o", "golden.png", "--expect", "golden.png"}).exit_code, 4) << "it is read";
}

TEST_F(Verify, LinesExpectTheirOwn) {
  ASSERT_EQ(make({"-o", "golden.png"}).exit_code, 0);
  std::ofstream(folder_ / "jobs.jsonl") << R"({"prompt":"a red fox","expect":"golden.png"})"
                                        << "\n"
                                        << R"({"prompt":"a bird","expect":"golden.png"})"
                                        << "\n"
                                        << R"({"prompt":"a cat","expect":"gone.png"})"
                                        << "\n";
  const Outcome outcome =
      run({"-m", model(), "--prompts", "jobs.jsonl", "--steps", "2", "-s", "7", "-o", "out/", "-q"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_FALSE(contains(outcome.err, "00000-7.png")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "out/00001-8.png: is not golden.png")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "jobs.jsonl:3: gone.png")) << outcome.err;
}

TEST_F(Verify, WrongUsage) {
  for (const Words& words : {Words{"verify"},
                             {"verify", "x.png", "--every", "0"},
                             {"verify", "x.png", "--jobs", "0"},
                             {"verify", "x.png", "--steps", "3"}})
    EXPECT_EQ(run(words).exit_code, 2);
}

}  // namespace
}  // namespace sdgen::test
