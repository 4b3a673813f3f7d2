// --from-image: what is read out of pictures, by whomever they were written.
#include "cli/from_image.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/scratch.h"
#include "cli/a1111_text.h"
#include "cli/command_line.h"
#include "cli/record.h"
#include "image/exif.h"
#include "image/jpeg.h"
#include "image/png.h"
#include "io/hash.h"

namespace sdgen::cli {
namespace {

using namespace std::string_literals;

const Image kPixel{1, 1, {1, 2, 3}};

// --- the parser; tools/metadata_check.py holds it against the web UI's own rule

TEST(A1111Text, HasPromptsAndValues) {
  const A1111Text text = parse_a1111(
      "  a cat,\n (b:1.2) <lora:x:0.7> \nNegative prompt: lowres,\nbad: anatomy\n"
      "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, Size: 512x768, Lora hashes: \"a: 1, b: 2\", Steps: 21, "
      "Empty: , Quote: \"say \\\"hi\\\", \\u7ea2\", Last: x y\n");
  EXPECT_EQ(text.prompt, "a cat,\n(b:1.2) <lora:x:0.7>");
  EXPECT_EQ(text.negative_prompt, "lowres,\nbad: anatomy");
  EXPECT_EQ(text.value("Steps"), "21");
  EXPECT_EQ(text.value("Size"), "512x768");
  EXPECT_EQ(text.value("Lora hashes"), "a: 1, b: 2");
  EXPECT_EQ(text.value("Quote"), "say \"hi\", 红");
  EXPECT_EQ(text.value("Last"), "x y");
  EXPECT_EQ(text.value("Empty"), "");
  EXPECT_EQ(text.values.size(), 7u);
}

TEST(A1111Text, NeedsThreeValuesInTheLastLine) {
  EXPECT_EQ(parse_a1111("a\nSteps: 2, Seed: 3").prompt, "a\nSteps: 2, Seed: 3");
  EXPECT_TRUE(parse_a1111("a\nSteps: 2, Seed: 3").values.empty());
  const A1111Text values = parse_a1111("Steps: 2, Seed: 3, Size: 1x1");
  EXPECT_EQ(values.prompt, "");
  EXPECT_EQ(values.values.size(), 3u);
  EXPECT_EQ(parse_a1111("").prompt, "");
  EXPECT_EQ(parse_a1111("\n \n").prompt, "");
  EXPECT_EQ(parse_a1111("\n\nx\n\ny\n").prompt, "x\n\ny");
}

TEST(A1111Text, BrokenQuotationsAreWords) {
  EXPECT_EQ(parse_a1111("Aa: \"x, Bb: y\", Cc: z, Dd: \"u\" v").value("Aa"), "x, Bb: y");
  const A1111Text open = parse_a1111("Aa: \"x, Bb: y, Cc: \"\\\"");
  EXPECT_EQ(open.value("Aa"), "\"x");
  EXPECT_EQ(open.value("Bb"), "y");
  EXPECT_EQ(parse_a1111("Aa: \"\", Bb: y, Cc: \"\\q\"").value("Cc"), "\"\\q\"");  // no JSON
}

TEST(A1111Text, TakesLinearTime) {
  const auto read = [](const std::function<std::string()>& next) {
    std::string text;
    while (text.size() < 1u << 20) text += next();
    parse_a1111(text);  // quadratic would be hours
  };
  for (const char* piece :
       {"a", " ", "a ", "aa:", "aa: \"", "\"", "\\", "aa:\"\\", "-", ",", "aa:,", "\n", "é", "\xF0\x9F"})
    read([&] { return piece; });
  read([key = 0]() mutable { return "a" + std::to_string(++key) + ":1,"; });
}

// --- texts of AUTOMATIC1111's form

struct FromImageTest : testing::Test {
  FromImage text(const std::string& parameters, const Settings& given = {}) {
    return settings_of_a1111(parameters, "x.png", given, rows_);
  }
  FromImage picture(const std::vector<PictureText>& texts, const Settings& given = {}) {
    const auto bytes = encode_png(kPixel, texts);
    return file("x.png", {reinterpret_cast<const char*>(bytes.data()), bytes.size()}, given);
  }
  FromImage file(const std::string& name, std::string_view bytes, const Settings& given = {}) {
    return read_from_image(scratch_.write(name, bytes).string(), given, rows_);
  }
  std::string refusal(const std::string& record) {
    return message_of(Fault::input, [&] { picture({{"sdgen", record}}); });
  }
  static std::string all(const FromImage& found) {
    std::string text;
    for (const auto& [option, value] : found.settings) text += option + "=" + value + ";";
    return text;
  }
  static std::string warnings(const FromImage& found) {
    std::string text;
    for (const std::string& warning : found.warnings) text += warning + "\n";
    return text;
  }
  Scratch scratch_;
  std::vector<OptionRow> rows_ = option_rows();
};

constexpr const char* kForeign =
    "a (red:1.2) fox\nNegative prompt: lowres\nSteps: 20, Sampler: Euler, CFG scale: 7.0, Seed: 42, Size: 512x768, "
    "Model hash: 6ce0161689, Model: v1-5, Clip skip: 2, ENSD: 31337, RNG: CPU, Version: v1.10.1";

TEST_F(FromImageTest, TakesTheWebUisSettings) {
  const FromImage found = text(kForeign);
  EXPECT_EQ(all(found),
            "--prompt=a (red:1.2) fox;--negative-prompt=lowres;--prompt-syntax=weighted;--scheduler=Euler;"
            "--timestep-spacing=linspace;--steps=20;--guidance-scale=7.0;--seed=42;--clip-skip=1;"
            "--width=512;--height=768;");
  EXPECT_CONTAINS(warnings(found), "x.png: its model is 'v1-5'");
  EXPECT_CONTAINS(warnings(found), "not taken over: ENSD\n");
  EXPECT_EQ(warnings(text(kForeign, {{"--model", "x"}})), "x.png: not taken over: ENSD\n");
}

TEST_F(FromImageTest, SaysWhatTheWebUiHasAndSdgenHasNot) {
  const std::string head = "a\nSteps: 20, Seed: 1, Sampler: ";
  EXPECT_CONTAINS(warnings(text(head + "Euler")), "GPU, which differs");
  EXPECT_CONTAINS(warnings(text(head + "Euler, RNG: NV")), "NV, which differs");
  EXPECT_CONTAINS(warnings(text(head + "Restart, Schedule type: Karras")), "not taken over: Sampler, Schedule type");
  EXPECT_CONTAINS(warnings(text(head + "Euler a, Schedule type: Karras")), "not taken over: Schedule type");
  EXPECT_CONTAINS(warnings(text(head + "Euler, Schedule type: Align Your Steps")), "not taken over: Schedule type");
  EXPECT_CONTAINS(warnings(text(head + "Euler, Denoising strength: 0.5, VAE: x, TI hashes: \"a: b\", Refiner: x")),
                  "not taken over: Denoising strength, Refiner, VAE, TI hashes\n");
  EXPECT_CONTAINS(warnings(text(head + "PLMS, Noise Schedule: Zero Terminal SNR")), "Noise Schedule");
  EXPECT_CONTAINS(warnings(text(head + "Euler, Emphasis: No norm, Clip skip: 0, Size: 1y1")),
                  "not taken over: Emphasis, Clip skip, Size\n");
  EXPECT_CONTAINS(warnings(text("a\nSteps: 0, Seed: -2, CFG scale: inf")), "not taken over: Steps, Seed, CFG scale");
}

TEST_F(FromImageTest, KnowsWhatTheWebUisSchedulesAre) {
  const std::string head = "a\nSteps: 20, Seed: 1, Sampler: ";
  for (const auto& [sampler, setting] : std::initializer_list<std::pair<const char*, const char*>>{
           {"DPM++ 2M", "--sigma-schedule=karras"},
           {"DPM++ 2M, Schedule type: Automatic", "--sigma-schedule=karras"},
           {"DPM++ 2M, Schedule type: Exponential", "--sigma-schedule=exponential"},
           {"DPM++ 2M, Schedule type: SGM Uniform", "--timestep-spacing=trailing"},
           {"Euler a", "--timestep-spacing=linspace"},
           {"Euler, Schedule type: DDIM", "--timestep-spacing=leading"},
           {"DPM++ 2M Karras", "--scheduler=DPM++ 2M Karras;--steps"},
           {"DDIM, Schedule type: Automatic, Eta DDIM: 0.5", "--scheduler=DDIM;--steps=20;--seed=1;--eta=0.5"},
           {"DDIM, Noise Schedule: Zero Terminal SNR", "--rescale-betas-zero-snr="}})
    EXPECT_CONTAINS(all(text(head + sampler)), setting);
  // Eta means something where the sampler has it, under its word alone.
  for (const SchedulerInfo& info : scheduler_infos())
    for (const SchedulerInfo& other : scheduler_infos()) {
      if (!other.takes_eta()) continue;
      EXPECT_EQ(contains(all(text(concat(head, info.a1111, ", ", other.eta_key, ": 0.5"))), "--eta=0.5"),
                info.eta_key == other.eta_key)
          << info.name << ", " << other.eta_key;
    }
}

TEST_F(FromImageTest, TheCommandLineGivesWhatATextCannotName) {
  const std::string values =
      "a\nSteps: 20, Seed: 1, Size: 8x8, Denoising strength: 0.5, Mask blur: 4, "
      "Inpaint area: Only masked, Masked area padding: 3, Refiner: r, Refiner switch at: 0.7";
  EXPECT_CONTAINS(all(text(values, {{"--init-image", "i"}, {"--mask", "m"}, {"--refiner", "r"}})),
                  "--strength=0.5;--mask-blur=4;--only-masked=3;--refiner-start=0.7;");
  EXPECT_FALSE(contains(all(text(values, {{"--init-image", "i"}, {"--extend", "1,1,1,1"}})), "--width"));
  EXPECT_FALSE(contains(all(text(kForeign, {{"--scheduler", "ddim"}})), "timestep"));
}

TEST_F(FromImageTest, ReadsItsOwnTextsAsTheyWereMeant) {
  const std::string tail = "\nSteps: 2, Sampler: DDPM, CFG scale: 1, Seed: 1, RNG: CPU, Version: sdgen 0.1";
  EXPECT_CONTAINS(all(text("a fox" + tail)), "--prompt=a fox;--prompt-syntax=plain");
  EXPECT_CONTAINS(all(text("a (fox)" + tail)), "--prompt-syntax=weighted");
  EXPECT_EQ(all(text("Steps: 2, Seed: 1, RNG: CPU, Version: sdgen 0.1")), "--steps=2;--seed=1;");  // takes no text
  EXPECT_CONTAINS(all(text("a (fox)\nSteps: 2, Seed: 1, Emphasis: None, RNG: CPU")), "--prompt-syntax=plain");
}

// --- files

TEST_F(FromImageTest, TheRecordComesFirst) {
  const std::string record = R"({"sdgen":"1","prompt":"of the record","steps":3,"seed":18446744073709551615})";
  EXPECT_EQ(all(picture({{"parameters", kForeign}, {"sdgen", record}})),
            "--prompt=of the record;--seed=18446744073709551615;--steps=3;");
  EXPECT_CONTAINS(all(picture({{"parameters", kForeign}})), "--prompt=a (red:1.2) fox");
  const auto jpeg = [&](const JpegTexts& texts) {
    const auto bytes = encode_jpeg(kPixel, texts, [](const std::string&) { FAIL(); });
    return file("x.jpg", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  };
  EXPECT_CONTAINS(all(jpeg({kForeign, record})), "--prompt=of the record;");
  EXPECT_CONTAINS(all(jpeg({kForeign, ""})), "--prompt=a (red:1.2) fox");
  EXPECT_CONTAINS(all(jpeg({kForeign, "made by hand"})), "--prompt=a (red:1.2) fox");
}

TEST_F(FromImageTest, RefusesWhatSaysNothing) {
  for (const std::vector<PictureText>& texts : {std::vector<PictureText>{},
                                                {{"Software", "x"}},
                                                {{"parameters", "a fox"}},
                                                {{"parameters", "Steps: 1, Seed: 2"}}})
    EXPECT_NE(message_of(Fault::input, [&] { picture(texts); }), "");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { file("x", "GIF89a"); }), "is a GIF picture");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { read_from_image("/no/x.png", {}, rows_); }), "/no/x.png");
}

