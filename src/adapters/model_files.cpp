#include "adapters/model_files.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "adapters/original_layout.h"
#include "io/utf8.h"
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

Component component(const fs::path& folder, const char* stem) {
  Component c{
      Config::read(folder / "config.json"), std::make_shared<TensorTable>(find_weight_files(folder, stem)), {}, {}};
  for (const auto& [name, entry] : c.tensors->tensors())
    if (name.find("attentions.") != std::string::npos && name.ends_with(".proj_attn.weight"))
      c.locate = old_attention_name;
  return c;
}

// The class that model_index.json names for a component: ["diffusers", "UNet2DConditionModel"]; "" for null or none.
std::string component_class(const Config& index, const std::string& name) {
  const auto found = index.json().find(name);
  if (found == index.json().end() || !found->is_array() || found->size() != 2 || !(*found)[1].is_string()) return "";
  return (*found)[1].get<std::string>();
}

ModelFiles open_folder(const fs::path& path, const Warn& warn) {
  if (!fs::exists(path / "model_index.json")) {
    if (fs::exists(path / "config.json"))
      fail(path, concat("is one component of a model (",
                        printable(Config::read(path / "config.json").string("_class_name", "a network")),
                        "), not a model: give the folder above it, which has model_index.json"));
    fail(path, "no model_index.json: this is not the folder of a diffusers pipeline");
  }
  // Pipelines of a single network were published with its files beside model_index.json.
  const auto place = [&path](const char* name, const char* file) {
    return !fs::exists(path / name) && fs::exists(path / file) ? path : path / name;
  };
  ModelFiles model{path, Config::read(path / "model_index.json"), Config(Json::object(), ""), {}, true};
  const Config& index = model.index;
  for (const auto& [name, classes] :
       {std::pair<const char*, std::vector<std::string>>{"unet", {"UNet2DConditionModel", "UNet2DModel"}},
        {"vae", {"AutoencoderKL"}},
        {"text_encoder", {"CLIPTextModel", "CLIPTextModelWithProjection"}},
        {"text_encoder_2", {"CLIPTextModelWithProjection", "CLIPTextModel"}}}) {
    const std::string found = component_class(index, name);
    if (index.json().contains(name) && found.empty()) continue;  // null: the pipeline does without
    if (!index.json().contains(name) && !fs::exists(path / name)) continue;
    if (!found.empty() && std::find(classes.begin(), classes.end(), found) == classes.end())
      fail(path / "model_index.json",
           concat(name, " is a ", printable(found), ", which is not supported (", classes[0], " is)"));
    const std::string kind = name;
    model.components.emplace(
        name, component(place(name, "config.json"), kind.starts_with("text") ? kTransformers : kDiffusion));
  }
  model.scheduler = Config::read(place("scheduler", "scheduler_config.json") / "scheduler_config.json");
  if (!component_class(index, "safety_checker").empty())
    warn(concat(path.string(), ": its safety_checker is not used: sdgen does not judge pictures"));
  for (const char* name : {"image_encoder", "controlnet", "adapter"})
    if (!component_class(index, name).empty()) warn(concat(path.string(), ": its ", name, " is not used"));
  return model;
}

// What a file is that holds no checkpoint, as far as its names tell.
std::string other_kind(const TensorTable& table) {
  const auto any = [&table](auto matches) {
    for (const auto& [name, entry] : table.tensors())
      if (matches(name)) return true;
    return false;
  };
  const auto starts = [&](const char* text) { return any([=](const std::string& n) { return n.starts_with(text); }); };
  const auto contains = [&](const char* text) {
    return any([=](const std::string& n) { return n.find(text) != std::string::npos; });
  };
  if (contains("lora_down") || contains("lora_A") || contains("lora.down") || contains("hada_w1") || contains("lokr_w"))
    return "a LoRA, which changes a model but is none";
  if (starts("control_model.") || contains("controlnet_")) return "a ControlNet, which steers a model but is none";
  if (starts("decoder.") || starts("first_stage_model.")) return "an autoencoder alone; --vae takes it";
  if (starts("down_blocks.") || starts("input_blocks.")) return "a U-Net alone, without text encoder and autoencoder";
  if (starts("text_model.") || starts("transformer.resblocks.")) return "a text encoder alone";
  if (contains("double_blocks.") || contains("joint_blocks."))
    return "a diffusion transformer (Stable Diffusion 3, Flux), which is not supported";
  return concat("no checkpoint of Stable Diffusion that is known (", table.tensors().size(), " tensors, e.g. '",
                table.tensors().empty() ? "" : printable(table.tensors().begin()->first), "')");
}

void refuse_pickles(const fs::path& path) {
  const std::string extension = path.extension().string();
  for (const char* pickle : {".ckpt", ".pt", ".pth", ".bin"})
    if (extension == pickle)
      fail(path,
           "is a pickle, which can run code when loaded and is therefore not read. Convert it where you trust it: "
           "python -c 'import torch, safetensors.torch as s; d = torch.load(\"OLD.ckpt\", map_location=\"cpu\"); d = "
           "d.get(\"state_dict\", d); s.save_file({k: v.contiguous().clone() for k, v in d.items() if "
           "torch.is_tensor(v)}, \"NEW.safetensors\")'");
}

