#include "program/inspect.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <set>
#include <vector>

#include "cli/fields.h"
#include "cli/record.h"
#include "formats/control_files.h"
#include "formats/file_kind.h"
#include "formats/lora_summary.h"
#include "formats/model_files.h"
#include "formats/original_layout.h"
#include "formats/text_encoder_files.h"
#include "formats/tokenizers.h"
#include "image/picture.h"
#include "io/file.h"
#include "io/file_format.h"
#include "io/hash.h"
#include "io/pickle.h"
#include "io/utf8.h"
#include "io/weight_files.h"
#include "program/core.h"
#include "schedulers/classes.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostNames = 50;            // of tensors that are listed
constexpr std::size_t kMostMetadata = 100;        // entries of __metadata__
constexpr std::size_t kMostValue = 500;           // bytes of each
constexpr std::size_t kMostParameters = 1 << 16;  // bytes of a picture's text
constexpr std::size_t kA1111Hash = 10;            // digits that AUTOMATIC1111 shows

// Runs `action`; what it finds wrong with the input becomes the problem, unless there is one already.
template <class Action>
void attempt(Inspection& found, const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    if (error.fault() != Fault::input) throw;
    if (found.problem.empty()) found.problem = cli::in_flags(error);
  }
}

template <class Names>
Report name_list(const Names& names) {
  Report list = Report::array();
  for (const auto& name : names) {
    if (list.size() == kMostNames) break;
    list.push_back(printable(name));
  }
  return {{"count", names.size()}, {"names", list}};
}

Report dtype_counts(const std::map<std::string, std::size_t>& counts) {
  Report json = Report::object();
  for (const auto& [dtype, count] : counts) json[dtype] = count;
  return json;
}

template <class Bytes>
void add_encodings(Report& report, const Bytes& bytes_of_dtype) {
  Report& json = report["dtype_bytes"] = Report::object();
  for (const auto& [dtype, bytes] : bytes_of_dtype) json[dtype] = bytes;
}

// Everything in a table together.
void add_totals(Report& report, const TensorTable& table) {
  std::uint64_t parameters = 0, bytes = 0;
  std::map<std::string, std::size_t> dtypes;
  std::map<std::string, std::uint64_t> bytes_of_dtype;
  for (const auto& [name, entry] : table.tensors()) {
    const char* dtype = info_of(entry.where->encoding).name;
    parameters += entry.where->elements();
    bytes += stored_bytes(entry);
    ++dtypes[dtype];
    bytes_of_dtype[dtype] += stored_bytes(entry);
  }
  report["tensors"] = table.tensors().size();
  report["parameters"] = parameters;
  report["bytes"] = bytes;
  report["dtypes"] = dtype_counts(dtypes);
  add_encodings(report, bytes_of_dtype);
}

void add_metadata(Report& report, const std::map<std::string, std::string>& metadata) {
  const auto first_of = [&](const char* key, std::initializer_list<const char*> names) {
    for (const char* name : names)
      if (const auto found = metadata.find(name); found != metadata.end() && !found->second.empty()) {
        report[key] = printable(found->second, kMostValue);
        return;
      }
  };
  first_of("title", {"modelspec.title", "ss_output_name"});
  first_of("base_model", {"ss_sd_model_name", "modelspec.architecture", "ss_base_model_version"});
  if (metadata.empty()) return;
  Report& json = report["metadata"] = Report::object();
  for (const auto& [key, value] : metadata) {
    if (json.size() == kMostMetadata) break;
    json[printable(key, 100)] = printable(value, kMostValue);
  }
}

// Names and hashes of a model's files, relative to its folder. Reads all of them, so it comes last.
void add_files(Report& report, const fs::path& folder, const std::vector<const TensorTable*>& tables) {
  std::set<fs::path> paths;
  for (const TensorTable* table : tables)
    for (const auto& file : table->files()) paths.insert(file->path());
  Report& files = report["files"] = Report::array();
  for (const fs::path& path : paths) {
    const std::string sha256 = sha256_of_file(path);
    const fs::path name = folder.empty() ? path.filename() : path.lexically_relative(folder);
    files.push_back({{"file", name.string()},
                     {"bytes", InputFile(path).size()},
                     {"sha256", sha256},
                     {"a1111_hash", sha256.substr(0, kA1111Hash)}});
  }
}

