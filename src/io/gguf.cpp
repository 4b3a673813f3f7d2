#include "io/gguf.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <string>

#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace gguf {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is little-endian, and is read as it is");

// Ours: a legal header could demand gigabytes of memory. Vocabularies of some 150,000 words are in some.
constexpr std::uint64_t kMostHeader = 256'000'000;  // bytes
constexpr std::uint64_t kMostTensors = 200'000, kMostEntries = 65'536;
constexpr std::uint64_t kMostName = 1024, kMostText = 1'000'000;  // bytes
constexpr std::uint32_t kMostRank = 4;                            // the format's (GGML_MAX_DIMS)
constexpr std::uint64_t kMostAlignment = 1 << 20;

constexpr std::string_view kAlignment = "general.alignment", kShape = "comfy.gguf.orig_shape.";

// ggml's types of tensors, by their numbers: those that can be read, and the names of those that cannot.
struct TensorType {
  std::uint32_t number;
  const char* name;
  std::optional<Encoding> encoding;
};
constexpr TensorType kTypes[] = {
    {0, "F32", Encoding::F32},        {1, "F16", Encoding::F16},     {2, "Q4_0", Encoding::Q4_0},
    {3, "Q4_1", Encoding::Q4_1},      {6, "Q5_0", Encoding::Q5_0},   {7, "Q5_1", Encoding::Q5_1},
    {8, "Q8_0", Encoding::Q8_0},      {9, "Q8_1", std::nullopt},     {10, "Q2_K", Encoding::Q2_K},
    {11, "Q3_K", Encoding::Q3_K},     {12, "Q4_K", Encoding::Q4_K},  {13, "Q5_K", Encoding::Q5_K},
    {14, "Q6_K", Encoding::Q6_K},     {15, "Q8_K", std::nullopt},    {16, "IQ2_XXS", std::nullopt},
    {17, "IQ2_XS", std::nullopt},     {18, "IQ3_XXS", std::nullopt}, {19, "IQ1_S", std::nullopt},
    {20, "IQ4_NL", Encoding::IQ4_NL}, {21, "IQ3_S", std::nullopt},   {22, "IQ2_S", std::nullopt},
    {23, "IQ4_XS", std::nullopt},     {24, "I8", Encoding::I8},      {25, "I16", Encoding::I16},
    {26, "I32", Encoding::I32},       {27, "I64", Encoding::I64},    {28, "F64", Encoding::F64},
    {29, "IQ1_M", std::nullopt},      {30, "BF16", Encoding::BF16},  {34, "TQ1_0", std::nullopt},
    {35, "TQ2_0", std::nullopt},      {39, "MXFP4", std::nullopt},   {40, "NVFP4", std::nullopt},
};

// Types of metadata.
enum class Kind : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };
constexpr std::uint64_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

// Reads a header from its beginning to its end.
class HeaderReader {
 public:
  explicit HeaderReader(const InputFile& file) : file_(file) {}

  template <class... Words>
  [[noreturn]] void fail(const Words&... words) const {
    throw Error(Fault::input, concat(file_.path().string(), ": ", words...));
  }

  std::uint64_t at() const { return at_; }

  void bytes(std::span<std::byte> out, const std::string& what) {
    require(out.size(), what);
    file_.read(at_, out);
    at_ += out.size();
  }
  template <class T>
  T number(const std::string& what) {
    // Small reads from memory: a header has some thousand of them.
    if (at_ < begin_ || at_ + sizeof(T) > begin_ + length_) {
      require(sizeof(T), what);
      begin_ = at_;
      length_ = file_.read_some(at_, std::as_writable_bytes(std::span(buffer_)));
      if (length_ < sizeof(T)) fail("ends within ", what, " (incomplete download?)");
    }
    T value;
    std::copy_n(buffer_ + (at_ - begin_), sizeof value, reinterpret_cast<char*>(&value));
    at_ += sizeof value;
    return value;
  }
  std::string text(std::uint64_t most, const std::string& what) {
    const auto size = number<std::uint64_t>("the length of " + what);
    if (size > most) fail(what, " has ", size, " bytes, sdgen reads up to ", most, " (a damaged file?)");
    std::string text(size, '\0');
    bytes(std::as_writable_bytes(std::span(text)), what);
    return text;
  }
  void skip(std::uint64_t size, const std::string& what) {
    require(size, what);
    at_ += size;
  }

