#include "nn/block_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/tensor.h>

namespace sdgen {
namespace {

// The sum of magnitudes of each row, [B] float64 on the CPU. Of each token first: so threads divide no sum.
at::Tensor magnitudes(const at::Tensor& x) {
  const auto sums = [](const at::Tensor& of) {
    return at::linalg_vector_norm(of, /*ord=*/1, /*dim=*/at::OptionalIntArrayRef({-1}), /*keepdim=*/false, at::kDouble);
  };
  return sums(sums(x)).cpu();
}

}  // namespace

at::Tensor BlockCache::Rows::of(const at::Tensor& tensor) const {
  return index_.defined() && tensor.defined() ? tensor.index_select(0, index_) : tensor;
}

void BlockCache::begin(const at::Tensor& x, const Conditioning& conditioning) {
  if (!prompted_.same(x, conditioning)) moved_.reset();
}

// The rows whose first layer moved them otherwise than when all layers were asked.
std::vector<std::int64_t> BlockCache::changed(const at::Tensor& moved) const {
  std::vector<std::int64_t> rows;
  const std::int64_t count = moved.size(0);
  const at::Tensor differences = moved_.defined() ? magnitudes(moved - moved_) : at::Tensor(),
                   before = moved_.defined() ? magnitudes(moved_) : at::Tensor();
  for (std::int64_t picture = 0; picture < pictures_; ++picture) {
    double difference = 0, whole = 0;
    for (std::int64_t row = picture; moved_.defined() && row < count; row += pictures_) {
      difference += differences[row].item<double>();
      whole += before[row].item<double>();
    }
    if (moved_.defined() && difference <= threshold_ * whole) continue;
    for (std::int64_t row = picture; row < count; row += pictures_) rows.push_back(row);
  }
  return rows;
}

at::Tensor BlockCache::behind_first(const at::Tensor& before, Streams streams, std::size_t count,
                                    const Layers& layers) {
  const at::Tensor first = streams[0].slice(1, 0, before.size(1)), moved = first - before;
  const auto drawn = [](const at::Tensor& tokens, const at::Tensor& like) { return tokens.slice(1, 0, like.size(1)); };
  const std::vector<std::int64_t> again = changed(moved);
  const auto asked = static_cast<std::int64_t>(again.size());
  if (asked == moved.size(0)) {
    const at::Tensor made = layers(1, count, std::move(streams), {})[0];
    moved_ = moved, added_ = made - drawn(first, made);
    return made;
  }
  at::Tensor made = drawn(first, added_) + added_;
  if (asked == 0) return made;
  const at::Tensor index = at::tensor(again, at::kLong).to(moved.device());
  const Rows rows(index);
  for (at::Tensor& stream : streams) stream = rows.of(stream);
  const at::Tensor some = layers(1, count, std::move(streams), rows)[0];
  made.index_copy_(0, index, some);
  added_.index_copy_(0, index, some - rows.of(drawn(first, some)));
  moved_.index_copy_(0, index, rows.of(moved));
  return made;
}

at::Tensor BlockCache::through(BlockCache* cache, std::size_t count, const Layers& layers, Streams streams) {
  if (!cache || count < 2) return layers(0, count, std::move(streams), {})[0];
  const at::Tensor before = streams[0];
  return cache->behind_first(before, layers(0, 1, std::move(streams), {}), count, layers);
}

}  // namespace sdgen
