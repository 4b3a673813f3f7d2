// The record of a picture: what is in it, and that it is read back as it was written.
#include "cli/record.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/option_samples.h"
#include "base/schema_validator.h"
#include "base/scratch.h"
#include "cli/command_line.h"
#include "cli/options.h"
#include "cli/schema.h"
#include "io/json.h"

namespace sdgen::cli {
namespace {

// As the pipeline completes them.
Request completed(const Options& options) {
  Request r = options.request;
  r.seed = r.seed.value_or(5);
  r.width = r.width.value_or(512);
  r.height = r.height.value_or(512);
  r.steps = r.steps.value_or(50);
  r.guidance_scale = r.guidance_scale.value_or(7.5);
  r.prompt_syntax = r.prompt_syntax.value_or(PromptSyntax::plain);
  r.timestep_spacing = r.timestep_spacing.value_or("leading");
  r.prediction_type = r.prediction_type.value_or("epsilon");
  r.eta = r.eta.value_or(0);
  const auto picture = std::make_shared<const Image>();
  if (options.inputs.init_image) r.init_image = picture;
  if (options.inputs.mask) r.mask = picture;
  if (options.inputs.depth) r.depth = picture;
  r.references.assign(options.inputs.reference_images.size(), picture);
  r.controls = controls(options.inputs, [&](const std::string&) { return picture; });
  return r;
}

const SchedulerInfo& used(const Options& options) {
  return *scheduler_info(options.request.scheduler.value_or("ddim"));
}

ModelInfo loaded(const Options& options) {
  ModelInfo model;
  const Precision precision = options.load.precision;
  model.precision = precision == Precision::float16    ? "float16"
                    : precision == Precision::bfloat16 ? "bfloat16"
                                                       : "float32";
  return model;
}

const std::vector<LoraInfo> kNoLoras;

// What settings ask for, and how they said it.
struct Asked {
  Options options;
  Settings given;
};

Asked parsed(const Settings& settings) {
  const std::vector<OptionRow> rows = option_rows();
  Asked asked{{}, checked(settings, rows)};
  apply(asked.given, rows, asked.options);
  return asked;
}

std::string record_of(const Asked& asked) {
  const auto& [options, given] = asked;
  const RecordedInputs sources{named(given), {}};
  const Computation as_said{options.load.batch_size, options.load.vae_tiling};
  return record_text({sources, completed(options), used(options), as_said, loaded(options), kNoLoras, {}});
}

std::string again(const std::string& record) {
  static const SchemaValidator validator(schema(option_rows()));
  EXPECT_TRUE(validator.satisfies("record", OrderedJson::parse(record))) << record;
  const ReadRecord read = read_record(record);
  EXPECT_TRUE(read.unknown.empty());
  return record_of(parsed(read.settings));
}

TEST(Record, IsReadBackAsItWasWritten) {
  for (const Settings& settings : {
           Settings{{"--prompt", "a fox"}},
           Settings{{"--prompt", std::string("\0\n\"quoted\", 红: 🦊 \\ é", 26)}, {"--negative-prompt", ""}},
           Settings{{"--prompt", "a\x7F fox\x7F"}},
           Settings{{"--prompt", "(a:1.2)"},
                    {"--prompt-syntax", "weighted"},
                    {"--seed", "18446744073709551615"},
                    {"--width", "64"},
                    {"--height", "8"},
                    {"--clip-skip", "1"},
                    {"--original-size", "3x4"},
                    {"--crop", "1,2"},
                    {"--target-size", "5x6"},
                    {"--steps", "9"},
                    {"--guidance-scale", "0.1"},
                    {"--guidance-rescale", "0.7"},
                    {"--scheduler", "DPM++ 2M Karras"},
                    {"--dtype", "float32"},
                    {"--prediction-type", "sample"},
                    {"--rescale-betas-zero-snr", ""},
                    {"--batch-size", "3"}},
           Settings{{"--scheduler", "ddim"},
                    {"--eta", "0.3"},
                    {"--timestep-spacing", "trailing"},
                    {"--sigma-schedule", "beta"}},
           Settings{{"--prompt", "a"},
                    {"--prompt-2", "b"},
                    {"--prompt-3", "c"},
                    {"--negative-prompt-2", "e"},
                    {"--negative-prompt-3", "d"},
                    {"--max-sequence-length", "77"},
                    {"--true-cfg-scale", "4.5"},
                    {"--guidance-interval", "0.2,0.8"},
                    {"--cache", "deepcache:3"},
                    {"--skip-layers", "7,8,9"},
                    {"--skip-layer-scale", "2.5"},
                    {"--skip-layer-start", "0.05"},
                    {"--skip-layer-stop", "0.3"},
                    {"--flow-shift", "2.5"}},
           Settings{{"--init-image", "a:b.png"},
                    {"--strength", "0.3"},
                    {"--mask", "m"},
                    {"--mask-blur", "4"},
                    {"--only-masked", "0"},
                    {"--depth", "d"}},
           Settings{{"--init-image", "a"}, {"--extend", "1,2,3,4"}},
           Settings{{"--reference-image", "r"}},
           Settings{{"--reference-image", "r"}, {"--reference-image", "s"}},
           Settings{{"--model", "embedded"},
                    {"--vae-tiling", ""},
                    {"--vae", "v"},
                    {"--refiner", "r"},
                    {"--refiner-start", "0.7"},
                    {"--lora", "l:0.1"},
                    {"--lora", "./k:1.safetensors:unet=0.3,te=-1"},
                    {"--lora", "c:d/x"},
                    {"--textual-inversion", "t:w"},
                    {"--textual-inversion", "u"}},
           Settings{{"--controlnet", "c"},
                    {"--controlnet", "d"},
                    {"--t2i-adapter", "e"},
                    {"--control-image", "1"},
                    {"--control-image", "2"},
                    {"--control-image", "3"},
                    {"--control-scale", "0.1"},
                    {"--control-scale", "0.2"},
                    {"--control-scale", "1"},
                    {"--control-start", "0.25"},
                    {"--control-end", "0.75"},
                    {"--guess-mode", ""}},
       }) {
    const std::string first = record_of(parsed(settings));
    EXPECT_EQ(again(first), first);
    EXPECT_TRUE(std::ranges::all_of(first, [](char c) { return c >= ' ' && c < 0x7F; })) << first;
    const Json json = parse_json(first, "record");
    for (const auto& [option, value] : settings) {
      std::string key = option.substr(2);
      std::ranges::replace(key, '-', '_');
      ASSERT_TRUE(json.contains(key)) << option << " is lost: " << first;
      if (json[key].is_array() || option == "--scheduler") continue;
      const std::string known = json[key].is_string() ? json[key].get<std::string>() : json[key].dump();
      EXPECT_EQ(known, value.empty() && option != "--negative-prompt" ? "true" : value) << option;
    }
    EXPECT_EQ(json["sdgen"], SDGEN_VERSION);
  }
}

// Whatever an option takes, a record says, and what it says is read as the same.
TEST(Record, SaysOfEveryOptionWhatItWasSet) {
  for (const OptionRow& row : option_rows()) {
    if (!is_recorded(row.name())) continue;
    for (const Sample& sample : samples(row)) {
      Settings settings{{row.name(), sample.given}};
      if (row.name().starts_with("--control-") && row.name() != "--control-image")
        settings.push_back({"--control-image", "edges.png"});
      const std::string record = record_of(parsed(settings));
      const OrderedJson json = OrderedJson::parse(record), known = json.value(key_of(row.name()), OrderedJson());
      EXPECT_EQ(known.is_array() ? known[0] : known, sample.recorded == "auto" ? "float32" : sample.recorded) << record;
      EXPECT_EQ(again(record), record);
    }
  }
}

TEST(Record, HasTheSizeOfAGrownPictureFromItsMargins) {
  EXPECT_FALSE(contains(record_of(parsed({{"--init-image", "a"}, {"--extend", "1,2,3,4"}})), "width"));
  EXPECT_TRUE(
      contains(record_of(parsed({{"--init-image", "a"}, {"--extend", "1,2,3,4"}, {"--only-masked", "3"}})), "width"));
}

TEST(Record, LeavesToTheModelWhatIsItsOwn) {
  const std::string own = record_of(parsed({{"--prompt", "x"}}));
  for (const char* key : {"\"scheduler\"", "\"eta\"", "timestep_spacing", "\"prediction_type\""})
    EXPECT_FALSE(contains(own, key)) << key;
  EXPECT_TRUE(contains(own, R"("scheduler_used":"ddim","prediction_type_used":"epsilon")")) << own;
  EXPECT_TRUE(contains(record_of(parsed({{"--eta", "0"}})), R"("eta":0.0)"));
}

TEST(Record, NamesTheFilesByTheirHashes) {
  const auto [options, given] =
      parsed({{"--init-image", "a.png"}, {"--control-image", "b"}, {"--control-image", "a.png"}});
  const RecordedInputs sources{named(given), {{"a.png", "aa"}, {"b", "bb"}}};
  ModelInfo model = loaded(options);
  const std::vector<LoraInfo> loras = {{"x", "x", "0123456789ab"}};
  model.controls = {{ControlInfo::Kind::controlnet, "c", "c", "cc"}, {ControlInfo::Kind::t2i_adapter, "t", "t", "tt"}};
  const auto json = record({sources,
                            completed(options),
                            used(options),
                            {},
                            model,
                            loras,
                            {.model = "mm", .backbone = "uu", .refiner = "rr"}});
  EXPECT_EQ(
      json["hashes"].dump(),
      R"({"model":"mm","unet":"uu","refiner":"rr","lora":["0123456789ab"],"controlnet":["cc"],"t2i_adapter":["tt"],)"
      R"("init_image":["aa"],"control_image":["bb","aa"]})");
}

TEST(Record, TakesNothingButThePicture) {
  const ReadRecord read = read_record(
      R"({"sdgen":"9","hashes":{"a":[1]},"scheduler_used":"x","output":"/etc/passwd","overwrite":true,"steps":3,)"
      R"("device":"cuda","threads":9,"prompts":"-","lora_dir":"/","new_key":{"x":[[]]},"num_images":1000000})");
  EXPECT_EQ(read.settings, (Settings{{"--steps", "3"}}));
  EXPECT_EQ(read.unknown, (std::vector<std::string>{"device", "lora_dir", "new_key", "num_images", "output",
                                                    "overwrite", "prompts", "threads"}));
}

TEST(Record, RefusesWhatIsNone) {
  for (const std::string text : {"", "[]", "{}", "{\"sdgen\":1", "{\"sdgen\":1,\"a\":[[[[[]]]]]}", "null", "\xff",
                                 "{\"sdgen\":1,\"steps\":{}}", "{\"sdgen\":1,\"sdgen\":1}"})
    EXPECT_NE(message_of(Fault::usage, [&] { read_record(text); }), "") << text;
}

// A new option is decided on here: if a picture depends on it, it belongs in a record.
TEST(Record, HasEveryOptionThatAPictureDependsOn) {
  const std::map<std::string, std::string> others = {
      {"--num-images", "a record is about one picture"},
      {"--lora-dir", "the record has the LoRAs that were found there"},
      {"--strict", "it changes no picture"},
      {"--expect", "it changes no picture"},
      {"--device", "a record says nothing of the machine"},
      {"--threads", "a record says nothing of the machine"},
      {"--offload", "a record says nothing of the machine"},
  };
  for (const OptionRow& row : option_rows()) {
    const bool expected = (row.scope == Scope::picture || row.scope == Scope::model) && !others.contains(row.name());
    EXPECT_EQ(is_recorded(row.name()), expected) << row.name();
  }
}

// Memory may not have sufficed for what was said; bytes depend on what was done.
TEST(Record, SaysHowThePictureWasComputed) {
  const auto [options, given] = parsed({{"--prompt", "a fox"}, {"--batch-size", "4"}});
  const RecordedInputs sources{named(given), {}};
  const auto json = record({sources,
                            completed(options),
                            used(options),
                            {.batch_size = 1, .vae_tiling = true},
                            loaded(options),
                            kNoLoras,
                            {}});
  EXPECT_EQ(json["batch_size"], 1);
  EXPECT_EQ(json["vae_tiling"], true);
  EXPECT_FALSE(record({sources, completed(options), used(options), {.batch_size = 4}, loaded(options), kNoLoras, {}})
                   .contains("vae_tiling"));
}

}  // namespace
}  // namespace sdgen::cli
