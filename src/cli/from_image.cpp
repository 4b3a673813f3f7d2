#include "cli/from_image.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <system_error>

#include "cli/a1111_text.h"
#include "cli/model_path.h"
#include "cli/picture_list.h"
#include "cli/record.h"
#include "cli/schedulers.h"
#include "image/picture.h"
#include "io/file.h"
#include "io/hash.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

std::string printable_list(std::vector<std::string> names) {
  for (std::string& name : names) name = printable(name, 40);
  return joined(names, ", ", /*most=*/12);
}

// --- Texts of other programs

// The whole number less `offset`; empty where that is none, or below 0.
std::string less(const std::string& number, int offset) {
  int value = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
  const bool good = error == std::errc() && end == number.data() + number.size() && value >= offset;
  return good ? std::to_string(value - offset) : "";
}

// Settings of a text, each tried out before it is taken.
class Translation {
 public:
  Translation(const A1111Text& text, const Settings& given, std::span<const OptionRow> rows)
      : text_(text), given_(given), rows_(rows) {}

  std::string value(std::string_view key) {
    heard_.emplace(key);
    return text_.value(std::string(key));
  }
  bool given(std::string_view option) const { return has(given_, option); }
  const Settings& settings() const { return settings_; }

  // What the option makes of the value; nothing when it does not take it.
  std::optional<Request> say(const std::string& option, const std::string& value) {
    try {
      Options trial;
      const Settings setting = checked({{option, value}}, rows_);
      apply(setting, rows_, trial);
      settings_.push_back(setting[0]);
      return trial.request;
    } catch (const Error&) {
      return std::nullopt;
    }
  }
  // The option that a key is, of a number that is larger by `offset`. A key that is there is left out where it can mean
  // nothing here, or the option does not take its value.
  void take_if(bool useful, std::string_view key, const std::string& option, int offset = 0) {
    std::string text = value(key);
    if (offset > 0 && !text.empty()) text = less(text, offset);
    if (!useful || (!value(key).empty() && !say(option, text))) leave_out(key);
  }
  // Its meaning is known and asks for nothing here.
  void hear(const char* key, bool done = true) { done ? void(heard_.insert(key)) : leave_out(key); }
  void leave_out(std::string_view key) {
    if (!value(key).empty()) left_out_.emplace_back(key);
  }
  // The keys of which nothing was taken over, in the text's order at the end.
  std::vector<std::string> left_out() const {
    std::vector<std::string> keys = left_out_;
    for (const auto& [key, value] : text_.values)
      if (!heard_.contains(key)) keys.push_back(key);
    return keys;
  }

 private:
  const A1111Text& text_;
  const Settings& given_;
  std::span<const OptionRow> rows_;
  Settings settings_;
  std::set<std::string> heard_;
  std::vector<std::string> left_out_;
};

// Sampler and Schedule type. Returns the scheduler, null where the model's own or another one will run.
const SchedulerInfo* take_sampler(Translation& t) {
  const std::string sampler = t.value("Sampler"), given = t.value("Schedule type");
  if (sampler.empty() || t.given("--scheduler")) return nullptr;
  const auto understood = t.say("--scheduler", sampler);
  if (!understood) {
    t.leave_out("Sampler");
    t.leave_out("Schedule type");
    return nullptr;
  }
  const SchedulerInfo* info = scheduler_info(*understood->scheduler);
  if (understood->sigma_schedule || understood->timestep_spacing) return info;  // "DPM++ 2M Karras"
  const bool ignored = info->a1111_schedule == "None", automatic = given.empty() || given == "Automatic";
  const std::string schedule = !automatic ? given : ignored ? "" : info->a1111_schedule;
  bool taken = schedule.empty();
  for (const ScheduleType& type : schedule_types())
    if (schedule == type.a1111 && (type.of_sigmas() ? info->sigma_schedules : info->spacings && !ignored))
      taken = t.say(type.option, type.value).has_value();
  t.hear("Schedule type", taken);
  return info;
}

// The web UI reads brackets as weights unless the text says otherwise; sdgen's own texts say so, or have none.
void take_prompts(Translation& t, const A1111Text& text, bool own) {
  const std::string emphasis = t.value("Emphasis");
  const bool brackets = (text.prompt + text.negative_prompt).find_first_of("([") != std::string::npos;
  const bool takes_text = !own || !text.prompt.empty() || !text.value("CFG scale").empty();
  t.hear("Emphasis", emphasis.empty() || emphasis == "None" || emphasis == "Original");
  if (!takes_text) return;
  t.say("--prompt", text.prompt);
  if (!own || !text.negative_prompt.empty()) t.say("--negative-prompt", text.negative_prompt);
  t.say("--prompt-syntax", emphasis == "None" || (own && !brackets) ? "plain" : "weighted");
}

