#include "formats/model_files.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "formats/file_kind.h"
#include "formats/original_layout.h"
#include "formats/tiny_layout.h"
#include "io/file.h"
#include "io/pickle.h"
#include "io/utf8.h"
#include "io/weight_files.h"
#include "sdgen/error.h"
#include "text/clip_tokenizer.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDiffusion = "diffusion_pytorch_model";  // file stem of diffusers' weights
constexpr const char* kTransformers = "model";                 // and of transformers'

[[noreturn]] void fail(const fs::path& path, const std::string& what) {
  throw Error(Fault::input, concat(path.string(), ": ", what));
}

double half_to_double(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double size = exponent == 31  ? (fraction ? std::nan("") : INFINITY)
                      : exponent == 0 ? std::ldexp(fraction, -24)
                                      : std::ldexp(1024 + fraction, exponent - 25);
  return bits & 0x8000 ? -size : size;
}

template <class T>
T at(const std::vector<std::byte>& bytes, std::size_t i) {
  T value;
  std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
  return value;
}

// The class that model_index.json names for a component: ["diffusers", "UNet2DConditionModel"]; "" for null or none.
std::string component_class(const Config& index, const std::string& name) {
  const auto found = index.json().find(name);
  if (found == index.json().end() || !found->is_array() || found->size() != 2 || !(*found)[1].is_string()) return "";
  return (*found)[1].get<std::string>();
}

ModelFiles open_folder(const fs::path& path, const Warn& warn) {
  if (!present(path / "model_index.json")) {
    if (present(path / "config.json"))
      fail(path, concat("is one component of a model (",
                        printable(Config::read(path / "config.json").string("_class_name", "a network")),
                        "), not a model: give the folder above it, which has model_index.json"));
    fail(path, "no model_index.json: this is not the folder of a diffusers pipeline");
  }
  // Pipelines of a single network were published with its files beside model_index.json.
  const auto place = [&path](const char* name, const char* file) {
    return !present(path / name) && present(path / file) ? path : path / name;
  };
  ModelFiles model{path, Config::read(path / "model_index.json"), Config(Json::object(), ""), {}, true, {}};
  const Config& index = model.index;
  for (const auto& [name, classes] :
       {std::pair<const char*, std::vector<std::string>>{"unet", {"UNet2DConditionModel", "UNet2DModel"}},
        {"vae", {"AutoencoderKL", "AutoencoderTiny"}},
        {"text_encoder", {"CLIPTextModel", "CLIPTextModelWithProjection"}},
        {"text_encoder_2", {"CLIPTextModelWithProjection", "CLIPTextModel"}}}) {
    const std::string found = component_class(index, name);
    if (index.json().contains(name) && found.empty()) continue;  // null: the pipeline does without
    if (!index.json().contains(name) && !present(path / name)) continue;
    if (!found.empty() && std::find(classes.begin(), classes.end(), found) == classes.end())
      fail(path / "model_index.json",
           concat(name, " is a ", printable(found), ", which is not supported (", classes[0], " is)"));
    model.components.emplace(name, open_component(place(name, "config.json"), name));
  }
  model.scheduler = Config::read(place("scheduler", "scheduler_config.json") / "scheduler_config.json");
  if (!component_class(index, "safety_checker").empty())
    warn(concat(path.string(), ": its safety_checker is not used: sdgen does not judge pictures"));
  for (const char* name : {"image_encoder", "controlnet", "adapter"})
    if (!component_class(index, name).empty()) warn(concat(path.string(), ": its ", name, " is not used"));
  return model;
}

void refuse_pickles(const fs::path& path) {
  if (is_pickle(path)) fail(path, pickle_refusal());
}

// Names in a single file that no component's begin like.
std::vector<std::string> foreign_names(const ModelFiles& model, const TensorTable& table) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : table.tensors()) {
    bool known = is_leftover(name);
    for (const auto& [component, part] : model.components) known = known || name.starts_with(part.prefix);
    if (!known) names.push_back(name);
  }
  return names;
}

}  // namespace

const Component* ModelFiles::find(const std::string& name) const {
  const auto found = components.find(name);
  return found == components.end() ? nullptr : &found->second;
}

const Component& ModelFiles::at(const std::string& name) const {
  if (const Component* c = find(name)) return *c;
  fail(path,
       concat("has no ", name,
              name == "vae" ? concat(": name an autoencoder with ", FieldName{"vae"}) : ": the model is incomplete"));
}

