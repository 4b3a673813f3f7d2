// Two pictures that differ in one option are drawn in one run as each is alone, whatever the option is: of every option
// of a picture there is a case here.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "cli/command_line.h"
#include "cli/jobs.h"
#include "core/drawn.h"
#include "core/tiny_models.h"
#include "image/png.h"
#include "sdgen/sdgen.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

using test::Tensors;
using Settings = std::map<std::string, std::string>;  // option -> value; a switch: ""

// What draws: Stable Diffusion with a ControlNet or without, of depth, SDXL with a refiner, Stable Diffusion 3.5, Flux
// and its variants.
enum class Kind { plain, steered, depth, refined, sd35, steered_sd35, flux, steered_flux, fill, control, kontext };

struct Case {
  std::string option;
  std::optional<std::string> one, other;  // its values; none: the option is not there
  Settings beside = {};
  Kind kind = Kind::plain;
};

class Neighbours : public testing::Test, protected test::TinyModels {
 protected:
  Neighbours() {
    at::manual_seed(1);
    for (const char* name : {"photo", "other", "mask", "mask2", "edges", "edges2"}) picture(name);
  }

  std::string file(const char* name) const { return (scratch_ / (std::string(name) + ".png")).string(); }

  // For the U-Net's first convolution, which all models here have alike.
  std::string lora() {
    return test::write_tensors(scratch_, "lora.safetensors",
                               {{"lora_unet_conv_in.lora_down.weight", at::randn({2, 4, 3, 3}, at::kFloat)},
                                {"lora_unet_conv_in.lora_up.weight", at::randn({8, 2, 1, 1}, at::kFloat)}})
        .string();
  }

  // Noise; masks are white in a corner.
  void picture(const std::string& name) {
    Image image{32, 32, std::vector<std::uint8_t>(std::size_t{3} * 32 * 32)};
    const at::Tensor noise = at::randn({32 * 32 * 3}, at::kFloat).contiguous();
    const std::size_t edge = name == "mask" ? 12 : 20;
    for (std::size_t i = 0; i < image.rgb.size(); ++i) {
      const bool white = i / 3 % 32 < edge && i / 3 / 32 < edge;
      const double value = 128 + 60 * noise.const_data_ptr<float>()[i];
      image.rgb[i] = static_cast<std::uint8_t>(name.starts_with("mask") ? 255 * white : std::clamp(value, 0.0, 255.0));
    }
    const std::vector<std::byte> png = encode_png(image, {});
    scratch_.write(name + ".png", {reinterpret_cast<const char*>(png.data()), png.size()});
  }

  // The model of unet-sd1, whose U-Net has more channels for the depth map.
  fs::path stable_diffusion(const std::string& folder, bool depth) {
    model(folder, "layers/unet-sd1",
          {{"_class_name", depth ? "StableDiffusionDepth2ImgPipeline" : "StableDiffusionPipeline"}});
    text_encoder(folder + "/text_encoder", 8, 0);
    if (depth) {
      const test::Fixture unet("layers/unet-sd1");
      Tensors tensors = tensors_of(unet);
      tensors["conv_in.weight"] = at::randn({8, 5, 3, 3}, at::kFloat) * 0.2;
      Json config = unet.json("config");
      config["in_channels"] = 5;
      component(folder + "/unet", "diffusion_pytorch_model", config, tensors);
    }
    return scratch_ / folder;
  }
  fs::path controlnet() {
    const test::Fixture net("layers/controlnet-sd");
    return TinyModels::controlnet("controlnet", net.json("config"), tensors_of(net));
  }

  const Pipeline& pipeline(Kind kind) {
    const auto found = pipelines_.find(kind);
    if (found != pipelines_.end()) return found->second;
    LoadOptions options{.device = "cpu", .precision = Precision::float32, .batch_size = 2};
    if (kind == Kind::steered) options.controlnets = {controlnet()};
    if (kind == Kind::steered_sd35) options.controlnets = {sd3_controlnet("told")};
    if (kind == Kind::steered_flux) options.controlnets = {flux_controlnet("union")};
    if (kind == Kind::refined) options.refiner = refiner();
    const fs::path model = kind == Kind::refined                              ? xl()
                           : kind == Kind::sd35 || kind == Kind::steered_sd35 ? sd35()
                           : kind == Kind::flux || kind == Kind::steered_flux ? flux("FluxPipeline")
                           : kind == Kind::fill                               ? flux("FluxFillPipeline")
                           : kind == Kind::control                            ? flux("FluxControlPipeline")
                           : kind == Kind::kontext                            ? flux("FluxKontextPipeline")
                           : kind == Kind::depth                              ? stable_diffusion("depth", true)
                           : kind == Kind::steered                            ? stable_diffusion("sd", false)
                                                                              : test::kTinySd;
    Observer nobody;
    return pipelines_.emplace(kind, Pipeline::load(model, options, nobody)).first->second;
  }

