#include "cli/metadata.h"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/schedulers.h"
#include "text/prompt_grammar.h"

namespace sdgen::cli {
namespace {

using Json = nlohmann::ordered_json;

// The shortest decimal that reads back as `x`: 7, 7.5.
std::string shortest(double x) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof text, x).ptr};
}

// A file name may hold bytes that are no UTF-8: JSON gets U+FFFD for them.
std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

// Values that would break "Key: value, Key: value" are written as JSON strings.
std::string quoted(const std::string& value) {
  return value.find_first_of(",:\n") == std::string::npos ? value : dump(value);
}

std::string stripped(const std::string& text) {
  constexpr char blanks[] = " \t\n\r\f\v";
  const std::size_t begin = text.find_first_not_of(blanks);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

// A1111 takes an absent schedule type for "Automatic", which is Karras with DPM++ 2M. Its names for what the three
// spacings are, for the samplers that have a choice there (DDIM, PLMS and UniPC have not).
std::string schedule_type(const Request& request) {
  const std::string& scheduler = request.scheduler_used;
  const std::string sigmas = request.sigma_schedule.value_or("");
  if (sigmas == "karras") return "Karras";
  if (sigmas == "exponential") return "Exponential";
  if (sigmas == "beta") return "Beta";
  if (!scheduler.starts_with("euler") && !scheduler.starts_with("dpm") && scheduler != "heun" && scheduler != "lms")
    return "";
  const std::string spacing = request.timestep_spacing.value_or("");
  return spacing == "linspace" ? "Uniform" : spacing == "trailing" ? "SGM Uniform" : spacing == "leading" ? "DDIM" : "";
}

// The textual inversions that these prompts use, as A1111 lists them.
std::string textual_inversion_hashes(const Request& request, const ModelInfo& model) {
  std::string hashes;
  for (const TextualInversionInfo& info : model.textual_inversions) {
    if (!mentions(request.prompt.value_or(""), info.word) && !mentions(request.negative_prompt.value_or(""), info.word))
      continue;
    std::string word = info.word;
    std::erase_if(word, [](char c) { return c == ':' || c == ','; });
    hashes += concat(hashes.empty() ? "" : ", ", word, ": ", info.hash);
  }
  return hashes;
}

// Would A1111 read weights where there are none?
bool brackets_are_text(const Request& request) {
  return request.prompt_syntax != PromptSyntax::weighted &&
         (request.prompt.value_or("") + request.negative_prompt.value_or("")).find_first_of("([") != std::string::npos;
}

// "LEFT,TOP,RIGHT,BOTTOM"; "": the picture has not grown.
std::string margins(const Request& request) {
  const auto& m = request.extend;
  return m ? concat(m->left, ",", m->top, ",", m->right, ",", m->bottom) : "";
}

// As the web UI's ControlNet extension (sd-webui-controlnet 1.1) writes and reads a unit; T2I-Adapters are units too.
std::string control_text(const Request& request, std::size_t i, const ControlInfo& info) {
  const Control& c = request.controls[i];
  return concat(
      "Module: none, Model: ", info.name, " [", info.hash, "], Weight: ", shortest(c.scale),
      ", Resize Mode: Just Resize, Guidance Start: ", shortest(c.start), ", Guidance End: ", shortest(c.end),
      ", Pixel Perfect: False, Control Mode: ", request.guess_mode ? "ControlNet is more important" : "Balanced");
}

}  // namespace

std::string a1111_parameters(const Request& request, const ModelInfo& model) {
  std::string values;
  const auto add = [&values](const char* key, const std::string& value) {
    if (!value.empty()) values += concat(values.empty() ? "" : ", ", key, ": ", quoted(value));
  };
  if (request.steps) add("Steps", std::to_string(*request.steps));
  add("Sampler", a1111_sampler(request.scheduler_used));
  add("Schedule type", schedule_type(request));
  if (request.guidance_scale) add("CFG scale", shortest(*request.guidance_scale));
  if (request.seed) add("Seed", std::to_string(*request.seed));
  if (request.width && request.height) add("Size", concat(*request.width, "x", *request.height));
  add("Model", model.name);
  add("VAE", model.vae);
  if (request.strength) add("Denoising strength", shortest(*request.strength));
  if (request.mask) add("Mask blur", std::to_string(request.mask_blur.value_or(0)));
  if (request.mask || request.extend) add("Inpaint area", request.only_masked ? "Only masked" : "Whole picture");
  if (request.only_masked) add("Masked area padding", std::to_string(*request.only_masked));
  add("Extend", margins(request));
  if (request.clip_skip.value_or(0) > 0) add("Clip skip", std::to_string(*request.clip_skip + 1));  // 1: none skipped
  add("RNG", "CPU");
  if (request.eta.value_or(0) != 0) add(request.scheduler_used == "ddim" ? "Eta DDIM" : "Eta", shortest(*request.eta));
  if (brackets_are_text(request)) add("Emphasis", "None");
  if (request.rescale_betas_zero_snr.value_or(false)) add("Noise Schedule", "Zero Terminal SNR");
  if (request.guidance_rescale.value_or(0) != 0) add("CFG rescale", shortest(*request.guidance_rescale));
  add("Refiner", model.refiner);
  if (request.refiner_start) add("Refiner switch at", shortest(*request.refiner_start));
  std::string hashes;
  for (const LoraInfo& lora : model.loras) hashes += concat(hashes.empty() ? "" : ", ", lora.name, ": ", lora.hash);
  add("Lora hashes", hashes);
  add("TI hashes", textual_inversion_hashes(request, model));
  for (std::size_t i = 0; i < model.controls.size() && i < request.controls.size(); ++i)
    add(concat("ControlNet ", i).c_str(), control_text(request, i, model.controls[i]));
  add("Version", "sdgen " SDGEN_VERSION);

  std::string text = request.prompt.value_or("");
  for (const LoraInfo& lora : model.loras) {  // where its readers look for them
    text += concat(text.empty() ? "<lora:" : " <lora:", lora.name, ':', shortest(lora.text_scale));
    if (lora.unet_scale != lora.text_scale) text += ':' + shortest(lora.unet_scale);
    text += '>';
  }
  if (request.negative_prompt && !request.negative_prompt->empty())
    text += "\nNegative prompt: " + *request.negative_prompt;
  return stripped(text + "\n" + values);
}

