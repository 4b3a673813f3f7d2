#include "io/quantization.h"

#include <algorithm>
#include <array>
#include <set>

#include "io/bitsandbytes.h"
#include "io/decode.h"
#include "io/foreign_codes.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::string_view kWeight = ".weight", kFormat = ".comfy_quant", kMarker = "scaled_fp8";
constexpr std::array kScales{".scale_weight", ".weight_scale"};
constexpr std::array kOfInputs{".scale_input", ".input_scale"};  // for products in float8
constexpr std::array<std::string_view, 3> kFormats{"float8_e4m3fn", "float8_e5m2", "int8_tensorwise"};

bool has_codes(const StoredTensor& tensor) {
  using enum Encoding;
  return tensor.encoding == F8_E4M3 || tensor.encoding == F8_E5M2 || tensor.encoding == I8;
}

bool is_power_of_4(std::uint64_t n) { return n > 1 && (n & (n - 1)) == 0 && (n & 0x5555555555555555) != 0; }

// What a layer's description says of its codes: the groups that were rotated, 0 where none were.
std::uint32_t rotation_in(const Json& said, const std::string& who) {
  const auto named = said.find("format");
  const std::string format = named != said.end() && named->is_string() ? named->get<std::string>() : "";
  if (std::ranges::find(kFormats, format) == kFormats.end())
    throw Error(Fault::input, concat(who, " is in the format '", printable(format),
                                     "', which is not supported; get the model in float8, or as GGUF"));
  const auto turned = said.find("convrot");
  if (turned == said.end() || *turned == Json(false)) return 0;
  constexpr std::uint64_t kUsual = 256, kMost = 65536;
  const auto size = said.find("convrot_groupsize");
  const std::uint64_t group = size == said.end() ? kUsual : size->is_number_unsigned() ? size->get<std::uint64_t>() : 0;
  if (*turned != Json(true) || !is_power_of_4(group) || group > kMost || format != "int8_tensorwise")
    throw Error(Fault::input,
                concat(who, " is rotated (convrot) in groups of ",
                       size == said.end() ? std::to_string(kUsual) : printable(line_of_json(*size)), " and format '",
                       printable(format), "', expected int8_tensorwise and a power of 4 up to ", kMost));
  return static_cast<std::uint32_t>(group);
}

// Layers that a file's metadata describe -> the groups that were rotated.
std::map<std::string, std::uint32_t> layers_in(const TensorFile& file) {
  std::map<std::string, std::uint32_t> rotations;
  const auto found = file.metadata().find("_quantization_metadata");
  if (found == file.metadata().end()) return rotations;
  const std::string path = file.path().string();
  const Json said = parse_json(found->second, path + ": _quantization_metadata");
  const auto layers = said.find("layers");
  if (layers == said.end() || !layers->is_object()) return rotations;
  for (const auto& [layer, description] : layers->items())
    rotations[layer] = rotation_in(description, concat(path, ": '", printable(layer), "'"));
  return rotations;
}

// The scale of a tensor: one number, or one of each row.
void require_fit(const std::string& source, const std::string& name, const StoredTensor& scale,
                 const StoredTensor& tensor) {
  const auto fail = [&](const auto&... what) {
    throw Error(Fault::input, concat(source, ": the scale '", printable(name), "' ", what...));
  };
  if (!decodes(scale.encoding) || has_codes(scale)) fail("is stored as ", info_of(scale.encoding).name);
  const auto rows = static_cast<std::uint64_t>(tensor.shape.empty() ? 1 : tensor.shape[0]);
  if (scale.elements() == 0 || (scale.elements() != 1 && scale.elements() != rows))
    fail("has ", scale.elements(), " numbers, expected one, or one for each of the ", rows, " rows");
}

// Of what ComfyUI writes. `rotations`: of the layers that metadata describe.
void describe_scaled(const std::string& source, TensorEntries& tensors, TensorTable::Described& described,
                     std::map<std::string, std::uint32_t> rotations) {
  std::vector<std::string> layers;
  for (const auto& [name, entry] : tensors) {
    if (has_codes(*entry.where) && !entry.scale && name.ends_with(kWeight))
      layers.push_back(name.substr(0, name.size() - kWeight.size()));
    if (name.ends_with(kFormat)) {
      const std::string who = concat(source, ": '", printable(name), "'");
      rotations[name.substr(0, name.size() - kFormat.size())] = rotation_in(json_in(entry, who), who);
    }
  }
  for (const std::string& layer : layers) {
    TensorTable::Entry& tensor = tensors.find(layer + std::string(kWeight))->second;
    for (const char* ending : kScales) {
      TensorTable::Entry* scale = take(tensors, described, layer + ending);
      if (!scale) continue;
      require_fit(source, layer + ending, *scale->where, *tensor.where);
      tensor.scale = scale;
      tensor.scaling.span = std::max<std::uint64_t>(1, tensor.where->elements() / scale->where->elements());
    }
    if (const auto group = rotations.find(layer); group != rotations.end() && group->second != 0) {
      const std::int64_t row = tensor.where->shape.empty() ? 1 : tensor.where->shape.back();
      if (tensor.where->shape.size() != 2 || row % group->second != 0)
        throw Error(Fault::input,
                    concat(source, ": '", printable(layer), kWeight, "' is rotated (convrot) in groups of ",
                           group->second, ", which do not divide the rows of ", print_shape(tensor.where->shape)));
      tensor.scaling.rotated = group->second;
    }
    for (const char* ending : kOfInputs) tensors.erase(layer + ending);
    tensors.erase(layer + std::string(kFormat));
  }
  std::erase_if(tensors, [](const auto& tensor) {
    const std::string_view name = tensor.first;
    return name == kMarker || (name.ends_with(kMarker) && name[name.size() - kMarker.size() - 1] == '.');
  });
}

}  // namespace

Json json_in(const TensorTable::Entry& entry, const std::string& who) {
  constexpr std::uint64_t kMost = 4096;
  const std::uint64_t size = entry.where->bytes();
  if (entry.where->encoding != Encoding::U8 || size > kMost)
    throw Error(Fault::input, concat(who, " has ", size, " bytes of ", info_of(entry.where->encoding).name,
                                     ", expected a description in JSON"));
  std::string text(size, '\0');
  entry.file->read(*entry.where, 0, std::as_writable_bytes(std::span(text)));
  return parse_json(text, who);
}

TensorTable::Entry* take(TensorEntries& tensors, TensorTable::Described& described, const std::string& name) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) return nullptr;
  TensorTable::Entry& taken = described.scales.emplace(name, found->second).first->second;
  tensors.erase(found);
  return &taken;
}

void describe_codes(const std::string& source, TensorEntries& tensors, TensorTable::Described& described) {
  std::map<std::string, std::uint32_t> rotations;
  std::set<const TensorFile*> files;
  for (const auto& [name, entry] : tensors)
    if (files.insert(entry.file).second) rotations.merge(layers_in(*entry.file));
  describe_bitsandbytes(source, tensors, described);
  describe_scaled(source, tensors, described, std::move(rotations));
  refuse_foreign_codes(source, tensors);
}

}  // namespace sdgen
