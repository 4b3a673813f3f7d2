// A picture, made again from what it says of itself, is the same file.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/pictures.h"
#include "base/tables.h"
#include "image/jpeg.h"
#include "image/picture.h"
#include "image/png.h"
#include "program/program.h"
#include "sdgen/error.h"

namespace sdgen::test {
namespace {

const std::string kPhoto = SDGEN_FIXTURES "/images/rgb16.png";  // 57x43

class FromImageProgram : public ProgramWithModel {
 protected:
  // Makes first.EXTENSION with these words and makes it again from itself.
  void expect_same_again(Words words, const std::string& extension = "png", const Words& more = {}) {
    const std::string first = "first." + extension, second = "second." + extension;
    words.insert(words.end(), {"-o", first, "--overwrite"});
    Outcome outcome = run(words);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    Words again = {"--from-image", first, "-o", second, "--overwrite"};
    again.insert(again.end(), more.begin(), more.end());
    outcome = run(again);
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_FALSE(contains(outcome.err, "not taken over")) << outcome.err;
    EXPECT_TRUE(contents(folder_ / first) == contents(folder_ / second)) << nlohmann::json(text(first)) << "\nbecame\n"
                                                                         << nlohmann::json(text(second));
  }
  std::vector<std::string> text(const std::string& file) {
    std::vector<std::string> all;
    if (file.ends_with(".png"))
      for (const PictureText& entry : read_png_text(folder_ / file)) all.push_back(entry.text);
    else
      all = {picture_texts(contents(folder_ / file), file).record};
    return all;
  }
  Words with_model(Words words) {
    words.insert(words.begin(), {"-m", model(), "--steps", "3"});
    return words;
  }
  // The same picture without its record, as another program might keep it.
  void keep_parameters_alone(const std::string& from, const std::string& to) {
    const std::vector<PictureText> texts = {read_png_text(folder_ / from).at(0)};
    const auto bytes = encode_png(read_picture(folder_ / from), texts);
    std::ofstream(folder_ / to, std::ios::binary)
        << std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  std::string mask() {
    Image image{57, 43, std::vector<std::uint8_t>(57 * 43 * 3)};
    std::fill(image.rgb.begin(), image.rgb.begin() + 57 * 20 * 3, std::uint8_t{255});
    const auto bytes = encode_png(image, {});
    std::ofstream(folder_ / "mask.png", std::ios::binary)
        << std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return "mask.png";
  }
  Scratch scratch_;
};

TEST_F(FromImageProgram, Plain) {
  expect_same_again(with_model({"-p", "a red fox", "-s", "7"}));
  expect_same_again(with_model({"-p", "x"}));  // a random seed
}

TEST_F(FromImageProgram, EveryFlag) {
  expect_same_again(with_model({"-p",
                                "a (red) fox, \"quoted\": 1,\nNegative prompt: no, Steps: 1",
                                "-n",
                                "",
                                "-s",
                                "18446744073709551615",
                                "-W",
                                "40",
                                "-H",
                                "56",
                                "-g",
                                "3.3",
                                "--guidance-rescale",
                                "0.7",
                                "--scheduler",
                                "DPM++ 2M Karras",
                                "--clip-skip",
                                "1",
                                "--batch-size",
                                "2",
                                "--dtype",
                                "float32",
                                "--prediction-type",
                                "v_prediction"}));
  expect_same_again(with_model({"-p", "x", "--scheduler", "ddim", "--eta", "0.5", "--timestep-spacing", "trailing",
                                "--rescale-betas-zero-snr", "--prediction-type", "v_prediction"}));
  expect_same_again(with_model({"-p", "x", "--dtype", "bfloat16", "--scheduler", "euler-a"}));
}

TEST_F(FromImageProgram, TextsOfEveryKind) {
  expect_same_again(with_model({"-p", "一只红苹果 🦊 café\t\\", "-n", "灰色"}));
  expect_same_again(with_model({"-p", "café", "-n", "é"}));
  std::string weighted = "(fox:1.3) [red:green:0.5] BREAK ";
  while (weighted.size() < 2000) weighted += "a very long prompt, ";
  expect_same_again(with_model({"-p", weighted + "AND a bird :0.5", "--prompt-syntax", "weighted"}));
}

TEST_F(FromImageProgram, PicturesOfPictures) {
  expect_same_again(with_model({"-p", "x", "-i", kPhoto, "--strength", "0.7"}));
  expect_same_again(with_model({"-p", "x", "-i", kPhoto, "--mask", mask(), "--mask-blur", "3"}));
  expect_same_again(
      with_model({"-p", "x", "-i", kPhoto, "--mask", mask(), "--only-masked", "2", "-W", "32", "-H", "32"}));
  expect_same_again(with_model({"-p", "x", "-i", kPhoto, "--extend", "9,0,0,7"}));
  expect_same_again(with_model({"-p", "x", "-i", kPhoto, "--extend", "9,0,0,7", "--only-masked", "0"}));
}

TEST_F(FromImageProgram, Networks) {
  const Shapes lora = {{"lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight", {1, 8, 3, 3}},
                       {"lora_unet_down_blocks_0_resnets_0_conv1.lora_up.weight", {8, 1, 1, 1}}};
  write_table(scratch_, "a:style.safetensors", lora);
  write_table(scratch_, "tag.safetensors", lora);
  const std::string folder = scratch_.folder().string();
  expect_same_again(with_model(
      {"-p", "a fox <lora:tag:0.5:0.25>, red", "--lora-dir", folder, "--lora", folder + "/a:style.safetensors:-0.3"}));
  const std::string word = write_table(scratch_, "my-style.safetensors", {{"emb_params", {3, 16}}}).string();
  const Outcome fits = run(with_model({"-p", "a my-style", "--textual-inversion", word, "-o", "x.png"}));
  if (fits.exit_code == 0) expect_same_again(with_model({"-p", "a my-style", "--textual-inversion", word}));
  expect_same_again(with_model({"-p", "x", "--vae", model() + "/vae"}));
  expect_same_again(with_model({"-p", "x", "--text-encoder", model() + "/text_encoder"}));
}

TEST_F(FromImageProgram, ModelsWithoutText) {
  expect_same_again({"-m", SDGEN_FIXTURES "/tiny-ddpm", "--steps", "3", "-s", "7"});
}

TEST_F(FromImageProgram, TheEmbeddedModelIsFoundAgain) {
  setup_.environment["SDGEN_DATA"] = SDGEN_SOURCE "/models";
  Outcome outcome = run({"-p", "a", "--steps", "1", "-W", "16", "-H", "16", "-s", "7", "-o", "first.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(text("first.png").at(1), "\"model\":\"embedded\""));
  setup_.environment["SDGEN_MODEL"] = model();  // would be used without a word
  outcome = run({"--from-image", "first.png", "-o", "second.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(contents(folder_ / "first.png"), contents(folder_ / "second.png"));
}

TEST_F(FromImageProgram, EveryFormat) {
  const Words words = with_model({"-p", "a red fox, 红", "-s", "7"});
  expect_same_again(words, "jpg");
  expect_same_again(words, "jpeg");
  expect_same_again(words, "png");  // first.png
  ASSERT_EQ(run({"--from-image", "first.jpg", "-o", "third.png"}).exit_code, 0);
  EXPECT_EQ(contents(folder_ / "third.png"), contents(folder_ / "first.png"));
  const Image png = read_picture(folder_ / "first.png"), jpeg = read_picture(folder_ / "first.jpg");
  ASSERT_EQ(png.rgb.size(), jpeg.rgb.size());
  double sum = 0;
  for (std::size_t i = 0; i < png.rgb.size(); ++i) sum += std::abs(png.rgb[i] - jpeg.rgb[i]);
  EXPECT_LT(sum / png.rgb.size(), 8);  // noise is hard on a JPEG
  EXPECT_TRUE(jpeg_info(contents(folder_ / "first.jpg"), "first.jpg").comment.starts_with("a red fox, 红\nSteps: 3, "));
  for (const char* ending : {"webp", "avif", "jxl"}) {
    expect_same_again(words, ending);
    ASSERT_EQ(run({"--from-image", concat("first.", ending), "-o", "third.png", "--overwrite"}).exit_code, 0);
    EXPECT_EQ(contents(folder_ / "third.png"), contents(folder_ / "first.png")) << ending;
  }
  for (const char* file : {"first.webp", "first.jxl"}) EXPECT_EQ(read_picture(folder_ / file).rgb, png.rgb) << file;
  for (const char* file : {"first.png", "first.jpg", "first.webp", "first.avif", "first.jxl"}) {
    const std::string report = run({"inspect", file}).out;
    EXPECT_TRUE(contains(report, "  parameters      a red fox, 红\n                  Steps: 3, ")) << report;
    EXPECT_TRUE(contains(report, "  sdgen           {\"sdgen\":")) << report;
  }
}

TEST_F(FromImageProgram, PicturesOfABatch) {
  const Outcome outcome = run(with_model({"-p", "x", "-s", "7", "-b", "3", "--batch-size", "2", "-o", "{index}.png"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  for (const char* index : {"0", "1", "2"}) {
    ASSERT_EQ(run({"--from-image", index + std::string(".png"), "-o", "again.png", "--overwrite"}).exit_code, 0);
    EXPECT_EQ(contents(folder_ / "again.png"), contents(folder_ / (index + std::string(".png")))) << index;
  }
}

TEST_F(FromImageProgram, SweepsAroundWhatItSays) {
  ASSERT_EQ(run(with_model({"-p", "a fox", "-s", "7", "-o", "x.png"})).exit_code, 0);
  const Outcome outcome =
      run({"--from-image", "x.png", "--sweep", "steps=1,3; guidance_scale=1,4,7.5", "-o", "{index}.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(contents(folder_ / "5.png"), contents(folder_ / "x.png"));  // 3 steps, the default's scale
}

TEST_F(FromImageProgram, GivesTheDefaultsOfLines) {
  ASSERT_EQ(run(with_model({"-p", "a fox", "-s", "7", "-g", "3", "-o", "x.png"})).exit_code, 0);
  std::ofstream(folder_ / "jobs.jsonl") << "{\"steps\": 1}\n{\"prompt\": \"a bird\", \"guidance_scale\": 2}\n";
  const Outcome outcome = run({"--from-image", "x.png", "--prompts", "jobs.jsonl", "-o", "{index}.png", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const auto first = nlohmann::json::parse(outcome.out.substr(0, outcome.out.find('\n')));
  const auto second = nlohmann::json::parse(outcome.out.substr(outcome.out.find('\n')));
  EXPECT_EQ(first["prompt"], "a fox");
  EXPECT_EQ(first["steps"], 1);
  EXPECT_EQ(first["guidance_scale"], 3);
  EXPECT_EQ(first["seed"], 7);
  EXPECT_EQ(second["prompt"], "a bird");
  EXPECT_EQ(second["steps"], 3);
  EXPECT_EQ(second["guidance_scale"], 2);
  EXPECT_EQ(second["seed"], 8);
  EXPECT_EQ(run({"--from-image", "x.png", "--prompts", "jobs.jsonl", "-p", "y", "-o", "{index}"}).exit_code, 2);
}

TEST_F(FromImageProgram, TheTextAloneIsEnoughForAPlainPicture) {
  ASSERT_EQ(run(with_model({"-p", "a fox", "-s", "7", "-o", "x.png"})).exit_code, 0);
  keep_parameters_alone("x.png", "y.png");
  const Outcome outcome = run({"--from-image", "y.png", "-m", model(), "-o", "z.png"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_FALSE(contains(outcome.err, "y.png: ")) << outcome.err;
  EXPECT_EQ(read_picture(folder_ / "z.png").rgb, read_picture(folder_ / "x.png").rgb);
}

TEST_F(FromImageProgram, WhatIsMissingIsNamed) {
  fs::copy(model(), folder_ / "moved", fs::copy_options::recursive);
  ASSERT_EQ(run({"-m", "moved", "-p", "x", "--steps", "1", "-o", "x.png"}).exit_code, 0);
  fs::rename(folder_ / "moved", folder_ / "elsewhere");
  Outcome outcome = run({"--from-image", "x.png", "-o", "y.png"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "x.png: it was made with --model moved, which is not there")) << outcome.err;
  EXPECT_EQ(run({"--from-image", "x.png", "-m", "elsewhere", "-o", "y.png"}).exit_code, 0);
  fs::rename(folder_ / "elsewhere", folder_ / "moved");
  fs::remove(folder_ / "moved/unet/diffusion_pytorch_model.safetensors");
  fs::copy(model() + "/unet/diffusion_pytorch_model.safetensors", folder_ / "moved/unet");
  EXPECT_FALSE(contains(run({"--from-image", "x.png", "-o", "a.png"}).err, "another file"));
  std::fstream weights(folder_ / "moved/unet/diffusion_pytorch_model.safetensors", std::ios::in | std::ios::out);
  weights.seekp(-4, std::ios::end);
  weights << "...";
  weights.close();
  outcome = run({"--from-image", "x.png", "-o", "b.png"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_TRUE(contains(outcome.err, "x.png: its model was another file than moved is now")) << outcome.err;
  outcome = run({"--from-image", kPhoto, "-o", "z.png"});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_TRUE(contains(outcome.err, "does not say how it was made")) << outcome.err;
}

// --- the files themselves

TEST_F(FromImageProgram, EqualRequestsGiveEqualFiles) {
  fs::create_directory(folder_ / "other");
  const Words words = with_model({"-p", "x", "-s", "7", "-b", "4"});
  const auto with = [&](const Words& more) {
    Words all = words;
    all.insert(all.end(), more.begin(), more.end());
    return run(all).exit_code;
  };
  ASSERT_EQ(with({"-o", "{index}.png"}), 0);
  ASSERT_EQ(with({"-o", "other/{index}-x.png", "--shard", "1/2", "--json", "-q"}), 0);
  EXPECT_EQ(contents(folder_ / "1.png"), contents(folder_ / "other/1-x.png"));
  EXPECT_EQ(contents(folder_ / "3.png"), contents(folder_ / "other/3-x.png"));
}

TEST_F(FromImageProgram, JsonLinesHaveTheRecord) {
  const Outcome outcome = run(with_model({"-p", "一 fox", "-s", "7", "-i", kPhoto, "-o", "x.png", "--json"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  auto line = nlohmann::json::parse(outcome.out);
  for (const char* key : {"file", "device", "machine", "timings", "sha256"}) EXPECT_EQ(line.erase(key), 1u) << key;
  EXPECT_EQ(line, nlohmann::json::parse(text("x.png").at(1)));
  EXPECT_EQ(line["init_image"], kPhoto);
  EXPECT_EQ(line["hashes"]["init_image"][0].get<std::string>().size(), 64u);
  EXPECT_EQ(line["hashes"]["model"].get<std::string>().size(), 64u);
}

TEST_F(FromImageProgram, FormatsFollowNamesAndFlags) {
  const auto begins = [&](const std::string& file, const std::string& bytes) {
    return contents(folder_ / file).starts_with(bytes);
  };
  const std::string png = "\x89PNG", jpeg = "\xFF\xD8\xFF";
  fs::create_directory(folder_ / "out");
  EXPECT_EQ(make({"--format", "jpg"}).out, "sdgen-7.jpg\n");
  EXPECT_TRUE(begins("sdgen-7.jpg", jpeg));
  EXPECT_EQ(make({"--format", "jpg", "-b", "2", "-o", "out"}).out, "out/00000-7.jpg\nout/00001-8.jpg\n");
  EXPECT_EQ(make({"-o", "a.JPG"}).exit_code, 0);
  EXPECT_TRUE(begins("a.JPG", jpeg));
  EXPECT_EQ(make({"-o", "plain", "--format", "jpeg"}).exit_code, 0);
  EXPECT_TRUE(begins("plain", jpeg));
  EXPECT_EQ(make({"-o", "other"}).exit_code, 0);
  EXPECT_TRUE(begins("other", png));
  const Outcome piped = make({"-o", "-", "--format", "jpg", "--no-metadata"});
  EXPECT_TRUE(piped.out.starts_with(jpeg));
  EXPECT_FALSE(contains(piped.out, "Exif") || contains(piped.out, "sdgen"));
  for (const Words& words : {Words{"-o", "b.png", "--format", "jpg"},
                             {"-o", "b.jpg", "--format", "png"},
                             {"-o", "b.tiff"},
                             {"-o", "b.webp", "--format", "avif"},
                             {"-o", "b.png", "--quality", "80"},
                             {"--format", "gif"}})
    EXPECT_EQ(make(words).exit_code, 2) << words[1];
}

TEST_F(FromImageProgram, APromptThatIsTooLongForAJpegCostsNoPicture) {
  std::string prompt;
  while (prompt.size() < 70'000) prompt += "a red fox, ";
  const Outcome outcome = run(with_model({"-p", prompt, "-o", "x.jpg"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "x.jpg: the prompt and settings in its EXIF block")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "x.jpg: the settings in its comment")) << outcome.err;
  EXPECT_GT(read_picture(folder_ / "x.jpg").width, 0);
  expect_same_again(with_model({"-p", prompt}));  // PNG has room
}

}  // namespace
}  // namespace sdgen::test
