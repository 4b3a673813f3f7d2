// Whole pictures against diffusers, on tiny random folders of Stable Diffusion and of a DDPM.
#include <cmath>
#include <cstdlib>
#include <fstream>

#include "base/scratch.h"
#include "core/drawn.h"
#include "core/fixture.h"
#include "sdgen/sdgen.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

using test::drawn;
using test::Fixture;

const std::filesystem::path kModel = std::filesystem::path(SDGEN_FIXTURES) / "tiny-sd";
const std::filesystem::path kUnconditional = std::filesystem::path(SDGEN_FIXTURES) / "tiny-ddpm";

struct Watcher : Observer {
  void warning(const std::string& message) override { warnings.push_back(message); }
  void step(std::size_t, std::size_t, int done, int total) override { steps.push_back({done, total}); }
  bool cancelled() override { return cancel_after >= 0 && int(steps.size()) >= cancel_after; }
  std::vector<std::string> warnings;
  std::vector<std::pair<int, int>> steps;
  int cancel_after = -1;
};

Pipeline load(int batch_size = 1, Precision precision = Precision::float32,
              const std::filesystem::path& model = kModel) {
  Watcher watcher;
  return Pipeline::load(model, {.device = "cpu", .precision = precision, .batch_size = batch_size}, watcher);
}

Request request_from(const Json& j) {
  Request r;
  const auto set = [&j](const char* key, auto& value) {
    if (j.contains(key)) value = j.at(key).get<std::decay_t<decltype(*value)>>();
  };
  set("prompt", r.prompt);
  set("negative_prompt", r.negative_prompt);
  set("width", r.width);
  set("height", r.height);
  set("seed", r.seed);
  set("steps", r.steps);
  set("guidance_scale", r.guidance_scale);
  set("scheduler", r.scheduler);
  set("timestep_spacing", r.timestep_spacing);
  set("prediction_type", r.prediction_type);
  set("eta", r.eta);
  return r;
}

Request prompted(const std::string& prompt = "") {
  Request r;
  r.prompt = prompt;
  return r;
}

Request weighted(const std::string& prompt, const std::string& negative = "") {
  Request r = prompted(prompt);
  r.negative_prompt = negative;
  r.prompt_syntax = PromptSyntax::weighted;
  r.seed = 3;
  r.steps = 3;
  return r;
}

int largest_difference(const Image& a, const Image& b) {
  if (a.width != b.width || a.height != b.height) return 256;
  int largest = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) largest = std::max(largest, std::abs(int(a.rgb[i]) - int(b.rgb[i])));
  return largest;
}

void expect_diffusers_pictures(const Pipeline& pipeline, const Fixture& f, std::size_t at_least) {
  const Json requests = f.json("requests");
  ASSERT_GE(requests.size(), at_least);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const at::Tensor expected = f.tensor(std::to_string(i));  // uint8 [H, W, 3]
    Image reference{int(expected.size(1)), int(expected.size(0)), {}};
    reference.rgb.assign(expected.data_ptr<std::uint8_t>(), expected.data_ptr<std::uint8_t>() + expected.numel());
    Watcher watcher;
    const Image image = drawn(pipeline, {request_from(requests[i])}, watcher)[0];
    EXPECT_LE(largest_difference(image, reference), 1) << requests[i].dump();
    // The comparison can fail: another seed is another picture.
    Request other = request_from(requests[i]);
    other.seed = *other.seed + 1;
    EXPECT_GT(largest_difference(drawn(pipeline, {other}, watcher)[0], reference), 8) << requests[i].dump();
  }
}

TEST(Pipeline, MakesDiffusersPictures) { expect_diffusers_pictures(load(), Fixture("pictures"), 8); }

TEST(Pipeline, MakesDiffusersPicturesWithoutPrompt) {
  expect_diffusers_pictures(load(1, Precision::float32, kUnconditional), Fixture("pictures-ddpm"), 5);
}

TEST(Pipeline, SaysWhoTakesAPrompt) {
  const auto refusal = [](const std::filesystem::path& model, const std::function<void(Request&)>& change) {
    Request r;
    change(r);
    std::string early, late;
    try {
      Pipeline::check_prompt(model, r);
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::usage);
      early = error.what();
    }
    try {
      load(1, Precision::float32, model).plan(r);
    } catch (const Error& error) {
      late = error.what();
    }
    EXPECT_EQ(early, late);
    return early;
  };
  EXPECT_NE(refusal(kModel, [](Request&) {}).find("no prompt"), std::string::npos);
  EXPECT_EQ(refusal(kModel, [](Request& r) { r.prompt = ""; }), "");
  EXPECT_EQ(refusal(kUnconditional, [](Request&) {}), "");
  for (const auto& [field, change] : std::vector<std::pair<std::string, std::function<void(Request&)>>>{
           {"prompt", [](Request& r) { r.prompt = ""; }},
           {"negative_prompt", [](Request& r) { r.negative_prompt = ""; }},
           {"guidance_scale", [](Request& r) { r.guidance_scale = 1; }},
           {"clip_skip", [](Request& r) { r.clip_skip = 0; }}}) {
    const std::string text = refusal(kUnconditional, change);
    EXPECT_TRUE(text.starts_with(field + ": the model tiny-ddpm takes no text")) << text;
  }
}

