// The matrix of a linear layer, however it is kept: what it multiplies by is what was read, and what was added.
#include "weights/matrix.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>

#include "core/fixture.h"
#include "core/tensor_files.h"
#include "device/device.h"
#include "nn/layers.h"
#include "ops/int8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// By the type of the numbers: float32 lies in panels on the CPU, bfloat16 in oneDNN's layout where there is one,
// float64 as it is.
class MatrixTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  MatrixTest() {
    at::manual_seed(5);
    weight_ = random({kOut, kIn});
  }
  // Numbers that the type at hand can hold, in double.
  static Tensor random(at::IntArrayRef shape) { return at::randn(shape).to(GetParam()).to(at::kDouble); }
  static Tensor here(const Tensor& x) { return x.to(GetParam()); }

  Weights weights() const {
    const auto file =
        test::write_tensors(scratch_, "layer.safetensors",
                            {{"layer.weight", weight_.to(at::kFloat)}, {"layer.bias", bias_.to(at::kFloat)}});
    return test::open_weights({file}, at::kCPU, GetParam());
  }
  Matrix matrix() const { return (weights() / "layer").matrix("weight", kOut, kIn); }
  static LowRank term(std::int64_t rank, double scale) {
    return {random({rank, kIn}) / 8, random({kOut, rank}) / 8, scale};
  }
  static Tensor merged(const Tensor& weight, const LowRank& term) {
    return weight + term.scale * term.up.matmul(term.down);
  }
  static void expect_near(const Tensor& got, const Tensor& right) {
    EXPECT_EQ(got.scalar_type(), GetParam());
    test::expect_close(got, right, GetParam() == at::kBFloat16 ? 0.01 : 2e-6, "");
  }

  static constexpr std::int64_t kOut = 40, kIn = 1500;  // in is more than is unpacked at once
  const Scratch scratch_;
  Tensor weight_, bias_ = at::randn({kOut}, at::kDouble);
};

