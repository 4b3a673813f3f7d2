#include "weights/weights.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <utility>

#include "io/decode.h"
#include "io/pages.h"
#include "io/pieces.h"
#include "ops/int8.h"
#include "ops/ops.h"
#include "sdgen/error.h"
#include "weights/arena.h"
#include "weights/stored_codes.h"

namespace sdgen {
namespace {

std::optional<at::ScalarType> scalar_type(Encoding encoding) {
  switch (encoding) {
    case Encoding::F64:
      return at::kDouble;
    case Encoding::F32:
      return at::kFloat;
    case Encoding::F16:
      return at::kHalf;
    case Encoding::BF16:
      return at::kBFloat16;
    default:
      return std::nullopt;  // codes: see read_floats()
  }
}

// Throws Error(input) where a tensor does not hold numbers of a network.
void require_floats(const std::string& source, const std::string& called, const TensorTable::Entry& entry) {
  if (has_numbers(entry)) return;
  throw Error(Fault::input, concat(source, ": tensor ", called, " is stored as ", info_of(entry.where->encoding).name,
                                   ", which is not supported; convert it to float16, bfloat16 or float32"));
}

constexpr std::int64_t kWorthAThread = 1 << 20;  // numbers

// Fills `out` (contiguous, CPU) with the numbers of a tensor from element `first` on. What needs a cast goes through
// small buffers, so that a half-precision network never costs its float32 size.
void read_into(const at::Tensor& out, const TensorTable::Entry& entry, std::uint64_t first) {
  const std::optional<at::ScalarType> same = entry.scale ? std::nullopt : scalar_type(entry.where->encoding);
  const at::ScalarType stored = same.value_or(at::kFloat);
  const std::uint64_t size = c10::elementSize(stored);
  const bool cast = stored != out.scalar_type();
  // Small enough to stay in the cache, and for copy_() not to start OpenMP's threads.
  const std::int64_t chunk = cast ? 16 << 10 : 4 << 20;
  const at::Tensor flat = out.view(-1);
  in_pieces(flat.numel(), kWorthAThread, at::get_num_threads(), [&](std::int64_t begin, std::int64_t end) {
    const c10::InferenceMode inference;  // `out` may be an inference tensor, and new threads are in no mode
    const at::Tensor buffer = cast ? at::empty({chunk}, at::TensorOptions().dtype(stored)) : at::Tensor();
    for (std::int64_t n; begin < end; begin += n) {
      n = std::min(chunk, end - begin);
      const at::Tensor part = flat.narrow(0, begin, n), target = cast ? buffer.narrow(0, 0, n) : part;
      if (same)
        entry.file->read(*entry.where, (first + begin) * size, {static_cast<std::byte*>(target.data_ptr()), n * size});
      else
        read_floats(entry, first + begin, n, target.mutable_data_ptr<float>());
      if (cast) part.copy_(target);
    }
  });
}

// Not malloc's heap, which would be left full of holes (a tenth of a network's size was seen).
at::Tensor fresh_pages(std::int64_t bytes) {
  std::byte* pages = map_pages(static_cast<std::size_t>(bytes));
  if (!pages) throw std::bad_alloc();
  return at::from_blob(
      pages, {bytes}, [bytes](void* begin) { munmap(begin, static_cast<std::size_t>(bytes)); }, at::kByte);
}

// The same from the tensor's place on.
void read_from(const Place& place, const at::Tensor& out, const TensorTable::Entry& entry) {
  if (out.numel() == 0) return;
  const std::uint64_t first = out.numel() / place.count * place.part;
  if (!place.swapped) return read_into(out, entry, first);
  const std::int64_t half = out.size(0) / 2;
  read_into(out.narrow(0, 0, half), entry, first + out.numel() / 2);
  read_into(out.narrow(0, half, half), entry, first);
}

// The shape that a file must have for a request of `shape`; empty where no stack has such parts.
std::optional<std::vector<std::int64_t>> stored_shape(at::IntArrayRef shape, const Place& place) {
  std::vector<std::int64_t> result(shape.begin(), shape.end());
  if (place.transposed) std::reverse(result.begin(), result.end());
  if (result.empty()) return result;
  if (result[0] % place.count != 0 || (place.swapped && result[0] % 2 != 0)) return std::nullopt;
  result[0] = result[0] / place.count * place.parts;
  return result;
}

}  // namespace

struct Weights::Read {
  std::mutex mutex;
  std::set<std::string, std::less<>> names, coded;
  Arena arena{std::int64_t{32} << 20, fresh_pages};

