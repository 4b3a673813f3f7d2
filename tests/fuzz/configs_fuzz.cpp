// Whatever the JSON files of a model say, it is assembled, or refused with Error(input). Networks are built on torch's
// meta device, which has no numbers: configs, names and shapes are what is looked at.
#include <array>

#include "diffusion/noise_schedule.h"
#include "diffusion/schedulers.h"
#include "families/families.h"
#include "fuzz.h"
#include "io/json.h"
#include "nn/chroma_transformer.h"
#include "nn/decoder_text.h"
#include "nn/dit_transformer.h"
#include "nn/flux2_transformer.h"
#include "nn/flux_controlnet.h"
#include "nn/lumina2_transformer.h"
#include "nn/pixart_transformer.h"
#include "nn/qwen_transformer.h"
#include "nn/qwen_vae.h"
#include "nn/sd3_controlnet.h"
#include "nn/sd3_transformer.h"
#include "nn/t2i_adapter.h"
#include "nn/t5.h"
#include "nn/tiny_autoencoder.h"
#include "nn/vae.h"
#include "nn/z_image_transformer.h"

using namespace sdgen;
using fuzz::accepts;

namespace {

namespace fs = std::filesystem;

const fs::path kFixtures = SDGEN_FIXTURES;

// The JSON files of a model by what lines call them, as the fixture has them.
struct Base {
  const char* folder;
  std::map<std::string, const char*> files;
};
const std::array kBases = {
    Base{"tiny-sd",
         {{"index", "model_index.json"},
          {"scheduler", "scheduler/scheduler_config.json"},
          {"unet", "unet/config.json"},
          {"vae", "vae/config.json"},
          {"text", "text_encoder/config.json"},
          {"tokenizer", "tokenizer/tokenizer_config.json"},
          {"defaults", "sdgen.json"}}},
    Base{"tiny-ddpm",
         {{"index", "model_index.json"}, {"scheduler", "scheduler_config.json"}, {"unet", "config.json"}}}};

// "unet.layers_per_block=[1,2]" sets a key, "unet.layers_per_block" takes it away; what is not JSON is a text.
void edit(std::map<std::string, Json>& files, std::string_view line) {
  if (valid_utf8_prefix(line) != line.size()) return;
  const std::size_t dot = line.find('.'), equals = std::min(line.find('='), line.size());
  const auto file = dot < equals ? files.find(std::string(line.substr(0, dot))) : files.end();
  if (file == files.end()) return;
  const std::string key(line.substr(dot + 1, equals - dot - 1));
  if (equals == line.size()) {
    file->second.erase(key);
    return;
  }
  const std::string_view value = line.substr(equals + 1);
  try {
    file->second[key] = parse_json(value, "fuzz");
  } catch (const Error&) {
    file->second[key] = value;
  }
}

// A copy of the fixture, without its JSON files.
const fuzz::Folder& copy_of(const Base& base) {
  static std::map<std::string, fuzz::Folder> copies;
  const bool is_new = !copies.contains(base.folder);
  const fuzz::Folder& folder = copies[base.folder];
  if (is_new) fs::copy(kFixtures / base.folder, folder.path(), fs::copy_options::recursive);
  return folder;
}

void run_schedulers(const Config& config, PipelineQuirks quirks) {
  for (const SchedulerRow& row : scheduler_rows())
    accepts({Fault::input, Fault::usage}, [&] {
      const Scheduler scheduler = Scheduler::choose(config, {row.name, {}, {}, {}, {}, {}}, quirks);
      for (const int steps : {1, 5}) accepts({Fault::input, Fault::usage}, [&] { scheduler.grid({steps, 64}); });
      scheduler.sampler();
    });
  accepts({Fault::input, Fault::usage}, [&] { Scheduler::choose(config, {}, quirks).grid({7, 64, true}); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  std::string_view text = fuzz::text_of(bytes, size);
  const Base& base = kBases[fuzz::take_byte(text) % kBases.size()];
  const fuzz::Folder& folder = copy_of(base);
  std::map<std::string, Json> files;
  for (const auto& [name, file] : base.files)
    files[name] =
        fs::exists(kFixtures / base.folder / file) ? read_json(kFixtures / base.folder / file) : Json::object();
  while (!text.empty()) edit(files, fuzz::take_line(text));
  for (const auto& [name, json] : files) folder.write(base.files.at(name), json.dump());

  const Warn warn = [](const std::string&) {};
  accepts({Fault::input}, [&] { takes_text(folder.path()); });
  accepts({Fault::input}, [&] { native_size(open_model(folder.path(), warn)); });
  accepts({Fault::input}, [&] { family_name(open_model(folder.path(), warn)); });
  accepts({Fault::input}, [&] {
    const Parts parts = assemble(folder.path(), {at::kMeta, Precision::float32, {}}, warn);
    parts.make_step({});
    run_schedulers(parts.scheduler, parts.rules.quirks);
  });
  if (files.contains("vae"))
    accepts({Fault::input}, [&] { assemble_autoencoder(folder.path(), {at::kMeta, Precision::float32, {}}, warn); });
  for (const char* name : {"unet", "vae"})
    if (const auto file = files.find(name); file != files.end()) {
      accepts({Fault::input}, [&] { ControlNetConfig::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { T2IAdapterConfig::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { TinyAutoencoderConfig::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { Sd3Config::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { Sd3ControlNetConfig::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { FluxConfig::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { Flux2Config::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { ChromaConfig::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { FluxControlNetConfig::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { PixArtConfig::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { DiTConfig::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { ZImageConfig::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { Lumina2Config::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { T5Config::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { QwenImageConfig::from(Config(file->second, "fuzz")); });
      accepts({Fault::input}, [&] { QwenVaeConfig::from(Config(file->second, "fuzz")); });
      for (const char* type : {"qwen3", "qwen2_5_vl", "gemma2"}) {
        Json json = file->second;
        if (json.is_object()) json["model_type"] = type;
        accepts({Fault::input}, [&] { DecoderTextConfig::from(Config(std::move(json), "fuzz")); });
      }
    }
  return 0;
}