INSTANTIATE_TEST_SUITE_P(Types, MatrixTest, testing::Values(at::kFloat, at::kBFloat16, at::kDouble),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST_P(MatrixTest, IsWhatWasRead) {
  const Matrix plain = matrix();
  EXPECT_TRUE(at::equal(plain.dense(at::kDouble), weight_)) << "bit for bit, whatever the layout";
  EXPECT_EQ(plain.parameter().sizes(), weight_.sizes());
  const Tensor x = random({2, 7, kIn}), plus = random({2, 7, kOut});
  expect_near(plain.times(here(x)), at::linear(x, weight_));
  expect_near(plain.times(here(x), here(bias_), here(plus)),
              at::linear(x, weight_, here(bias_).to(at::kDouble)) + plus);
}

TEST_P(MatrixTest, TermsAreAsIfMerged) {
  const LowRank one = term(4, 0.75), other = term(1, -2);
  Matrix sum = matrix();
  sum.add(one);
  const Tensor x = random({2, 7, kIn}), bias = here(bias_), plus = random({2, 7, kOut});
  expect_near(sum.times(here(x)), at::linear(x, merged(weight_, one)));
  sum.add(other);
  const Tensor both = merged(merged(weight_, one), other);
  expect_near(sum.times(here(x), bias, here(plus)), at::linear(x, both, bias.to(at::kDouble)) + plus);
  test::expect_close(sum.dense(at::kDouble), both, 1e-12, "dense");
  EXPECT_TRUE(at::equal(matrix().dense(at::kDouble), weight_)) << "terms of one are terms of another";
}

TEST_P(MatrixTest, ALayerGetsItsTermsAsItIsRead) {
  const LowRank one = term(3, 0.5);
  std::vector<std::string> asked;
  const Weights w = weights().adding([&](const std::string& name) -> std::vector<LowRank> {
    asked.push_back(name);
    return {one};
  });
  const Linear layer(w / "layer", kIn, kOut);
  EXPECT_EQ(asked, std::vector<std::string>{"layer.weight"});
  EXPECT_TRUE(w.unread().empty());
  const Tensor x = random({5, kIn});
  expect_near(layer.forward(here(x)), at::linear(x, merged(weight_, one), here(bias_).to(at::kDouble)));
  std::set<std::string> names;
  for (const auto& [name, parameter] : layer.named_parameters()) names.insert(name);
  EXPECT_EQ(names, (std::set<std::string>{"weight", "bias"})) << "terms are not the checkpoint's";
}

TEST_P(MatrixTest, RefusesTermsOfOtherSizes) {
  Matrix m = matrix();
  const Tensor down = random({2, kIn}), up = random({kOut, 2});
  EXPECT_THROW(m.add({up, down}), c10::Error);
  EXPECT_THROW(m.add({down, random({kOut, 3})}), c10::Error);
  EXPECT_THROW(m.add({random({2, kIn - 1}), up}), c10::Error);
  EXPECT_THROW(m.add({down, random({kOut + 1, 2})}), c10::Error);
}

TEST_P(MatrixTest, IsCheckedWithoutItsNumbers) {
  const auto file = weights().source();
  const Weights w = test::open_weights({file}, at::kMeta, GetParam());
  const Linear layer(w / "layer", kIn, kOut);
  EXPECT_TRUE(w.unread().empty());
  for (const auto& [name, parameter] : layer.named_parameters()) EXPECT_TRUE(parameter.is_meta()) << name;
  EXPECT_CONTAINS(message_of(Fault::input, [&] { Linear(w / "layer", kOut, kIn); }), "[1500,40]");
}

// Codes of whole numbers with a scale for each row, which are what a part of the rows of a file's tensor are, or all of
// them with their halves exchanged.
class CodesTest : public MatrixTest {
 protected:
  CodesTest() {
    std::string codes, scales;
    for (std::int64_t i = 0; i < 4 * kRows * kColumns; ++i) codes += static_cast<char>((i * 37 + i / 64) % 255 - 127);
    for (std::int64_t i = 0; i < 4 * kRows; ++i) {
      const float scale = 0.001f * static_cast<float>(1 + i);
      scales.append(reinterpret_cast<const char*>(&scale), sizeof scale);
    }
    const Json header = {
        {"w.weight", {{"dtype", "I8"}, {"shape", {4 * kRows, kColumns}}, {"data_offsets", {0, codes.size()}}}},
        {"w.weight_scale",
         {{"dtype", "F32"},
          {"shape", {4 * kRows, 1}},
          {"data_offsets", {codes.size(), codes.size() + scales.size()}}}}};
    file_ = scratch_.write("codes.safetensors", safetensors_bytes(header.dump(), codes + scales));
  }
  Weights at_place(int part, int parts, int count, bool swapped) const {
    return test::open_weights({file_}, at::kCPU, GetParam()).map([=](const std::string& name) {
      Place place(name, part, parts);
      place.count = count, place.swapped = swapped;
      return place;
    });
  }
  static constexpr std::int64_t kRows = 10, kColumns = 64;
  std::filesystem::path file_;
};
INSTANTIATE_TEST_SUITE_P(Types, CodesTest, testing::Values(at::kFloat, at::kBFloat16, at::kDouble),
                         [](const auto& info) { return std::string(c10::toString(info.param)); });

TEST_P(CodesTest, AreMultipliedAsTheirNumbersAre) {
  for (const auto& [part, parts, count, swapped] :
       {std::tuple{0, 1, 1, false}, {0, 1, 1, true}, {1, 4, 1, false}, {3, 4, 1, false}, {1, 4, 3, false}}) {
    SCOPED_TRACE(testing::Message() << part << '/' << parts << 'x' << count << swapped);
    const Weights w = at_place(part, parts, count, swapped);
    const std::int64_t rows = 4 * kRows / parts * count;
    const Matrix codes = w.matrix("w.weight", rows, kColumns);
    EXPECT_EQ(codes.parameter().scalar_type(), at::kByte) << "as they are stored";
    const Tensor numbers = w.get("w.weight", {rows, kColumns}).to(at::kDouble);
    EXPECT_TRUE(at::equal(codes.dense(GetParam()).to(at::kDouble), numbers)) << "bit for bit";
    const Tensor x = random({2, 7, kColumns}), bias = random({rows}), plus = random({2, 7, rows});
    expect_near(codes.times(here(x), here(bias), here(plus)), at::linear(x, numbers, bias) + plus);
    expect_near(codes.times(here(x)), at::linear(x, numbers));
  }
}

TEST_P(CodesTest, WhatChangesThemIsAddedOrTheyAreWidened) {
  const LowRank one{random({3, kColumns}) / 8, random({4 * kRows, 3}) / 8, 0.5};
  const Weights plain = at_place(0, 1, 1, false);
  const Tensor numbers = plain.get("w.weight", {4 * kRows, kColumns}).to(at::kDouble), right = merged(numbers, one),
               x = random({5, kColumns});
  Weights::Patch patch{.touches = [](const std::string& name) { return name == "w.weight"; },
                       .change =
                           [&one](const std::string&, Tensor t) {
                             return merged(t, {one.down.to(at::kFloat), one.up.to(at::kFloat), one.scale});
                           },
                       .terms = [&one](const std::string&) { return std::optional(std::vector{one}); }};
  const Matrix added = plain.patch(patch).matrix("w.weight", 4 * kRows, kColumns);
  EXPECT_EQ(added.parameter().scalar_type(), at::kByte);
  expect_near(added.times(here(x)), at::linear(x, right));
  patch.terms = [](const std::string&) { return std::nullopt; };
  const Matrix widened = plain.patch(patch).matrix("w.weight", 4 * kRows, kColumns);
  EXPECT_NE(widened.parameter().scalar_type(), at::kByte);
  expect_near(widened.times(here(x)), at::linear(x, right));
  patch.touches = [](const std::string&) { return false; };
  EXPECT_EQ(plain.patch(patch).matrix("w.weight", 4 * kRows, kColumns).parameter().scalar_type(), at::kByte);
}

// Of each encoding with scales beside it that the reference readers' fixtures have: whole rows of blocks and scales
// stay codes, others are widened, and the numbers are the file's.
TEST_P(CodesTest, OfEveryFormatStayWhereTheirRowsAreWhole) {
  const auto table = std::make_shared<const TensorTable>(
      std::vector{std::filesystem::path(SDGEN_FIXTURES) / "quantization.safetensors"});
  const Weights w(table, at::kCPU, GetParam());
  std::map<bool, int> kept;
  for (const auto& [name, entry] : table->tensors()) {
    if (!name.ends_with(".weight") || entry.where->shape.size() != 2) continue;
    SCOPED_TRACE(name);
    const std::int64_t out = entry.where->shape[0], in = entry.where->shape[1];
    const Matrix matrix = w.matrix(name, out, in);
    const bool coded = matrix.parameter().scalar_type() == at::kByte;
    ++kept[coded];
    const bool parted = name.find("odd") != name.npos || name.find("part") != name.npos;
    EXPECT_EQ(coded, !parted && in % (name.find("wide") != name.npos ? 256 : 1) == 0);
    const Tensor numbers = w.get(name, {out, in}).to(at::kDouble);
    const double subnormal = coded ? 0 : 1e-37;  // oneDNN's layout loses them
    EXPECT_TRUE(at::allclose(matrix.dense(GetParam()).to(at::kDouble), numbers, 0, subnormal, /*equal_nan=*/true));
  }
  EXPECT_EQ(w.coded().size(), static_cast<std::size_t>(kept[true]));
  const Weights meta(table, at::kMeta, GetParam());
  for (const auto& [name, entry] : table->tensors())
    if (name.ends_with(".weight") && entry.where->shape.size() == 2) {
      EXPECT_TRUE(meta.matrix(name, entry.where->shape[0], entry.where->shape[1]).parameter().is_meta());
    }
  EXPECT_EQ(meta.coded(), w.coded()) << "known without the numbers";
  EXPECT_GT(kept[true], 20);
  EXPECT_GT(kept[false], 10);
}

// Tokens are rounded where it was asked for, with a scale a row or one for all; nothing else is.
TEST(CodesInInt8, RoundTokensWhereTheyWereAskedTo) {
  if (!ops::has_int8()) GTEST_SKIP() << "this processor has no products of 8-bit numbers";
  const auto table = std::make_shared<const TensorTable>(
      std::vector{std::filesystem::path(SDGEN_FIXTURES) / "quantization.safetensors"});
  at::manual_seed(3);
  int rounded = 0;
  for (const auto& [name, entry] : table->tensors()) {
    if (!name.ends_with(".weight") || entry.where->shape.size() != 2 || entry.where->encoding != Encoding::I8) continue;
    SCOPED_TRACE(name);
    const std::int64_t out = entry.where->shape[0], in = entry.where->shape[1];
    const bool rounds = entry.scaling.only_scales() && entry.scale && in % 4 == 0;
    rounded += rounds;
    for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
      const Weights w(table, at::kCPU, type);
      const Matrix exact = w.matrix(name, out, in), matrix = w.rounding_tokens().matrix(name, out, in);
      const Tensor x = at::randn({2, 5, in}).to(type), row = x.select(1, 0).contiguous();
      const auto same = [](const Tensor& a, const Tensor& b) { return at::allclose(a, b, 0, 0, /*equal_nan=*/true); };
      EXPECT_EQ(same(matrix.times(x), exact.times(x)), !rounds);
      EXPECT_TRUE(same(matrix.times(row), exact.times(row))) << "said to all tokens";
      if (!rounds) continue;
      // What the tokens become, times the exact numbers.
      const Tensor wide = x.to(at::kDouble), step = wide.abs().amax(-1, /*keepdim=*/true) / 127;
      const Tensor numbers = exact.dense(at::kFloat).to(at::kDouble);
      const Tensor right = at::matmul(at::round(wide / step) * step, numbers.t()), most = right.abs().amax({0, 1});
      // Of rows whose numbers are near to the ends of float32, sums are not.
      const Tensor usual = at::logical_and(most > 1e-9, most < 1e9).nonzero().view(-1);
      EXPECT_GE(usual.numel(), 4);
      const auto scaled = [&](const Tensor& y) { return (y.to(at::kDouble) / most).index_select(2, usual); };
      test::expect_close(scaled(matrix.times(x)), scaled(right), 0.01, "rounded");
    }
  }
  EXPECT_GT(rounded, 1);
}

