// Any bytes are a safetensors file that can be read to its last byte, or are refused with Error(input).
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <span>
#include <vector>

#include "io/safetensors.h"
#include "memory_file.h"
#include "sdgen/error.h"

namespace {

void open_and_read(std::span<const std::uint8_t> bytes) {
  const MemoryFile memory(bytes);
  try {
    const sdgen::Safetensors file(memory.path());
    std::uint64_t read = 0;
    for (const auto& [name, entry] : file.tensors()) {
      std::uint64_t size = sdgen::dtype_size(entry.dtype);
      for (const std::int64_t dimension : entry.shape) size *= static_cast<std::uint64_t>(dimension);
      if (size != entry.end - entry.begin) std::abort();
      std::vector<std::byte> out(size);
      file.read(entry, 0, out);
      read += size;
    }
    if (read > bytes.size()) std::abort();
  } catch (const sdgen::Error& error) {
    if (error.fault() != sdgen::Fault::input) std::abort();
  }
}

}  // namespace

// The bytes as they are, and as a header of the right size with as much data as the first byte says: mutations of an
// eight-byte size would seldom reach the parser.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  open_and_read({bytes, size});
  if (size == 0) return 0;
  std::vector<std::uint8_t> file;
  for (int shift = 0; shift < 64; shift += 8) file.push_back(static_cast<std::uint8_t>((size - 1) >> shift));
  file.insert(file.end(), bytes + 1, bytes + size);
  file.resize(file.size() + bytes[0]);
  open_and_read(file);
  return 0;
}
