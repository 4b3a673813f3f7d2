#include "io/tensor_table.h"

#include <algorithm>
#include <array>

#include "io/decode.h"
#include "io/json.h"
#include "io/quantization.h"
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
  describe_codes(source_, tensors_, described_);
}

TensorTable::TensorTable(std::shared_ptr<const TensorTable> table, std::unique_ptr<const TensorFile> instead)
    : source_(table->source()), table_(std::move(table)) {
  const TensorFile& file = *files_.emplace_back(std::move(instead));
  for (const auto& [name, where] : file.tensors()) tensors_.emplace(name, Entry{&file, &where});
  describe_codes(source_, tensors_, described_);
  tensors_.insert(table_->tensors().begin(), table_->tensors().end());
}

const StoredTensor* TensorTable::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second.where;
}

namespace {

// What the codes say alone. Blocks are read whole.
void read_unscaled(const TensorTable::Entry& entry, std::uint64_t first, std::uint64_t count, float* to) {
  const EncodingInfo& info = info_of(entry.where->encoding);
  std::array<std::byte, 16384> bytes;
  std::array<float, 16384> numbers;
  const std::uint64_t at_once = std::min(bytes.size() / info.bytes, numbers.size() / info.elements);  // blocks
  for (std::uint64_t done = 0; done < count;) {
    const std::uint64_t block = (first + done) / info.elements, skipped = (first + done) % info.elements,
                        blocks = std::min((skipped + count - done + info.elements - 1) / info.elements, at_once),
                        here = std::min(blocks * info.elements - skipped, count - done);
    const std::span part = std::span(bytes).first(blocks * info.bytes);
    entry.file->read(*entry.where, block * info.bytes, part);
    decode(entry.scaling, entry.where->encoding, part, numbers.data());
    std::copy_n(numbers.data() + skipped, here, to + done);
    done += here;
  }
}

}  // namespace

bool has_numbers(const TensorTable::Entry& entry) {
  const Encoding encoding = entry.where->encoding;
  return !entry.scaling.table.empty() || (encoding == Encoding::I8 ? entry.scale != nullptr : decodes(encoding));
}

std::uint64_t stored_bytes(const TensorTable::Entry& entry) {
  return entry.where->bytes() + (entry.scale ? stored_bytes(*entry.scale) : 0);
}

void read_floats(const TensorTable::Entry& entry, std::uint64_t first, std::uint64_t count, float* to) {
  const Scaling& scaling = entry.scaling;
  if (const std::uint64_t group = scaling.rotated, before = group ? first % group : 0,
      whole = group ? (before + count + group - 1) / group * group : count;
      whole != count) {
    std::vector<float> groups(whole);
    read_floats(entry, first - before, whole, groups.data());
    std::copy_n(groups.data() + before, count, to);
    return;
  }
  read_unscaled(entry, first, count, to);
  const ScaleRange range = scales_of(scaling, first, count);
  std::vector<float> scales(range.count);
  if (range.count > 0) read_floats(*entry.scale, range.first, range.count, scales.data());
  apply(scaling, first, scales, {to, count});
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

bool is_shape(Shape stored, Shape expected) {
  while (!same_but_for_ones(stored, expected)) {
    if (expected.size() < 2 || expected.front() != 1) return false;
    expected = expected.subspan(1);
  }
  return true;
}

}  // namespace sdgen
