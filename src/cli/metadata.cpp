#include "cli/metadata.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "cli/arguments.h"
#include "cli/from_image.h"
#include "cli/record.h"
#include "cli/schedulers.h"
#include "cli/values.h"
#include "image/picture.h"
#include "io/hash.h"
#include "io/json.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

// Values that would break "Key: value, Key: value" are written as JSON strings.
std::string quoted(const std::string& value) {
  return value.find_first_of(",:\n") == std::string::npos ? value : line_of_json(OrderedJson(value));
}

// The textual inversions that these prompts use, as A1111 lists them.
std::string textual_inversion_hashes(const Request& request, const ModelInfo& model) {
  std::vector<std::string> hashes;
  for (const TextualInversionInfo& info : model.textual_inversions) {
    if (!mentions(request, info)) continue;
    std::string word = info.word;
    std::erase_if(word, [](char c) { return c == ':' || c == ','; });
    hashes.push_back(concat(word, ": ", info.hash));
  }
  return joined(hashes);
}

// Would A1111 read weights where there are none?
bool brackets_are_text(const Request& request) {
  return request.prompt_syntax != PromptSyntax::weighted &&
         (request.prompt.value_or("") + request.negative_prompt.value_or("")).find_first_of("([") != std::string::npos;
}

// As the web UI's ControlNet extension (sd-webui-controlnet 1.1) writes and reads a unit; T2I-Adapters are units too.
std::string control_text(const Request& request, std::size_t i, const ControlInfo& info) {
  const Control& c = request.controls[i];
  return concat(
      "Module: none, Model: ", info.name, " [", info.hash, "], Weight: ", shortest(c.scale),
      ", Resize Mode: Just Resize, Guidance Start: ", shortest(c.start), ", Guidance End: ", shortest(c.end),
      ", Pixel Perfect: False, Control Mode: ", request.guess_mode ? "ControlNet is more important" : "Balanced");
}

// "Key: value, Key: value"
class Values {
 public:
  void add(const std::string& key, const std::string& value) {
    if (!value.empty()) values_.push_back(concat(key, ": ", quoted(value)));
  }
  // The value of an option that A1111 has as it is.
  void add(const PictureFacts& made, const OptionRow& row) {
    const OrderedJson value = row.recorded_value(made);
    known_.insert(row.a1111->key);
    if (value.is_null() || (row.a1111->unless_zero && value == 0)) return;
    const bool whole = value.is_number_integer();
    add(std::string(row.a1111->key), whole && row.a1111->offset ? std::to_string(value.get<int>() + row.a1111->offset)
                                     : whole                    ? value.dump()
                                                                : shortest(value.get<double>()));
  }
  void add(const PictureFacts& made, std::string_view key) {
    for (const OptionRow& row : recorded_options())
      if (row.a1111 && row.a1111->key == key) add(made, row);
  }
  // Those of which nothing was said so far.
  void add_others(const PictureFacts& made, std::initializer_list<std::string_view> later) {
    for (const OptionRow& row : recorded_options())
      if (row.a1111 && !known_.contains(row.a1111->key) && std::ranges::find(later, row.a1111->key) == later.end())
        add(made, row);
  }
  std::string text() const { return joined(values_); }

 private:
  std::vector<std::string> values_;
  std::set<std::string_view> known_;
};

// A1111 calls an autoencoder by its file's whole name.
std::string vae_name(const RecordedInputs& sources, const ModelInfo& model) {
  const auto given = std::ranges::find(sources.given, "--vae", &Setting::option);
  const std::string file = given == sources.given.end() ? "" : std::filesystem::path(given->value).filename().string();
  return file.ends_with(".safetensors") ? file : model.vae;
}

// The first ten digits of a single file's hash.
std::string file_hash(const RecordedInputs& sources, const char* option, const std::string& sha256) {
  const auto given = std::ranges::find(sources.given, option, &Setting::option);
  std::error_code error;
  const bool file = given != sources.given.end() && std::filesystem::is_regular_file(in_home(given->value), error);
  return file ? sha256.substr(0, 10) : "";
}

// What create_infotext() itself puts down.
void add_generation(Values& values, const PictureFacts& made) {
  const auto& [sources, request, scheduler, computation, model, loras, hashes, quality] = made;
  values.add(made, "Steps");
  values.add("Sampler", a1111_sampler(scheduler));
  values.add("Schedule type", a1111_schedule(request, scheduler));
  values.add(made, "CFG scale");
  values.add(made, "Seed");
  if (request.width && request.height) values.add("Size", concat(*request.width, "x", *request.height));
  // The network that draws is what such hashes are looked up for.
  const bool other = !model.backbone.empty();
  values.add("Model hash",
             other ? file_hash(sources, "--unet", hashes.backbone) : file_hash(sources, "--model", hashes.model));
  values.add("Model", other ? model.backbone : model.name);
  values.add("VAE hash", file_hash(sources, "--vae", hashes.vae));
  values.add("VAE", vae_name(sources, model));
  values.add(made, "Denoising strength");
  values.add(made, "Clip skip");
  values.add("RNG", "CPU");
}