 private:
  void require(std::uint64_t size, const std::string& what) const {
    if (size > file_.size() - at_)
      fail("ends within ", what, ": ", file_.size() - at_, " of ", size, " bytes are there (incomplete download?)");
    if (at_ + size > kMostHeader)
      fail("its header has more than ", kMostHeader, " bytes, which sdgen does not read (a damaged file?)");
  }

  const InputFile& file_;
  std::uint64_t at_ = 0, begin_ = 0, length_ = 0;
  char buffer_[1 << 14];
};

Kind kind_of(HeaderReader& header, const std::string& who) {
  const auto kind = header.number<std::uint32_t>("the type of " + who);
  if (kind > static_cast<std::uint32_t>(Kind::f64)) header.fail(who, " has type ", kind, ", which GGUF does not have");
  return Kind{kind};
}

// A value, as text; nothing for a list.
std::string value_of(HeaderReader& header, Kind kind, const std::string& who) {
  switch (kind) {
    case Kind::u8:
      return std::to_string(header.number<std::uint8_t>(who));
    case Kind::i8:
      return std::to_string(header.number<std::int8_t>(who));
    case Kind::u16:
      return std::to_string(header.number<std::uint16_t>(who));
    case Kind::i16:
      return std::to_string(header.number<std::int16_t>(who));
    case Kind::u32:
      return std::to_string(header.number<std::uint32_t>(who));
    case Kind::i32:
      return std::to_string(header.number<std::int32_t>(who));
    case Kind::f32:
      return concat(header.number<float>(who));
    case Kind::boolean:
      return header.number<std::uint8_t>(who) ? "true" : "false";
    case Kind::u64:
      return std::to_string(header.number<std::uint64_t>(who));
    case Kind::i64:
      return std::to_string(header.number<std::int64_t>(who));
    case Kind::f64:
      return concat(header.number<double>(who));
    case Kind::string:
      return header.text(kMostText, who);
    case Kind::array:
      break;
  }
  return "";
}

struct Parsed {
  TensorFile::Tensors tensors;
  TensorFile::Metadata metadata;
  std::map<std::string, std::vector<std::int64_t>> shapes;  // that tensors had before
  std::uint64_t alignment = 32;
};

// A list: of shapes its numbers, of others nothing.
std::vector<std::int64_t> list_of(HeaderReader& header, bool wanted, const std::string& who) {
  const Kind kind = kind_of(header, who);
  const auto count = header.number<std::uint64_t>("the length of " + who);
  std::vector<std::int64_t> numbers;
  if (kind == Kind::array) header.fail(who, " is a list of lists, which sdgen does not read");
  if (wanted && (kind == Kind::i32 || kind == Kind::u32) && count <= 8) {
    for (std::uint64_t i = 0; i < count; ++i) numbers.push_back(std::stoll(value_of(header, kind, who)));
  } else if (kind == Kind::string) {
    if (count > kMostHeader) header.fail(who, " has ", count, " strings (a damaged file?)");
    for (std::uint64_t i = 0; i < count; ++i) header.skip(header.number<std::uint64_t>(who), who);
  } else {
    const std::uint64_t size = kSizes[static_cast<std::size_t>(kind)];
    if (count > kMostHeader / size) header.fail(who, " has ", count, " numbers (a damaged file?)");
    header.skip(count * size, who);
  }
  return numbers;
}

void read_entry(HeaderReader& header, Parsed& parsed) {
  const std::string key = header.text(kMostName, "a key of the metadata");
  const std::string who = concat("metadata '", printable(key), "'");
  const Kind kind = kind_of(header, who);
  if (kind == Kind::array) {
    if (key == kAlignment) header.fail(who, " is a list, expected a number");
    const bool shape = key.starts_with(kShape);
    std::vector<std::int64_t> numbers = list_of(header, shape, who);
    if (shape && !parsed.shapes.emplace(key.substr(kShape.size()), std::move(numbers)).second)
      header.fail(who, " is there twice");
    return;
  }
  std::string value = value_of(header, kind, who);
  if (key == kAlignment) {
    const bool number = kind == Kind::u32 || kind == Kind::u64;
    parsed.alignment = number && value.size() < 10 ? std::stoull(value) : 0;
    if (!std::has_single_bit(parsed.alignment) || parsed.alignment > kMostAlignment)
      header.fail(who, " is ", printable(value), ", expected a power of two up to ", kMostAlignment);
  }
  if (!parsed.metadata.emplace(key, std::move(value)).second) header.fail(who, " is there twice");
}