void take_size(Translation& t) {
  const std::string size = t.value("Size");
  const std::size_t x = size.find('x');
  if (size.empty() || t.given("--extend")) return;
  if (x == std::string::npos || !t.say("--width", size.substr(0, x)) || !t.say("--height", size.substr(x + 1)))
    t.leave_out("Size");
}

// The keys that are options as they are, in the text's order.
void take_numbers(Translation& t, const A1111Text& text) {
  for (const auto& [key, value] : text.values)
    for (const OptionRow& row : recorded_options()) {
      if (!row.a1111 || row.a1111->key != key) continue;
      const auto& needs = row.a1111->needs;
      const bool useful = needs.empty() || std::ranges::any_of(needs, [&](auto option) { return t.given(option); });
      t.take_if(useful, key, row.name(), row.a1111->offset);
    }
}

// What depends on the scheduler that runs.
void take_sampling(Translation& t, const A1111Text& text) {
  const SchedulerInfo* scheduler = take_sampler(t);
  take_numbers(t, text);
  std::set<std::string> etas;
  for (const SchedulerInfo& each : scheduler_infos())
    if (each.takes_eta()) etas.insert(each.eta_key);
  for (const std::string& key : etas) t.take_if(scheduler && scheduler->eta_key == key, key, "--eta");
  const std::string noise = t.value("Noise Schedule");
  t.hear("Noise Schedule", noise.empty() || noise == "Default" ||
                               (noise == "Zero Terminal SNR" && (!scheduler || scheduler->zero_snr) &&
                                t.say("--rescale-betas-zero-snr", "")));
}

// What depends on files, which a text does not name: they have to be given.
void take_inputs(Translation& t) {
  t.hear("Inpaint area", t.given("--mask") || t.given("--extend"));
  t.hear("Refiner", t.given("--refiner"));
  t.hear("VAE", t.given("--vae"));
  t.hear("TI hashes", t.given("--textual-inversion"));
  for (const char* key : {"Model", "Model hash", "VAE hash", "Lora hashes", "Hashes", "Version", "User"}) t.hear(key);
}

// The name of the model that runs; "" where there is none.
std::string running_model() {
  try {
    return name_of(find_model(std::nullopt));
  } catch (const Error&) {
    return "";  // loading it will say why
  }
}

// --- Records

// Throws Error(input) for a file that is not there.
void require_files(const Options& options, const Settings& given, const std::string& who) {
  std::vector<std::pair<const char*, fs::path>> files;
  const auto add = [&](const char* option, const auto& path) {
    if (path) files.emplace_back(option, *path);
  };
  if (options.model != kEmbeddedModel) add("--model", options.model);
  add("--unet", options.load.backbone);
  add("--vae", options.load.vae);
  add("--refiner", options.load.refiner);
  add("--init-image", options.inputs.init_image);
  add("--mask", options.inputs.mask);
  add("--depth", options.inputs.depth);
  for (const Lora& lora : options.request.loras) files.emplace_back("--lora", lora.path);
  for (const auto& inversion : options.load.textual_inversions)
    files.emplace_back("--textual-inversion", inversion.path);
  for (const fs::path& path : options.load.text_encoders) files.emplace_back("--text-encoder", path);
  for (const fs::path& path : options.load.controlnets) files.emplace_back("--controlnet", path);
  for (const fs::path& path : options.load.adapters) files.emplace_back("--t2i-adapter", path);
  for (const std::string& path : options.inputs.reference_images) files.emplace_back("--reference-image", path);
  for (const std::string& path : options.inputs.control_images) files.emplace_back("--control-image", path);
  std::error_code error;
  for (const auto& [option, path] : files)
    if (!has(given, option) && !fs::exists(path, error))
      throw Error(Fault::input, concat(who, ": it was made with ", option, ' ', printable(path.string()),
                                       ", which is not there; say with ", option, " where it is"));
}

constexpr std::uint64_t kMostHashed = 256u << 20;  // bytes: larger pictures are not read