TEST_F(FromImageTest, RecordsAreReadByTheOptionsOwnReaders) {
  EXPECT_CONTAINS(refusal(R"({"sdgen":"1","steps":0})"), "x.png: its record: --steps: '0'");
  EXPECT_CONTAINS(refusal(R"({"sdgen":"1","steps":[1,2]})"), "--steps is given twice");
  EXPECT_CONTAINS(refusal(R"({"sdgen":"1","steps":true})"), "--steps");
  EXPECT_CONTAINS(refusal(R"({"sdgen":"1","guess_mode":3})"), "takes no value");
  EXPECT_CONTAINS(refusal(R"({"sdgen":"1","width":99999999999})"), "--width");
  EXPECT_CONTAINS(refusal(R"({"sdgen":"1","prompt":{}})"), "prompt");
  EXPECT_CONTAINS(refusal("{\"sdgen\":" + std::string(100'000, '[')), "its record");
  EXPECT_CONTAINS(refusal("no JSON"), "its record");
}

TEST_F(FromImageTest, FilesOfARecordMustBeThereOrGiven) {
  const std::string record =
      R"({"sdgen":"1","model":"/no/model","init_image":"/no/i.png","lora":["/no/l.safetensors:2"]})";
  EXPECT_CONTAINS(refusal(record), "made with --model /no/model, which is not there; say with --model where");
  const auto with = [&](const Settings& given) {
    return message_of(Fault::input, [&] { picture({{"sdgen", record}}, given); });
  };
  EXPECT_CONTAINS(with({{"--model", "x"}}), "--init-image /no/i.png");
  EXPECT_CONTAINS(with({{"--model", "x"}, {"--init-image", "x"}}), "--lora /no/l.safetensors,");
  EXPECT_EQ(all(picture({{"sdgen", record}}, {{"--model", "x"}, {"--init-image", "x"}, {"--lora", "x"}})),
            "--init-image=/no/i.png;--lora=/no/l.safetensors:2;--model=/no/model;");
  EXPECT_EQ(all(picture({{"sdgen", R"({"sdgen":"1","model":"embedded"})"}})), "--model=embedded;");
}

TEST_F(FromImageTest, ChangedPicturesAreTold) {
  const std::string path = scratch_.write("i.png", "new").string();
  const auto record = [&](const std::string& hash) {
    return R"({"sdgen":"1","init_image":")" + path + R"(","hashes":{"init_image":[")" + hash +
           R"("],"model":"abc","mask":7}})";
  };
  EXPECT_EQ(warnings(picture({{"sdgen", record(sha256_of("new"))}})), "");
  const FromImage changed = picture({{"sdgen", record(sha256_of("old"))}});
  EXPECT_CONTAINS(warnings(changed), path + " has changed");
  EXPECT_EQ(changed.model_sha256, "abc");
  EXPECT_EQ(picture({{"sdgen", record("")}}, {{"--model", "x"}, {"--init-image", "y"}}).model_sha256, "");
}