// Parts of a matrix whose scales are codes: those that begin with a scale of the scales, and others.
TEST_P(CodesTest, ScalesThatAreCodesArePartedWithTheirRows) {
  const auto table = std::make_shared<const TensorTable>(
      std::vector{std::filesystem::path(SDGEN_FIXTURES) / "quantization.safetensors"});
  for (const char* name : {"nf4-f32-nested.weight", "nf4-f32-single.weight", "nf4-wide.weight", "bnb-int8.weight"}) {
    const std::int64_t rows = table->find(name)->shape[0], columns = table->find(name)->shape[1];
    for (const auto& [part, parts, swapped] : {std::tuple{0, 4, false}, {1, 4, false}, {3, 4, false}, {0, 1, true}}) {
      SCOPED_TRACE(testing::Message() << name << part << parts << swapped);
      const Weights w = Weights(table, at::kCPU, GetParam()).map([=](const std::string& asked) {
        Place place(asked, part, parts);
        place.swapped = swapped;
        return place;
      });
      const Matrix matrix = w.matrix(name, rows / parts, columns);
      EXPECT_EQ(matrix.parameter().scalar_type(), at::kByte);
      const Tensor numbers = w.get(name, {rows / parts, columns}).to(at::kDouble);
      EXPECT_TRUE(at::allclose(matrix.dense(GetParam()).to(at::kDouble), numbers, 0, 0, /*equal_nan=*/true));
    }
  }
}