// A picture that has changed since is used all the same.
void warn_of_changes(FromImage& found, const std::string& option, const std::vector<std::string>& hashes,
                     const std::string& who) {
  std::size_t i = 0;
  for (const Setting& setting : found.settings)
    if (setting.option == option && i < hashes.size() && sha256_of_file(setting.value, 0, kMostHashed) != hashes[i++])
      found.warnings.push_back(concat(who, ": ", printable(setting.value), " has changed since it was made of it"));
}

}  // namespace

FromImage settings_of_record(const std::string& record, const std::string& who, const Settings& given,
                             std::span<const OptionRow> rows) {
  FromImage found{.settings = {}, .warnings = {}, .says_all = true};
  ReadRecord read;
  Options trial;
  try {
    read = read_record(record);
    found.settings = checked(read.settings, rows);
    apply(found.settings, rows, trial);
  } catch (const Error& error) {
    throw Error(Fault::input, concat(who, ": its record: ", error.what()));
  }
  if (trial.load.batch_size > 1 && !has(given, "--batch-size"))
    found.warnings.push_back(concat(who, ": was made in a batch of ", trial.load.batch_size,
                                    ", which its bytes depend on; --batch-size 1 is quicker"));
  if (!read.unknown.empty())
    found.warnings.push_back(
        concat(who, ": these keys of its record are not taken over: ", printable_list(read.unknown)));
  std::set<std::string> replaced;
  if (has(given, "--scheduler")) replaced = {"--scheduler", "--eta", "--sigma-schedule", "--timestep-spacing"};
  if (has(given, "--extend") && !has(given, "--only-masked") && !trial.request.only_masked)
    replaced.insert({"--width", "--height"});
  std::erase_if(found.settings, [&](const Setting& s) { return replaced.contains(s.option); });
  // A stranger's picture chooses no files by looking around in folders.
  for (const Setting& s : found.settings)
    if (names_input_picture(*find(rows, s.option)) && !has(given, s.option) && names_several(s.value))
      throw Error(Fault::input, concat(who, ": its record has ", s.option, ' ', printable(s.value),
                                       ", which is no picture; say with ", s.option, " what is meant"));
  require_files(trial, given, who);
  for (const auto& [key, hashes] : read.hashes) {
    const std::string option = option_of_key(key);
    if (has(given, option)) continue;
    if (option == "--model" && hashes.size() == 1) found.model_sha256 = hashes[0];
    if (const OptionRow* row = find(rows, option); row && names_input_picture(*row))
      warn_of_changes(found, option, hashes, who);
  }
  return found;
}

FromImage settings_of_a1111(const std::string& text, const std::string& who, const Settings& given,
                            std::span<const OptionRow> rows) {
  const A1111Text parsed = parse_a1111(text);
  if (parsed.values.empty())
    throw Error(Fault::input, concat(who, ": its text has no line of settings (Steps, Sampler, ...)"));
  const bool own = parsed.value("Version").starts_with("sdgen ");
  Translation t(parsed, given, rows);
  take_prompts(t, parsed, own);
  take_sampling(t, parsed);
  take_size(t);
  take_inputs(t);

  FromImage found{t.settings(), {}, {}, read_lora_hashes(parsed.value("Lora hashes"))};
  const auto warn = [&](const auto&... what) { found.warnings.push_back(concat(who, ": ", what...)); };
  const std::string rng = t.value("RNG"), model = parsed.value("Model");
  if (rng != "CPU")
    warn("its noise is the one of a ", rng.empty() ? "GPU" : printable(rng, 20),
         ", which differs from the CPU's that is drawn here: the picture will be another one");
  if (const std::string ours = running_model(); !model.empty() && !has(given, "--model") && model != ours)
    warn("its model is '", printable(model, 80), "', and the one that runs is '", printable(ours, 80),
         "' (see --model)");
  if (const auto keys = t.left_out(); !keys.empty()) warn("not taken over: ", printable_list(keys));
  return found;
}

std::string record_in(std::string_view picture, const std::string& who) { return picture_texts(picture, who).record; }

FromImage read_from_image(const std::string& path, const Settings& given, std::span<const OptionRow> rows) {
  const std::string who = printable(path);
  const PictureTexts texts = picture_texts(read_picture_file(path), who);
  if (!texts.record.empty()) return settings_of_record(texts.record, who, given, rows);
  if (!texts.parameters.empty()) return settings_of_a1111(texts.parameters, who, given, rows);
  throw Error(Fault::input, concat(who, ": does not say how it was made (no sdgen record, no 'parameters')"));
}

}  // namespace sdgen::cli
