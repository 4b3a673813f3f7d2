#include "program/convert.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "formats/file_kind.h"
#include "formats/model_files.h"
#include "formats/quantize.h"
#include "formats/transformer_names.h"
#include "io/atomic_file.h"
#include "io/decode.h"
#include "io/encoded_tensors.h"
#include "io/file.h"
#include "io/text.h"
#include "io/utf8.h"
#include "io/weight_files.h"
#include "io/write_tensors.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

constexpr const char *kArchitecture = "general.architecture", *kT5Architecture = "t5encoder";

std::optional<Encoding> encoding_of_dtype(Precision dtype) {
  switch (dtype) {
    case Precision::float32:
      return Encoding::F32;
    case Precision::float16:
      return Encoding::F16;
    case Precision::bfloat16:
      return Encoding::BF16;
    case Precision::automatic:
      break;
  }
  return std::nullopt;
}

// What ComfyUI-GGUF calls such a network; "": it has no word for it.
std::string architecture_of(const FileSummary& file) {
  if (file.name == "T5 text encoder") return kT5Architecture;
  for (const auto& [family, name] : {std::pair{"Flux", "flux"},
                                     {"Stable Diffusion 3", "sd3"},
                                     {"Stable Diffusion 1", "sd1"},
                                     {"SDXL", "sdxl"},
                                     {"PixArt", "pixart"},
                                     {"Z-Image", "lumina2"},
                                     {"Lumina-Image 2", "lumina2"}})
    if (file.family.starts_with(family)) return name;
  return "";
}

bool is_network(FileKind kind) {
  using enum FileKind;
  return kind == checkpoint || kind == component || kind == transformer || kind == controlnet || kind == t2i_adapter;
}

// One file of one table.
class FileConversion {
 public:
  FileConversion(std::shared_ptr<const TensorTable> table, const Conversion& conversion, const WeightFormat& format)
      : table_(std::move(table)), how_(conversion), format_(format), kind_(summarize_file(*table_)) {
    if ((how_.quantize != Quantize::none || is_gguf()) && !is_network(kind_.kind))
      throw Error(Fault::usage, concat(table_->source(), " is ", describe_file(*table_), ": it has no matrices for ",
                                       is_gguf() ? "GGUF" : "--quantize"));
  }

  // Is there something that --quantize encodes?
  bool has_matrices() const {
    return std::ranges::any_of(table_->tensors(), [this](const auto& tensor) {
      return quantized_encoding(how_.quantize, tensor.first, tensor.second).has_value();
    });
  }

  Converted write(const fs::path& to) {
    const EncodedTensors encoded(table_, [this](const std::string& name, const TensorTable::Entry& entry) {
      return std::optional(chosen(name, entry));
    });
    TensorsToWrite what{.from = encoded, .tensors = {}, .metadata = metadata(), .threads = how_.threads};
    if (how_.pause) what.written = [this](std::uint64_t) { how_.pause(); };
    const Locate rename = names();
    Converted done;
    for (const auto& [name, tensor] : encoded.tensors()) {
      // A table that two names have is written once.
      if (!what.tensors.emplace(rename ? rename(name).name : name, &tensor).second) continue;
      ++done.tensors, ++done.encodings[info_of(tensor.encoding).name];
    }
    done.bytes = format_.write(to, what, how_.overwrite);
    return done;
  }

 private:
  bool is_gguf() const { return &format_ == &kGgufFormat; }

  Encoding chosen(const std::string& name, const TensorTable::Entry& entry) const {
    const StoredTensor& tensor = *entry.where;
    if (const auto codes = quantized_encoding(how_.quantize, name, entry)) return *codes;
    const bool numbers = has_numbers(entry);
    const std::optional<Encoding> dtype = encoding_of_dtype(how_.dtype);
    if (numbers && is_gguf() && tensor.shape.size() < 2) return Encoding::F32;
    if (numbers && dtype) return *dtype;
    // What describes codes is written as ComfyUI has it, which knows a scale alone.
    const bool described = entry.scale && (is_gguf() || !entry.scaling.only_scales());
    if (!format_.holds(tensor.encoding) || described)
      throw Error(Fault::usage,
                  concat(table_->source(), ": tensor '", printable(name), "' is stored as ",
                         info_of(tensor.encoding).name, entry.scale ? " with scales of its format" : "", ", which ",
                         format_.name, " does not have", numbers ? "; --dtype says what it shall be instead" : ""));
    return tensor.encoding;
  }

  // T5 has llama.cpp's names in GGUF; all others keep theirs.
  Locate names() const {
    const bool t5 = is_gguf() && table_->find("encoder.block.0.layer.0.SelfAttention.q.weight");
    if (!t5) return nullptr;
    std::map<std::string, std::vector<std::int64_t>> parameters;
    for (const auto& [name, entry] : table_->tensors()) parameters[name] = entry.where->shape;
    return original_names(kGgufT5Names, parameters);
  }

  // Descriptions of codes are beside the codes. GGUF's own are numbers, and the writer's; of the reader's texts those
  // that were numbers are of no use to anybody as texts.
  TensorFile::Metadata metadata() const {
    TensorFile::Metadata all = table_->files().front()->metadata();
    all.erase("_quantization_metadata");
    if (!is_gguf()) {
      all.try_emplace("format", "pt");
      return all;
    }
    all.erase("format");
    std::erase_if(all, [](const auto& entry) {
      const std::string& value = entry.second;
      return value == "true" || value == "false" || value.find_first_not_of("0123456789.+-e") == value.npos;
    });
    if (const std::string name = architecture_of(kind_); !name.empty()) all.try_emplace(kArchitecture, name);
    return all;
  }

