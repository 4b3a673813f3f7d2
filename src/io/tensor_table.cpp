#include "io/tensor_table.h"

#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {

TensorTable::TensorTable(const std::vector<std::filesystem::path>& files) {
  if (files.empty()) throw Error(Fault::internal, "a table of tensors without a file");
  source_ = files.size() == 1 ? files[0].string() : files[0].parent_path().string();
  for (const auto& path : files) {
    const Safetensors& file = *files_.emplace_back(std::make_unique<Safetensors>(path));
    for (const auto& [name, where] : file.tensors())
      if (auto [old, fresh] = tensors_.try_emplace(name, Entry{&file, &where}); !fresh)
        throw Error(Fault::input,
                    concat(path.string(), ": tensor '", printable(name), "' is also in ",
                           old->second.file->path().filename().string(), ": these shards do not belong together"));
  }
}

const TensorEntry* TensorTable::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second.where;
}

}  // namespace sdgen
