#include "formats/model_files.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "formats/decoder_layout.h"
#include "formats/file_kind.h"
#include "formats/original_layout.h"
#include "formats/qwen_layout.h"
#include "formats/tiny_layout.h"
#include "io/decode.h"
#include "io/file.h"
#include "io/pickle.h"
#include "io/text.h"
#include "io/utf8.h"
#include "io/weight_files.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const std::string& what) {
  throw Error(Fault::input, concat(path.string(), ": ", what));
}

// The class that model_index.json names for a component: ["diffusers", "UNet2DConditionModel"]; "" where the pipeline
// does without: null, two of them, or no such key.
std::string class_in_index(const Config& index, const std::string& name) {
  if (!index.has(name)) return "";
  const Json& found = index.json().at(name);
  if (!found.is_array() || found.size() != 2 || !(found[1].is_string() || found[1].is_null()))
    index.unsupported(name, "expected [LIBRARY, CLASS], or null where there is none");
  return found[1].is_null() ? "" : found[1].get<std::string>();
}

// How its weights are stored, where its config says that they are codes.
void require_known_codes(const Config& config) {
  if (!config.has("quantization_config")) return;
  const Json& said = config.json().at("quantization_config");
  const auto method = said.is_object() ? said.find("quant_method") : said.end();
  if (!said.is_object() || method == said.end() || *method != Json("bitsandbytes"))
    config.unsupported("quantization_config",
                       "bitsandbytes is; get the model in float8, as GGUF, or in nf4 of bitsandbytes");
}

Component open_as(const fs::path& folder, const ModelPart* part, const ComponentClass& type, Config config) {
  require_known_codes(config);
  Component c{part, &type, std::move(config), std::make_shared<TensorTable>(find_weight_files(folder, type.stem)),
              {},   {}};
  if (type.architecture == Architecture::decoder_text) find_text_model(c);
  // Of films of one frame nothing is convolved in time alone.
  if (type.architecture == Architecture::qwen_vae)
    for (const auto& [tensor, entry] : c.tensors->tensors())
      if (tensor.find(".time_conv.") != std::string::npos) c.unused.insert(tensor);
  for (const auto& [tensor, entry] : c.tensors->tensors())
    if (tensor.find("attentions.") != std::string::npos && tensor.ends_with(".proj_attn.weight"))
      c.locate = old_attention_name;
  if (type.projects && !c.tensors->find(kProjection))
    fail(folder, concat("is a ", type.name, " without the tensor '", kProjection,
                        "': it was saved as an encoder without a projection"));
  return c;
}

Component open_part(const fs::path& folder, const ModelPart& part, const ComponentClass* indexed) {
  Config config = Config::read(folder / "config.json");
  const ComponentClass& type = class_of(part, config, indexed);
  return open_as(folder, &part, type, std::move(config));
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
  ModelFiles model{path, Config::read(path / "model_index.json"), Config(Json::object(), ""), {}, true};
  if (auto file = authors_file(path)) model.said.push_back(*std::move(file));
  const Config& index = model.index;
  for (const ModelPart& part : model_parts()) {
    const std::string found = class_in_index(index, part.name);
    if (index.json().contains(part.name) && found.empty()) continue;  // null: the pipeline does without
    if (!index.json().contains(part.name) && !present(path / part.name)) continue;
    const ComponentClass* known = find_component_class(found);
    if (!found.empty() && (!known || known->role != part.role))
      fail(path / "model_index.json",
           concat(part.name, " is a ", printable(found), ", which is not supported (", part.usual_class, " is)"));
    model.components.push_back(open_part(place(part.name, "config.json"), part, known));
    if (part.tokenizer) model.components.back().tokenizer = path / part.tokenizer;
  }
  model.scheduler = Config::read(place("scheduler", "scheduler_config.json") / "scheduler_config.json");
  if (!class_in_index(index, "safety_checker").empty())
    warn(concat(path.string(), ": its safety_checker is not used: sdgen does not judge pictures"));
  for (const char* name : {"image_encoder", "controlnet", "adapter"})
    if (!class_in_index(index, name).empty()) warn(concat(path.string(), ": its ", name, " is not used"));
  return model;
}