// What its scripts and samplers add, in the order in which they run.
void add_extras(Values& values, const PictureFacts& made) {
  const auto& [sources, request, scheduler, computation, model, loras, hashes, quality] = made;
  for (std::size_t i = 0; i < model.controls.size() && i < request.controls.size(); ++i)
    values.add(concat("ControlNet ", i), control_text(request, i, model.controls[i]));
  values.add(made, "Mask blur");
  if (request.only_masked) values.add("Inpaint area", "Only masked");  // else it is the whole picture
  values.add(made, "Masked area padding");
  if (request.extend) values.add("Extend", written(*request.extend));
  std::vector<std::string> lora_hashes;
  for (const LoraInfo& lora : loras) lora_hashes.push_back(concat(lora.name, ": ", lora.hash));
  values.add("Lora hashes", joined(lora_hashes));
  values.add("TI hashes", textual_inversion_hashes(request, model));
  if (brackets_are_text(request)) values.add("Emphasis", "None");
  if (request.rescale_betas_zero_snr.value_or(false)) values.add("Noise Schedule", "Zero Terminal SNR");
  if (scheduler.takes_eta() && request.eta.value_or(0) != 0) values.add(scheduler.eta_key, shortest(*request.eta));
  values.add_others(made, {"Refiner switch at"});
  if (!model.refiner.empty()) {
    const std::string hash = file_hash(sources, "--refiner", hashes.refiner);
    values.add("Refiner", hash.empty() ? model.refiner : concat(model.refiner, " [", hash, "]"));
  }
  values.add(made, "Refiner switch at");
}

}  // namespace

std::string a1111_parameters(const PictureFacts& made) {
  const Request& request = made.request;
  Values values;
  add_generation(values, made);
  add_extras(values, made);
  values.add("Version", "sdgen " SDGEN_VERSION);

  std::string text = request.prompt.value_or("");
  for (const LoraInfo& lora : made.loras) {  // where its readers look for them
    text += concat(text.empty() ? "<lora:" : " <lora:", lora.name, ':', shortest(lora.text_scale));
    if (lora.unet_scale != lora.text_scale) text += ':' + shortest(lora.unet_scale);
    text += '>';
  }
  if (request.negative_prompt && !request.negative_prompt->empty())
    text += "\nNegative prompt: " + *request.negative_prompt;
  return std::string(trimmed(text + "\n" + values.text(), " \t\n\r\f\v"));
}

std::string roundtrip_line(double psnr, const std::filesystem::path& file, bool json) {
  const bool exact = std::isinf(psnr);
  char decibels[32];
  std::snprintf(decibels, sizeof decibels, "%.2f", psnr);
  if (!json) return concat("PSNR ", exact ? "infinite" : decibels, exact ? "\n" : " dB\n");
  return line_of_json(OrderedJson{{"file", file.string()}, {"psnr", exact ? OrderedJson() : OrderedJson(psnr)}}) + "\n";
}

std::string json_line_of(const std::filesystem::path& picture, const std::string& file) {
  const std::string bytes = read_picture_file(picture);
  OrderedJson line{{"file", file}, {"sha256", sha256_of(bytes)}};
  if (const std::string record = record_in(bytes, printable(picture.string())); !record.empty()) {
    try {
      const auto json = parse_json(record, "the record", 4, 10'000);
      for (const auto& [key, value] : json.items())
        if (!line.contains(key)) line[key] = value;
    } catch (const Error&) {
      // Somebody else's: it says nothing.
    }
  }
  return line_of_json(line) + "\n";
}

std::string json_line(const PictureFacts& made, const std::string& file, const Timings& timings,
                      const std::string& sha256, const Machine& machine) {
  OrderedJson line{{"file", file}, {"sha256", sha256}};
  line.update(record(made));
  line["device"] = made.model.device;
  if (machine != Machine{})
    line["machine"] = {{"cpu", machine.cpu}, {"build", machine.build}, {"threads", machine.threads}};
  for (const LoraInfo& lora : made.loras)
    line["loras"].push_back({{"name", lora.name},
                             {"hash", lora.hash},
                             {"unet_scale", lora.unet_scale},
                             {"te_scale", lora.text_scale},
                             {"applied", lora.applied},
                             {"total", lora.total}});
  for (const TextualInversionInfo& info : made.model.textual_inversions)
    line["words"].push_back({{"word", info.word}, {"hash", info.hash}, {"vectors", info.vectors}});
  const auto seconds = [](double x) { return std::round(x * 1e6) / 1e6; };
  line["timings"] = {{"load", seconds(timings.load)},
                     {"text", seconds(timings.text)},
                     {"denoise", seconds(timings.denoise)},
                     {"decode", seconds(timings.decode)}};
  return line_of_json(line) + "\n";
}

}  // namespace sdgen::cli