Encoding encoding_of(const HeaderReader& header, std::uint32_t number, const std::string& who) {
  const auto type = std::ranges::find(kTypes, number, &TensorType::number);
  if (type == std::end(kTypes)) header.fail(who, " is of type ", number, ", which sdgen does not know");
  if (!type->encoding)
    header.fail(who, " is stored as ", type->name, ", which sdgen does not read; get the model as Q8_0 or Q4_K");
  return *type->encoding;
}

// Its offsets stay relative to the data.
void read_tensor(HeaderReader& header, Parsed& parsed) {
  const std::string name = header.text(kMostName, "the name of a tensor");
  const std::string who = concat("tensor '", printable(name), "'");
  const auto rank = header.number<std::uint32_t>("the rank of " + who);
  if (rank > kMostRank) header.fail(who, " has ", rank, " dimensions, GGUF has up to ", kMostRank);
  std::vector<std::int64_t> shape;
  for (std::uint32_t i = 0; i < rank; ++i) {
    const auto size = header.number<std::uint64_t>("the shape of " + who);
    if (size > INT64_MAX) header.fail(who, ": its shape overflows 64 bits");
    shape.insert(shape.begin(), static_cast<std::int64_t>(size));  // the format says the fastest first
  }
  StoredTensor tensor{encoding_of(header, header.number<std::uint32_t>("the type of " + who), who), shape, 0, 0};
  const EncodingInfo& info = info_of(tensor.encoding);
  if (const std::int64_t row = shape.empty() ? 1 : shape.back(); row % info.elements != 0)
    header.fail(who, ": its rows of ", row, " numbers are no whole blocks of ", info.name, ", which have ",
                info.elements);
  const std::optional<std::uint64_t> size = encoded_size(tensor.encoding, shape);
  if (!size) header.fail(who, ": its shape overflows 64 bits");
  tensor.begin = header.number<std::uint64_t>("the offset of " + who);
  if (tensor.begin > INT64_MAX - *size) header.fail(who, ": its offset ", tensor.begin, " overflows 64 bits");
  tensor.end = tensor.begin + *size;
  if (!parsed.tensors.emplace(name, std::move(tensor)).second) header.fail(who, " is there twice");
}

// Requires tensors that begin where the format has them, do not overlap, and lie in the file; between them there is
// padding alone.
void check_data(const HeaderReader& header, const Parsed& parsed, std::uint64_t size) {
  std::vector<const TensorFile::Tensors::value_type*> sorted;
  for (const auto& tensor : parsed.tensors) sorted.push_back(&tensor);
  std::ranges::sort(sorted, {}, [](const auto* tensor) { return std::pair(tensor->second.begin, tensor->second.end); });
  std::uint64_t covered = 0;
  for (const auto* tensor : sorted) {
    const auto& [name, where] = *tensor;
    const std::string who = concat("tensor '", printable(name), "'");
    if (where.begin % parsed.alignment != 0)
      header.fail(who, " begins at byte ", where.begin, " of the data, which ", parsed.alignment,
                  ", the alignment, does not divide");
    if (where.begin < covered) header.fail(who, " begins at byte ", where.begin, " of the data, within another tensor");
    if (where.begin - covered >= parsed.alignment)
      header.fail(who, " begins at byte ", where.begin, " of the data, but what lies before it ends at ", covered,
                  ": there is a hole between them");
    if (where.end > size)
      header.fail(who, " ends at byte ", where.end, " of the data, the file has ", size, " (incomplete download?)");
    covered = where.end;
  }
  if (size - covered >= parsed.alignment)
    header.fail(size - covered, " bytes follow after the last tensor, which belong to none");
}

// The shapes that tensors had before they were made of blocks.
void restore_shapes(const HeaderReader& header, Parsed& parsed) {
  for (auto& [name, shape] : parsed.shapes) {
    const auto found = parsed.tensors.find(name);
    const std::string who = concat("metadata '", kShape, printable(name), "'");
    if (found == parsed.tensors.end()) header.fail(who, " is the shape of no tensor");
    std::uint64_t count = 1;
    for (const std::int64_t size : shape)
      if (size <= 0 || __builtin_mul_overflow(count, static_cast<std::uint64_t>(size), &count))
        header.fail(who, " is no shape");
    if (shape.empty() || count != found->second.elements())
      header.fail(who, " has ", shape.empty() ? 0 : count, " numbers, the tensor ", found->second.elements());
    found->second.shape = std::move(shape);
  }
}

