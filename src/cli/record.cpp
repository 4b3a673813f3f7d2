#include "cli/record.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "cli/arguments.h"
#include "cli/batch_file.h"
#include "io/json.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

using Record = nlohmann::ordered_json;

// Everything that a picture depends on and that is said by an option. An option that is not here is neither written nor
// taken from a picture.
constexpr std::array kRecorded = {"--prompt",
                                  "--negative-prompt",
                                  "--prompt-syntax",
                                  "--clip-skip",
                                  "--width",
                                  "--height",
                                  "--original-size",
                                  "--crop",
                                  "--target-size",
                                  "--seed",
                                  "--scheduler",
                                  "--steps",
                                  "--guidance-scale",
                                  "--guidance-rescale",
                                  "--eta",
                                  "--sigma-schedule",
                                  "--rescale-betas-zero-snr",
                                  "--timestep-spacing",
                                  "--prediction-type",
                                  "--init-image",
                                  "--strength",
                                  "--mask",
                                  "--mask-blur",
                                  "--only-masked",
                                  "--extend",
                                  "--depth",
                                  "--control-image",
                                  "--control-scale",
                                  "--control-start",
                                  "--control-end",
                                  "--guess-mode",
                                  "--model",
                                  "--vae",
                                  "--refiner",
                                  "--refiner-start",
                                  "--lora",
                                  "--textual-inversion",
                                  "--controlnet",
                                  "--t2i-adapter",
                                  "--dtype",
                                  "--vae-tiling",
                                  "--batch-size"};
constexpr std::array kNamed = {"--init-image",
                               "--mask",
                               "--depth",
                               "--control-image",
                               "--model",
                               "--vae",
                               "--refiner",
                               "--textual-inversion",
                               "--controlnet",
                               "--t2i-adapter",
                               "--vae-tiling",
                               "--batch-size",
                               "--eta",
                               "--sigma-schedule",
                               "--timestep-spacing",
                               "--prediction-type",
                               "--rescale-betas-zero-snr"};
constexpr std::array kBeside = {"sdgen", "scheduler_used", "prediction_type_used", "hashes"};

class RecordWriter {
 public:
  // Optionals that are empty, false, and empty lists are left out.
  template <class Value>
  void add(const char* option, const std::optional<Value>& value) {
    if (value) json_[key_of(option)] = *value;
  }
  template <class Value>
  void add(const char* option, const std::vector<Value>& values) {
    if (!values.empty()) json_[key_of(option)] = values;
  }
  void add(const char* option, bool value) {
    if (value) json_[key_of(option)] = true;
  }
  void add_said(const Settings& said, const char* option) {
    const auto values = values_of(said, option);
    if (!values.empty()) json_[key_of(option)] = values.back();
  }
  Record& json() { return json_; }

 private:
  Record json_ = Record::object();
};

std::optional<std::string> text(const std::optional<Size>& size) {
  return size ? std::optional(concat(size->width, 'x', size->height)) : std::nullopt;
}

void add_text(RecordWriter& out, const Request& r) {
  out.add("--prompt", r.prompt);
  out.add("--negative-prompt", r.negative_prompt);
  if (r.prompt_syntax)
    out.add("--prompt-syntax",
            std::optional<std::string>(r.prompt_syntax == PromptSyntax::weighted ? "weighted" : "plain"));
  out.add("--clip-skip", r.clip_skip);
}

void add_picture(RecordWriter& out, const Request& r) {
  if (!r.extend || r.only_masked) {  // else it has the size that the margins give it
    out.add("--width", r.width);
    out.add("--height", r.height);
  }
  out.add("--original-size", text(r.original_size));
  if (r.crop) out.add("--crop", std::optional(concat(r.crop->left, ',', r.crop->top)));
  out.add("--target-size", text(r.target_size));
  out.add("--seed", r.seed);
}

// What comes from the model's own config stays there: with another model it would be wrong.
void add_sampling(RecordWriter& out, const Settings& said, const Request& r) {
  out.add("--scheduler", r.scheduler);
  out.add("--steps", r.steps);
  out.add("--guidance-scale", r.guidance_scale);
  out.add("--guidance-rescale", r.guidance_rescale);
  if (r.scheduler || has(said, "--eta")) out.add("--eta", r.eta);
  if (r.scheduler || has(said, "--sigma-schedule")) out.add("--sigma-schedule", r.sigma_schedule);
  if (has(said, "--rescale-betas-zero-snr")) out.add("--rescale-betas-zero-snr", true);
  if (r.scheduler || has(said, "--timestep-spacing")) out.add("--timestep-spacing", r.timestep_spacing);
  if (has(said, "--prediction-type")) out.add("--prediction-type", r.prediction_type);
}

