// sdgen convert: files in other encodings and formats, and the pictures that they make.
#include <array>
#include <cstring>
#include <fstream>

#include "program/program.h"

namespace sdgen::test {
namespace {

class ConvertProgram : public ProgramWithModel {
 protected:
  // The U-Net of the model, at the end of a line that converts it.
  Outcome convert(Words words) {
    words.insert(words.begin(), {"convert", "-m", model() + "/unet"});
    return run(words);
  }
  std::string picture(Words words, const std::string& name) {
    words.insert(words.end(), {"-o", name, "--dtype", "float32", "--no-metadata"});
    const Outcome outcome = make(words);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return contents(folder_ / name);
  }
};

TEST_F(ConvertProgram, AFileMakesThePictureThatQuantizeMakes) {
  const std::string exact = picture({}, "exact.png");
  for (const auto& [how, name] : {std::pair<std::string, std::string>{"q8_0", "u.gguf"},
                                  {"q4_k", "u.gguf"},
                                  {"float8", "u.safetensors"},
                                  {"int8", "u.safetensors"}}) {
    const Outcome outcome = convert({"--quantize", how, "-o", name});
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, name + "\n");
    const std::string quantized = picture({"--quantize", how}, "quantized.png");
    // Of int8 the option has a say in products, too.
    const Words with = how == "int8" ? Words{"--unet", name, "--quantize", how} : Words{"--unet", name};
    EXPECT_TRUE(picture(with, "file.png") == quantized) << how;
    EXPECT_TRUE(quantized != exact) << how;
    fs::remove(folder_ / name);
  }
}

TEST_F(ConvertProgram, ARecordSaysHowAPictureWasQuantized) {
  ASSERT_EQ(make({"--quantize", "int8", "-o", "a.png"}).exit_code, 0);
  const Outcome again = run({"--from-image", "a.png", "-o", "b.png", "-v"});
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(contains(again.err, "matrices in I8")) << again.err;
  EXPECT_TRUE(contents(folder_ / "a.png") == contents(folder_ / "b.png"));
  const Outcome json = make({"--quantize", "int8", "--json", "-o", "c.png"});
  EXPECT_TRUE(contains(json.out, R"("quantize":"int8")") || contains(json.out, R"("quantize": "int8")")) << json.out;
}

// The option rounds tokens, too, of a file in int8 as of a model in numbers: without it a file's are exact.
TEST_F(ConvertProgram, Int8RoundsTokensWhereItIsAskedFor) {
  ASSERT_EQ(convert({"--quantize", "int8", "-o", "u.safetensors"}).exit_code, 0);
  for (const std::string dtype : {"bfloat16", "float32"}) {
    const auto drawn = [&](Words words, const std::string& name) {
      words.insert(words.end(), {"-o", name, "--dtype", dtype, "--no-metadata", "-v"});
      const Outcome outcome = make(words);
      EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
      EXPECT_TRUE(!contains(outcome.err, "changes nothing")) << outcome.err;
      return std::pair(contents(folder_ / name), outcome.err);
    };
    const auto [picture, said] = drawn({"--quantize", "int8"}, "option.png");
    EXPECT_TRUE(drawn({"--quantize", "int8", "--unet", "u.safetensors"}, "both.png").first == picture);
    const bool rounds = contains(said, "tokens and pixels are rounded to int8");
    EXPECT_TRUE(rounds || contains(said, "no products of int8")) << said;
    EXPECT_EQ(drawn({"--unet", "u.safetensors"}, "file.png").first != picture, rounds);
  }
}

// Convolutions are rounded though all matrices are in other codes: the option changes something.
TEST_F(ConvertProgram, Int8RoundsPixelsWhereMatricesAreInOtherCodes) {
  ASSERT_EQ(convert({"--quantize", "float8", "-o", "u.safetensors"}).exit_code, 0);
  const Outcome outcome = make({"--unet", "u.safetensors", "--quantize", "int8", "-o", "a.png", "-v"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_FALSE(contains(outcome.err, "changes nothing")) << outcome.err;
}

// Two rows of bitsandbytes' int8: codes 1 to 8, times 127 and 254, over 127.
TEST_F(ConvertProgram, CodesThatNoOtherFormatHasBecomeNumbers) {
  const std::string header =
      R"({"x.weight":{"dtype":"I8","shape":[2,4],"data_offsets":[0,8]},"x.SCB":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}})";
  const std::array<float, 2> scales{127, 254};
  std::string file(8, '\0');
  file[0] = static_cast<char>(header.size());
  file += header + std::string("\1\2\3\4\5\6\7\10", 8) +
          std::string(reinterpret_cast<const char*>(scales.data()), sizeof scales);
  std::ofstream(folder_ / "codes.safetensors", std::ios::binary) << file;
  const Outcome refused = run({"convert", "-m", "codes.safetensors", "-o", "out.safetensors"});
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_TRUE(contains(refused.err, "is stored as I8 with scales of its format")) << refused.err;
  EXPECT_FALSE(files().contains("out.safetensors"));
  ASSERT_EQ(run({"convert", "-m", "codes.safetensors", "-o", "out.safetensors", "--dtype", "float32"}).exit_code, 0);
  const std::string made = contents(folder_ / "out.safetensors");
  std::array<float, 8> numbers{};
  std::memcpy(numbers.data(), made.data() + made.size() - sizeof numbers, sizeof numbers);
  EXPECT_EQ(numbers, (std::array<float, 8>{1, 2, 3, 4, 10, 12, 14, 16}));
}

TEST_F(ConvertProgram, AWholeModelBecomesAFolder) {
  const Outcome outcome = run({"convert", "-m", model(), "-o", "half", "--dtype", "float16", "--json"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.out, R"("F16")")) << outcome.out;
  const std::set<std::string> names = files();
  for (const char* file : {"half/model_index.json", "half/unet/config.json", "half/tokenizer/vocab.json",
                           "half/unet/diffusion_pytorch_model.safetensors", "half/text_encoder/model.safetensors"})
    EXPECT_TRUE(names.contains(file) || std::string(file).ends_with("vocab.json")) << file;
  const Outcome drawn = run({"-m", "half", "-p", "a red fox", "-s", "7", "--steps", "2", "-o", "half.png"});
  EXPECT_EQ(drawn.exit_code, 0) << drawn.err;
  const Outcome again = run({"convert", "-m", model(), "-o", "half"});
  EXPECT_EQ(again.exit_code, 4);
  EXPECT_TRUE(contains(again.err, "half: exists already")) << again.err;
  const Outcome one = run({"convert", "-m", model(), "-o", "one.safetensors"});
  EXPECT_EQ(one.exit_code, 2);
  EXPECT_TRUE(contains(one.err, "unet")) << one.err;
}

TEST_F(ConvertProgram, WrongUseIsNamed) {
  const auto refused = [&](const Words& words, int code, const std::string& why) {
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.exit_code, code) << outcome.err;
    EXPECT_TRUE(contains(outcome.err, why)) << outcome.err;
    EXPECT_TRUE(files().empty());
  };
  const std::string unet = model() + "/unet";
  refused({"convert"}, 2, "convert needs --model");
  refused({"convert", "-m", unet}, 2, "convert needs --output");
  refused({"convert", "-m", unet, "-o", "-"}, 2, "convert needs --output");
  refused({"convert", "-m", unet, "-o", "x.bin"}, 2, "ends neither with .safetensors nor with .gguf");
  refused({"convert", "-m", unet, "-o", "x.gguf", "--quantize", "int8"}, 2, "--quantize int8 has no place in GGUF");
  refused({"convert", "-m", unet, "-o", "x.safetensors", "--quantize", "q4_k"}, 2, "q4_k are blocks of GGUF");
  refused({"convert", "-m", unet, "-o", "x.gguf", "--quantize", "q5_0"}, 2, "'q5_0' is not one of none, q8_0");
  refused({"convert", "-m", model() + "/vae", "-o", "x.gguf", "--quantize", "q8_0"}, 2,
          "--quantize q8_0 changes nothing");
  refused({"convert", "-m", "nowhere", "-o", "x.gguf"}, 3, "nowhere: no such model");
  refused({"convert", "-m", model() + "/scheduler", "-o", "x.gguf"}, 3, "config.json");
  refused({"convert", "-m", unet, "-o", "/proc/x/y.gguf"}, 4, "/proc/x");
}

TEST_F(ConvertProgram, WhatIsReadIsReplacedOnlyWhenAsked) {
  ASSERT_EQ(convert({"-o", "a.safetensors"}).exit_code, 0);
  const std::string whole = contents(folder_ / "a.safetensors");
  fs::create_symlink("a.safetensors", folder_ / "link.safetensors");
  for (const char* name : {"a.safetensors", "link.safetensors"}) {
    const Outcome same = run({"convert", "-m", "a.safetensors", "-o", name, "--dtype", "float16"});
    EXPECT_EQ(same.exit_code, 4) << same.err;
    EXPECT_TRUE(contains(same.err, "--overwrite replaces it")) << same.err;
    EXPECT_TRUE(contents(folder_ / "a.safetensors") == whole);
  }
  EXPECT_EQ(
      run({"convert", "-m", "a.safetensors", "-o", "link.safetensors", "--dtype", "float16", "--overwrite"}).exit_code,
      0);
  EXPECT_LT(contents(folder_ / "a.safetensors").size(), whole.size());
  EXPECT_TRUE(fs::is_symlink(folder_ / "link.safetensors"));
  EXPECT_EQ(convert({"-o", "a.safetensors", "--no-clobber"}).exit_code, 4);
  fs::create_directory(folder_ / "d.gguf");
  EXPECT_EQ(convert({"-o", "d.gguf"}).exit_code, 4);
}

TEST_F(ConvertProgram, CodesOfAFileAreWidenedForAnotherFormat) {
  ASSERT_EQ(convert({"--quantize", "q8_0", "-o", "a.gguf"}).exit_code, 0);
  const Outcome stored = run({"convert", "-m", "a.gguf", "-o", "b.safetensors"});
  EXPECT_EQ(stored.exit_code, 2);
  EXPECT_TRUE(contains(stored.err, "is stored as Q8_0, which safetensors does not have; --dtype says")) << stored.err;
  EXPECT_EQ(run({"convert", "-m", "a.gguf", "-o", "b.safetensors", "--dtype", "float32"}).exit_code, 0);
  EXPECT_EQ(run({"convert", "-m", "a.gguf", "-o", "b.gguf", "--dtype", "float32"}).exit_code, 0);
  EXPECT_TRUE(picture({"--unet", "b.safetensors"}, "b.png") == picture({"--unet", "b.gguf"}, "c.png"));
  EXPECT_EQ(run({"convert", "-m", "a.gguf", "-o", "c.gguf"}).exit_code, 0);
  EXPECT_TRUE(contents(folder_ / "c.gguf") == contents(folder_ / "a.gguf"))
      << "what is in codes stays, and so does all else";
}

TEST_F(ConvertProgram, AFullDiskLeavesNothingBehind) {
  SmallDisk disk(folder_, 65536);
  if (!disk.mounted()) GTEST_SKIP() << "this process may not mount a tmpfs";
  const Outcome outcome = convert({"-o", (folder_ / "x.safetensors").string()});
  EXPECT_EQ(outcome.exit_code, 4) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "No space left on device")) << outcome.err;
  EXPECT_TRUE(files().empty());
  const Outcome folder = run({"convert", "-m", model(), "-o", (folder_ / "x").string()});
  EXPECT_EQ(folder.exit_code, 4) << folder.err;
  EXPECT_TRUE(files().empty());
}

}  // namespace
}  // namespace sdgen::test
