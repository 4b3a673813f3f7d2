#include "adapters/lora_change.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/einsum.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/accumulate.h>

#include <limits>

#include "formats/model_files.h"
#include "io/utf8.h"
#include "sdgen/error.h"
#include "weights/weights.h"

namespace sdgen {

using at::Tensor;
using Part = LoraPart;

namespace {

// The core of a Tucker product, and a block of a rotation, is squared in memory: a rank beyond this is not a low one.
constexpr std::int64_t kMaxCore = 4096;

constexpr const char* kOtherRank = "its rank is not the other factor's";

// Of every row (0) or column (1), ready to divide by.
Tensor norm_of(const Tensor& w, int dim) {
  std::vector<std::int64_t> others;
  for (int i = 0; i < w.dim(); ++i)
    if (i != dim) others.push_back(i);
  return at::linalg_vector_norm(w, 2, others, /*keepdim=*/true);
}

// The rotations that blocks [..., s, s] stand for (Cayley's), `most` being the norm of what they are made of; 0:
// any.
Tensor oft_rotations(const Tensor& blocks, double most) {
  Tensor skew = blocks - blocks.transpose(-1, -2);
  if (const double norm = at::linalg_vector_norm(skew).item<double>() + 1e-8; most > 0 && norm > most)
    skew = skew * (most / norm);
  const Tensor one = at::eye(skew.size(-1), skew.options());
  return (one + skew).matmul(at::linalg_inv(one - skew));
}

// BOFT's turns of rows: `turn` [blocks, s, s] mixes those that are `stride` apart.
Tensor butterfly(const Tensor& rows, const Tensor& turn, std::int64_t stride) {
  const std::int64_t n = rows.size(0), s = turn.size(-1);
  const Tensor pairs = rows.reshape({n / (2 * stride), 2, stride, -1}).transpose(1, 2);
  const Tensor turned = turn.matmul(pairs.reshape({n / s, s, -1}));
  return turned.reshape({n / (2 * stride), stride, 2, -1}).transpose(1, 2).reshape({n, -1});
}

// The first of the rows, of `height` in all, and their number.
std::pair<std::int64_t, std::int64_t> range_of(const Place& place, std::int64_t height) {
  const std::int64_t one = height / place.parts;
  return {one * place.part, one * place.count};
}

// Its halves in each other's place.
Tensor exchanged(const Tensor& rows) {
  const std::int64_t half = rows.size(0) / 2;
  return at::cat({rows.narrow(0, half, rows.size(0) - half), rows.narrow(0, 0, half)});
}

}  // namespace

std::vector<std::int64_t> LoraRows::whole() const {
  std::vector<std::int64_t> all = shape;
  if (!place.whole()) all.at(0) = all[0] / place.count * place.parts;
  return all;
}

Tensor LoraRows::of(const Tensor& whole) const {
  if (place.whole()) return whole;
  const auto [first, count] = range_of(place, whole.size(0));
  const Tensor rows = whole.narrow(0, first, count);
  return place.swapped ? exchanged(rows) : rows;
}

void LoraRows::put(const Tensor& rows, const Tensor& whole) const {
  const auto [first, count] = range_of(place, whole.size(0));
  whole.narrow(0, first, count).copy_(place.swapped ? exchanged(rows) : rows);
}

std::optional<Part> product_kind(const LoraProduct& p) {
  using enum LoraPart;
  if (p.has_all({down, up})) return down;
  if (p.has_all({hada_w1_a, hada_w1_b, hada_w2_a, hada_w2_b}) && p.has(hada_t1) == p.has(hada_t2)) return hada_w1_a;
  if ((p.has(lokr_w1) || p.has_all({lokr_w1_a, lokr_w1_b})) && (p.has(lokr_w2) || p.has_all({lokr_w2_a, lokr_w2_b})))
    return lokr_w1;
  if (p.has_all({glora_a1, glora_a2, glora_b1, glora_b2})) return glora_a1;
  if (p.has_all({ia3, on_input})) return ia3;
  if (p.has(oft_blocks)) return oft_blocks;
  if (p.has(diff)) return diff;
  if (p.has(replaced)) return replaced;
  return std::nullopt;
}

std::int64_t LoraChange::columns(Part part) const {
  const Sizes& s = shape_of(part);
  return s.empty() ? 1 : c10::multiply_integers(s.begin() + 1, s.end());
}

std::int64_t LoraChange::kernel() const {
  return shape.size() > 2 ? c10::multiply_integers(shape.begin() + 2, shape.end()) : 1;
}

Tensor LoraChange::read(Part part) const { return read_tensor(*table, product.names.at(part), at::kFloat); }

// The only number of a tensor of any type.
double LoraChange::number(Part part, double fallback) const {
  if (!product.has(part)) return fallback;
  const std::vector<double> values = read_values(*table, product.names.at(part));
  require(values.size() == 1, part, "it is one number");
  return values[0];
}

void LoraChange::misfit(Part part, const std::string& why) const {
  throw Error(Fault::input, concat(table->source(), ": tensor '", printable(product.names.at(part)), "' has shape ",
                                   print_shape(shape_of(part)), ", which does not fit the model's ", print_shape(shape),
                                   " (", why, ")"));
}

// core [i, j, kernel...], left [i, out], right [j, in]
void LoraChange::check_core(Part core, Part left, Part right, bool left_is_transposed) const {
  const Sizes& s = shape_of(core);
  require(s.size() == shape.size() && shape.size() > 2 && s[0] <= kMaxCore && s[1] <= kMaxCore &&
              std::equal(s.begin() + 2, s.end(), shape.begin() + 2),
          core, "a core has the kernel's size");
  require((left_is_transposed ? rows(left) : columns(left)) == s[0], left, "its rank is not the core's");
  require(rows(right) == s[1], right, "its rank is not the core's");
}

// left [height, rank], right [rank, width]
void LoraChange::check_pair(Part left, Part right, std::int64_t height, std::int64_t width) const {
  require(rows(left) == height, left, "rows");
  require(columns(right) == width, right, "columns");
  require(columns(left) == rows(right), left, kOtherRank);
}

// A pair as wide as a kernel's rows, or a core between [i, height] and [j, width].
void LoraChange::check_factor(Part left, Part right, Part core, std::int64_t height, std::int64_t width) const {
  if (!product.has(core)) return check_pair(left, right, height, width * kernel());
  check_core(core, left, right, true);
  require(columns(left) == height, left, "columns");
  require(columns(right) == width, right, "columns");
}

// Likewise, with left [out, i].
void LoraChange::check_up_and_down(Part up, Part down, Part mid) const {
  if (!product.has(mid)) return check_pair(up, down, out(), in() * kernel());
  check_core(mid, up, down, false);
  require(rows(up) == out(), up, "rows");
  require(columns(down) == in(), down, "columns");
}

void LoraChange::check_lokr() const {
  const bool whole = product.has(Part::lokr_w1);
  const Part top = whole ? Part::lokr_w1 : Part::lokr_w1_a, side = whole ? Part::lokr_w1 : Part::lokr_w1_b;
  if (!whole) require(columns(top) == rows(side), top, kOtherRank);
  require(out() % rows(top) == 0, top, "rows do not divide the weight's");
  require(in() % columns(side) == 0, side, "columns do not divide the weight's");
  const std::int64_t c = out() / rows(top), d = in() / columns(side);
  if (product.has(Part::lokr_w2)) {
    require(rows(Part::lokr_w2) == c && columns(Part::lokr_w2) == d * kernel(), Part::lokr_w2, "with the other factor");
  } else {
    check_factor(Part::lokr_w2_a, Part::lokr_w2_b, Part::lokr_t2, c, d);
  }
}

void LoraChange::check_glora() const {
  check_pair(Part::glora_a1, Part::glora_a2, in(), in());
  require(rows(Part::glora_a2) <= kMaxCore, Part::glora_a2, "its rank is not low");
  check_up_and_down(Part::glora_b1, Part::glora_b2, Part::glora_bm);
}

void LoraChange::check_ia3() const {
  const double input = number(Part::on_input, 0);
  require(input == 0 || input == 1, Part::on_input, "0 or 1");
  require(rows(Part::ia3) * columns(Part::ia3) == (input == 1 ? in() : out()), Part::ia3,
          "a factor is one number a row");
}

void LoraChange::check_oft() const {
  const Sizes& s = shape_of(Part::oft_blocks);
  const bool butterflies = s.size() == 4;
  require((s.size() == 3 || butterflies) && s.back() == s[s.size() - 2] && s.back() <= kMaxCore, Part::oft_blocks,
          "its blocks are squares");
  require(s[s.size() - 3] == out() / s.back() && out() % s.back() == 0, Part::oft_blocks,
          "its blocks are together as high as the weight");
  // Each stage mixes rows that are twice as far apart.
  if (butterflies)
    require(s[0] <= 32 && s.back() % 2 == 0 && out() % (s.back() << (s[0] - 1)) == 0, Part::oft_blocks,
            "its stages do not divide the rows");
  if (product.has(Part::rescale))
    require(rows(Part::rescale) == out() && columns(Part::rescale) == 1, Part::rescale, "one number a row");
  number(Part::alpha, 0);
}

void LoraChange::check_magnitude() const {
  const Part part = product.has(Part::magnitude) ? Part::magnitude : Part::dora_scale;
  if (!product.has(part)) return;
  const std::int64_t count = rows(part) * columns(part);
  require(count == out() || (part == Part::dora_scale && rows(part) == 1 && count == in()), part,
          "a magnitude is one number a row");
}

// Sizes first, so that a product is never larger than the parameter.
void LoraChange::check() const {
  if (is_whole()) return require(same_but_for_ones(shape_of(kind), shape), kind, "it has the same shape");
  require(shape.size() >= 2, kind == Part::lokr_w1 ? product.names.begin()->first : kind,
          "only matrices and kernels are products");
  for (const auto& [part, name] : product.names)
    for (const std::int64_t n : shape_of(part)) require(n > 0, part, "it is empty");
  if (kind == Part::down) {
    check_up_and_down(Part::up, Part::down, Part::mid);
  } else if (kind == Part::hada_w1_a) {
    check_factor(Part::hada_w1_a, Part::hada_w1_b, Part::hada_t1, out(), in());
    check_factor(Part::hada_w2_a, Part::hada_w2_b, Part::hada_t2, out(), in());
  } else if (kind == Part::lokr_w1) {
    check_lokr();
  } else if (kind == Part::glora_a1) {
    check_glora();
  } else if (kind == Part::ia3) {
    check_ia3();
  } else {
    check_oft();
  }
  check_magnitude();
}

// core [i,j,...], left [i,out], right [j,in] -> [out,in,...]
Tensor LoraChange::tucker(Part core, const Tensor& left, Part right) const {
  return at::einsum("ij...,ip,jr->pr...", {read(core), left, matrix(right)});
}

Tensor LoraChange::up_and_down(Part up, Part down, Part mid) const {
  return product.has(mid) ? own.of(tucker(mid, matrix(up).t(), down)) : own.of(matrix(up)).matmul(matrix(down));
}

Tensor LoraChange::kronecker() const {
  const Tensor w1 =
      product.has(Part::lokr_w1) ? matrix(Part::lokr_w1) : matrix(Part::lokr_w1_a).matmul(matrix(Part::lokr_w1_b));
  const Tensor w2 = product.has(Part::lokr_w2)   ? matrix(Part::lokr_w2)
                    : product.has(Part::lokr_t2) ? tucker(Part::lokr_t2, matrix(Part::lokr_w2_a), Part::lokr_w2_b)
                                                 : matrix(Part::lokr_w2_a).matmul(matrix(Part::lokr_w2_b));
  // kron([a,b,1], [c,d,kernel]) -> [a*c, b*d, kernel]
  return at::kron(w1.unsqueeze(-1), w2.reshape({shape[0] / w1.size(0), shape[1] / w1.size(1), kernel()}).contiguous());
}

// (IA)^3: every input, or output, times a number.
Tensor LoraChange::scaled_channels(const Tensor& original) const {
  Sizes sizes(shape.size(), 1);
  const bool input = number(Part::on_input, 0) == 1;
  sizes[input ? 1 : 0] = -1;
  const Tensor factors = read(Part::ia3).reshape(sizes);
  return original * (input ? factors : own.of(factors));
}

// OFT and BOFT: blocks of rows are turned, then each row may get longer. As LyCORIS merges at other strengths, too.
Tensor LoraChange::rotated(const Tensor& original) const {
  const Tensor turns = oft_rotations(read(Part::oft_blocks), number(Part::alpha, 0) * static_cast<double>(out()));
  const Tensor one = at::eye(turns.size(-1), turns.options());
  const Tensor flat = original.reshape({out(), -1});
  const Tensor longer = product.has(Part::rescale) ? read(Part::rescale).reshape({-1, 1}) : Tensor();
  if (turns.dim() == 3) {
    const Tensor blocks = flat.reshape({turns.size(0), turns.size(1), -1});
    const Tensor change = strength * (turns - one).transpose(1, 2).matmul(blocks).reshape(flat.sizes());
    return longer.defined() ? longer * change + (longer - 1) * flat : change;
  }
  Tensor rows = flat;
  for (std::int64_t stage = 0, stride = turns.size(-1) / 2; stage < turns.size(0); ++stage, stride *= 2)
    rows = butterfly(rows, turns[stage] * strength + (1 - strength) * one, stride);
  return (longer.defined() ? rows * longer : rows) - flat;
}

// In the original's shape, without the user's strength.
Tensor LoraChange::difference(const Tensor& original) const {
  Tensor result;
  if (is_whole()) {
    result = own.of(read(kind).reshape(shape));
    if (kind == Part::replaced) result = result - original;
  } else if (kind == Part::down) {
    result = up_and_down(Part::up, Part::down, Part::mid);
  } else if (kind == Part::hada_w1_a) {
    const auto half = [&](Part a, Part b, Part t) {
      return product.has(t) ? tucker(t, matrix(a), b) : matrix(a).matmul(matrix(b));
    };
    result = own.of(half(Part::hada_w1_a, Part::hada_w1_b, Part::hada_t1).reshape(shape)) *
             own.of(half(Part::hada_w2_a, Part::hada_w2_b, Part::hada_t2).reshape(shape));
  } else if (kind == Part::glora_a1) {
    const Tensor through = at::einsum("oi...,ij->oj...", {original, matrix(Part::glora_a1)});
    result = at::einsum("oj...,ji->oi...", {through, matrix(Part::glora_a2)}) +
             up_and_down(Part::glora_b1, Part::glora_b2, Part::glora_bm).reshape(original.sizes());
  } else if (kind == Part::ia3) {
    result = scaled_channels(original);
  } else {
    result = own.of(kronecker().reshape(shape));
  }
  return result.reshape(original.sizes()) * scale;
}

// A magnitude is one number a row, or, in other files, one a column.
bool LoraChange::one_a_column() const {
  return product.has(Part::dora_scale) && rows(Part::dora_scale) == 1 && shape[0] != 1;
}

bool LoraChange::mixes_rows() const { return kind == Part::oft_blocks || one_a_column(); }

std::optional<LowRank> LoraChange::low_rank() const {
  const bool product_alone = kind == Part::down && !product.has(Part::mid) && !product.has(Part::dora_scale) &&
                             !product.has(Part::magnitude) && all.empty() && kernel() == 1;
  if (!product_alone) return std::nullopt;
  return LowRank{matrix(Part::down), own.of(matrix(Part::up)), scale * strength};
}

Tensor LoraChange::apply(const Tensor& original, const Tensor& weight, const Originals& originals) const {
  if (all.empty()) return changed(original, weight);
  LoraChange together = *this;
  together.own = {"", shape, Place("")};
  const Tensor whole = at::zeros(shape, original.options());
  for (const LoraRows& part : all) part.put(originals(part.parameter, part.shape), whole);
  return weight + own.of(together.changed(whole, at::zeros_like(whole)));
}

Tensor LoraChange::changed(const Tensor& original, const Tensor& weight) const {
  if (kind == Part::oft_blocks) return weight + rotated(original).reshape(shape);
  const Tensor change = difference(original);
  const auto per_row = [&](Part part, const Tensor& length) {
    Sizes sizes(shape.size(), 1);
    sizes[0] = -1;
    return own.of(read(part).reshape(sizes)).reshape(length.sizes());
  };
  if (product.has(Part::magnitude)) {  // as PEFT merges: the strength is the product's
    const Tensor scaled = change * strength, length = norm_of(original + scaled, 0);
    return per_row(Part::magnitude, length) / length * (weight + scaled);
  }
  if (product.has(Part::dora_scale)) {  // as LyCORIS merges at strength 1, and between for others
    const Tensor sum = original + change;
    const bool columns = one_a_column();
    const Tensor length = norm_of(sum, columns ? 1 : 0) + std::numeric_limits<float>::epsilon();
    const Tensor magnitude =
        columns ? read(Part::dora_scale).reshape(length.sizes()) : per_row(Part::dora_scale, length);
    return weight + strength * (sum * (magnitude / length) - original);
  }
  return weight + change * strength;
}

}  // namespace sdgen