TEST(Pipeline, ABatchMakesThePicturesOfSingleRuns) {
  std::vector<Request> requests(3);
  for (int i = 0; i < 3; ++i) {
    requests[i].prompt = concat("picture number ", i);
    requests[i].seed = 100 + i;
    requests[i].steps = 4;
  }
  Watcher watcher;
  const auto singles = drawn(load(1), requests, watcher), batched = drawn(load(2), requests, watcher);
  for (int i = 0; i < 3; ++i) EXPECT_LE(largest_difference(singles[i], batched[i]), 1);
  EXPECT_GT(largest_difference(singles[0], singles[1]), 8);
  // Padded to the same shape, a picture's bytes do not depend on its company.
  const auto alone = drawn(load(2), {requests[1]}, watcher);
  EXPECT_EQ(alone[0].rgb, drawn(load(2), {requests[1], requests[2]}, watcher)[0].rgb);
}

TEST(Pipeline, MixedRequestsAreSplitIntoBatches) {
  std::vector<Request> requests(4, prompted());
  for (int i = 0; i < 4; ++i) {
    requests[i].seed = i;
    requests[i].steps = i < 2 ? 2 : 3;
    requests[i].guidance_scale = i == 3 ? 1.0 : 5.0;
  }
  Watcher watcher;
  const auto images = drawn(load(4), requests, watcher);
  for (const Image& image : images) EXPECT_FALSE(image.rgb.empty());
  EXPECT_EQ(watcher.steps.back().second, 4);  // plms: one call more than steps
}

TEST(Pipeline, SameSeedSameBytes) {
  Request r = prompted("again");
  r.seed = 5;
  r.steps = 3;
  Watcher watcher;
  EXPECT_EQ(drawn(load(), {r}, watcher)[0].rgb, drawn(load(), {r}, watcher)[0].rgb);
}

TEST(Pipeline, HalfPrecisionsStayClose) {
  Request r = prompted("half");
  r.seed = 5;
  r.steps = 4;
  Watcher watcher;
  const Image full = drawn(load(), {r}, watcher)[0];
  for (Precision precision : {Precision::bfloat16, Precision::float16}) {
    const Image half = drawn(load(1, precision), {r}, watcher)[0];
    double sum = 0;
    for (std::size_t i = 0; i < full.rgb.size(); ++i) sum += std::abs(int(full.rgb[i]) - int(half.rgb[i]));
    EXPECT_LT(sum / full.rgb.size(), 24) << int(precision);
    EXPECT_NE(full.rgb, half.rgb) << int(precision);
  }
}

TEST(Pipeline, StopsWhenCancelled) {
  Watcher watcher;
  watcher.cancel_after = 2;
  Request r = prompted();
  r.seed = 1;
  r.steps = 10;
  EXPECT_THROW(drawn(load(), {r}, watcher), Cancelled);
  EXPECT_EQ(watcher.steps.size(), 2u);
}

TEST(Pipeline, WarnsOfPromptsThatAreCut) {
  Watcher watcher;
  Request r = prompted();
  r.seed = 1;
  r.steps = 1;
  for (int i = 0; i < 200; ++i) *r.prompt += "word ";
  drawn(load(), {r}, watcher);
  ASSERT_EQ(watcher.warnings.size(), 1u);
  EXPECT_NE(watcher.warnings[0].find("cut"), std::string::npos);
}

TEST(Pipeline, RefusesBadRequestsBeforeAnyWork) {
  const Pipeline pipeline = load();
  const auto fault = [&pipeline](const std::function<void(Request&)>& change) {
    Request r = prompted();
    change(r);
    try {
      pipeline.plan(r);
    } catch (const Error& error) {
      return std::make_pair(error.fault(), std::string(error.what()));
    }
    return std::make_pair(Fault::internal, std::string());
  };
  const int factor = pipeline.size_factor();
  const auto [kind, text] = fault([&](Request& r) { r.width = 8 * factor + 1; });
  EXPECT_EQ(kind, Fault::usage);
  EXPECT_NE(text.find(std::to_string(8 * factor)), std::string::npos) << text;
  EXPECT_NE(text.find(std::to_string(9 * factor)), std::string::npos) << text;
  EXPECT_EQ(fault([](Request& r) { r.height = 0; }).first, Fault::usage);
  EXPECT_EQ(fault([](Request& r) { r.height = -8; }).first, Fault::usage);
  EXPECT_EQ(fault([](Request& r) { r.width = 1 << 20; }).first, Fault::usage);
  EXPECT_EQ(fault([](Request& r) { r.steps = 0; }).first, Fault::usage);
  EXPECT_EQ(fault([](Request& r) { r.scheduler = "none"; }).first, Fault::usage);
  EXPECT_EQ(fault([](Request& r) { r.guidance_scale = std::nan(""); }).first, Fault::usage);
  EXPECT_EQ(fault([](Request& r) { r.prompt.reset(); }).first, Fault::usage);
  EXPECT_EQ(fault([](Request&) {}).first, Fault::internal);  // no fault
}

