// Reader of the safetensors format (https://github.com/huggingface/safetensors, "Format"): every rule is checked when a
// file is opened, so that the offsets of a Safetensors can be trusted. No torch here: names and bytes only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "io/file.h"

namespace sdgen {

enum class Dtype : std::uint8_t { BOOL, U8, I8, F8_E4M3, F8_E5M2, I16, U16, F16, BF16, I32, U32, F32, F64, I64, U64 };
std::size_t dtype_size(Dtype dtype);  // bytes an element
const char* dtype_name(Dtype dtype);  // as the format spells it: "F32"

// Where one tensor lies. `begin` and `end` are byte offsets in the file; end - begin == product(shape) * dtype_size.
struct TensorEntry {
  Dtype dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin, end;
};

class Safetensors {
 public:
  // Opens and validates. Throws Error(input) that names the file, the fault and the numbers.
  explicit Safetensors(std::filesystem::path path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::map<std::string, TensorEntry, std::less<>>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // Fills `out` with the tensor's bytes from `offset` on (pread, so that a file cut meanwhile is an Error(input), not a
  // SIGBUS). Requires offset + out.size() <= end - begin, else Error(internal). Thread-safe.
  void read(const TensorEntry& tensor, std::uint64_t offset, std::span<std::byte> out) const;

 private:
  InputFile file_;
  std::map<std::string, TensorEntry, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
};

// The files of one model component in `folder` whose weights are called `stem` ("diffusion_pytorch_model", "model"):
// STEM.safetensors, else the shards that STEM.safetensors.index.json lists, else the same with the variant ".fp16"
// (STEM.fp16.safetensors, STEM.safetensors.index.fp16.json or STEM.fp16.safetensors.index.json). Shard names must be
// plain file names of the same folder. Throws Error(input); when only pickles (.bin, .ckpt) are there it says why they
// are refused and how to convert them.
std::vector<std::filesystem::path> find_weight_files(const std::filesystem::path& folder, const std::string& stem);

}  // namespace sdgen