TEST_P(CodesTest, RowsAreLookedUpInCodes) {
  const auto table = std::make_shared<const TensorTable>(
      std::vector{std::filesystem::path(SDGEN_FIXTURES) / "quantization.safetensors"});
  const Weights w(table, at::kCPU, GetParam());
  const Tensor ids = at::tensor({3, 0, 7, 3}, at::kLong).view({2, 2});
  for (const char* name :
       {"nf4-bf16-nested.weight", "fp4-f32-part-single.weight", "convrot-256.weight", "float8_e5m2.weight"}) {
    SCOPED_TRACE(name);
    const std::int64_t count = table->find(name)->shape[0], width = table->find(name)->shape[1];
    const Tensor few = ids.clamp_max(count - 1);
    const Matrix rows = w.table(name, count, width);
    EXPECT_EQ(rows.parameter().scalar_type() == at::kByte, name != std::string("fp4-f32-part-single.weight"));
    const Tensor right = w.get(name, {count, width}).index_select(0, few.view(-1)).view({2, 2, width});
    EXPECT_TRUE(at::allclose(rows.rows(few, GetParam()), right, 0, 0, /*equal_nan=*/true));
    EXPECT_THROW(rows.rows(few + count, GetParam()), c10::Error);
    Weights::Patch patch{.touches = [](const std::string&) { return true; },
                         .change = [](const std::string&, Tensor t) { return t * 2; }};
    const Matrix changed = w.patch(patch).table(name, count, width);
    EXPECT_NE(changed.parameter().scalar_type(), at::kByte);
  }
}

TEST_P(CodesTest, WhatLearnsIsWidened) {
  const Matrix m = at_place(0, 1, 1, false).keeping(Keep::trainable).matrix("w.weight", 4 * kRows, kColumns);
  EXPECT_EQ(m.parameter().scalar_type(), GetParam());
  EXPECT_TRUE(m.parameter().requires_grad());
}

// A layer on a GPU has the numbers that the codes say, in its own type.
TEST(CudaCodes, AreWidenedAsOnTheCpu) {
  at::Device cuda(at::kCPU);
  try {
    cuda = open_device("cuda");
  } catch (const Error&) {
    GTEST_SKIP() << "there is no CUDA device";
  }
  const auto table = std::make_shared<const TensorTable>(
      std::vector{std::filesystem::path(SDGEN_FIXTURES) / "quantization.safetensors"});
  const Weights here(table, at::kCPU, at::kFloat), there(table, cuda, at::kFloat);
  for (const auto& [name, entry] : table->tensors()) {
    if (!name.ends_with(".weight") || entry.where->shape.size() != 2) continue;
    SCOPED_TRACE(name);
    const std::int64_t out = entry.where->shape[0], in = entry.where->shape[1];
    const Tensor numbers = there.matrix(name, out, in).dense(at::kFloat).cpu();
    EXPECT_TRUE(at::allclose(numbers, here.get(name, {out, in}), 0, 0, /*equal_nan=*/true));
  }
}

}  // namespace
}  // namespace sdgen