TEST_F(FromImageTest, AnotherSchedulerTakesItsSettingsAlong) {
  const std::string record = R"({"sdgen":"1","scheduler":"ddim","eta":0.5,"timestep_spacing":"leading","steps":3})";
  EXPECT_EQ(all(picture({{"sdgen", record}}, {{"--scheduler", "euler"}})), "--steps=3;");
}

TEST_F(FromImageTest, MalformedExifSaysNothing) {
  const std::string whole = exif_of_comment(kForeign);
  const auto base = encode_jpeg(kPixel, {}, [](const std::string&) {});
  const std::string pixels(reinterpret_cast<const char*>(base.data()), base.size());
  for (std::size_t i = 0; i < 120; ++i)
    for (const char value : {'\0', '\xFF', '\x7F'}) {
      std::string block = "Exif\0\0"s + whole;
      block[6 + i] = value;
      std::string changed = pixels;
      const std::size_t size = block.size() + 2;
      changed.insert(20, "\xFF\xE1"s + static_cast<char>(size >> 8) + static_cast<char>(size & 255) + block);
      try {
        file("x.jpg", changed);
      } catch (const Error& error) {
        EXPECT_EQ(error.fault(), Fault::input);
      }
    }
}

// --- on the command line

TEST_F(FromImageTest, TheCommandLineComesFirst) {
  const auto bytes =
      encode_png(kPixel, std::vector<PictureText>{{"sdgen", R"({"sdgen":"1","prompt":"p","steps":3,"seed":5,
      "scheduler":"dpm++2m","sigma_schedule":"karras","lora":["/dev/null:0.5"],"batch_size":2,"dtype":"float32"})"}});
  const std::string path =
      scratch_.write("x.png", {reinterpret_cast<const char*>(bytes.data()), bytes.size()}).string();
  const Options o = parse_command_line({"--from-image", path, "--steps", "9", "-b", "2"}).options;
  EXPECT_EQ(o.request.prompt, "p");
  EXPECT_EQ(o.request.steps, 9);
  EXPECT_EQ(o.request.seed, 5u);
  EXPECT_EQ(o.request.sigma_schedule, "karras");
  EXPECT_EQ(o.request.loras.size(), 1u);
  EXPECT_EQ(o.load.batch_size, 2);
  EXPECT_EQ(o.run.num_images, 2u);
  const CommandLine loras = parse_command_line({"--from-image", path, "--lora", "a", "--lora", "b"});
  EXPECT_EQ(loras.options.request.loras.size(), 2u);
  // "--prompts has the prompts" is about the command line; --fail-fast and --skip-existing look at all that holds.
  EXPECT_EQ(parse_command_line({"--from-image", path, "--prompts", "x", "--skip-existing"}).defaults.size(), 8u);
  EXPECT_EQ(parse_command_line({"--from-image", path}).defaults.size(), 8u);
  EXPECT_CONTAINS(message_of(Fault::usage,
                             [&] {
                               parse_command_line({"--from-image", path, "--mask", "m"});
                             }),
                  "mask needs init_image");
}

}  // namespace
}  // namespace sdgen::cli