TEST(Pipeline, SaysWhatIsWrongWithAFolder) {
  Watcher watcher;
  const auto message = [&watcher](const std::filesystem::path& path, const std::string& device = "cpu") {
    try {
      Pipeline::load(path, {.device = device, .precision = Precision::float32, .batch_size = 1}, watcher);
    } catch (const Error& error) {
      return concat(int(error.fault()), ' ', error.what());
    }
    return std::string("loaded");
  };
  EXPECT_EQ(message("/no/such/model"), "3 /no/such/model: no such model");
  EXPECT_NE(message(SDGEN_FIXTURES).find("model_index.json"), std::string::npos);
  EXPECT_NE(message(kModel / "model_index.json").find("safetensors"), std::string::npos);
  EXPECT_EQ(message(kModel, "gpu").substr(0, 2), "2 ");
  EXPECT_EQ(message(kModel, "cuda:x").substr(0, 2), "2 ");
}

// A copy of the tiny model whose autoencoder's first kernel is `factor` times as large, and not declared to overflow.
fs::path with_loud_vae(const Scratch& scratch, float factor) {
  const fs::path model = scratch / "model", config = model / "vae" / "config.json";
  fs::copy(kModel, model, fs::copy_options::recursive);
  Json json = Config::read(config).json();
  json["force_upcast"] = false;
  std::ofstream(config) << json.dump();
  const fs::path weights = model / "vae" / "diffusion_pytorch_model.safetensors";
  const StoredTensor entry = Safetensors(weights).tensors().at("decoder.conv_in.weight");
  std::vector<float> values((entry.bytes()) / 4);
  std::fstream file(weights, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(entry.begin).read(reinterpret_cast<char*>(values.data()), entry.bytes());
  for (float& value : values) value *= factor;
  file.seekp(entry.begin).write(reinterpret_cast<const char*>(values.data()), entry.bytes());
  return model;
}

// Never a black picture: an autoencoder that overflows in float16 is run again in float32, and one that gives NaN there
// too is an error.
TEST(Pipeline, AnOverflowingAutoencoderIsRunInFloat32) {
  const Scratch scratch;
  const fs::path model = with_loud_vae(scratch, 1e6f);
  Watcher watcher;
  const auto make = [&](Precision precision) {
    const Pipeline pipeline = Pipeline::load(model, {.device = "cpu", .precision = precision}, watcher);
    Request r;
    r.prompt = "a fox";
    r.seed = 1;
    r.steps = 2;
    return drawn(pipeline, {r}, watcher)[0];
  };
  const Image expected = make(Precision::float32);
  EXPECT_TRUE(watcher.warnings.empty());
  const Image image = make(Precision::float16);
  ASSERT_FALSE(watcher.warnings.empty());
  EXPECT_NE(watcher.warnings.back().find("overflowed in float16; again in float32"), std::string::npos);
  // The U-Net's rounding to float16 is what differs.
  double sum = 0;
  for (std::size_t i = 0; i < image.rgb.size(); ++i) sum += std::abs(int(image.rgb[i]) - int(expected.rgb[i]));
  EXPECT_LT(sum / image.rgb.size(), 4);
}

TEST(Pipeline, AnAutoencoderOfNanIsAnError) {
  const Scratch scratch;
  const fs::path model = with_loud_vae(scratch, std::numeric_limits<float>::quiet_NaN());
  Watcher watcher;
  const Pipeline pipeline = Pipeline::load(model, {.device = "cpu", .precision = Precision::float16}, watcher);
  Request r;
  r.prompt = "";
  r.seed = 1;
  r.steps = 1;
  try {
    drawn(pipeline, {r}, watcher);
    FAIL() << "made a picture of NaN";
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::device);
    EXPECT_NE(std::string(error.what()).find("even in float32"), std::string::npos);
  }
}

// Longer and differently composed neighbours must not change a picture.
TEST(Pipeline, WeightedPromptsDoNotDependOnTheirNeighbours) {
  std::string far;
  for (int i = 0; i < 100; ++i) far += "fox ";
  const std::vector<Request> requests = {
      weighted("a (red:1.5) fox"),         weighted("a blue bird"),    weighted(far),
      weighted("a [red:blue:1] fox", far), weighted("a fox AND snow"), weighted("a bird AND a fox"),
      weighted("a fox AND snow :0.5"),     weighted("[a|b]")};
  Watcher watcher;
  const std::vector<Image> together = drawn(load(4), requests, watcher);
  const Pipeline alone = load(1);
  for (std::size_t i = 0; i < requests.size(); ++i)
    EXPECT_LE(largest_difference(together[i], drawn(alone, {requests[i]}, watcher)[0]), 1) << i;
  EXPECT_GT(largest_difference(together[0], together[1]), 8);
  EXPECT_GT(largest_difference(together[4], together[6]), 8);
}

}  // namespace
}  // namespace sdgen
