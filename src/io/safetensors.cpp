#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <string_view>
#include <utility>

#include "io/json.h"
#include "io/pickle.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// The format's own limit (the reference implementation's MAX_HEADER_SIZE), and three of ours: networks of today have
// some thousand tensors of up to 5 dimensions, while a legal header could demand gigabytes of memory for its names
// alone.
constexpr std::uint64_t kMaxHeader = 100'000'000;  // bytes
constexpr std::size_t kMaxTensors = 200'000;
constexpr std::size_t kMaxRank = 8;
constexpr std::size_t kMaxValues = kMaxTensors * (6 + kMaxRank);  // JSON values in the header, metadata included
constexpr std::uint64_t kPrefix = 8;                              // bytes that hold the header's size

struct DtypeRow {
  const char* name;
  std::size_t size;
};
constexpr std::array<DtypeRow, 15> kDtypes{{{"BOOL", 1},
                                            {"U8", 1},
                                            {"I8", 1},
                                            {"F8_E4M3", 1},
                                            {"F8_E5M2", 1},
                                            {"I16", 2},
                                            {"U16", 2},
                                            {"F16", 2},
                                            {"BF16", 2},
                                            {"I32", 4},
                                            {"U32", 4},
                                            {"F32", 4},
                                            {"F64", 8},
                                            {"I64", 8},
                                            {"U64", 8}}};
static_assert(kDtypes.size() == static_cast<std::size_t>(Dtype::U64) + 1);
static_assert(std::endian::native == std::endian::little,
              "the format is little-endian, and tensors are read as they are");

[[noreturn]] void fail(const std::string& what) { throw Error(Fault::input, what); }

// What a file that is not safetensors probably is, from its first bytes.
std::string guess(std::string_view head) {
  const auto begins = [&](auto... magic) { return (head.starts_with(magic) || ...); };
  if (begins("version https://git-lfs")) {
    return "it is a Git LFS pointer, not the weights: run `git lfs pull` in the repository it came from";
  }
  if (begins("GGUF")) return "it is a GGUF file, which sdgen does not read: get the model as safetensors";
  if (begins_like_pickle(head)) return "it " + pickle_refusal();
  if (begins("\x89HDF")) return "it is an HDF5 file: get the model as safetensors";
  if (begins("\x1f\x8b", "\x28\xB5\x2F\xFD")) {  // gzip, zstd
    return "it is a compressed file: unpack it first";
  }
  const std::size_t text = std::min(head.find_first_not_of(" \t\r\n"), head.size());
  if (head.substr(text).starts_with('<')) {
    return "it is a web page, not the weights: the download got an error or login page";
  }
  if (head.substr(text).starts_with('{')) {
    return "it is JSON, not the weights: an index file, or the download got an error message";
  }
  if (std::all_of(head.begin(), head.end(), [](unsigned char c) { return c >= ' ' && c < 0x7F; })) {
    return concat("it is text, not the weights, and begins with '", head, "'");
  }
  return "its first 8 bytes should hold the header's size (incomplete or damaged download?)";
}

std::optional<Dtype> parse_dtype(std::string_view name) {
  for (std::size_t i = 0; i < kDtypes.size(); ++i) {
    if (name == kDtypes[i].name) return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

// a * b, empty when it does not fit into 63 bits (sizes and offsets are signed in torch and in the kernel).
std::optional<std::uint64_t> checked_product(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product) || product > INT64_MAX) return std::nullopt;
  return product;
}

std::uint64_t unsigned_integer(const Json& value, const std::string& who) {
  if (!value.is_number_unsigned()) fail(who + " is not a non-negative integer of 64 bits");
  return value.get<std::uint64_t>();
}

const Json& member(const Json& tensor, const char* key, const std::string& who) {
  const auto found = tensor.find(key);
  if (found == tensor.end()) fail(concat(who, " has no '", key, "'"));
  return *found;
}

std::vector<std::int64_t> parse_shape(const Json& value, std::size_t element_size, const std::string& who) {
  if (!value.is_array()) fail(who + ": its shape is not a list");
  if (value.size() > kMaxRank) {
    fail(concat(who, " has ", value.size(), " dimensions, sdgen reads up to ", kMaxRank));
  }
  std::vector<std::int64_t> shape;
  // Dimensions of 0 are left out of the product: [0, 2^62, 2^62] has no elements, but its strides overflow all the
  // same.
  std::optional<std::uint64_t> bytes = element_size;
  for (const Json& dimension : value) {
    const std::uint64_t size = unsigned_integer(dimension, concat(who, ": dimension ", shape.size(), " of its shape"));
    bytes = checked_product(*bytes, std::max<std::uint64_t>(size, 1));
    if (!bytes) fail(who + ": its shape overflows 64 bits");
    shape.push_back(static_cast<std::int64_t>(size));
  }
  return shape;
}

