#include "io/weights.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <optional>
#include <set>

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

// Fills `out` (contiguous, CPU) with the numbers of a tensor from element `first` on, in chunks on all threads. What
// needs a cast goes through small buffers, so that a half-precision network never costs its float32 size.
void read_into(const at::Tensor& out, const TensorTable::Entry& entry, at::ScalarType stored, std::uint64_t first) {
  constexpr std::int64_t kChunk = 1 << 19;  // elements: what is read is still in the CPU's cache when it is cast
  const std::uint64_t size = c10::elementSize(stored);
  const at::Tensor flat = out.view(-1);
  at::parallel_for(0, flat.numel(), kChunk, [&](std::int64_t begin, std::int64_t end) {
    at::Tensor buffer;
    for (std::int64_t n; begin < end; begin += n) {
      n = std::min(kChunk, end - begin);
      const at::Tensor part = flat.narrow(0, begin, n);
      const bool cast = stored != out.scalar_type();
      if (cast && !buffer.defined()) buffer = at::empty({n}, at::TensorOptions().dtype(stored));
      const at::Tensor target = cast ? buffer.narrow(0, 0, n) : part;
      entry.file->read(*entry.where, (first + begin) * size, {static_cast<std::byte*>(target.data_ptr()), n * size});
      if (cast) part.copy_(target);
    }
  });
}

// [320, 320, 1, 1] -> [320, 320]
at::IntArrayRef without_trailing_ones(at::IntArrayRef shape) {
  while (shape.size() > 1 && shape.back() == 1) shape = shape.slice(0, shape.size() - 1);
  return shape;
}

// The shape that a file must have for a request of `shape`.
std::vector<std::int64_t> stored_shape(at::IntArrayRef shape, const Place& place) {
  std::vector<std::int64_t> result(shape.begin(), shape.end());
  if (place.transposed) std::reverse(result.begin(), result.end());
  if (!result.empty()) result[0] *= place.parts;
  return result;
}

}  // namespace

struct Weights::Read {
  std::mutex mutex;
  std::set<std::string, std::less<>> names;
};

Weights::Weights(std::shared_ptr<const TensorTable> table, at::Device device, at::ScalarType dtype)
    : table_(std::move(table)), read_(std::make_shared<Read>()), device_(device), dtype_(dtype) {}

Weights Weights::open(const std::vector<std::filesystem::path>& files, at::Device device, at::ScalarType dtype) {
  return {std::make_shared<TensorTable>(files), device, dtype};
}

Weights Weights::operator/(std::string_view name) const {
  Weights scope = *this;
  scope.prefix_ = full(name) + '.';
  return scope;
}

std::string Weights::full(std::string_view name) const { return prefix_ + std::string(name); }

Place Weights::place(const std::string& full) const {
  Place place(full);
  for (auto locate = locates_.rbegin(); locate != locates_.rend(); ++locate) {
    Place next = (*locate)(place.name);
    if (place.parts == 1 && !place.transposed)
      place = std::move(next);
    else
      place.name = std::move(next.name);
  }
  return place;
}

bool Weights::has(std::string_view name) const { return table_->find(place(full(name)).name) != nullptr; }

Weights Weights::map(Locate locate) const {
  Weights mapped = *this;
  mapped.locates_.push_back(std::move(locate));
  return mapped;
}

Weights Weights::patch(Patch patch) const {
  Weights patched = *this;
  patched.patches_.push_back(std::move(patch));
  return patched;
}

at::Tensor Weights::get(std::string_view name, at::IntArrayRef shape) const {
  const std::string asked = full(name);
  const Place from = place(asked);
  const std::string called = from.name == asked ? concat("'", asked, "'") : concat("'", from.name, "' (", asked, ")");
  const std::vector<std::int64_t> expected = stored_shape(shape, from);
  const auto found = table_->tensors().find(from.name);
  if (found == table_->tensors().end())
    throw Error(Fault::input, concat(source(), ": no tensor ", called, ", expected with shape ", print(expected),
                                     "; the file is of another model, or its config does not belong to it"));
  const TensorTable::Entry& entry = found->second;
  const at::IntArrayRef have = entry.where->shape;
  if (without_trailing_ones(have) != without_trailing_ones(expected))
    throw Error(Fault::input, concat(source(), ": tensor ", called, " has shape ", print(have), ", expected ",
                                     print(expected), "; the config does not belong to these weights"));
  const auto type = scalar_type(entry.where->dtype);
  if (!type)
    throw Error(Fault::input, concat(source(), ": tensor ", called, " is stored as ", dtype_name(entry.where->dtype),
                                     ", which is not supported; convert it to float16, bfloat16 or float32"));
  {
    const std::lock_guard lock(read_->mutex);
    read_->names.insert(from.name);
  }
  if (device_.is_meta()) return at::empty(shape, at::TensorOptions().dtype(dtype_).device(device_));
  std::vector<std::int64_t> stored(shape.begin(), shape.end());
  if (from.transposed) std::reverse(stored.begin(), stored.end());
  at::Tensor tensor = at::empty(stored, at::TensorOptions().dtype(patches_.empty() ? dtype_ : at::kFloat));
  if (tensor.numel() > 0) read_into(tensor, entry, *type, from.part * tensor.numel());
  if (from.transposed) tensor = tensor.t().contiguous();
  for (const Patch& patch : patches_) tensor = patch(asked, tensor);
  return tensor.to(device_, dtype_);
}

std::vector<std::string> Weights::unread() const {
  const std::lock_guard lock(read_->mutex);
  std::vector<std::string> names;
  for (const auto& [name, entry] : table_->tensors())
    if (!read_->names.count(name)) names.push_back(name);
  return names;
}

at::ScalarType stored_dtype(const TensorTable& table, std::string_view prefix) {
  std::map<at::ScalarType, std::uint64_t> bytes;
  for (const auto& [name, entry] : table.tensors())
    if (const auto type = scalar_type(entry.where->dtype); type && name.starts_with(prefix))
      bytes[*type] += entry.where->end - entry.where->begin;
  const auto most = std::max_element(bytes.begin(), bytes.end(), [](auto& a, auto& b) { return a.second < b.second; });
  return most == bytes.end() ? at::kFloat : most->first;
}

}  // namespace sdgen