  at::Tensor empty(at::IntArrayRef shape, at::ScalarType dtype) {
    const std::lock_guard lock(mutex);
    const auto bytes = c10::multiply_integers(shape) * static_cast<std::int64_t>(c10::elementSize(dtype));
    return arena.take(bytes).view(dtype).view(shape);
  }
};

Weights::Weights(std::shared_ptr<const TensorTable> table, at::Device device, at::ScalarType dtype)
    : table_(std::move(table)), read_(std::make_shared<Read>()), device_(device), dtype_(dtype) {}

template <class Change>
Weights Weights::with(const Change& change) const {
  Weights scope = *this;
  change(scope);
  return scope;
}

Weights Weights::operator/(std::string_view name) const {
  return with([&](Weights& w) { w.prefix_ = full(name) + '.'; });
}

Weights Weights::map(Locate locate) const {
  return with([&](Weights& w) { w.locates_.push_back(std::move(locate)); });
}

Weights Weights::patch(Patch patch) const {
  return with([&](Weights& w) { w.patches_.push_back(std::move(patch)); });
}

bool Weights::is_changed(const std::string& name) const {
  return std::ranges::any_of(patches_, [&name](const Patch& patch) { return patch.touches(name); });
}

std::optional<std::vector<LowRank>> Weights::terms_of(const std::string& name) const {
  std::vector<LowRank> all;
  for (const Patch& patch : patches_) {
    if (!patch.touches(name)) continue;
    std::optional<std::vector<LowRank>> terms = patch.terms ? patch.terms(name) : std::nullopt;
    if (!terms) return std::nullopt;
    for (LowRank& term : *terms) all.push_back(std::move(term));
  }
  return all;
}

Weights Weights::adding(Terms terms) const {
  return with([&](Weights& w) { w.terms_.push_back(std::move(terms)); });
}

Weights Weights::to(at::Device device, at::ScalarType dtype) const {
  return with([&](Weights& w) { w.device_ = device, w.dtype_ = dtype; });
}

Weights Weights::keeping(Keep keep) const {
  return with([&](Weights& w) { w.keep_ = keep; });
}

Weights Weights::rounding_tokens() const {
  return with([](Weights& w) { w.rounds_tokens_ = true; });
}

Weights Weights::drawing_large() const {
  return with([](Weights& w) { w.draws_large_ = true; });
}

bool Weights::rounds_tokens() const {
  const bool has_kernels = dtype_ == at::kBFloat16 || dtype_ == at::kFloat;
  return rounds_tokens_ && has_kernels && device_.is_cpu() && packs() && !residency_ && ops::has_int8();
}

Weights Weights::in(std::shared_ptr<Residency> residency) const {
  return with([&](Weights& w) { w.residency_ = std::move(residency); });
}

std::string Weights::full(std::string_view name) const { return prefix_ + std::string(name); }

Place Weights::place(const std::string& full) const {
  Place place(full);
  for (auto locate = locates_.rbegin(); locate != locates_.rend(); ++locate) {
    Place next = (*locate)(place.name);
    if (place.whole())
      place = std::move(next);
    else
      place.name = std::move(next.name);
  }
  return place;
}

bool Weights::has(std::string_view name) const { return table_->find(place(full(name)).name) != nullptr; }

at::Tensor Weights::kept(const at::Tensor& tensor) const {
  if (keep_ == Keep::computed) return residency_ ? residency_->park(tensor) : tensor;
  if (residency_) throw Error(Fault::internal, "a network that learns stays on its device");
  const c10::InferenceMode lasting(false);
  return tensor.detach().requires_grad_();
}

bool Weights::keeps_codes(const Found& found) const {
  const std::int64_t rows = found.shape[0], columns = found.shape[1];
  return stays_coded(*found.entry, device_.is_meta() ? at::kCPU : device_) && !residency_ && packs() &&
         !found.from.transposed && rows > 0 && columns > 0 && has_whole_rows(*found.entry, columns);
}

void Weights::count_coded(const Found& found) const {
  const std::lock_guard lock(read_->mutex);
  read_->coded.insert(found.from.name);
}

Matrix Weights::matrix(std::string_view name, std::int64_t out, std::int64_t in) const {
  const Found found = find(name, {out, in});
  std::optional<std::vector<LowRank>> changes = keeps_codes(found) ? terms_of(found.asked) : std::nullopt;
  if (changes) count_coded(found);
  Matrix matrix = [&] {
    if (changes && !device_.is_meta()) {
      Codes kept_codes = codes(found);
      if (rounds_tokens()) kept_codes.round_tokens();
      return Matrix(std::move(kept_codes));
    }
    const at::Tensor weight = read(found, Use::passing);
    return Matrix(kept(packs() ? ops::packed_linear(weight) : weight));
  }();
  if (changes)
    for (const LowRank& term : *changes)  // parts of what is wider, maybe: each keeps its own alone
      matrix.add({term.down.to(dtype_), term.up.to(dtype_, /*non_blocking=*/false, /*copy=*/true), term.scale});
  for (const Terms& terms : terms_)
    for (LowRank& term : terms(full(name))) matrix.add(std::move(term));
  return matrix;
}

Matrix Weights::table(std::string_view name, std::int64_t count, std::int64_t width) const {
  const Found found = find(name, {count, width});
  const bool coded = keeps_codes(found) && !is_changed(found.asked);
  if (coded) count_coded(found);
  return coded && !device_.is_meta() ? Matrix(codes(found)) : Matrix(kept(read(found, Use::lasting)));
}

Codes Weights::codes(const Found& found) const {
  const c10::InferenceMode lasting(false);  // as read() has it
  const auto& [asked, from, entry, shape] = found;
  const std::int64_t out = shape[0], in = shape[1], first = out / from.count * from.part,
                     half = from.swapped ? out / 2 : 0;
  const auto rows = [in](std::int64_t begin, std::int64_t count) {
    return Stretch{static_cast<std::uint64_t>(begin * in), static_cast<std::uint64_t>(count * in)};
  };
  std::vector<Stretch> stretches{rows(first + half, out - half)};
  if (half > 0) stretches.push_back(rows(first, half));
  return read_codes(*entry, stretches, in, [this](std::int64_t count, std::int64_t bytes) {
    return read_->empty({count, bytes}, at::kByte);
  });
}

at::Tensor Weights::get(std::string_view name, at::IntArrayRef shape, Use use) const {
  return read(find(name, shape), use);
}

Weights::Found Weights::find(std::string_view name, at::IntArrayRef shape) const {
  const std::string asked = full(name);
  const Place from = place(asked);
  const std::string called = from.name == asked ? concat("'", asked, "'") : concat("'", from.name, "' (", asked, ")");
  const auto divided = stored_shape(shape, from);
  if (!divided)
    throw Error(Fault::input, concat(source(), ": tensor ", called, " is asked for with shape ", print_shape(shape),
                                     ", whose rows are not ", from.swapped ? 2 : from.count,
                                     " equal parts; the config does not belong to these weights"));
  const std::vector<std::int64_t>& expected = *divided;
  const auto found = table_->tensors().find(from.name);
  if (found == table_->tensors().end())
    throw Error(Fault::input, concat(source(), ": no tensor ", called, ", expected with shape ", print_shape(expected),
                                     "; the file is of another model, or its config does not belong to it"));
  const TensorTable::Entry& entry = found->second;
  const std::vector<std::int64_t>& have = entry.where->shape;
  if (!is_shape(have, expected))
    throw Error(Fault::input, concat(source(), ": tensor ", called, " has shape ", print_shape(have), ", expected ",
                                     print_shape(expected), "; the config does not belong to these weights"));
  require_floats(source(), called, entry);
  {
    const std::lock_guard lock(read_->mutex);
    read_->names.insert(from.name);
  }
  return {asked, from, &entry, shape.vec()};
}

at::Tensor Weights::read(const Found& found, Use use) const {
  const auto& [asked, from, entry, shape] = found;
  if (device_.is_meta()) return at::empty(shape, at::TensorOptions().dtype(dtype_).device(device_));
  const c10::InferenceMode lasting(false);  // whoever asks: what is an inference tensor once never learns
  std::vector<std::int64_t> stored(shape.begin(), shape.end());
  if (from.transposed) std::reverse(stored.begin(), stored.end());
  // What is changed or moved further on is only passing through, and what learns has memory of its own: changing one
  // tensor must not count as changing those beside it.
  const bool changed = is_changed(asked);
  const bool stays = use == Use::lasting && device_.is_cpu() && !changed && !from.transposed && packs();
  at::Tensor tensor =
      stays ? read_->empty(stored, dtype_) : host_memory(stored, changed ? at::kFloat : dtype_, device_);
  read_from(from, tensor, *entry);
  if (from.transposed) tensor = tensor.t().contiguous();
  for (const Patch& patch : patches_)
    if (patch.touches(asked)) tensor = patch.change(asked, tensor);
  return tensor.to(device_, dtype_, /*non_blocking=*/true);
}

std::set<std::string, std::less<>> Weights::coded() const {
  const std::lock_guard lock(read_->mutex);
  return read_->coded;
}

bool stays_coded(const TensorTable::Entry& entry, at::Device device) {
  return device.is_cpu() && (entry.scale || !scalar_type(entry.where->encoding));
}

at::Tensor read_tensor(const TensorTable& table, const std::string& name, at::ScalarType dtype) {
  const TensorTable::Entry& entry = table.tensors().at(name);
  require_floats(table.source(), concat("'", name, "'"), entry);
  const at::Tensor tensor = at::empty(entry.where->shape, at::TensorOptions().dtype(dtype));
  if (tensor.numel() > 0) read_into(tensor, entry, 0);
  return tensor;
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
    if (has_numbers(entry) && name.starts_with(prefix))  // bfloat16 has float8's range, and blocks'
      bytes[scalar_type(entry.where->encoding).value_or(at::kBFloat16)] += entry.where->bytes();
  const auto most = std::max_element(bytes.begin(), bytes.end(), [](auto& a, auto& b) { return a.second < b.second; });
  return most == bytes.end() ? at::kFloat : most->first;
}

}  // namespace sdgen
