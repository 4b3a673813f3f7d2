// What is reported about a run and its pictures: metadata, JSON lines, progress, exit codes.
#include <gtest/gtest.h>

#include <limits>
#include <new>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>

#include "base/scratch.h"
#include "cli/metadata.h"
#include "cli/process.h"
#include "cli/progress.h"
#include "cli/schedulers.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

ModelInfo named(const std::string& name) {
  ModelInfo model;
  model.name = name;
  return model;
}

Request completed() {
  Request r;
  r.prompt = "a red fox";
  r.negative_prompt = "lowres, bad anatomy";
  r.width = 512;
  r.height = 768;
  r.seed = 18446744073709551615u;
  r.steps = 20;
  r.guidance_scale = 7.5;
  r.timestep_spacing = "linspace";
  r.prediction_type = "epsilon";
  r.eta = 0;
  return r;
}

// Of a picture about which nothing else is known.
std::string parameters(const Request& request, const ModelInfo& model, const char* scheduler = "dpm++2m",
                       const RecordedInputs& sources = {}, const ModelHashes& hashes = {},
                       const std::vector<LoraInfo>& loras = {}) {
  return a1111_parameters({sources, request, *scheduler_info(scheduler), {}, model, loras, hashes});
}
std::string line_of(const Request& request, const ModelInfo& model, const std::string& file, const Timings& timings) {
  return json_line({{}, request, *scheduler_info("dpm++2m"), {}, model, {}, {}}, file, timings, "0123");
}

const std::string kVersion = SDGEN_VERSION;

TEST(Metadata, IsWhatA1111Writes) {
  EXPECT_EQ(parameters(completed(), named("v1-5")),
            "a red fox\n"
            "Negative prompt: lowres, bad anatomy\n"
            "Steps: 20, Sampler: DPM++ 2M, Schedule type: Uniform, CFG scale: 7.5, Seed: 18446744073709551615, "
            "Size: 512x768, Model: v1-5, RNG: CPU, Version: sdgen " +
                kVersion);
}

TEST(Metadata, LeavesOutWhatIsNotThere) {
  Request r = completed();
  r.negative_prompt = "";
  r.guidance_scale = 7;
  EXPECT_EQ(parameters(r, named("m"), "ddim"),
            "a red fox\nSteps: 20, Sampler: DDIM, CFG scale: 7, Seed: 18446744073709551615, Size: 512x768, Model: m, "
            "RNG: CPU, Version: sdgen " +
                kVersion);
  r.eta = 0.5;
  EXPECT_NE(parameters(r, named("m"), "ddim").find("RNG: CPU, Eta DDIM: 0.5, Version"), std::string::npos);
}

TEST(Metadata, SaysHowBracketsWereRead) {
  Request r = completed();
  r.prompt = "a (red) fox";
  EXPECT_NE(parameters(r, named("m")).find("RNG: CPU, Emphasis: None, Version"), std::string::npos);
  r.prompt_syntax = PromptSyntax::weighted;
  EXPECT_EQ(parameters(r, named("m")).find("Emphasis"), std::string::npos);
  EXPECT_NE(line_of(r, named("m"), "x.png", {}).find(R"("prompt_syntax":"weighted")"), std::string::npos);
}

TEST(Metadata, ListsTheWordsThatPromptsUse) {
  ModelInfo model = named("m");
  model.textual_inversions = {{"red.safetensors", "Red", "0123456789ab", 1},
                              {"odd.safetensors", "bad: anatomy", "ba9876543210", 2},
                              {"no.safetensors", "unused", "000000000000", 1}};
  Request r = completed();
  r.negative_prompt = "bad: anatomy";
  const std::string text = parameters(r, model);
  EXPECT_NE(text.find(R"(TI hashes: "Red: 0123456789ab, bad anatomy: ba9876543210", Version)"), std::string::npos)
      << text;
}

