#include "weights/stored_codes.h"

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>

#include <vector>

#include "io/pieces.h"

namespace sdgen {
namespace {

constexpr std::int64_t kBytesWorthAThread = 1 << 20;

std::int64_t total(std::span<const Stretch> stretches) {
  std::uint64_t count = 0;
  for (const Stretch& stretch : stretches) count += stretch.count;
  return static_cast<std::int64_t>(count);
}

// As float32.
Codes read_numbers(const TensorTable::Entry& entry, std::span<const Stretch> stretches, const TakeBytes& take) {
  const std::int64_t count = total(stretches);
  Codes codes{Encoding::F32, count, 1, take(count, sizeof(float))};
  auto* to = static_cast<float*>(codes.bytes.mutable_data_ptr());
  for (const Stretch& stretch : stretches) {
    read_floats(entry, stretch.first, stretch.count, to);
    to += stretch.count;
  }
  return codes;
}

// Those that the numbers of the stretches have.
Codes read_scales(const TensorTable::Entry& entry, std::span<const Stretch> stretches, const TakeBytes& take) {
  std::vector<Stretch> scales;
  for (const Stretch& stretch : stretches) {
    const ScaleRange range = scales_of(entry.scaling, stretch.first, stretch.count);
    scales.push_back({range.first, range.count});
  }
  const TensorTable::Entry& scale = *entry.scale;
  if (scale.where->elements() == 1) scales = {{0, 1}};
  // Codes of scales are small beside the codes, floats are not: they stay codes where they begin with a scale.
  const bool coded = scale.scale && scales.size() == 1 && scales[0].first % scale.scaling.span == 0;
  return coded ? read_codes(scale, scales, 1, take) : read_numbers(scale, scales, take);
}

}  // namespace

bool has_whole_rows(const TensorTable::Entry& entry, std::int64_t in) {
  const auto divides = [in](std::uint64_t n) { return n == 0 || static_cast<std::uint64_t>(in) % n == 0; };
  const bool one_scale = !entry.scale || entry.scale->where->elements() == 1;
  return divides(info_of(entry.where->encoding).elements) && divides(entry.scaling.rotated) &&
         (one_scale || divides(entry.scaling.span));
}

Codes read_codes(const TensorTable::Entry& entry, std::span<const Stretch> stretches, std::int64_t in,
                 const TakeBytes& take) {
  const EncodingInfo& info = info_of(entry.where->encoding);
  const auto bytes = [&info](std::uint64_t numbers) { return numbers / info.elements * info.bytes; };
  const std::int64_t out = total(stretches) / in;
  const std::uint64_t row = bytes(static_cast<std::uint64_t>(in));
  // On several threads: reading may be encoding.
  const auto by_rows = [row](std::int64_t rows, const auto& part) {
    in_pieces(rows, kBytesWorthAThread / std::int64_t(row) + 1, at::get_num_threads(), part);
  };
  Codes codes{entry.where->encoding, out, in, {}, entry.scaling};
  if (stretches.size() == 1)
    codes.file = entry.file->map(*entry.where, bytes(stretches[0].first), bytes(stretches[0].count));
  if (codes.file) {
    by_rows(out, [&](std::int64_t begin, std::int64_t end) {
      codes.file->fetch(std::uint64_t(begin) * row, std::uint64_t(end - begin) * row);
    });
    codes.file->require_unchanged();
    codes.bytes = at::from_blob(
        const_cast<std::byte*>(codes.file->data()), {out, std::int64_t(row)}, [file = codes.file](void*) {}, at::kByte);
  } else {
    codes.bytes = take(out, std::int64_t(row));
    auto* to = static_cast<std::byte*>(codes.bytes.mutable_data_ptr());
    for (const Stretch& stretch : stretches) {
      by_rows(std::int64_t(stretch.count) / in, [&, to](std::int64_t begin, std::int64_t end) {
        const std::uint64_t from = std::uint64_t(begin) * row, size = std::uint64_t(end - begin) * row;
        entry.file->read(*entry.where, bytes(stretch.first) + from, {to + from, size});
      });
      to += bytes(stretch.count);
    }
  }
  if (entry.scale) codes.scales = std::make_shared<const Codes>(read_scales(entry, stretches, take));
  return codes;
}

}  // namespace sdgen