  std::shared_ptr<const TensorTable> table_;
  const Conversion& how_;
  const WeightFormat& format_;
  FileSummary kind_;
};

const WeightFormat* format_of_name(const fs::path& path) {
  for (const WeightFormat* format : {&kSafetensorsFormat, &kGgufFormat})
    if (path.extension() == format->ending) return format;
  return nullptr;
}

// The tensors of a file, or of a network's folder.
std::shared_ptr<const TensorTable> open_table(const fs::path& path) {
  if (!present(path)) throw Error(Fault::input, concat(path.string(), ": no such model"));
  std::error_code error;
  if (!fs::is_directory(path, error)) return open_single_file(path);
  if (present(path / "model_index.json")) {
    std::vector<std::string> parts;
    for (const ModelPart& part : model_parts())
      if (present(path / part.name / "config.json")) parts.emplace_back((path / part.name).string());
    throw Error(Fault::usage, concat(path.string(), " is a whole model, which becomes a folder: --output without an ",
                                     "ending; for one file name one network: ", joined(parts, ", ")));
  }
  const Config config = Config::read(path / "config.json");
  std::vector<std::string> classes =
      config.json().contains("architectures") ? config.strings("architectures") : std::vector<std::string>();
  classes.push_back(config.string("_class_name", ""));
  for (const std::string& name : classes)
    if (const ComponentClass* type = find_component_class(name))
      return std::make_shared<const TensorTable>(find_weight_files(path, type->stem));
  throw Error(Fault::input,
              concat(path.string(), ": holds the network ", printable(classes.front()), ", which is not supported"));
}

// Is it one of a network's files of weights, or what lists them?
bool holds_weights(const fs::path& file) {
  constexpr std::array endings{".safetensors", ".gguf", ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".h5", ".onnx"};
  return std::ranges::find(endings, file.extension()) != endings.end() ||
         file.filename().string().find(".index.") != std::string::npos;
}

void copy_whole(const fs::path& from, const fs::path& to) {
  const InputFile file(from);
  const auto make = [&file](const Put& put) {
    std::vector<std::byte> piece(1 << 20);
    for (std::uint64_t at = 0; at < file.size(); at += piece.size()) {
      piece.resize(std::min<std::uint64_t>(piece.size(), file.size() - at));
      file.read(at, piece);
      put(piece);
    }
  };
  make_folder(to.parent_path());
  write_file_atomically(to, file.size(), make, /*overwrite=*/false);
}

// A folder that vanishes unless it gets its name.
class NewFolder {
 public:
  explicit NewFolder(const fs::path& target) : target_(target) {
    const fs::path above = target.has_parent_path() ? target.parent_path() : fs::path(".");
    make_folder(above);
    path_ = above / concat(".sdgen-", ::getpid(), ".tmp");
    make_folder(path_);
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  ~NewFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const fs::path& path() const { return path_; }
  void name() {
    std::error_code error;
    fs::rename(path_, target_, error);
    if (error) throw Error(Fault::output, concat(target_.string(), ": the folder cannot be made: ", error.message()));
    path_.clear();
  }

 private:
  fs::path target_, path_;
};

// A pipeline's folder: its networks converted, all else as it is.
Converted convert_folder(const Conversion& how) {
  const fs::path to = (how.to / "").parent_path();  // without a slash at its end
  if (present(to)) throw Error(Fault::output, concat(to.string(), ": exists already; a model gets a new folder"));
  const ModelFiles model = open_model(how.from, [](const std::string&) {});
  NewFolder made(to);
  Converted all;
  for (const Component& c : model.components) {
    FileConversion file(c.tensors, how, kSafetensorsFormat);
    const fs::path folder = made.path() / c.part->name;
    make_folder(folder);
    const Converted done = file.write(folder / concat(c.type->stem, kSafetensorsFormat.ending));
    all.tensors += done.tensors, all.bytes += done.bytes;
    for (const auto& [name, count] : done.encodings) all.encodings[name] += count;
  }
  for (const fs::path& file : files_below(how.from)) {
    const fs::path place = file.lexically_relative(how.from);
    const bool of_network = model.find(place.begin()->string()) != nullptr;
    if (!of_network || !holds_weights(file)) copy_whole(file, made.path() / place);
  }
  made.name();
  return all;
}

}  // namespace

Converted convert(const Conversion& how) {
  std::error_code error;
  const WeightFormat* format = format_of_name(how.to);
  const bool blocks = how.quantize == Quantize::q8_0 || how.quantize == Quantize::q4_k;
  const auto refuse = [&how](const std::string& why) {
    throw Error(Fault::usage, concat("--quantize ", quantize_name(how.quantize), why));
  };
  if (format == &kGgufFormat && !blocks && how.quantize != Quantize::none)
    refuse(" has no place in GGUF: --output NAME.safetensors, or q8_0 or q4_k");
  if (format != &kGgufFormat && blocks) refuse(" are blocks of GGUF: --output NAME.gguf, or float8 or int8");
  if (!format && present(how.from / "model_index.json")) return convert_folder(how);
  if (!format)
    throw Error(Fault::usage,
                concat("--output: '", printable(how.to.string()), "' ends neither with .safetensors nor with .gguf"));
  if (present(how.from) && fs::equivalent(how.from, how.to, error) && !how.overwrite)
    throw Error(Fault::output, concat(how.to.string(), ": is what is read"));
  FileConversion file(open_table(how.from), how, *format);
  if (how.quantize != Quantize::none && !file.has_matrices())
    refuse(concat(" changes nothing: no matrix in ", how.from.string(),
                  " is in numbers, or its rows are no whole blocks"));
  make_folder(how.to.parent_path());
  return file.write(how.to);
}

}  // namespace sdgen
