// Any bytes are a safetensors file that can be read to its last byte, or are refused with Error(input).
#include "fuzz.h"
#include "io/safetensors.h"

using namespace sdgen;

namespace {

void open_and_read(std::span<const std::uint8_t> bytes) {
  const fuzz::MemoryFile memory(bytes);
  fuzz::accepts({Fault::input}, [&] {
    const Safetensors file(memory.path());
    std::uint64_t read = 0;
    for (const auto& [name, entry] : file.tensors()) {
      std::uint64_t size = info_of(entry.encoding).bytes;
      for (const std::int64_t dimension : entry.shape) size *= static_cast<std::uint64_t>(dimension);
      fuzz::require(size == entry.bytes() && size / info_of(entry.encoding).bytes == entry.elements(),
                    "the size of a tensor", name);
      std::vector<std::byte> out(size);
      file.read(entry, 0, out);
      read += size;
    }
    fuzz::require(read <= bytes.size(), "tensors lie within the file");
  });
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
