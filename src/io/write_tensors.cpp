#include "io/write_tensors.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "io/atomic_file.h"
#include "io/gguf.h"
#include "io/json.h"
#include "io/pieces.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::uint64_t kTileBytes = 32 << 20, kGgufAlignment = 32;

using OneTensor = std::pair<std::string, const StoredTensor*>;

[[noreturn]] void refuse_name(const std::string& name, const std::string& why) {
  throw Error(Fault::input, concat("tensor '", printable(name), "' cannot be written: its name ", why));
}

// Puts header and tensors, each padded with zeros to the alignment. Returns the size of it all.
std::uint64_t write_all_of(const std::filesystem::path& path, const std::string& header,
                           const std::vector<OneTensor>& tensors, std::uint64_t alignment, const TensorsToWrite& what,
                           bool overwrite) {
  const auto padded = [alignment](std::uint64_t bytes) { return (bytes + alignment - 1) / alignment * alignment; };
  std::uint64_t size = header.size();
  for (const auto& [name, tensor] : tensors) size += padded(tensor->bytes());
  const auto make = [&](const Put& put) {
    put(std::as_bytes(std::span(header)));
    std::uint64_t done = header.size();
    std::vector<std::byte> tile;
    for (const auto& [name, tensor] : tensors) {
      const EncodingInfo& info = info_of(tensor->encoding);
      const std::uint64_t whole = kTileBytes / info.bytes * info.bytes;
      for (std::uint64_t offset = 0; offset < tensor->bytes(); offset += whole) {
        const std::uint64_t count = std::min(whole, tensor->bytes() - offset);
        tile.resize(count);
        in_pieces(std::int64_t(count / info.bytes), 65536 / info.elements, what.threads,
                  [&, t = tensor](std::int64_t begin, std::int64_t end) {
                    const std::uint64_t first = std::uint64_t(begin) * info.bytes;
                    what.from.read(*t, offset + first,
                                   std::span(tile).subspan(first, std::uint64_t(end) * info.bytes - first));
                  });
        put(tile);
        done += count;
        if (what.written) what.written(done);
      }
      const std::vector<std::byte> padding(padded(tensor->bytes()) - tensor->bytes());
      put(padding);
      done += padding.size();
    }
  };
  write_file_atomically(path, size, make, overwrite);
  return size;
}

// --- safetensors

bool safetensors_holds(Encoding encoding) { return info_of(encoding).elements == 1; }

// Large numbers first, as the reference writer sorts them, so that every tensor is aligned to its own.
std::uint64_t write_safetensors(const std::filesystem::path& path, const TensorsToWrite& what, bool overwrite) {
  std::vector<OneTensor> tensors(what.tensors.begin(), what.tensors.end());
  std::ranges::stable_sort(tensors, std::greater(),
                           [](const OneTensor& t) { return info_of(t.second->encoding).bytes; });
  OrderedJson json = OrderedJson::object();
  if (!what.metadata.empty()) json["__metadata__"] = what.metadata;
  std::uint64_t end = 0;
  for (const auto& [name, tensor] : tensors) {
    if (valid_utf8_prefix(name) != name.size()) refuse_name(name, "is not UTF-8");
    if (name == "__metadata__") refuse_name(name, "means something else there");
    const std::uint64_t begin = end;
    end += tensor->bytes();
    json[name] = {{"dtype", info_of(tensor->encoding).name}, {"shape", tensor->shape}, {"data_offsets", {begin, end}}};
  }
  std::string text = line_of_json(json);
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size();
  std::string header(sizeof length, '\0');
  std::memcpy(header.data(), &length, sizeof length);
  return write_all_of(path, header + text, tensors, 1, what, overwrite);
}

// --- GGUF