TEST(Metadata, QuotesWhatWouldBreakTheLine) {
  const std::string text = parameters(completed(), named("a, b: \"红\""));
  EXPECT_NE(text.find(R"(, Model: "a, b: \"红\"", RNG)"), std::string::npos) << text;
}

// modules/processing.py create_infotext, then what scripts, prompts and samplers add.
TEST(Metadata, HasTheWebUisKeysInItsOrder) {
  const Scratch scratch;
  const std::string file = scratch.write("x.safetensors", "x").string();
  const RecordedInputs sources{{{"--model", file}, {"--vae", file}, {"--refiner", file}}, {}};
  Request r = completed();
  r.strength = 0.5;
  r.clip_skip = 1;
  r.mask_blur = 4;
  r.only_masked = 32;
  r.eta = 0.3;
  r.refiner_start = 0.8;
  r.rescale_betas_zero_snr = true;
  r.prompt = "[a] red";
  r.controls.emplace_back();
  ModelInfo model = named("v1-5");
  model.vae = "x";
  model.refiner = "xl";
  model.textual_inversions = {{"t", "red", "ba9876543210", 1}};
  model.controls = {{ControlInfo::Kind::controlnet, "c", "canny", "01234567"}};
  const ModelHashes hashes{.model = std::string(64, 'a'), .vae = std::string(64, 'b'), .refiner = std::string(64, 'c')};
  EXPECT_EQ(parameters(r, model, "ddim", sources, hashes, {{"l", "lora", "0123456789ab", 1, 1, 1, 1}}),
            "[a] red <lora:lora:1>\nNegative prompt: lowres, bad anatomy\n"
            "Steps: 20, Sampler: DDIM, CFG scale: 7.5, Seed: 18446744073709551615, "
            "Size: 512x768, Model hash: aaaaaaaaaa, Model: v1-5, VAE hash: bbbbbbbbbb, VAE: x.safetensors, "
            "Denoising strength: 0.5, Clip skip: 2, RNG: CPU, ControlNet 0: \"Module: none, Model: canny [01234567], "
            "Weight: 1, Resize Mode: Just Resize, Guidance Start: 0, Guidance End: 1, Pixel Perfect: False, "
            "Control Mode: Balanced\", Mask blur: 4, Inpaint area: Only masked, Masked area padding: 32, "
            "Lora hashes: \"lora: 0123456789ab\", TI hashes: \"red: ba9876543210\", Emphasis: None, "
            "Noise Schedule: Zero Terminal SNR, Eta DDIM: 0.3, Refiner: xl [cccccccccc], Refiner switch at: 0.8, "
            "Version: sdgen " +
                kVersion);
}

// Of folders the web UI knows no hash.
TEST(Metadata, HasHashesOfSingleFilesAlone) {
  const Scratch scratch;
  const RecordedInputs sources{{{"--model", scratch.folder().string()}}, {}};
  EXPECT_FALSE(
      contains(parameters(completed(), named("m"), "dpm++2m", sources, {.model = "0123456789abcdef"}), "hash"));
  EXPECT_FALSE(contains(parameters(completed(), named("m"), "dpm++2m", {}, {.model = "0123456789abcdef"}), "hash"));
}

TEST(RoundtripLine, HasNoNumberWhereNothingWasLost) {
  constexpr double exact = std::numeric_limits<double>::infinity();
  EXPECT_EQ(roundtrip_line(31.456, "a.png", false), "PSNR 31.46 dB\n");
  EXPECT_EQ(roundtrip_line(exact, "a.png", false), "PSNR infinite\n");
  EXPECT_EQ(roundtrip_line(31.5, "a.png", true), "{\"file\":\"a.png\",\"psnr\":31.5}\n");
  EXPECT_EQ(roundtrip_line(exact, "a.png", true), "{\"file\":\"a.png\",\"psnr\":null}\n");
}

TEST(Metadata, IsStripped) {
  Request r = completed();
  r.prompt = "";
  r.negative_prompt = "";
  EXPECT_TRUE(parameters(r, named("m")).starts_with("Steps: 20"));
}

TEST(Metadata, HasNoPromptOfModelsThatTakeNone) {
  Request r = completed();
  r.prompt.reset();
  r.negative_prompt.reset();
  r.guidance_scale.reset();
  EXPECT_TRUE(parameters(r, named("m")).starts_with("Steps: 20, Sampler: DPM++ 2M, Schedule type: Uniform, Seed: "));
  const auto json = nlohmann::json::parse(line_of(r, named("m"), "x.png", {}));
  for (const char* key : {"prompt", "negative_prompt", "guidance_scale"}) EXPECT_FALSE(json.contains(key)) << key;
}

TEST(Metadata, SamplersAreSpelledAsA1111Does) {
  EXPECT_TRUE(contains(parameters(completed(), named("m"), "euler-a"), "Sampler: Euler a,"));
  EXPECT_TRUE(contains(parameters(completed(), named("m"), "plms"), "Sampler: PLMS,"));
  EXPECT_TRUE(contains(parameters(completed(), named("m"), "flow-euler"), "Sampler: Euler,"));  // one name for both
}

TEST(JsonLine, HoldsThePicture) {
  const std::string line = line_of(completed(), named("m"), "out/\"x\".png", {1.5, 0.25, 2, 0.125});
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["file"], "out/\"x\".png");
  EXPECT_EQ(json["seed"], 18446744073709551615u);
  EXPECT_EQ(json["prompt"], "a red fox");
  EXPECT_EQ(json["negative_prompt"], "lowres, bad anatomy");
  EXPECT_EQ(json["width"], 512);
  EXPECT_EQ(json["height"], 768);
  EXPECT_EQ(json["steps"], 20);
  EXPECT_EQ(json["scheduler_used"], "dpm++2m");
  EXPECT_FALSE(json.contains("scheduler")) << "the model's own, whatever its settings are";
  EXPECT_EQ(json["guidance_scale"], 7.5);
  EXPECT_EQ(json["timings"]["load"], 1.5);
  EXPECT_EQ(json["timings"]["decode"], 0.125);
}