void add_image_input(RecordWriter& out, const Settings& said, const Request& r) {
  if (r.init_image) out.add_said(said, "--init-image");
  out.add("--strength", r.strength);
  if (r.mask) out.add_said(said, "--mask");
  out.add("--mask-blur", r.mask_blur);
  out.add("--only-masked", r.only_masked);
  if (const auto& m = r.extend)
    out.add("--extend", std::optional(concat(m->left, ',', m->top, ',', m->right, ',', m->bottom)));
  if (r.depth) out.add_said(said, "--depth");
  std::vector<double> scales, starts, ends;
  for (const Control& control : r.controls) {
    scales.push_back(control.scale);
    starts.push_back(control.start);
    ends.push_back(control.end);
  }
  if (!r.controls.empty()) out.add("--control-image", values_of(said, "--control-image"));
  out.add("--control-scale", scales);
  out.add("--control-start", starts);
  out.add("--control-end", ends);
  out.add("--guess-mode", r.guess_mode);
}

void add_model(RecordWriter& out, const Settings& said, const Request& r, const ModelInfo& model) {
  for (const char* option : {"--model", "--vae", "--refiner"}) out.add_said(said, option);
  out.add("--refiner-start", r.refiner_start);
  std::vector<std::string> loras;  // also those that tags in the prompt named
  for (const LoraInfo& lora : model.loras)
    loras.push_back(lora.unet_scale == lora.text_scale ? concat(lora.path.string(), ':', shortest(lora.unet_scale))
                                                       : concat(lora.path.string(), ":unet=", shortest(lora.unet_scale),
                                                                ",te=", shortest(lora.text_scale)));
  out.add("--lora", loras);
  for (const char* option : {"--textual-inversion", "--controlnet", "--t2i-adapter"})
    out.add(option, values_of(said, option));
  out.add("--dtype", std::optional(model.precision));
}

// What was computed in another way because memory ran out.
void add_computation(RecordWriter& out, const Settings& said, const Computation& how) {
  if (how.vae_tiling) out.add("--vae-tiling", true);
  if (has(said, "--batch-size")) out.add("--batch-size", std::optional(how.batch_size));
}

Record hashes(const Made& made) {
  Record json = Record::object();
  for (const auto& [key, hash] :
       {std::pair{"model", &made.hashes.model}, {"vae", &made.hashes.vae}, {"refiner", &made.hashes.refiner}})
    if (!hash->empty()) json[key] = *hash;
  for (const LoraInfo& lora : made.model.loras) json["lora"].push_back(lora.hash);
  for (const TextualInversionInfo& info : made.model.textual_inversions) json["textual_inversion"].push_back(info.hash);
  for (const ControlInfo& info : made.model.controls)
    json[info.kind == ControlInfo::Kind::controlnet ? "controlnet" : "t2i_adapter"].push_back(info.hash);
  for (const char* option : {"--init-image", "--mask", "--depth", "--control-image"})
    for (const std::string& path : values_of(made.sources.said, option)) {
      const auto found = std::ranges::find(made.sources.pictures, path, &Sources::File::path);
      if (found != made.sources.pictures.end()) json[key_of(option)].push_back(found->sha256);
    }
  return json;
}

// A string, or the strings of a list; no others.
std::vector<std::string> strings(const Json& value) {
  if (value.is_string()) return {value.get<std::string>()};
  std::vector<std::string> all;
  if (value.is_array())
    for (const Json& each : value)
      if (each.is_string()) all.push_back(each.get<std::string>());
  return all;
}

}  // namespace

Record record(const Made& made) {
  RecordWriter out;
  const Request& r = made.request;
  out.json()["sdgen"] = SDGEN_VERSION;
  add_text(out, r);
  add_picture(out, r);
  add_sampling(out, made.sources.said, r);
  add_image_input(out, made.sources.said, r);
  add_model(out, made.sources.said, r, made.model);
  add_computation(out, made.sources.said, made.computation);
  out.json()["scheduler_used"] = r.scheduler_used;
  if (r.prediction_type) out.json()["prediction_type_used"] = *r.prediction_type;
  out.json()["hashes"] = hashes(made);
  return out.json();
}

std::string record_text(const Made& made) { return line_of_json(record(made), /*ascii=*/true); }

Settings named(const Settings& said) {
  Settings files;
  std::ranges::copy_if(said, std::back_inserter(files),
                       [](const Setting& s) { return std::ranges::find(kNamed, s.option) != kNamed.end(); });
  return files;
}

bool is_recorded(std::string_view option) { return std::ranges::find(kRecorded, option) != kRecorded.end(); }

ReadRecord read_record(std::string_view text) {
  Json json;
  try {
    json = parse_json(text, "sdgen's record", 4, 10'000);
  } catch (const Error& error) {
    throw Error(Fault::usage, error.what());
  }
  if (!json.is_object() || !json.contains("sdgen")) throw Error(Fault::usage, "it is not a record of sdgen");
  ReadRecord found;
  Json options = Json::object();
  for (const auto& [key, value] : json.items()) {
    if (is_recorded(option_of_key(key)))
      options[key] = value;
    else if (std::ranges::find(kBeside, key) == kBeside.end())
      found.unknown.push_back(key);
  }
  found.settings = settings_of(options);
  if (const auto hashes = json.find("hashes"); hashes != json.end() && hashes->is_object())
    for (const auto& [key, value] : hashes->items()) found.hashes.emplace_back(key, strings(value));
  return found;
}

}  // namespace sdgen::cli