// Checks one entry by itself. Its offsets stay relative to the data.
TensorEntry parse_tensor(const Json& value, const std::string& who) {
  if (!value.is_object()) fail(who + " is not described by an object");
  const Json& dtype_name = member(value, "dtype", who);
  if (!dtype_name.is_string()) fail(who + ": its dtype is not a string");
  const std::string& name = dtype_name.get_ref<const std::string&>();
  const std::optional<Dtype> dtype = parse_dtype(name);
  if (!dtype && (name == "F4" || name.starts_with("F6_"))) {
    fail(who + " has dtype " + name + ", which packs several elements into a byte: sdgen does not read it");
  }
  if (!dtype) fail(who + " has dtype '" + printable(name) + "', which sdgen does not know");

  TensorEntry entry{*dtype, parse_shape(member(value, "shape", who), dtype_size(*dtype), who), 0, 0};
  const Json& offsets = member(value, "data_offsets", who);
  if (!offsets.is_array() || offsets.size() != 2) fail(who + ": its data_offsets are not a list of two");
  entry.begin = unsigned_integer(offsets[0], who + ": the begin of its data_offsets");
  entry.end = unsigned_integer(offsets[1], who + ": the end of its data_offsets");
  if (entry.begin > entry.end) {
    fail(concat(who, ": its data_offsets [", entry.begin, ", ", entry.end, "] run backwards"));
  }
  std::uint64_t bytes = dtype_size(*dtype);
  for (const std::int64_t size : entry.shape) bytes *= static_cast<std::uint64_t>(size);
  if (bytes != entry.end - entry.begin) {
    fail(concat(who, ": its shape and dtype need ", bytes, " bytes, its data_offsets [", entry.begin, ", ", entry.end,
                "] hold ", entry.end - entry.begin));
  }
  return entry;
}

using Tensors = std::map<std::string, TensorEntry, std::less<>>;

// Requires the tensors to cover `data_size` bytes without holes and overlaps. Whatever lies outside of tensors could be
// a second file in another format that some other program would see in this one.
void check_tiling(const Tensors& tensors, std::uint64_t data_size, const std::string& who) {
  std::vector<const Tensors::value_type*> sorted;
  sorted.reserve(tensors.size());
  for (const auto& tensor : tensors) sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  std::uint64_t covered = 0;
  std::string last = "the header";
  for (const auto* tensor : sorted) {
    const TensorEntry& entry = tensor->second;
    const std::string name = "tensor '" + printable(tensor->first) + "'";
    if (entry.begin != covered) {
      fail(concat(who, ": ", name, " begins at byte ", entry.begin, " of the data, but ", last, " ends at ", covered,
                  ": ", entry.begin < covered ? "they overlap" : "there is a hole between them"));
    }
    covered = entry.end;
    last = name;
  }
  if (covered > data_size) {
    fail(concat(who, ": the header promises ", covered, " bytes of tensors, the file has ", data_size,
                " (incomplete download?)"));
  }
  if (covered < data_size) {
    fail(concat(who, ": ", data_size - covered, " bytes follow after the last tensor, which belong to none"));
  }
}

struct Header {
  Tensors tensors;
  std::map<std::string, std::string> metadata;
};

std::map<std::string, std::string> parse_metadata(const Json& value, const std::string& who) {
  if (!value.is_object()) fail(who + ": __metadata__ is not an object");
  std::map<std::string, std::string> metadata;
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) fail(who + ": __metadata__ '" + printable(key) + "' is not a string");
    metadata.emplace(key, text.get<std::string>());
  }
  return metadata;
}

Header read_header(const InputFile& file) {
  const std::string who = file.path().string();
  if (file.size() < kPrefix) {
    fail(concat(who, ": has ", file.size(), " bytes, too few for a safetensors file (incomplete download?)"));
  }
  std::uint64_t size = 0;
  file.read(0, std::as_writable_bytes(std::span(&size, 1)));
  if (size > kMaxHeader) {
    std::array<char, 32> head{};
    const std::size_t length = file.read_some(0, std::as_writable_bytes(std::span(head)));
    fail(concat(who, ": is not a safetensors file: its header would have ", size, " bytes, the format allows ",
                kMaxHeader, "; ", guess(std::string_view(head.data(), length))));
  }
  if (size > file.size() - kPrefix) {
    fail(concat(who, ": its header has ", size, " bytes, but only ", file.size() - kPrefix,
                " are there (incomplete download?)"));
  }
  std::string text(size, '\0');
  file.read(kPrefix, std::as_writable_bytes(std::span(text)));
  if (const auto first = text.find_first_not_of(" \t\r\n"); first == std::string::npos || text[first] != '{') {
    fail(concat(who, ": is not a safetensors file: its header of ", size, " bytes is not a JSON object",
                size == 0 ? " (a download that reserved the space and never came?)" : ""));
  }
  const Json json = parse_json(text, who + ": header", 4, kMaxValues);
  if (json.size() > kMaxTensors) {
    fail(concat(who, ": has ", json.size(), " tensors, sdgen reads up to ", kMaxTensors));
  }

  Header header;
  for (const auto& [name, value] : json.items()) {
    if (name == "__metadata__") {
      header.metadata = parse_metadata(value, who);
    } else {
      header.tensors.emplace(name, parse_tensor(value, who + ": tensor '" + printable(name) + "'"));
    }
  }
  const std::uint64_t data = kPrefix + size;
  check_tiling(header.tensors, file.size() - data, who);
  for (auto& [name, entry] : header.tensors) {
    entry.begin += data;
    entry.end += data;
  }
  return header;
}

}  // namespace

std::size_t dtype_size(Dtype dtype) { return kDtypes[static_cast<std::size_t>(dtype)].size; }

const char* dtype_name(Dtype dtype) { return kDtypes[static_cast<std::size_t>(dtype)].name; }

Safetensors::Safetensors(std::filesystem::path path) : file_(std::move(path)) {
  Header header = read_header(file_);
  tensors_ = std::move(header.tensors);
  metadata_ = std::move(header.metadata);
}

void Safetensors::read(const TensorEntry& tensor, std::uint64_t offset, std::span<std::byte> out) const {
  const std::uint64_t size = tensor.end - tensor.begin;
  if (offset > size || out.size() > size - offset) {
    throw Error(Fault::internal, concat(path().string(), ": bytes ", offset, " to ", offset + out.size(),
                                        " of a tensor of ", size, " were asked for"));
  }
  file_.read(tensor.begin + offset, out);
}

}  // namespace sdgen
