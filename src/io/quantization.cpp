#include "io/quantization.h"

#include <algorithm>
#include <array>
#include <optional>

#include "io/decode.h"
#include "io/json.h"
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

// What a layer's description says of its codes.
void require_known(const Json& said, const std::string& who) {
  const auto named = said.find("format");
  const std::string format = named != said.end() && named->is_string() ? named->get<std::string>() : "";
  if (std::ranges::find(kFormats, format) == kFormats.end())
    throw Error(Fault::input, concat(who, " is in the format '", printable(format),
                                     "', which is not supported; get the model in float8, or as GGUF"));
  if (const auto turned = said.find("convrot"); turned != said.end() && *turned != Json(false))
    throw Error(Fault::input,
                concat(who, " is rotated (convrot), which is not supported; get the model in float8, or as GGUF"));
}

Json description(const TensorTable::Entry& entry, const std::string& who) {
  constexpr std::uint64_t kMost = 4096;
  const std::uint64_t size = entry.where->bytes();
  if (entry.where->encoding != Encoding::U8 || size > kMost)
    throw Error(Fault::input, concat(who, " has ", size, " bytes of ", info_of(entry.where->encoding).name,
                                     ", expected a description in JSON"));
  std::string text(size, '\0');
  entry.file->read(*entry.where, 0, std::as_writable_bytes(std::span(text)));
  return parse_json(text, who);
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

std::string beside(std::string_view weight, std::string_view ending) {
  if (!weight.ends_with(kWeight))
    throw Error(Fault::internal, concat("'", printable(weight), "' is no weight, which have scales"));
  return concat(weight.substr(0, weight.size() - kWeight.size()), ending);
}

}  // namespace

std::string scale_name(std::string_view weight) { return beside(weight, kScales[1]); }

std::string description_name(std::string_view weight) { return beside(weight, kFormat); }

std::string description_of(Encoding encoding) {
  const std::string_view format = encoding == Encoding::I8        ? kFormats[2]
                                  : encoding == Encoding::F8_E5M2 ? kFormats[1]
                                                                  : kFormats[0];
  return Json{{"format", format}}.dump();
}

void require_known_formats(const TensorFile& file) {
  const auto found = file.metadata().find("_quantization_metadata");
  if (found == file.metadata().end()) return;
  const std::string path = file.path().string();
  const Json said = parse_json(found->second, path + ": _quantization_metadata");
  const auto layers = said.find("layers");
  if (layers == said.end() || !layers->is_object()) return;
  for (const auto& [layer, description] : layers->items())
    require_known(description, concat(path, ": '", printable(layer), "'"));
}

void take_scales(const std::string& source, TensorEntries& tensors, TensorEntries& scales) {
  std::vector<std::string> layers;
  for (const auto& [name, entry] : tensors) {
    if (has_codes(*entry.where) && name.ends_with(kWeight))
      layers.push_back(name.substr(0, name.size() - kWeight.size()));
    if (name.ends_with(kFormat)) {
      const std::string who = concat(source, ": '", printable(name), "'");
      require_known(description(entry, who), who);
    }
  }
  for (const std::string& layer : layers) {
    TensorTable::Entry& tensor = tensors.find(layer + std::string(kWeight))->second;
    for (const char* ending : kScales) {
      const auto scale = tensors.find(layer + ending);
      if (scale == tensors.end()) continue;
      require_fit(source, scale->first, *scale->second.where, *tensor.where);
      tensor.scale = &scales.emplace(layer + std::string(kWeight), scale->second).first->second;
      tensors.erase(scale);
    }
    for (const char* ending : kOfInputs) tensors.erase(layer + ending);
    tensors.erase(layer + std::string(kFormat));
  }
  std::erase_if(tensors, [](const auto& tensor) {
    const std::string_view name = tensor.first;
    return name == kMarker || (name.ends_with(kMarker) && name[name.size() - kMarker.size() - 1] == '.');
  });
}

}  // namespace sdgen