// Values of the header, little-endian as the machine is.
class GgufHeader {
 public:
  template <class T>
  void number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(std::string_view value) {
    number(std::uint64_t{value.size()});
    bytes_.append(value);
  }
  void entry(std::string_view key, std::string_view value) {
    text(key);
    number(kString);
    text(value);
  }
  void entry(std::string_view key, std::uint32_t value) {
    text(key);
    number(kUint32);
    number(value);
  }
  void entry(std::string_view key, const std::vector<std::int64_t>& values) {
    text(key);
    number(kArray);
    number(kInt32);
    number(std::uint64_t{values.size()});
    for (const std::int64_t value : values) number(static_cast<std::int32_t>(value));
  }
  void append(std::string_view bytes) { bytes_.append(bytes); }
  std::string bytes() && { return std::move(bytes_); }
  std::string padded() && {
    bytes_.resize((bytes_.size() + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment);
    return std::move(bytes_);
  }

 private:
  static constexpr std::uint32_t kUint32 = 4, kInt32 = 5, kString = 8, kArray = 9;  // types of values
  std::string bytes_;
};

bool gguf_holds(Encoding encoding) { return gguf_type(encoding).has_value(); }

// As a file has it; the tensor's own where that is one that GGUF has.
std::vector<std::int64_t> gguf_shape(const StoredTensor& tensor) {
  constexpr std::size_t kMostDimensions = 4;
  if (tensor.shape.size() <= kMostDimensions && encoded_size(tensor.encoding, tensor.shape)) return tensor.shape;
  const auto elements = static_cast<std::int64_t>(tensor.elements());
  const std::int64_t row =
      info_of(tensor.encoding).elements > 1 ? info_of(tensor.encoding).elements : tensor.shape.back();
  return {elements / row, row};
}

// What llama.cpp calls the type of most bytes: LLAMA_FTYPE of gguf-py's constants.py.
std::uint32_t gguf_file_type(const TensorsToWrite& what) {
  std::map<Encoding, std::uint64_t> bytes;
  for (const auto& [name, tensor] : what.tensors) bytes[tensor->encoding] += tensor->bytes();
  const auto most = std::ranges::max_element(bytes, {}, [](const auto& one) { return one.second; });
  const std::map<Encoding, std::uint32_t> types{
      {Encoding::F32, 0}, {Encoding::F16, 1}, {Encoding::Q8_0, 7}, {Encoding::Q4_K, 14}, {Encoding::BF16, 32}};
  const auto type = most == bytes.end() ? types.end() : types.find(most->first);
  constexpr std::uint32_t guessed = 1024;
  return type == types.end() ? guessed : type->second;
}

std::uint64_t write_gguf(const std::filesystem::path& path, const TensorsToWrite& what, bool overwrite) {
  constexpr std::uint32_t version = 3, quantization_version = 2;
  constexpr std::size_t longest = 127;  // of names: readers refuse longer ones
  const std::vector<OneTensor> tensors(what.tensors.begin(), what.tensors.end());
  GgufHeader entries, infos;
  std::uint64_t count = 2, offset = 0;
  for (const auto& [key, value] : what.metadata) entries.entry(key, value), ++count;
  entries.entry("general.quantization_version", quantization_version);
  entries.entry("general.file_type", gguf_file_type(what));
  for (const auto& [name, tensor] : tensors) {
    if (name.size() > longest) refuse_name(name, concat("has ", name.size(), " bytes, GGUF's have up to ", longest));
    const std::vector<std::int64_t> shape = gguf_shape(*tensor);
    if (shape != tensor->shape) entries.entry(concat("comfy.gguf.orig_shape.", name), tensor->shape), ++count;
    infos.text(name);
    infos.number(static_cast<std::uint32_t>(shape.size()));
    for (auto size = shape.rbegin(); size != shape.rend(); ++size) infos.number(static_cast<std::uint64_t>(*size));
    infos.number(*gguf_type(tensor->encoding));
    infos.number(offset);
    offset += (tensor->bytes() + kGgufAlignment - 1) / kGgufAlignment * kGgufAlignment;
  }
  GgufHeader header;
  header.append(kGgufMagic);
  header.number(version);
  header.number(std::uint64_t{tensors.size()});
  header.number(count);
  header.append(std::move(entries).bytes());
  header.append(std::move(infos).bytes());
  return write_all_of(path, std::move(header).padded(), tensors, kGgufAlignment, what, overwrite);
}

}  // namespace

const WeightFormat kSafetensorsFormat{"safetensors", ".safetensors", safetensors_holds, write_safetensors};
const WeightFormat kGgufFormat{"GGUF", ".gguf", gguf_holds, write_gguf};

}  // namespace sdgen