// --- Whole models

void add_components(Inspection& found, const ModelFiles& model) {
  Report& components = found.report["components"] = Report::array();
  std::vector<std::string> unread = model.foreign;
  std::size_t leftovers = 0;
  std::uint64_t leftover_bytes = 0;
  std::set<const TensorTable*> seen;
  for (const Component& component : model.components) {
    const char* name = component.part->name;
    attempt(found, [&] {
      const Survey s = core().survey(component);
      Report json = {
          {"name", name}, {"parameters", s.parameters}, {"bytes", s.bytes}, {"dtypes", dtype_counts(s.dtypes)}};
      add_encodings(json, s.bytes_of_dtype);
      json["memory"] = s.memory;
      if (!s.unread.empty()) json["unread"] = s.unread.size();
      components.push_back(std::move(json));
      for (const std::string& tensor : s.unread) unread.push_back((model.folder ? concat(name, "/") : "") + tensor);
    });
    if (!seen.insert(component.tensors.get()).second) continue;
    for (const auto& [tensor, entry] : component.tensors->tensors())
      if (is_leftover(tensor)) ++leftovers, leftover_bytes += entry.where->bytes();
  }
  std::sort(unread.begin(), unread.end());
  found.report["unread"] = name_list(unread);
  if (leftovers > 0) found.report["leftovers"] = {{"tensors", leftovers}, {"bytes", leftover_bytes}};
}

void add_notes(Report& report, const ModelFiles& model) {
  for (const std::string& note : model.notes) report["notes"].push_back(printable(note));
}

// A transformer whose text encoders, and maybe autoencoder, are in other files.
void add_transformer(Inspection& found, const std::shared_ptr<const TensorTable>& table) {
  Report warnings = Report::array();
  std::optional<ModelFiles> model;
  attempt(found,
          [&] { model = open_checkpoint(table, [&](const std::string& message) { warnings.push_back(message); }); });
  if (!model) return;
  attempt(found, [&] { found.report["family"] = core().family_name(*model); });
  add_components(found, *model);
  for (const std::string& name : model->lacking()) found.report["lacks"].push_back(name);
  add_notes(found.report, *model);
  if (!warnings.empty()) found.report["warnings"] = warnings;
}

// Everything that loading would look at, except the tensors' data.
void add_model(Inspection& found, const fs::path& path, const std::function<ModelFiles(const Warn&)>& open) {
  Report warnings = Report::array();
  std::optional<ModelFiles> model;
  attempt(found, [&] { model = open([&](const std::string& message) { warnings.push_back(message); }); });
  if (!model) return;
  Report& report = found.report;
  attempt(found, [&] { report["family"] = core().family_name(*model); });
  report["pipeline"] = printable(model->index.string("_class_name", ""));
  attempt(found, [&] {
    const Config& scheduler = model->scheduler;
    const SchedulerClass* type = scheduler_class(scheduler.string("_class_name", ""));
    const char* usual = type && !type->serves_diffusion() ? "flow_prediction" : "epsilon";
    report["prediction_type"] = printable(scheduler.string("prediction_type", usual));
    if (scheduler.boolean("rescale_betas_zero_snr", false)) report["zero_snr"] = true;
    report["scheduler"] = printable(scheduler.string("_class_name", ""));
  });
  try {
    core().require_scheduler(*model);
  } catch (const Error& error) {  // the model runs with another one
    warnings.push_back(cli::in_flags(error));
  }
  attempt(found, [&] {
    const Size size = core().native_size(*model);
    report["native_size"] = {size.width, size.height};
  });
  add_components(found, *model);
  attempt(found, [&] { core().require_together(*model); });
  attempt(found, [&] {
    for (const Component* encoder : model->with(Role::text_encoder)) tokenizer_of(*encoder);
  });
  add_notes(report, *model);
  if (!warnings.empty()) report["warnings"] = warnings;
  std::vector<const TensorTable*> tables;
  for (const Component& component : model->components) tables.push_back(component.tensors.get());
  add_files(report, model->folder ? path : "", tables);
}

// --- One file

