#include "io/tensor_file.h"

#include <algorithm>
#include <array>

#include "io/gguf.h"
#include "io/safetensors.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// In the enumeration's order.
constexpr std::array<EncodingInfo, 28> kEncodings{
    {{"BOOL", 1, 1},     {"U8", 1, 1},       {"I8", 1, 1},       {"F8_E4M3", 1, 1},  {"F8_E5M2", 1, 1},
     {"I16", 1, 2},      {"U16", 1, 2},      {"F16", 1, 2},      {"BF16", 1, 2},     {"I32", 1, 4},
     {"U32", 1, 4},      {"F32", 1, 4},      {"F64", 1, 8},      {"I64", 1, 8},      {"U64", 1, 8},
     {"Q4_0", 32, 18},   {"Q4_1", 32, 20},   {"Q5_0", 32, 22},   {"Q5_1", 32, 24},   {"Q8_0", 32, 34},
     {"Q2_K", 256, 84},  {"Q3_K", 256, 110}, {"Q4_K", 256, 144}, {"Q5_K", 256, 176}, {"Q6_K", 256, 210},
     {"IQ4_NL", 32, 18}, {"NF4", 2, 1},      {"FP4", 2, 1}}};
static_assert(kEncodings.size() == static_cast<std::size_t>(Encoding::FP4) + 1);

// a * b, empty when it does not fit into 63 bits.
std::optional<std::uint64_t> checked_product(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product) || product > INT64_MAX) return std::nullopt;
  return product;
}

bool has_none(Shape shape) { return std::ranges::find(shape, 0) != shape.end(); }

}  // namespace

const EncodingInfo& info_of(Encoding encoding) { return kEncodings[static_cast<std::size_t>(encoding)]; }

std::optional<Encoding> find_encoding(std::string_view name) {
  const auto found = std::ranges::find(kEncodings, name, &EncodingInfo::name);
  if (found == kEncodings.end()) return std::nullopt;
  return static_cast<Encoding>(found - kEncodings.begin());
}

std::optional<std::uint64_t> checked_elements(Shape shape) {
  // Dimensions of 0 count as 1 at first: [0, 2^62, 2^62] has no elements, but its strides overflow all the same.
  std::optional<std::uint64_t> numbers = 1;
  for (const std::int64_t n : shape)
    if (numbers) numbers = checked_product(*numbers, static_cast<std::uint64_t>(std::max<std::int64_t>(n, 1)));
  return numbers && has_none(shape) ? 0 : numbers;
}

std::optional<std::uint64_t> encoded_size(Encoding encoding, Shape shape) {
  const EncodingInfo& block = info_of(encoding);
  const std::int64_t row = shape.empty() ? 1 : shape.back();
  if (row % block.elements != 0) return std::nullopt;
  std::vector<std::int64_t> blocks(shape.begin(), shape.end());
  for (std::int64_t& n : blocks) n = std::max<std::int64_t>(n, 1);  // as above
  if (!blocks.empty()) blocks.back() = std::max<std::int64_t>(row / block.elements, 1);
  const std::optional<std::uint64_t> numbers = checked_elements(shape), count = checked_elements(blocks),
                                     bytes = count ? checked_product(*count, block.bytes) : std::nullopt;
  if (!numbers || !bytes) return std::nullopt;
  return has_none(shape) ? 0 : bytes;
}

void TensorFile::require_within(const StoredTensor& tensor, std::uint64_t offset, std::uint64_t size) const {
  if (offset <= tensor.bytes() && size <= tensor.bytes() - offset) return;
  throw Error(Fault::internal, concat(path().string(), ": bytes ", offset, " to ", offset + size, " of a tensor of ",
                                      tensor.bytes(), " were asked for"));
}

void TensorFile::read(const StoredTensor& tensor, std::uint64_t offset, std::span<std::byte> out) const {
  require_within(tensor, offset, out.size());
  fetch(tensor, offset, out);
}

std::shared_ptr<const MappedBytes> TensorFile::map(const StoredTensor& tensor, std::uint64_t offset,
                                                   std::uint64_t size) const {
  require_within(tensor, offset, size);
  return mapped(tensor, offset, size);
}

std::unique_ptr<const TensorFile> open_tensor_file(const std::filesystem::path& path) {
  InputFile file(path);
  std::array<std::byte, kGgufMagic.size()> first{};
  const std::size_t count = file.read_some(0, first);
  if (std::string_view(reinterpret_cast<const char*>(first.data()), count) == kGgufMagic)
    return std::make_unique<Gguf>(std::move(file));
  // safetensors has no first bytes of its own: its reader gets what is of no other format, and says what that is.
  return std::make_unique<Safetensors>(std::move(file));
}

}  // namespace sdgen