  // In a run a file that several pictures name is one object.
  void share(std::shared_ptr<const Image>& image) {
    if (!image) return;
    const auto known = std::ranges::find_if(images_, [&](const auto& other) { return other->rgb == image->rgb; });
    image = known == images_.end() ? images_.emplace_back(image) : *known;
  }

  Request request(const Case& c, const std::optional<std::string>& value) {
    Settings given = {{"--prompt", "a fox"},   {"--seed", "7"},   {"--steps", "4"},
                      {"--output", file("x")}, {"--width", "32"}, {"--height", "32"}};
    for (const auto& [option, other] : c.beside) given[option] = other;
    if (value) given[c.option] = *value;
    if (c.kind == Kind::steered || c.kind == Kind::steered_sd35 || c.kind == Kind::steered_flux)
      given["--controlnet"] = "as loaded";
    if (c.kind == Kind::refined) given["--refiner"] = "as loaded";
    if (given.contains("--extend")) given.erase("--width"), given.erase("--height");
    std::vector<std::string> words;
    for (const auto& [option, text] : given) {
      words.push_back(option);
      if (!find(rows_, option)->is_switch()) words.push_back(text);
    }
    const cli::CommandLine command = cli::parse_command_line(words);
    cli::Jobs jobs(command, "tiny", rows_);
    cli::Job job = jobs.next()->at(0);
    jobs.read(job);
    Request result = job.request;
    for (auto* image : {&result.init_image, &result.mask, &result.depth}) share(*image);
    for (auto& image : result.references) share(image);
    for (Control& control : result.controls) share(control.image);
    return pipeline(c.kind).plan(result).request();
  }
  static std::vector<Image> drawn(const Pipeline& pipeline, const std::vector<Request>& requests) {
    Observer nobody;
    return test::drawn(pipeline, requests, nobody);
  }