// Names in a single file that no component's begin like.
std::vector<std::string> foreign_names(const ModelFiles& model, const TensorTable& table) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : table.tensors()) {
    bool known = is_leftover(name);
    for (const Component& c : model.components) known = known || name.starts_with(c.prefix);
    if (!known) names.push_back(name);
  }
  return names;
}

}  // namespace

std::string ModelFiles::who() const {
  return backbone.empty() ? path.string() : concat(backbone.string(), " beside ", path.string());
}

const Component* ModelFiles::find(std::string_view name) const {
  const auto found = std::ranges::find_if(components, [name](const Component& c) { return c.part->name == name; });
  return found == components.end() ? nullptr : &*found;
}

const Component& ModelFiles::at(std::string_view name) const {
  if (const Component* c = find(name)) return *c;
  const Component* network = find("transformer");
  const Companions* others = network ? companions_of(network->type->architecture) : nullptr;
  const bool autoencoder = model_part(name).role == Role::autoencoder;
  if (!autoencoder && (folder || !others || model_part(name).role != Role::text_encoder))
    fail(path, concat("has no ", name, ": the model is incomplete"));
  // Whoever gets the one may get the other with it.
  std::vector<std::string> wanted;
  if (autoencoder)
    wanted.push_back(concat("no ", name, ": name an autoencoder with ", FieldName{"vae"},
                            others ? concat(", from ", others->autoencoder_origin()) : ""));
  if (const std::vector<std::string> texts = lacking(); !folder && !texts.empty())
    wanted.push_back(concat("no ", joined(texts, ", and no "), ": name text encoders with ", FieldName{"text_encoders"},
                            ", from ", others->text_source));
  fail(path, concat("has ", joined(wanted, "; and ")));
}

std::vector<std::string> ModelFiles::lacking() const {
  std::vector<std::string> names;
  const Component* network = find("transformer");
  const Companions* others = network ? companions_of(network->type->architecture) : nullptr;
  if (!others) return names;
  for (const Companions::Text& text : others->text)
    if (!text.optional && !find(text.part)) names.push_back(Companions::named(text));
  return names;
}

std::vector<const Component*> ModelFiles::with(Role role) const {
  std::vector<const Component*> found;
  for (const Component& c : components)
    if (c.part->role == role) found.push_back(&c);
  return found;
}

ModelFiles open_model(const fs::path& path, const Warn& warn) {
  if (!present(path)) fail(path, "no such model");
  std::error_code error;
  if (fs::is_directory(path, error)) return open_folder(path, warn);
  return open_checkpoint(open_single_file(path), warn);
}

std::shared_ptr<const TensorTable> open_single_file(const fs::path& path) {
  if (is_pickle(path)) fail(path, pickle_refusal());
  return std::make_shared<const TensorTable>(std::vector{path});
}

ModelFiles open_checkpoint(std::shared_ptr<const TensorTable> table, const Warn& warn) {
  const fs::path& path = table->files().front()->path();
  std::optional<OriginalCheckpoint> checkpoint =
      original_checkpoint(*table, [&table](const std::string& name) { return read_values(*table, name); });
  if (!checkpoint) fail(path, concat("this is ", describe_file(*table)));
  Json index = checkpoint->index;
  index["_class_name"] = checkpoint->pipeline_class;
  ModelFiles model{
      path, Config(std::move(index), path.string()), Config(checkpoint->scheduler, path.string()), {}, false};
  for (const ModelPart& part : model_parts())
    if (const auto found = checkpoint->components.find(part.name); found != checkpoint->components.end())
      model.components.push_back(component_in(table, part, std::move(found->second)));
  model.foreign = foreign_names(model, *table);
  model.scaling = checkpoint->scaling;
  model.notes = std::move(checkpoint->notes);
  if (auto file = authors_file(path.parent_path())) model.said.push_back(*std::move(file));
  model.said.emplace_back(std::move(checkpoint->defaults), path.string());
  if (!model.foreign.empty())
    warn(concat(path.string(), ": ", model.foreign.size(), " tensors belong to no part that is known, e.g. '",
                printable(model.foreign.front()), "'"));
  return model;
}