std::unique_ptr<Tokenizer> ModelFiles::tokenizer(const std::string& text_encoder) const {
  const bool second = text_encoder == "text_encoder_2";
  if (folder) return load_tokenizer(path / (second ? "tokenizer_2" : "tokenizer"));
  // OpenCLIP pads with id 0, which is "!", CLIP with its end token; OpenCLIP's encoders are the ones with exact GELU.
  const bool open_clip = at(text_encoder).config.string("hidden_act", "") == "gelu";
  return builtin_clip_tokenizer(open_clip ? "!" : "<|endoftext|>");
}

ModelFiles open_model(const fs::path& path, const Warn& warn) {
  if (!present(path)) fail(path, "no such model");
  std::error_code error;
  if (fs::is_directory(path, error)) return open_folder(path, warn);
  refuse_pickles(path);
  return open_checkpoint(std::make_shared<TensorTable>(std::vector{path}), warn);
}

ModelFiles open_checkpoint(std::shared_ptr<const TensorTable> table, const Warn& warn) {
  const fs::path& path = table->files().front()->path();
  std::optional<OriginalCheckpoint> checkpoint =
      original_checkpoint(*table, [&table](const std::string& name) { return read_values(*table, name); });
  if (!checkpoint) fail(path, concat("this is ", describe_file(*table)));
  Json index = checkpoint->index;
  index["_class_name"] = checkpoint->pipeline_class;
  ModelFiles model{
      path, Config(std::move(index), path.string()), Config(checkpoint->scheduler, path.string()), {}, false, {}};
  for (auto& [name, part] : checkpoint->components)
    model.components.emplace(name, Component{part.config, table, part.locate, part.prefix});
  model.foreign = foreign_names(model, *table);
  if (!model.foreign.empty())
    warn(concat(path.string(), ": ", model.foreign.size(), " tensors belong to no part that is known, e.g. '",
                printable(model.foreign.front()), "'"));
  return model;
}

Component open_component(const fs::path& folder, const std::string& name) {
  const char* stem = name.starts_with("text") ? kTransformers : kDiffusion;
  Component c{
      Config::read(folder / "config.json"), std::make_shared<TensorTable>(find_weight_files(folder, stem)), {}, {}};
  for (const auto& [tensor, entry] : c.tensors->tensors())
    if (tensor.find("attentions.") != std::string::npos && tensor.ends_with(".proj_attn.weight"))
      c.locate = old_attention_name;
  return c;
}

Component open_vae(const fs::path& path, double own_scaling_factor) {
  if (!present(path)) fail(path, "no such autoencoder");
  std::error_code error;
  if (fs::is_directory(path, error)) {
    const bool model = present(path / "model_index.json") && present(path / "vae");
    const fs::path folder = model ? path / "vae" : path;
    const std::string found = Config::read(folder / "config.json").string("_class_name", "AutoencoderKL");
    if (found != "AutoencoderKL" && found != "AutoencoderTiny")
      fail(folder, concat("is a ", printable(found), ", not an AutoencoderKL or AutoencoderTiny"));
    return open_component(folder, "vae");
  }
  refuse_pickles(path);
  const auto table = std::make_shared<TensorTable>(std::vector{path});
  auto vae = autoencoder(*table, own_scaling_factor);
  if (!vae) vae = tiny_autoencoder(*table);
  if (!vae) fail(path, concat("holds no autoencoder: this is ", describe_file(*table)));
  return {vae->config, table, vae->locate, vae->prefix};
}

std::vector<double> read_values(const TensorTable& table, const std::string& name) {
  const TensorTable::Entry& entry = table.tensors().at(name);
  constexpr std::uint64_t kMost = 1'000'000;
  if (entry.where->elements() > kMost)
    throw Error(Fault::input, concat(table.source(), ": tensor '", name, "' is too large"));
  std::vector<std::byte> bytes(entry.where->bytes());
  entry.file->read(*entry.where, 0, bytes);
  std::vector<double> values(entry.where->elements());
  for (std::size_t i = 0; i < values.size(); ++i) {
    switch (entry.where->encoding) {
      case Encoding::F16:
        values[i] = half_to_double(at<std::uint16_t>(bytes, i));
        break;
      case Encoding::BF16:
        values[i] = std::bit_cast<float>(std::uint32_t{at<std::uint16_t>(bytes, i)} << 16);
        break;
      case Encoding::F32:
        values[i] = at<float>(bytes, i);
        break;
      case Encoding::F64:
        values[i] = at<double>(bytes, i);
        break;
      case Encoding::I64:
        values[i] = static_cast<double>(at<std::int64_t>(bytes, i));
        break;
      default:
        throw Error(Fault::input, concat(table.source(), ": tensor '", name, "' is stored as ",
                                         info_of(entry.where->encoding).name, ", expected a floating-point type"));
    }
  }
  return values;
}

}  // namespace sdgen