std::string roundtrip_line(double psnr, const std::filesystem::path& file, bool json) {
  const bool exact = std::isinf(psnr);
  char decibels[32];
  std::snprintf(decibels, sizeof decibels, "%.2f", psnr);
  if (!json) return concat("PSNR ", exact ? "infinite" : decibels, exact ? "\n" : " dB\n");
  return dump({{"file", file.string()}, {"psnr", exact ? Json() : Json(psnr)}}) + "\n";
}

std::string json_line(const Request& request, const ModelInfo& model, const std::filesystem::path& file,
                      const Timings& timings) {
  Json line;
  const auto add = [&line](const char* key, const auto& value) {
    if (value) line[key] = *value;
  };
  line["file"] = file.string();
  add("seed", request.seed);
  add("prompt", request.prompt);
  add("negative_prompt", request.negative_prompt);
  if (request.prompt_syntax)
    line["prompt_syntax"] = request.prompt_syntax == PromptSyntax::weighted ? "weighted" : "plain";
  add("width", request.width);
  add("height", request.height);
  add("steps", request.steps);
  line["scheduler"] = request.scheduler_used;
  add("timestep_spacing", request.timestep_spacing);
  add("prediction_type", request.prediction_type);
  add("sigma_schedule", request.sigma_schedule);
  add("rescale_betas_zero_snr", request.rescale_betas_zero_snr);
  add("guidance_scale", request.guidance_scale);
  add("guidance_rescale", request.guidance_rescale);
  add("eta", request.eta);
  add("clip_skip", request.clip_skip);
  add("strength", request.strength);
  if (request.mask) line["mask"] = true;
  add("mask_blur", request.mask_blur);
  add("only_masked", request.only_masked);
  if (request.extend) line["extend"] = margins(request);
  if (request.depth) line["depth"] = true;
  add("refiner_start", request.refiner_start);
  if (const auto& s = request.original_size) line["original_size"] = concat(s->width, "x", s->height);
  if (const auto& p = request.crop) line["crop"] = concat(p->left, ",", p->top);
  if (const auto& s = request.target_size) line["target_size"] = concat(s->width, "x", s->height);
  line["model"] = model.name;
  if (!model.refiner.empty()) line["refiner"] = model.refiner;
  if (!model.vae.empty()) line["vae"] = model.vae;
  for (const LoraInfo& lora : model.loras)
    line["lora"].push_back({{"file", lora.path.string()},
                            {"hash", lora.hash},
                            {"unet_scale", lora.unet_scale},
                            {"te_scale", lora.text_scale},
                            {"applied", lora.applied},
                            {"total", lora.total}});
  for (const TextualInversionInfo& info : model.textual_inversions)
    line["textual_inversion"].push_back(
        {{"file", info.path.string()}, {"word", info.word}, {"hash", info.hash}, {"vectors", info.vectors}});
  for (std::size_t i = 0; i < model.controls.size() && i < request.controls.size(); ++i) {
    const ControlInfo& info = model.controls[i];
    const Control& c = request.controls[i];
    line[info.kind == ControlInfo::Kind::controlnet ? "controlnet" : "t2i_adapter"].push_back(
        {{"file", info.path.string()},
         {"hash", info.hash},
         {"control_scale", c.scale},
         {"control_start", c.start},
         {"control_end", c.end}});
  }
  if (request.guess_mode) line["guess_mode"] = true;
  const auto seconds = [](double x) { return std::round(x * 1e6) / 1e6; };
  line["timings"] = {{"load", seconds(timings.load)},
                     {"text", seconds(timings.text)},
                     {"denoise", seconds(timings.denoise)},
                     {"decode", seconds(timings.decode)}};
  return dump(line) + "\n";
}

}  // namespace sdgen::cli