Parsed parse(const InputFile& file) {
  HeaderReader header(file);
  header.skip(kGgufMagic.size(), "its first bytes");
  const auto version = header.number<std::uint32_t>("its version");
  if (version != 2 && version != 3) {
    const bool turned = version == 0x02000000 || version == 0x03000000;
    header.fail("is GGUF of version ", version, turned ? " (of a big-endian machine?)" : "", ", sdgen reads 2 and 3");
  }
  const auto tensors = header.number<std::uint64_t>("the number of its tensors"),
             entries = header.number<std::uint64_t>("the number of its metadata");
  if (tensors > kMostTensors) header.fail("has ", tensors, " tensors, sdgen reads up to ", kMostTensors);
  if (entries > kMostEntries) header.fail("has ", entries, " entries of metadata, sdgen reads up to ", kMostEntries);
  Parsed parsed;
  for (std::uint64_t i = 0; i < entries; ++i) read_entry(header, parsed);
  for (std::uint64_t i = 0; i < tensors; ++i) read_tensor(header, parsed);
  const std::uint64_t data = (header.at() + parsed.alignment - 1) / parsed.alignment * parsed.alignment;
  if (tensors > 0 && data > file.size()) header.fail("ends before the data (incomplete download?)");
  check_data(header, parsed, file.size() - std::min(data, file.size()));
  restore_shapes(header, parsed);
  for (auto& [name, tensor] : parsed.tensors) {
    tensor.begin += data;
    tensor.end += data;
  }
  return parsed;
}

// A list that is wanted.
void read_list(HeaderReader& header, const std::string& key, const std::string& who, GgufLists& lists) {
  const Kind kind = kind_of(header, who);
  const auto count = header.number<std::uint64_t>("the length of " + who);
  if (kind == Kind::array) header.fail(who, " is a list of lists, which sdgen does not read");
  constexpr std::uint64_t most = 10'000'000;
  if (count > most) header.fail(who, " has ", count, " entries, sdgen reads up to ", most, " (a damaged file?)");
  for (std::uint64_t i = 0; i < count; ++i) {
    if (kind == Kind::string) {
      lists.texts[key].push_back(header.text(kMostText, who));
    } else {
      const std::string value = value_of(header, kind, who);
      if (kind == Kind::i32 || kind == Kind::u32) lists.numbers[key].push_back(std::stoll(value));
    }
  }
}

}  // namespace
}  // namespace gguf

GgufLists gguf_lists(const std::filesystem::path& path, std::string_view front) {
  const InputFile file(path);
  gguf::HeaderReader header(file);
  header.skip(kGgufMagic.size(), "its first bytes");
  header.number<std::uint32_t>("its version");
  header.number<std::uint64_t>("the number of its tensors");
  const auto entries = header.number<std::uint64_t>("the number of its metadata");
  GgufLists lists;
  gguf::Parsed others;
  for (std::uint64_t i = 0; i < entries; ++i) {
    const std::string key = header.text(gguf::kMostName, "a key of the metadata");
    const std::string who = concat("metadata '", printable(key), "'");
    const gguf::Kind kind = gguf::kind_of(header, who);
    if (kind != gguf::Kind::array)
      gguf::value_of(header, kind, who);
    else if (key.starts_with(front))
      gguf::read_list(header, key, who, lists);
    else
      gguf::list_of(header, /*wanted=*/false, who);
  }
  return lists;
}

std::optional<std::uint32_t> gguf_type(Encoding encoding) {
  const auto type = std::ranges::find(gguf::kTypes, encoding, &gguf::TensorType::encoding);
  return type == std::end(gguf::kTypes) ? std::nullopt : std::optional(type->number);
}

Gguf::Gguf(InputFile file) : OpenTensorFile(std::move(file)) {
  gguf::Parsed parsed = gguf::parse(file_);
  tensors_ = std::move(parsed.tensors);
  metadata_ = std::move(parsed.metadata);
}

}  // namespace sdgen