Component component_in(const std::shared_ptr<const TensorTable>& table, const ModelPart& part, ForeignComponent found) {
  const ComponentClass& type = class_of(part, found.config);
  return {&part,
          &type,
          std::move(found.config),
          table,
          std::move(found.locate),
          std::move(found.prefix),
          {},
          std::move(found.unused)};
}

Component open_component(const fs::path& folder, const ComponentClass& type) {
  return open_as(folder, part_with(type.role), type, Config::read(folder / "config.json"));
}

Component open_network(const fs::path& path, Role role) {
  const ModelPart& part = *part_with(role);
  const bool model = present(path / "model_index.json") && present(path / part.name);
  const fs::path folder = model ? path / part.name : path;
  const std::string found = Config::read(folder / "config.json").string("_class_name", part.usual_class);
  const ComponentClass* type = find_component_class(found);
  if (!type || type->role != part.role)
    fail(folder, concat("holds the network ", printable(found), ", expected ", classes_with(part.role)));
  return open_component(folder, *type);
}

std::string network_name(const fs::path& path) {
  const fs::path normal = (path / "").lexically_normal().parent_path();
  const auto is_part = [&normal](const ModelPart& part) { return normal.filename() == part.name; };
  return name_of(std::ranges::any_of(model_parts(), is_part) ? normal.parent_path() : path);
}

std::optional<Config> authors_file(const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder / "sdgen.json", error)) return std::nullopt;
  return Config::read(folder / "sdgen.json");
}

Component open_vae(const fs::path& path, LatentScaling scaling) {
  if (!present(path)) fail(path, "no such autoencoder");
  std::error_code error;
  if (fs::is_directory(path, error)) return open_network(path, Role::autoencoder);
  const auto table = open_single_file(path);
  std::optional<Component> vae = autoencoder_of(table, scaling);
  if (!vae) fail(path, concat("holds no autoencoder: this is ", describe_file(*table)));
  return *std::move(vae);
}

std::optional<Component> autoencoder_of(std::shared_ptr<const TensorTable> table, LatentScaling scaling) {
  auto vae = qwen_autoencoder(*table);
  if (!vae) vae = autoencoder(*table, scaling);
  if (!vae) vae = tiny_autoencoder(*table);
  if (!vae) return std::nullopt;
  return component_in(table, *part_with(Role::autoencoder), *std::move(vae));
}

std::vector<fs::path> known_by(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};
  for (const ModelPart& part : model_parts())
    if (part.role == Role::backbone && fs::is_directory(path / part.name, error))
      return find_weight_files(path / part.name, component_class(part.usual_class).stem);
  return find_weight_files(path, kDiffusersStem);
}

std::vector<double> read_values(const TensorTable& table, const std::string& name) {
  const TensorTable::Entry& entry = table.tensors().at(name);
  constexpr std::uint64_t kMost = 1'000'000;
  if (entry.where->elements() > kMost)
    throw Error(Fault::input, concat(table.source(), ": tensor '", printable(name), "' is too large"));
  const std::uint64_t count = entry.where->elements();
  const auto exactly = [&]<class T>(T) {
    std::vector<T> numbers(count);
    entry.file->read(*entry.where, 0, std::as_writable_bytes(std::span(numbers)));
    return std::vector<double>(numbers.begin(), numbers.end());
  };
  if (entry.where->encoding == Encoding::F64) return exactly(double());
  if (entry.where->encoding == Encoding::I64) return exactly(std::int64_t());
  if (!decodes(entry.where->encoding))
    throw Error(Fault::input, concat(table.source(), ": tensor '", printable(name), "' is stored as ",
                                     info_of(entry.where->encoding).name, ", expected a floating-point type"));
  std::vector<float> numbers(count);
  read_floats(entry, 0, count, numbers.data());
  return {numbers.begin(), numbers.end()};
}

}  // namespace sdgen
