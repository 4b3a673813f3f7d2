// Any bytes are a GGUF file whose numbers can all be read, or are refused with Error(input).
#include "fuzz.h"
#include "io/decode.h"
#include "io/tensor_table.h"

using namespace sdgen;

namespace {

void open_and_read(std::span<const std::uint8_t> bytes) {
  const fuzz::MemoryFile memory(bytes);
  fuzz::accepts({Fault::input}, [&] {
    const TensorTable table({memory.path()});
    std::uint64_t read = 0;
    for (const auto& [name, entry] : table.tensors()) {
      std::uint64_t numbers = 1;
      for (const std::int64_t dimension : entry.where->shape) numbers *= static_cast<std::uint64_t>(dimension);
      fuzz::require(numbers == entry.where->elements(), "the shape of a tensor", name);
      read += entry.where->bytes();
      std::vector<std::byte> out(entry.where->bytes());
      entry.file->read(*entry.where, 0, out);
      std::vector<float> floats(numbers);
      if (decodes(entry.where->encoding)) read_floats(entry, 0, numbers, floats.data());
    }
    fuzz::require(read <= bytes.size(), "tensors lie within the file");
  });
}

}  // namespace

// The bytes behind what all such files begin with.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  std::vector<std::uint8_t> file{'G', 'G', 'U', 'F'};
  file.insert(file.end(), bytes, bytes + size);
  open_and_read(file);
  return 0;
}
