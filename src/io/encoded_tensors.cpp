#include "io/encoded_tensors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "io/encode.h"
#include "io/quantization.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

constexpr std::uint64_t kTileOfNumbers = 16384;

bool has_scale_a_row(Encoding encoding) { return encoding == Encoding::I8; }

}  // namespace

bool takes_scale(Encoding encoding) { return encoding == Encoding::F8_E4M3 || encoding == Encoding::I8; }

EncodedTensors::EncodedTensors(std::shared_ptr<const TensorTable> table, const Choose& choose)
    : TensorFile(table->files().front()->path()), table_(std::move(table)) {
  for (const auto& [name, entry] : table_->tensors()) {
    const std::optional<Encoding> encoding = choose(name, entry);
    if (!encoding) continue;
    const StoredTensor& stored = *entry.where;
    if (*encoding == stored.encoding) {
      if (!entry.scaling.only_scales())
        throw Error(Fault::internal, concat("tensor '", printable(name), "' has no description to be written"));
      add(name, stored, {&name, &entry, /*as_it_is=*/true});
      if (!entry.scale) continue;
      add(scale_name(name), *entry.scale->where, {&name, entry.scale, /*as_it_is=*/true});
    } else {
      const std::optional<std::uint64_t> size = encoded_size(*encoding, stored.shape);
      if (!size || !encodes(*encoding))
        throw Error(Fault::internal, concat("tensor '", printable(name), "' in ", info_of(*encoding).name));
      const bool scaled = takes_scale(*encoding);
      Scales* scales = scaled ? &scales_.emplace_back() : nullptr;
      const StoredTensor* codes = add(name, {*encoding, stored.shape, 0, *size}, {&name, &entry, false, scales});
      if (!scaled) continue;
      StoredTensor scale{Encoding::F32, {}, 0, sizeof(float)};
      if (has_scale_a_row(*encoding)) {
        scale.shape = {stored.shape[0], 1};
        scale.end *= std::uint64_t(stored.shape[0]);
      }
      add(scale_name(name), scale, {&name, &entry, false, scales, codes});
    }
    const std::string said = description_of(*encoding);
    add(description_name(name), {Encoding::U8, {std::int64_t(said.size())}, 0, said.size()},
        {.name = &name, .text = said});
  }
}

const StoredTensor* EncodedTensors::add(const std::string& name, StoredTensor tensor, Source source) {
  const std::uint64_t size = tensor.bytes();
  tensor.begin = end_;
  tensor.end = end_ += size;
  const auto [place, fresh] = tensors_.emplace(name, std::move(tensor));
  if (!fresh)
    throw Error(Fault::input, concat(table_->source(), ": tensor '", printable(name), "' is in the way of a scale"));
  sources_.emplace(&place->second, std::move(source));
  return &place->second;
}

void EncodedTensors::fetch(const StoredTensor& tensor, std::uint64_t offset, std::span<std::byte> out) const {
  const Source& source = sources_.at(&tensor);
  if (source.as_it_is) return source.entry->file->read(*source.entry->where, offset, out);
  if (!source.text.empty()) {
    std::memcpy(out.data(), source.text.data() + offset, out.size());
  } else if (source.codes) {
    const auto values = std::as_bytes(std::span(scales_of(*source.codes, source)));
    std::memcpy(out.data(), values.data() + offset, out.size());
  } else {
    encode_part(tensor, source, offset, out);
  }
}

const std::vector<float>& EncodedTensors::scales_of(const StoredTensor& codes, const Source& source) const {
  Scales& scales = *source.scales;
  std::call_once(scales.once, [&] {
    const std::uint64_t count = codes.elements(),
                        rows = has_scale_a_row(codes.encoding) ? std::uint64_t(codes.shape[0]) : 1,
                        row = rows > 0 ? count / rows : 0;
    std::vector<float> values, numbers(std::min(row, kTileOfNumbers));
    for (std::uint64_t i = 0; i < rows; ++i) {
      float largest = 0;
      for (std::uint64_t done = 0; done < row && !std::isnan(largest); done += numbers.size()) {
        const std::span part(numbers.data(), std::min<std::uint64_t>(numbers.size(), row - done));
        read_floats(*source.entry, i * row + done, part.size(), part.data());
        const float here = largest_of(part);
        largest = std::isnan(here) ? here : std::max(largest, here);
      }
      values.push_back(scale_of(codes.encoding, largest));
    }
    scales.values = std::move(values);
  });
  return scales.values;
}

// Tiles end where rows do, if rows have scales of their own.
void EncodedTensors::encode_part(const StoredTensor& tensor, const Source& source, std::uint64_t offset,
                                 std::span<std::byte> out) const {
  const EncodingInfo& info = info_of(tensor.encoding);
  const std::vector<float>* scales = source.scales ? &scales_of(tensor, source) : nullptr;
  const std::uint64_t count = out.size() / info.bytes * info.elements, first = offset / info.bytes * info.elements,
                      row = scales ? tensor.elements() / scales->size() : tensor.elements();
  if (offset % info.bytes != 0 || out.size() % info.bytes != 0)
    throw Error(Fault::internal, concat("bytes ", offset, " to ", offset + out.size(), " are no blocks"));
  std::array<float, kTileOfNumbers> numbers;
  for (std::uint64_t done = 0; done < count;) {
    const std::uint64_t at = first + done, here = std::min({count - done, row - at % row, kTileOfNumbers});
    const std::span part(numbers.data(), here);
    read_floats(*source.entry, at, here, part.data());
    if (const float largest = largest_of(part); !(largest <= most_of(tensor.encoding)))
      throw Error(Fault::input, concat(table_->source(), ": tensor '", printable(*source.name), "' has ",
                                       std::isfinite(largest) ? concat(largest, ", which is too large for ", info.name)
                                                              : std::string("NaN or infinity: it cannot be encoded")));
    encode(tensor.encoding, part, out.data() + done / info.elements * info.bytes, scales ? (*scales)[at / row] : 1);
    done += here;
  }
}

}  // namespace sdgen
