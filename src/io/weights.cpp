#include "io/weights.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <set>

#include "io/safetensors.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

std::optional<at::ScalarType> scalar_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::F64:
      return at::kDouble;
    case Dtype::F32:
      return at::kFloat;
    case Dtype::F16:
      return at::kHalf;
    case Dtype::BF16:
      return at::kBFloat16;
    default:
      return std::nullopt;  // integers and float8 are no weights of the networks here
  }
}

std::string print(at::IntArrayRef shape) { return concat('[', c10::Join(",", shape), ']'); }

// Reads a tensor of a file as `dtype`. What needs a cast goes through a small buffer, so that a half-precision network
// never costs its float32 size.
at::Tensor read_tensor(const Safetensors& file, const TensorEntry& entry, at::ScalarType stored, at::ScalarType dtype) {
  at::Tensor out = at::empty(entry.shape, at::TensorOptions().dtype(dtype));
  const std::uint64_t bytes = entry.end - entry.begin;
  if (bytes == 0) return out;
  if (stored == dtype) {
    file.read(entry, 0, {static_cast<std::byte*>(out.data_ptr()), bytes});
    return out;
  }
  constexpr std::uint64_t kChunk = 4u << 20;  // elements
  const std::uint64_t count = out.numel(), size = bytes / count;
  at::Tensor buffer =
      at::empty({static_cast<std::int64_t>(std::min(count, kChunk))}, at::TensorOptions().dtype(stored));
  at::Tensor flat = out.view(-1);
  for (std::uint64_t at = 0; at < count; at += kChunk) {
    const std::uint64_t n = std::min(kChunk, count - at);
    file.read(entry, at * size, {static_cast<std::byte*>(buffer.data_ptr()), n * size});
    flat.narrow(0, at, n).copy_(buffer.narrow(0, 0, n));
  }
  return out;
}

}  // namespace

struct Weights::Table {
  struct Entry {
    const Safetensors* file;
    TensorEntry where;
  };
  std::string source;
  std::vector<std::unique_ptr<Safetensors>> files;
  std::map<std::string, Entry, std::less<>> tensors;
  std::mutex mutex;  // of `read`
  std::set<std::string, std::less<>> read;
};

Weights::Weights(std::shared_ptr<Table> table, at::Device device, at::ScalarType dtype)
    : table_(std::move(table)), device_(device), dtype_(dtype) {}

Weights Weights::open(const std::vector<std::filesystem::path>& files, at::Device device, at::ScalarType dtype) {
  TORCH_CHECK(!files.empty(), "Weights::open without a file");
  auto table = std::make_shared<Table>();
  table->source = files.size() == 1 ? files[0].string() : files[0].parent_path().string();
  for (const auto& path : files) {
    const Safetensors& file = *table->files.emplace_back(std::make_unique<Safetensors>(path));
    for (const auto& [name, where] : file.tensors()) {
      if (auto [old, fresh] = table->tensors.try_emplace(name, Table::Entry{&file, where}); !fresh)
        throw Error(Fault::input,
                    concat(path.string(), ": tensor '", name, "' is also in ",
                           old->second.file->path().filename().string(), ": these shards do not belong together"));
    }
  }
  return {std::move(table), device, dtype};
}

const std::string& Weights::source() const { return table_->source; }

Weights Weights::operator/(std::string_view name) const {
  Weights scope = *this;
  scope.prefix_ = full(name) + '.';
  return scope;
}

std::string Weights::full(std::string_view name) const { return prefix_ + std::string(name); }

std::string Weights::stored(const std::string& full) const {
  std::string name = full;
  for (auto rename = renames_.rbegin(); rename != renames_.rend(); ++rename) name = (*rename)(name);
  return name;
}

bool Weights::has(std::string_view name) const { return table_->tensors.count(stored(full(name))) != 0; }

Weights Weights::map(Rename rename) const {
  Weights renamed = *this;
  renamed.renames_.push_back(std::move(rename));
  return renamed;
}

Weights Weights::patch(Patch patch) const {
  Weights patched = *this;
  patched.patches_.push_back(std::move(patch));
  return patched;
}

at::Tensor Weights::get(std::string_view name, at::IntArrayRef shape) const {
  const std::string asked = full(name), key = stored(asked);
  const std::string called = key == asked ? concat("'", asked, "'") : concat("'", key, "' (", asked, ")");
  const auto found = table_->tensors.find(key);
  if (found == table_->tensors.end())
    throw Error(Fault::input, concat(source(), ": no tensor ", called, ", expected with shape ", print(shape),
                                     "; the file is of another model, or its config does not belong to it"));
  const Table::Entry& entry = found->second;
  const at::IntArrayRef have = entry.where.shape;
  if (have != shape)
    throw Error(Fault::input, concat(source(), ": tensor ", called, " has shape ", print(have), ", expected ",
                                     print(shape), "; the config does not belong to these weights"));
  const auto type = scalar_type(entry.where.dtype);
  if (!type)
    throw Error(Fault::input, concat(source(), ": tensor ", called, " is stored as ", dtype_name(entry.where.dtype),
                                     ", which is not supported; convert it to float16, bfloat16 or float32"));
  at::Tensor tensor = read_tensor(*entry.file, entry.where, *type, patches_.empty() ? dtype_ : at::kFloat);
  for (const Patch& patch : patches_) tensor = patch(asked, tensor);
  {
    const std::lock_guard lock(table_->mutex);
    table_->read.insert(key);
  }
  return tensor.to(device_, dtype_);
}

std::vector<std::string> Weights::unread() const {
  const std::lock_guard lock(table_->mutex);
  std::vector<std::string> names;
  for (const auto& [name, entry] : table_->tensors)
    if (!table_->read.count(name)) names.push_back(name);
  return names;
}

at::ScalarType stored_dtype(const std::vector<std::filesystem::path>& files) {
  std::map<at::ScalarType, std::uint64_t> bytes;
  for (const auto& path : files) {
    const Safetensors file(path);
    for (const auto& [name, entry] : file.tensors())
      if (const auto type = scalar_type(entry.dtype)) bytes[*type] += entry.end - entry.begin;
  }
  const auto most = std::max_element(bytes.begin(), bytes.end(), [](auto& a, auto& b) { return a.second < b.second; });
  return most == bytes.end() ? at::kFloat : most->first;
}

}  // namespace sdgen
