// Files of named tensors, whatever their format, and the encodings that their numbers may have. No torch here: names,
// shapes and bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/file.h"
#include "io/mapped_bytes.h"

namespace sdgen {

// How a file keeps numbers, by the names that formats have for it.
enum class Encoding : std::uint8_t {
  BOOL,
  U8,
  I8,
  F8_E4M3,
  F8_E5M2,
  I16,
  U16,
  F16,
  BF16,
  I32,
  U32,
  F32,
  F64,
  I64,
  U64,
  // Blocks of GGUF, along a row.
  Q4_0,
  Q4_1,
  Q5_0,
  Q5_1,
  Q8_0,
  Q2_K,
  Q3_K,
  Q4_K,
  Q5_K,
  Q6_K,
  IQ4_NL,
  // Of bitsandbytes: two numbers a byte, in the order of the tensor, whatever its rows.
  NF4,
  FP4
};
struct EncodingInfo {
  const char* name;
  std::uint32_t elements, bytes;  // of a block, which is read as a whole; a plain type's is one number
};
const EncodingInfo& info_of(Encoding encoding);
std::optional<Encoding> find_encoding(std::string_view name);

using Shape = std::span<const std::int64_t>;
// Numbers of this shape; nothing where they, or the strides, overflow 63 bits (sizes and offsets are signed in torch
// and in the kernel).
std::optional<std::uint64_t> checked_elements(Shape shape);
// Bytes that they take, row by row; nothing where these overflow 63 bits, too, and where a row is no whole number of
// blocks.
std::optional<std::uint64_t> encoded_size(Encoding encoding, Shape shape);

// Where one tensor lies: bytes begin to end of its file, which are whole blocks of its numbers.
struct StoredTensor {
  Encoding encoding;
  std::vector<std::int64_t> shape;
  std::uint64_t begin, end;

  std::uint64_t bytes() const { return end - begin; }
  std::uint64_t elements() const {
    std::uint64_t count = 1;
    for (const std::int64_t n : shape) count *= static_cast<std::uint64_t>(n);
    return count;
  }
};

// Named tensors whose offsets, sizes and names can be trusted.
class TensorFile {
 public:
  using Tensors = std::map<std::string, StoredTensor, std::less<>>;
  using Metadata = std::map<std::string, std::string>;

  TensorFile(TensorFile&&) = default;
  TensorFile& operator=(TensorFile&&) = default;
  virtual ~TensorFile() = default;

  virtual const char* format() const = 0;  // what people call it
  const std::filesystem::path& path() const { return path_; }
  const Tensors& tensors() const { return tensors_; }
  const Metadata& metadata() const { return metadata_; }

  // Fills `out` with the tensor's bytes from `offset` on. Requires offset + out.size() <= tensor.bytes(), else
  // Error(internal). Thread-safe.
  void read(const StoredTensor& tensor, std::uint64_t offset, std::span<std::byte> out) const;
  // The same bytes as memory, without a copy; null where there is no such memory.
  std::shared_ptr<const MappedBytes> map(const StoredTensor& tensor, std::uint64_t offset, std::uint64_t size) const;

 protected:
  explicit TensorFile(std::filesystem::path path) : path_(std::move(path)) {}
  virtual void fetch(const StoredTensor& tensor, std::uint64_t offset, std::span<std::byte> out) const = 0;
  virtual std::shared_ptr<const MappedBytes> mapped(const StoredTensor& /*tensor*/, std::uint64_t /*offset*/,
                                                    std::uint64_t /*size*/) const {
    return nullptr;
  }

  std::filesystem::path path_;
  Tensors tensors_;
  Metadata metadata_;

 private:
  void require_within(const StoredTensor& tensor, std::uint64_t offset, std::uint64_t size) const;
};

// What every format is once it is opened. Opening validates.
class OpenTensorFile : public TensorFile {
 protected:
  explicit OpenTensorFile(InputFile file) : TensorFile(file.path()), file_(std::move(file)) {}
  // By pread: what is read is not kept as it is, so that mapping it would gain nothing.
  void fetch(const StoredTensor& tensor, std::uint64_t offset, std::span<std::byte> out) const override {
    file_.read(tensor.begin + offset, out);
  }
  std::shared_ptr<const MappedBytes> mapped(const StoredTensor& tensor, std::uint64_t offset,
                                            std::uint64_t size) const override {
    return MappedBytes::map(file_, tensor.begin + offset, size);
  }

  InputFile file_;
};

// Opens a file of any format that is known, by its first bytes. Throws Error(input) that names the file, the fault and
// the numbers.
std::unique_ptr<const TensorFile> open_tensor_file(const std::filesystem::path& path);

}  // namespace sdgen
