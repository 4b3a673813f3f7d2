#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
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

static_assert(std::endian::native == std::endian::little,
              "the format is little-endian, and tensors are read as they are");

[[noreturn]] void fail(const std::string& what) { throw Error(Fault::input, what); }

// What a file that is not safetensors probably is, from its first bytes.
std::string guess(std::string_view head) {
  const auto begins = [&](auto... magic) { return (head.starts_with(magic) || ...); };
  if (begins("version https://git-lfs")) {
    return "it is a Git LFS pointer, not the weights: run `git lfs pull` in the repository it came from";
  }
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

std::uint64_t unsigned_integer(const Json& value, const std::string& who) {
  if (!value.is_number_unsigned()) fail(who + " is not a non-negative integer of 64 bits");
  return value.get<std::uint64_t>();
}

[[noreturn]] void overflow(const std::string& who) { fail(who + ": its shape overflows 64 bits"); }

const Json& member(const Json& tensor, const char* key, const std::string& who) {
  const auto found = tensor.find(key);
  if (found == tensor.end()) fail(concat(who, " has no '", key, "'"));
  return *found;
}

std::vector<std::int64_t> parse_shape(const Json& value, const std::string& who) {
  if (!value.is_array()) fail(who + ": its shape is not a list");
  if (value.size() > kMaxRank) {
    fail(concat(who, " has ", value.size(), " dimensions, sdgen reads up to ", kMaxRank));
  }
  std::vector<std::int64_t> shape;
  for (const Json& dimension : value) {
    const std::uint64_t size = unsigned_integer(dimension, concat(who, ": dimension ", shape.size(), " of its shape"));
    if (size > INT64_MAX) overflow(who);
    shape.push_back(static_cast<std::int64_t>(size));
  }
  return shape;
}

// Checks one entry by itself. Its offsets stay relative to the data.
StoredTensor parse_tensor(const Json& value, const std::string& who) {
  if (!value.is_object()) fail(who + " is not described by an object");
  const Json& dtype = member(value, "dtype", who);
  if (!dtype.is_string()) fail(who + ": its dtype is not a string");
  const std::string& name = dtype.get_ref<const std::string&>();
  const std::optional<Encoding> encoding = find_encoding(name);
  if (!encoding && (name == "F4" || name.starts_with("F6_"))) {
    fail(who + " has dtype " + name + ", which packs several elements into a byte: sdgen does not read it");
  }
  if (!encoding || info_of(*encoding).elements > 1)  // blocks are other formats'
    fail(who + " has dtype '" + printable(name) + "', which sdgen does not know");

  StoredTensor entry{*encoding, parse_shape(member(value, "shape", who), who), 0, 0};
  const std::optional<std::uint64_t> bytes = encoded_size(entry.encoding, entry.shape);
  if (!bytes) overflow(who);
  const Json& offsets = member(value, "data_offsets", who);
  if (!offsets.is_array() || offsets.size() != 2) fail(who + ": its data_offsets are not a list of two");
  entry.begin = unsigned_integer(offsets[0], who + ": the begin of its data_offsets");
  entry.end = unsigned_integer(offsets[1], who + ": the end of its data_offsets");
  if (entry.begin > entry.end) {
    fail(concat(who, ": its data_offsets [", entry.begin, ", ", entry.end, "] run backwards"));
  }
  if (*bytes != entry.bytes()) {
    fail(concat(who, ": its shape and dtype need ", *bytes, " bytes, its data_offsets [", entry.begin, ", ", entry.end,
                "] hold ", entry.bytes()));
  }
  return entry;
}

// Requires the tensors to cover `data_size` bytes without holes and overlaps. Whatever lies outside of tensors could be
// a second file in another format that some other program would see in this one.
void check_tiling(const TensorFile::Tensors& tensors, std::uint64_t data_size, const std::string& who) {
  std::vector<const TensorFile::Tensors::value_type*> sorted;
  sorted.reserve(tensors.size());
  for (const auto& tensor : tensors) sorted.push_back(&tensor);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  std::uint64_t covered = 0;
  std::string last = "the header";
  for (const auto* tensor : sorted) {
    const StoredTensor& entry = tensor->second;
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
  TensorFile::Tensors tensors;
  TensorFile::Metadata metadata;
};

TensorFile::Metadata parse_metadata(const Json& value, const std::string& who) {
  if (!value.is_object()) fail(who + ": __metadata__ is not an object");
  TensorFile::Metadata metadata;
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

Safetensors::Safetensors(InputFile file) : OpenTensorFile(std::move(file)) {
  Header header = read_header(file_);
  tensors_ = std::move(header.tensors);
  metadata_ = std::move(header.metadata);
}

}  // namespace sdgen