TEST(JsonLine, SurvivesFileNamesThatAreNoUtf8) {
  EXPECT_EQ(nlohmann::json::parse(line_of(completed(), named("m"), "caf\xe9.png", {}))["file"], "caf\uFFFD.png");
}

TEST(ProgressLine, FitsTheTerminal) {
  const Moment m{1, 1, 4, 1, 12, 20, 3.214, 7, 31};
  EXPECT_EQ(bar_line(m, 80), "picture 2 of 4  [=========>     ]  12/20  3.21 it/s  ETA 0:07 | 1 done, ETA 0:31");
  EXPECT_EQ(bar_line({0, 1, 1, 0, 0, 9, 0, 0}, 46), "picture 1 of 1  [>    ]  0/9  ? it/s  ETA 0:00");
  for (int columns = 0; columns < 200; ++columns) {
    EXPECT_LE(bar_line(m, columns).size(), static_cast<std::size_t>(columns));
  }
}

TEST(ProgressLine, SaysBatchesAndTimes) {
  EXPECT_EQ(plain_line({2, 2, 4, 2, 3, 50, 0.25, 3725, 4000}),
            "pictures 3-4 of 4: step 3/50, 4.00 s/it, ETA 1:02:05 | 2 done, ETA 1:06:40");
  EXPECT_EQ(plain_line({0, 1, 1, 0, 50, 50, 10, 0}), "picture 1 of 1: step 50/50, 10.00 it/s, ETA 0:00");
  EXPECT_EQ(plain_line({0, 4, 4, 0, 1, 2, 1, 1}), "pictures 1-4 of 4: step 1/2, 1.00 it/s, ETA 0:01");  // the whole
}

// A pipe may never end.
TEST(ProgressLine, ClaimsNoTotalThatNobodyKnows) {
  EXPECT_EQ(plain_line({6, 1, std::nullopt, 6, 3, 50, 2, 23.5}), "picture 7: step 3/50, 2.00 it/s, ETA 0:24 | 6 done");
}

TEST(ProgressPace, IsATenthOfTheRunAndNoMoreThanALineASecond) {
  Pace slow, fast, unknown;
  int lines = 0, soon = 0, rare = 0;
  for (int i = 1; i <= 1000; ++i) {
    lines += slow.due(i / 1000.0, i * 0.1);      // 100 s
    soon += fast.due(i / 1000.0, i * 0.003);     // 3 s
    rare += unknown.due(std::nullopt, i * 1.0);  // 1000 s
  }
  EXPECT_EQ(lines, 9);
  EXPECT_EQ(soon, 2);
  EXPECT_EQ(rare, 3);
}

TEST(Explain, GivesEveryFaultItsExitCode) {
  EXPECT_EQ(explain(Error(Fault::usage, "a")).exit_code, 2);
  EXPECT_EQ(explain(Error(Fault::input, "a")).exit_code, 3);
  EXPECT_EQ(explain(Error(Fault::output, "a")).exit_code, 4);
  EXPECT_EQ(explain(Error(Fault::device, "a")).exit_code, 5);
  EXPECT_EQ(explain(Error(Fault::internal, "a")).exit_code, 70);
  EXPECT_EQ(explain(std::bad_alloc()).exit_code, 5);
  EXPECT_EQ(explain(std::runtime_error("DefaultCPUAllocator: can't allocate memory: you tried ...")).exit_code, 5);
  EXPECT_EQ(explain(std::runtime_error("CUDA error: device-side assert triggered")).exit_code, 5);
  EXPECT_EQ(explain(std::runtime_error("vector::_M_range_check")).exit_code, 70);
  EXPECT_EQ(explain(Cancelled()).exit_code, 130);
}

TEST(Explain, SaysWhatToDo) {
  EXPECT_EQ(explain(Error(Fault::usage, "what")).message, "sdgen: what\nsee sdgen --help\n");
  EXPECT_EQ(explain(Error(Fault::input, "what")).message, "sdgen: what\n");
  EXPECT_EQ(explain(Error(Fault::output, "")).message, "");  // the reader of stdout has gone away
  EXPECT_NE(explain(std::runtime_error("what")).message.find("please report"), std::string::npos);
}

}  // namespace
}  // namespace sdgen::cli
