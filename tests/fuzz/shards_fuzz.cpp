// Any bytes are the index of sharded weights that names files of its own folder, or are refused with Error(input).
#include "fuzz.h"
#include "io/tensor_table.h"
#include "io/weight_files.h"
#include "table.h"

using namespace sdgen;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const fuzz::Folder folder;
  folder.write("model.safetensors.index.json", fuzz::text_of(bytes, size));
  for (const char* name : {"a", "b"}) {
    const fuzz::TableFile table(std::string(name) + " F32 2", 100);
    const auto shard = folder / (std::string(name) + ".safetensors");
    if (!std::filesystem::exists(shard)) std::filesystem::copy_file(table.path(), shard);
  }
  fuzz::accepts({Fault::input}, [&] {
    const auto files = find_weight_files(folder.path(), "model");
    fuzz::require(!files.empty(), "an index names files");
    for (const auto& file : files)
      fuzz::require(file.parent_path() == folder.path() && file.filename() == file.lexically_relative(folder.path()),
                    "shards lie beside their index", file.string());
    const TensorTable table(files);
  });
  return 0;
}