const char* kind_name(FileKind kind) {
  switch (kind) {
    case FileKind::checkpoint:
      return "checkpoint";
    case FileKind::component:
      return "component";
    case FileKind::lora:
      return "lora";
    case FileKind::controlnet:
      return "controlnet";
    case FileKind::t2i_adapter:
      return "t2i-adapter";
    case FileKind::ip_adapter:
      return "ip-adapter";
    case FileKind::embedding:
      return "embedding";
    case FileKind::transformer:
      return "transformer";
    case FileKind::other:
      return "other";
    case FileKind::unknown:
      break;
  }
  return "unknown";
}

void add_lora(Report& report, const TensorTable& table) {
  const LoraSummary lora = summarize_lora(table);
  report["algorithms"] = lora.algorithms;
  report["spellings"] = lora.spellings;
  for (const auto& [part, count] : lora.modules) report["modules"][part] = count;
  Report& ranks = report["ranks"] = Report::object();
  for (const auto& [rank, count] : lora.ranks)
    if (ranks.size() < kMostNames) ranks[std::to_string(rank)] = count;
  std::vector<std::string> others;
  for (const auto& [name, entry] : table.tensors())
    if (!is_lora_tensor(table, name) && !name.ends_with(".alpha")) others.push_back(name);
  if (!others.empty()) report["other_tensors"] = name_list(others);
}

// What is not a whole model: from its table alone.
void add_weights(Inspection& found, const std::shared_ptr<const TensorTable>& table, const FileSummary& file) {
  Report& report = found.report;
  report["what"] = file.name;
  if (!file.layout.empty()) report["layout"] = file.layout;
  if (!file.family.empty()) report["family"] = file.family;
  if (file.kind == FileKind::lora) add_lora(report, *table);
  if (file.kind == FileKind::embedding)
    for (const auto& [name, entry] : table->tensors()) {
      const auto& shape = entry.where->shape;
      if (shape.empty() || shape.size() > 2) continue;
      report["vectors"].push_back(
          {{"name", printable(name)}, {"count", shape.size() == 2 ? shape[0] : 1}, {"width", shape.back()}});
    }
  add_totals(report, *table);
  if (file.kind == FileKind::unknown) {
    std::vector<std::string> names;
    for (const auto& [name, entry] : table->tensors()) names.push_back(name);
    report["names"] = name_list(names)["names"];
  }
  if (file.part && file.part->role == Role::autoencoder)
    attempt(found, [&] {
      const auto component = autoencoder_of(table, kSdScaling);
      if (component) report["unread"] = name_list(core().survey(*component).unread);
    });
  // A folder's are surveyed with its config.json.
  if (!report.contains("unread") && (file.kind == FileKind::controlnet || file.kind == FileKind::t2i_adapter))
    attempt(found, [&] {
      const bool net = file.kind == FileKind::controlnet;
      const Component component = net ? controlnet_of(table, nullptr) : t2i_adapter_of(table);
      report["unread"] = name_list(core().survey(component).unread);
    });
  if (file.part && file.part->role == Role::text_encoder)
    attempt(found, [&] {
      if (const auto component = text_encoder_of(table)) report["unread"] = name_list(core().survey(*component).unread);
    });
  const bool transformer = file.kind == FileKind::transformer;
  if (transformer && file.part) add_transformer(found, table);
  add_metadata(report, table->files().front()->metadata());
  if ((transformer && !file.part) || file.kind == FileKind::other)
    found.problem = cli::in_flags(Error(Fault::input, concat(table->source(), ": this is ", describe_file(*table))));
}

void inspect_weights(Inspection& found, const fs::path& path) {
  const auto table = std::make_shared<const TensorTable>(std::vector{path});
  const FileSummary file = summarize_file(*table);
  Report& report = found.report;
  report["kind"] = kind_name(file.kind);
  report["format"] = table->files().front()->format();
  if (file.kind == FileKind::checkpoint) {
    report["layout"] = file.layout;
    add_model(found, path, [&table](const Warn& warn) { return open_checkpoint(table, warn); });
    add_metadata(report, table->files().front()->metadata());
  } else {
    if (file.part) report["component"] = file.part->name;
    add_weights(found, table, file);
  }
  if (!report.contains("files")) add_files(report, "", {table.get()});
}

