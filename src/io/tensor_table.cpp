#include "io/tensor_table.h"

#include <algorithm>

#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {

TensorTable::TensorTable(const std::vector<std::filesystem::path>& files) {
  if (files.empty()) throw Error(Fault::internal, "a table of tensors without a file");
  source_ = files.size() == 1 ? files[0].string() : files[0].parent_path().string();
  for (const auto& path : files) {
    const TensorFile& file = *files_.emplace_back(open_tensor_file(path));
    for (const auto& [name, where] : file.tensors())
      if (auto [old, fresh] = tensors_.try_emplace(name, Entry{&file, &where}); !fresh)
        throw Error(Fault::input,
                    concat(path.string(), ": tensor '", printable(name), "' is also in ",
                           old->second.file->path().filename().string(), ": these shards do not belong together"));
  }
}

const StoredTensor* TensorTable::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second.where;
}

std::string print_shape(Shape shape) {
  std::string text;
  for (const std::int64_t n : shape) text += concat(text.empty() ? "" : ",", n);
  return '[' + text + ']';
}

bool same_but_for_ones(Shape a, Shape b) {
  const auto cut = [](Shape shape) {
    while (shape.size() > 1 && shape.back() == 1) shape = shape.first(shape.size() - 1);
    return shape;
  };
  return std::ranges::equal(cut(a), cut(b));
}

}  // namespace sdgen