  std::vector<Case> cases() const {
    const Settings ddim = {{"--scheduler", "ddim"}}, init = {{"--init-image", file("photo")}, {"--strength", "0.8"}};
    const auto with = [](Settings given, const Settings& more) {
      given.insert(more.begin(), more.end());
      return given;
    };
    const Settings skipped = {{"--skip-layers", "1"}, {"--skip-layer-stop", "0.9"}};
    const Settings masked = with(init, {{"--mask", file("mask")}}), steered = {{"--control-image", file("edges")}};
    return {
        {"--prompt", "a fox", "a red car"},
        {"--negative-prompt", {}, "ugly"},
        {"--prompt-2", {}, "a red car", {}, Kind::sd35},
        {"--prompt-3", {}, "a red car", {}, Kind::sd35},
        {"--negative-prompt-2", {}, "ugly", {}, Kind::sd35},
        {"--negative-prompt-3", {}, "ugly", {}, Kind::sd35},
        {"--max-sequence-length", "4", "9", {}, Kind::sd35},
        {"--guidance-interval", {}, "0.3,0.8", {{"--steps", "8"}}},
        {"--cache", {}, "deepcache:2", {{"--steps", "8"}}},
        {"--cache", "deepcache:2", "deepcache:3", {{"--steps", "8"}}},
        {"--cache", "first-block:0.0001", "first-block:1000", {{"--steps", "8"}}, Kind::flux},
        {"--skip-layers", {}, "1", {{"--steps", "8"}}, Kind::sd35},
        {"--skip-layers", "0", "0,1", skipped, Kind::sd35},
        {"--skip-layer-scale", "1", "3", skipped, Kind::sd35},
        {"--skip-layer-start", "0.1", "0.3", skipped, Kind::sd35},
        {"--skip-layer-stop", "0.3", "0.9", {{"--skip-layers", "1"}}, Kind::sd35},
        {"--prompt-2", {}, "a red car", {}, Kind::flux},
        {"--guidance-scale", "2", "5", {}, Kind::flux},
        {"--true-cfg-scale", {}, "4", {{"--negative-prompt", "ugly"}}, Kind::flux},
        {"--negative-prompt", "", "ugly", {{"--true-cfg-scale", "4"}}, Kind::flux},
        {"--negative-prompt", {}, "ugly", {{"--true-cfg-scale", "4"}}, Kind::flux},
        {"--init-image", {}, file("other"), {}, Kind::flux},
        {"--mask", file("mask"), file("mask2"), init, Kind::fill},
        {"--control-image", file("edges"), file("edges2"), {}, Kind::control},
        {"--reference-image", {}, file("other"), {}, Kind::kontext},
        {"--reference-image", file("photo"), file("other"), {}, Kind::kontext},
        {"--prompt-syntax", "plain", "weighted", {{"--prompt", "a (red:1.5) fox AND a car"}}},
        {"--clip-skip", "0", "1"},
        {"--width", "32", "40"},
        {"--height", "32", "40"},
        {"--original-size", {}, "64x48", {}, Kind::refined},
        {"--crop", {}, "8,16", {}, Kind::refined},
        {"--target-size", {}, "64x48", {}, Kind::refined},
        {"--refiner-start", "0.3", "0.8", {}, Kind::refined},
        {"--seed", "7", "8"},
        {"--scheduler", "euler", "heun"},
        {"--steps", "3", "4"},
        {"--guidance-scale", "3", "7.5"},
        {"--guidance-rescale", {}, "0.7"},
        {"--eta", "0", "1", ddim},
        {"--sigma-schedule", "default", "karras", {{"--scheduler", "euler"}}},
        {"--flow-shift", {}, "2", {}, Kind::sd35},
        {"--rescale-betas-zero-snr", {}, "", with(ddim, {{"--prediction-type", "v_prediction"}})},
        {"--timestep-spacing", "leading", "trailing", ddim},
        {"--prediction-type", "epsilon", "v_prediction", ddim},
        {"--init-image", file("photo"), file("other"), {{"--strength", "0.8"}}},
        {"--strength", "0.5", "0.9", {{"--init-image", file("photo")}}},
        {"--mask", file("mask"), file("mask2"), init},
        {"--mask-blur", {}, "4", masked},
        {"--only-masked", "1", "6", masked},
        {"--extend", "8,0,0,0", "4,0,4,0", init},
        {"--depth", file("edges"), file("edges2"), init, Kind::depth},
        {"--control-image", file("edges"), file("edges2"), {}, Kind::steered},
        {"--control-scale", "1", "0.2", steered, Kind::steered},
        {"--control-start", "0", "0.5", steered, Kind::steered},
        {"--control-end", "1", "0.5", steered, Kind::steered},
        {"--guess-mode", {}, "", steered, Kind::steered},
        {"--control-image", file("edges"), file("edges2"), {}, Kind::steered_sd35},
        {"--control-end", "1", "0.5", steered, Kind::steered_sd35},
        {"--negative-prompt", {}, "ugly", steered, Kind::steered_sd35},
        {"--control-image", file("edges"), file("edges2"), {{"--control-mode", "canny"}}, Kind::steered_flux},
        {"--control-scale", "1", "0.2", with(steered, {{"--control-mode", "canny"}}), Kind::steered_flux},
        {"--control-mode", "tile", "3", steered, Kind::steered_flux},
        {"--true-cfg-scale",
         {},
         "4",
         with(steered, {{"--control-mode", "2"}, {"--negative-prompt", "ugly"}}),
         Kind::steered_flux},
        {"--init-image", file("photo"), file("other"), with(steered, {{"--control-mode", "2"}}), Kind::steered_flux},
        {"--lora", {}, lora_},
        {"--lora", lora_ + ":0.5", lora_, steered, Kind::steered},
        {"--lora", {}, lora_, {{"--refiner-start", "0.5"}}, Kind::refined},
    };
  }

  const std::vector<cli::OptionRow> rows_ = cli::option_rows();
  const std::string lora_ = lora();
  std::map<Kind, Pipeline> pipelines_;
  std::vector<std::shared_ptr<const Image>> images_;
};

TEST_F(Neighbours, ThatDifferInOneOptionAreDrawnAsAlone) {
  for (const Case& c : cases()) {
    const Request one = request(c, c.one), other = request(c, c.other);
    const Pipeline& p = pipeline(c.kind);
    const Image alone = drawn(p, {one})[0], other_alone = drawn(p, {other})[0];
    EXPECT_NE(alone.rgb, other_alone.rgb) << c.option << " changes nothing: these values show no mistake";
    for (const bool turned : {false, true}) {
      const auto together = drawn(p, turned ? std::vector{other, one} : std::vector{one, other});
      EXPECT_TRUE(together[turned].rgb == alone.rgb) << c.option;
      EXPECT_TRUE(together[!turned].rgb == other_alone.rgb) << c.option;
    }
  }
}

TEST_F(Neighbours, HaveACaseForEveryOptionOfAPicture) {
  // How many pictures there are, and what is said when one is there: nothing about how one is drawn.
  std::set<std::string> tried = {"--num-images", "--expect"};
  for (const Case& c : cases()) tried.insert(c.option);
  for (const cli::OptionRow& row : rows_) {
    if (row.scope == cli::Scope::picture) {
      EXPECT_TRUE(tried.contains(row.name())) << row.name();
    }
  }
}

TEST_F(Neighbours, ThatAreCompleteStayAsTheyAre) {
  for (const Case& c : cases())
    for (const auto& value : {c.one, c.other}) {
      const Request whole = request(c, value);
      EXPECT_TRUE(pipeline(c.kind).plan(whole).request() == whole) << c.option;
    }
}

}  // namespace
}  // namespace sdgen