ModelFiles open_file(const fs::path& path, const Warn& warn) {
  refuse_pickles(path);
  const auto table = std::make_shared<TensorTable>(std::vector{path});
  std::optional<OriginalCheckpoint> checkpoint =
      original_checkpoint(*table, [&table](const std::string& name) { return read_values(*table, name); });
  if (!checkpoint) fail(path, concat("this is ", other_kind(*table)));
  Json index = checkpoint->index;
  index["_class_name"] = checkpoint->pipeline_class;
  ModelFiles model{
      path, Config(std::move(index), path.string()), Config(checkpoint->scheduler, path.string()), {}, false};
  for (auto& [name, part] : checkpoint->components)
    model.components.emplace(name, Component{part.config, table, part.locate, part.prefix});
  std::size_t foreign = 0;
  std::string example;
  for (const auto& [name, entry] : table->tensors()) {
    if (is_leftover(name)) continue;
    bool known = false;
    for (const auto& [component, part] : model.components) known = known || name.starts_with(part.prefix);
    if (!known && foreign++ == 0) example = name;
  }
  if (foreign > 0)
    warn(concat(path.string(), ": ", foreign, " tensors belong to no part that is known, e.g. '", printable(example),
                "'"));
  return model;
}

}  // namespace

const Component* ModelFiles::find(const std::string& name) const {
  const auto found = components.find(name);
  return found == components.end() ? nullptr : &found->second;
}

const Component& ModelFiles::at(const std::string& name) const {
  if (const Component* c = find(name)) return *c;
  fail(path, concat("has no ", name, name == "vae" ? ": name an autoencoder with --vae" : ": the model is incomplete"));
}

std::unique_ptr<Tokenizer> ModelFiles::tokenizer(const std::string& text_encoder) const {
  const bool second = text_encoder == "text_encoder_2";
  if (folder) return load_tokenizer(path / (second ? "tokenizer_2" : "tokenizer"));
  // OpenCLIP pads with id 0, which is "!", CLIP with its end token; OpenCLIP's encoders are the ones with exact GELU.
  const bool open_clip = at(text_encoder).config.string("hidden_act", "") == "gelu";
  return builtin_clip_tokenizer(open_clip ? "!" : "<|endoftext|>");
}

ModelFiles open_model(const fs::path& path, const Warn& warn) {
  std::error_code error;
  if (!fs::exists(path, error)) fail(path, "no such model");
  return fs::is_directory(path, error) ? open_folder(path, warn) : open_file(path, warn);
}

Component open_vae(const fs::path& path, double own_scaling_factor) {
  std::error_code error;
  if (!fs::exists(path, error)) fail(path, "no such autoencoder");
  if (fs::is_directory(path, error)) {
    const bool model = fs::exists(path / "model_index.json", error) && fs::exists(path / "vae", error);
    return component(model ? path / "vae" : path, kDiffusion);
  }
  refuse_pickles(path);
  const auto table = std::make_shared<TensorTable>(std::vector{path});
  const auto vae = autoencoder(*table, own_scaling_factor);
  if (!vae) fail(path, concat("holds no autoencoder: this is ", other_kind(*table)));
  return {vae->config, table, vae->locate, vae->prefix};
}

std::vector<double> read_values(const TensorTable& table, const std::string& name) {
  const TensorTable::Entry& entry = table.tensors().at(name);
  const std::uint64_t size = entry.where->end - entry.where->begin, width = dtype_size(entry.where->dtype);
  constexpr std::uint64_t kMost = 1'000'000;
  if (size / width > kMost) throw Error(Fault::input, concat(table.source(), ": tensor '", name, "' is too large"));
  std::vector<std::byte> bytes(size);
  entry.file->read(*entry.where, 0, bytes);
  std::vector<double> values(size / width);
  for (std::size_t i = 0; i < values.size(); ++i) {
    switch (entry.where->dtype) {
      case Dtype::F16:
        values[i] = half_to_double(at<std::uint16_t>(bytes, i));
        break;
      case Dtype::BF16:
        values[i] = std::bit_cast<float>(std::uint32_t{at<std::uint16_t>(bytes, i)} << 16);
        break;
      case Dtype::F32:
        values[i] = at<float>(bytes, i);
        break;
      case Dtype::F64:
        values[i] = at<double>(bytes, i);
        break;
      case Dtype::I64:
        values[i] = static_cast<double>(at<std::int64_t>(bytes, i));
        break;
      default:
        throw Error(Fault::input, concat(table.source(), ": tensor '", name, "' is stored as ",
                                         dtype_name(entry.where->dtype), ", expected a floating-point type"));
    }
  }
  return values;
}

}  // namespace sdgen