void inspect_picture(Inspection& found, std::string_view bytes, const std::string& who) {
  const ImageFormat& format = *image_format_of(bytes);
  const PictureTexts texts = picture_texts(bytes, who);
  Report& report = found.report;
  report["kind"] = "picture";
  report["format"] = format.word;
  attempt(found, [&] {
    const Size size = format.info(bytes, who).size;
    report["size"] = {size.width, size.height};
  });
  if (!texts.source_type.empty()) report["source_type"] = printable(texts.source_type, kMostValue);
  if (!texts.parameters.empty()) report["parameters"] = printable_lines(texts.parameters, kMostParameters);
  for (const PictureText& text : texts.others)
    if (!report.contains("texts") || report["texts"].size() < kMostNames)
      report["texts"].push_back(
          {{"keyword", printable(text.keyword)}, {"text", printable_lines(text.text, kMostValue)}});
}

// --- Folders

void inspect_component_folder(Inspection& found, const fs::path& path) {
  const Config config = Config::read(path / "config.json");
  std::string class_name = config.string("_class_name", "");
  if (const auto architectures = config.strings("architectures"); class_name.empty() && !architectures.empty())
    class_name = architectures.front();
  Report& report = found.report;
  if (const ComponentClass* type = find_component_class(class_name)) {
    const Component component = open_component(path, *type);
    const FileSummary file = summarize_file(*component.tensors);
    report["kind"] = component.part ? "component" : kind_name(file.kind);
    report["format"] = "diffusers folder";
    if (component.part)
      report["component"] = component.part->name;
    else
      report["what"] = file.name;
    report["class"] = printable(class_name);
    if (!file.family.empty()) report["family"] = file.family;
    add_totals(report, *component.tensors);
    attempt(found, [&] {
      const Survey s = core().survey(component);
      report["parameters"] = s.parameters;
      report["unread"] = name_list(s.unread);
    });
    return add_files(report, path, {component.tensors.get()});
  }
  std::vector<fs::path> files;
  try {
    files = find_weight_files(path, kDiffusersStem);
  } catch (const Error&) {
    files = find_weight_files(path, kTransformersStem);
  }
  const auto table = std::make_shared<const TensorTable>(files);
  const FileSummary file = summarize_file(*table);
  report["kind"] = kind_name(file.kind);
  report["format"] = "diffusers folder";
  if (!class_name.empty()) report["class"] = printable(class_name);
  add_weights(found, table, file);
  add_files(report, path, {table.get()});
}

void inspect_folder(Inspection& found, const fs::path& path) {
  if (present(path / "model_index.json")) {
    const Config index = Config::read(path / "model_index.json");
    found.report["kind"] = "checkpoint";
    found.report["format"] = "diffusers folder";
    attempt(found, [&] { core().require_family(index); });
    if (found.problem.empty())
      return add_model(found, path, [&path](const Warn& warn) { return open_model(path, warn); });
    found.report["pipeline"] = printable(index.string("_class_name", ""));
    return;
  }
  // A folder that peft or diffusers saved a LoRA into.
  for (const char* lora : {"adapter_model.safetensors", "pytorch_lora_weights.safetensors"})
    if (present(path / lora)) return inspect_weights(found, path / lora);
  if (present(path / "config.json")) return inspect_component_folder(found, path);
  open_model(path, [](const std::string&) {});  // says what is missing
}

}  // namespace

Inspection inspect(const fs::path& path) {
  Inspection found;
  found.report["file"] = path.string();
  std::error_code error;
  if (!fs::exists(path, error)) {
    // A link to itself exists and cannot be looked at.
    throw Error(Fault::input, concat(path.string(), ": ", error ? error.message() : "no such file or folder"));
  }
  if (fs::is_directory(path, error)) {
    inspect_folder(found, path);
  } else if (is_pickle(path)) {
    found.report["kind"] = "pickle";
    found.problem = concat(path.string(), ": ", pickle_refusal());
  } else if (const std::string picture = read_picture_file(path); image_format_of(picture)) {
    inspect_picture(found, picture, path.string());
  } else if (!picture_format_of(picture).empty()) {
    throw no_known_picture(picture, path.string());
  } else {
    inspect_weights(found, path);
  }
  if (!found.problem.empty()) found.report["problem"] = found.problem;
  return found;
}

}  // namespace sdgen
