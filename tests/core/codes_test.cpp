// What products with codes are made of: numbers from codes in every instruction set, their layout, and the products.
#include "weights/codes.h"

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/round.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "core/fixture.h"
#include "core/tensor_files.h"
#include "io/decode.h"
#include "ops/code_kernels.h"
#include "ops/cpu.h"
#include "ops/int8.h"
#include "ops/ops.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

using at::Tensor;

constexpr Encoding kEncodings[] = {Encoding::Q4_0,    Encoding::Q4_1,   Encoding::Q5_0, Encoding::Q5_1,
                                   Encoding::Q8_0,    Encoding::IQ4_NL, Encoding::Q2_K, Encoding::Q3_K,
                                   Encoding::Q4_K,    Encoding::Q5_K,   Encoding::Q6_K, Encoding::F8_E4M3,
                                   Encoding::F8_E5M2, Encoding::I8};

// In the order of kEncodings.
template <class T>
std::vector<ops::Decode<T>> all_of(const ops::Decoders<T>& d) {
  return {d.q4_0, d.q4_1, d.q5_0, d.q5_1, d.q8_0,    d.iq4_nl,  d.q2_k,
          d.q3_k, d.q4_k, d.q5_k, d.q6_k, d.f8_e4m3, d.f8_e5m2, d.i8};
}

struct InstructionSet {
  const char* name;
  const ops::CodeKernels* kernels;
};
std::vector<InstructionSet> instruction_sets() {
  std::vector<InstructionSet> sets = {{"baseline", &ops::baseline::code_kernels}};
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    sets.push_back({"avx2", &ops::avx2::code_kernels});
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    sets.push_back({"avx512", &ops::avx512::code_kernels});
#endif
  return sets;
}

std::vector<std::uint8_t> random_bytes(std::size_t count) {
  std::mt19937 random(7);
  std::vector<std::uint8_t> bytes(count);
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random() >> 11);
  return bytes;
}

// Equal bits, or both no number.
void expect_same(float got, float right) {
  if (std::isnan(right))
    EXPECT_TRUE(std::isnan(got));
  else
    EXPECT_EQ(std::bit_cast<std::uint32_t>(got), std::bit_cast<std::uint32_t>(right)) << got << " is not " << right;
}

// Random bytes have factors of every kind: tiny ones, infinities, NaNs.
TEST(CodeKernels, AreTheDefinitionToTheBit) {
  constexpr std::size_t blocks = 83;  // no whole number of vectors of single numbers
  for (const InstructionSet& set : instruction_sets())
    for (std::size_t e = 0; e < std::size(kEncodings); ++e) {
      const EncodingInfo& info = info_of(kEncodings[e]);
      const std::size_t count = info.elements == 1 ? 1000 + blocks : blocks, numbers = count * info.elements;
      const std::vector<std::uint8_t> bytes = random_bytes(count * info.bytes);
      std::vector<float> right(numbers);
      decode(kEncodings[e], std::as_bytes(std::span(bytes)), right.data());
      for (const float scale : {1.0f, 0.37f}) {
        SCOPED_TRACE(testing::Message() << info.name << ' ' << set.name << " times " << scale);
        std::vector<float> got(numbers + 1, 5);
        all_of(set.kernels->to_float)[e](bytes.data(), std::int64_t(count), scale, got.data());
        std::vector<ops::bfloat16> rounded(numbers + 1, ops::bfloat16{0x1234});
        all_of(set.kernels->to_bfloat16)[e](bytes.data(), std::int64_t(count), scale, rounded.data());
        for (std::size_t i = 0; i < numbers && !testing::Test::HasFailure(); ++i) {
          SCOPED_TRACE(i);
          expect_same(got[i], right[i] * scale);
          expect_same(ops::cpu::value(rounded[i]), static_cast<float>(c10::BFloat16(right[i] * scale)));
        }
        EXPECT_EQ(got[numbers], 5) << "nothing is written behind the last";
        EXPECT_EQ(rounded[numbers].bits, 0x1234);
      }
    }
}

TEST(CodeKernels, TranspositionHasEveryWord) {
  constexpr std::int64_t from_stride = 70, to_stride = 61;
  std::vector<std::uint32_t> from(40 * from_stride);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = std::uint32_t(i * 2654435761U);
  for (const InstructionSet& set : instruction_sets())
    for (const std::int64_t rows : {1, 8, 16, 35})
      for (const std::int64_t words : {1, 4, 16, 69}) {
        SCOPED_TRACE(testing::Message() << set.name << ' ' << rows << 'x' << words);
        std::vector<std::uint32_t> to(70 * to_stride, 9);
        set.kernels->transpose(from.data(), rows, words, from_stride, to.data(), to_stride);
        for (std::int64_t w = 0; w < 70; ++w)
          for (std::int64_t r = 0; r < to_stride; ++r)
            ASSERT_EQ(to[std::size_t(w * to_stride + r)],
                      w < words && r < rows ? from[std::size_t(r * from_stride + w)] : 9);
      }
}

Codes random_codes(Encoding encoding, std::int64_t out, std::int64_t in, bool scaled) {
  const EncodingInfo& info = info_of(encoding);
  // Every factor that bytes like these make is between 0.008 and 1.9.
  Codes codes{encoding, out, in, at::randint(0x20, 0x40, {out, in / info.elements * info.bytes}, at::kByte)};
  if (!scaled) return codes;
  codes.scaling.span = static_cast<std::uint64_t>(in);
  const at::Tensor scales = 0.01 * at::arange(1, out + 1, at::kFloat);
  codes.scales = std::make_shared<const Codes>(Codes{Encoding::F32, out, 1, scales.view({out, 1}).view(at::kByte)});
  return codes;
}

class CodesProducts : public testing::TestWithParam<Encoding> {};
INSTANTIATE_TEST_SUITE_P(Encodings, CodesProducts, testing::ValuesIn(kEncodings),
                         [](const auto& info) { return std::string(info_of(info.param).name); });

// Shapes with a ragged end in every direction: rows, columns of the result, and what is summed.
TEST_P(CodesProducts, AreThoseOfTheNumbers) {
  at::manual_seed(3);
  const std::int64_t block = info_of(GetParam()).elements;
  for (const std::int64_t in : {block * 5, std::max<std::int64_t>(block, 64) * 17, std::int64_t{2560}})
    for (const std::int64_t out : {1, 64, 203})
      for (const std::int64_t rows : {1, 5, 300}) {
        SCOPED_TRACE(testing::Message() << rows << " rows of " << in << " to " << out);
        const Codes codes = random_codes(GetParam(), out, in, block == 1);
        const Tensor x = at::randn({rows, in}), bias = at::randn({out}), plus = at::randn({rows, out}),
                     packed = ops::packed_linear(codes.dense(at::kFloat));
        EXPECT_TRUE(at::equal(codes.times(x, {}), ops::linear(x, packed, {}))) << "bit for bit";
        EXPECT_TRUE(at::equal(codes.times(x, bias, plus), ops::linear(x, packed, bias, plus))) << "bit for bit";
        const auto half = [](const Tensor& t) { return t.to(at::kBFloat16); };
        const auto wide = [&](const Tensor& t) { return half(t).to(at::kDouble); };
        const Tensor right = at::linear(wide(x), codes.dense(at::kBFloat16).to(at::kDouble), wide(bias)) + wide(plus);
        test::expect_close(codes.times(half(x), half(bias), half(plus)), right, 0.01, "bfloat16");
        EXPECT_EQ(codes.times(half(x), {}).scalar_type(), at::kBFloat16);
      }
}

// In float32 neither threads nor neighbours matter, and there are parts of rows where a matrix has few columns.
TEST(Codes, ARowsProductIsItsOwn) {
  at::manual_seed(4);
  for (const std::int64_t out : {40, 700}) {
    const Codes codes = random_codes(Encoding::Q4_K, out, 512, false);
    const Tensor x = at::randn({1600, 512}), all = codes.times(x, {});
    EXPECT_TRUE(at::equal(codes.times(x.narrow(0, 901, 7), {}), all.narrow(0, 901, 7)));
    const int threads = at::get_num_threads();
    at::set_num_threads(threads == 1 ? 2 : 1);
    EXPECT_TRUE(at::equal(codes.times(x, {}), all));
    const Tensor half = x.to(at::kBFloat16);
    test::expect_close(codes.times(half, {}),
                       at::linear(half.to(at::kDouble), codes.dense(at::kBFloat16).to(at::kDouble)), 0.01, "bfloat16");
    at::set_num_threads(threads);
  }
}

TEST(Codes, ShapesOfProductsAreThoseOfX) {
  const Codes codes = random_codes(Encoding::Q8_0, 48, 64, false);
  EXPECT_EQ(codes.times(at::randn({2, 3, 64}), {}).sizes(), (std::vector<std::int64_t>{2, 3, 48}));
  EXPECT_EQ(codes.times(at::randn({0, 64}), {}).sizes(), (std::vector<std::int64_t>{0, 48}));
  EXPECT_EQ(codes.times(at::randn({64}), {}).sizes(), (std::vector<std::int64_t>{48}));
  const Tensor across = at::randn({64, 5}).t();
  EXPECT_TRUE(at::equal(codes.times(across, {}), codes.times(across.contiguous(), {}))) << "wherever its numbers lie";
  EXPECT_THROW(codes.times(at::randn({2, 32}), {}), c10::Error);
}

// Large enough for several threads to read it.
class LargeCodes : public testing::Test {
 protected:
  Matrix matrix() const { return weights_.matrix("w.weight", kOut, kIn); }
  static constexpr std::int64_t kOut = 4096, kIn = 1024;
  const Scratch scratch_;
  const Tensor codes_ = at::randint(-128, 128, {kOut, kIn}, at::kChar);
  const std::filesystem::path file_ = written();
  const Weights weights_ = test::open_weights({file_}, at::kCPU, at::kFloat);

 private:
  std::filesystem::path written() const {
    const Json header = {{"w.weight", {{"dtype", "I8"}, {"shape", {kOut, kIn}}, {"data_offsets", {4, 4 + kOut * kIn}}}},
                         {"w.weight_scale", {{"dtype", "F32"}, {"shape", {1}}, {"data_offsets", {0, 4}}}}};
    const float one = 1;
    std::string bytes(reinterpret_cast<const char*>(&one), sizeof one);
    bytes.append(static_cast<const char*>(codes_.const_data_ptr()), codes_.nbytes());
    return scratch_.write("codes.safetensors", safetensors_bytes(header.dump(), bytes));
  }
};

TEST_F(LargeCodes, AreReadWhole) {
  const int threads = at::get_num_threads();
  for (const int n : {1, 2, 3}) {
    at::set_num_threads(n);
    EXPECT_TRUE(at::equal(matrix().dense(at::kFloat), codes_.to(at::kFloat))) << n << " threads";
  }
  at::set_num_threads(threads);
}

// One of the threads meets the end.
TEST_F(LargeCodes, AFileThatWasCutSinceItWasOpenedIsAnError) {
  std::filesystem::resize_file(file_, std::filesystem::file_size(file_) - 100);
  const int threads = at::get_num_threads();
  for (const int n : {1, 2}) {
    at::set_num_threads(n);
    EXPECT_CONTAINS(message_of(Fault::input, [&] { matrix(); }), "when it was opened");
  }
  at::set_num_threads(threads);
}

// Not copied: what is multiplied by is the file itself, and what is made of it after it was cut is an error, not a
// picture.
TEST_F(LargeCodes, AFileThatIsCutWhileItIsInUseIsAnError) {
  const Matrix used = matrix();
  const Tensor x = at::ones({5, kIn}), ids = at::zeros({1}, at::kLong);
  EXPECT_TRUE(at::equal(used.times(x), at::linear(x, codes_.to(at::kFloat))));
  std::filesystem::resize_file(file_, 5000);
  for (const std::function<void()>& use :
       {std::function<void()>([&] { used.times(x); }), std::function<void()>([&] { used.rows(ids, at::kFloat); }),
        std::function<void()>([&] { used.dense(at::kFloat); })})
    EXPECT_CONTAINS(message_of(Fault::input, use), "codes.safetensors: has 5000 bytes now");
}

// --- Products in whole numbers

// What linear_int8() is defined to be, in whole numbers of 64 bits.
Tensor int8_reference(const Tensor& x, const Tensor& weight, const Tensor& scales) {
  const Tensor most = x.to(at::kFloat).abs().amax(-1, /*keepdim=*/true), step = most / 127.0f;
  const Tensor factor = at::where(step > 0, step.reciprocal(), at::zeros_like(step));
  const Tensor whole = at::round(x.to(at::kDouble) * factor.to(at::kDouble)).to(at::kLong);
  const Tensor sums = (whole.unsqueeze(1) * weight.to(at::kLong).unsqueeze(0)).sum(-1);
  return sums.to(at::kDouble) * step.to(at::kDouble) * scales.to(at::kDouble);
}

TEST(Int8, ProductsAreExactInWholeNumbers) {
  if (!ops::has_int8()) GTEST_SKIP() << "this processor has no products of 8-bit numbers";
  at::manual_seed(6);
  for (const std::int64_t in : {4, 68, 1280})
    for (const std::int64_t out : {1, 64, 130})
      for (const std::int64_t rows : {1, 7, 150}) {
        SCOPED_TRACE(testing::Message() << rows << " rows of " << in << " to " << out);
        const Tensor x = at::randn({rows, in}), bias = at::randn({out}), plus = at::randn({rows, out}),
                     weight = at::randint(-128, 128, {out, in}, at::kChar), scales = at::rand({out}) + 0.01f;
        x[0].zero_();  // a token of nothing
        const ops::Int8Matrix matrix = ops::int8_matrix(weight, scales);
        const Tensor right = int8_reference(x, weight, scales);
        test::expect_close(ops::linear_int8(x, matrix, {}, {}), right, 1e-6, "float32");
        test::expect_close(ops::linear_int8(x, matrix, bias, plus), right + bias + plus, 1e-6, "float32, all");
        const Tensor half = x.to(at::kBFloat16);
        test::expect_close(ops::linear_int8(half, matrix, {}, {}), int8_reference(half, weight, scales), 0.004,
                           "bfloat16");
      }
}

TEST(Int8, ARowsProductIsItsOwn) {
  if (!ops::has_int8()) GTEST_SKIP() << "this processor has no products of 8-bit numbers";
  const ops::Int8Matrix matrix = ops::int8_matrix(at::randint(-127, 128, {200, 512}, at::kChar), at::rand({200}));
  const Tensor x = at::randn({400, 512}), all = ops::linear_int8(x, matrix, {}, {});
  EXPECT_TRUE(at::equal(ops::linear_int8(x.narrow(0, 131, 3), matrix, {}, {}), all.narrow(0, 131, 3)));
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  EXPECT_TRUE(at::equal(ops::linear_int8(x, matrix, {}, {}), all));
  at::set_num_threads(threads);
}

TEST(Int8, WhatIsNoNumberStaysNone) {
  if (!ops::has_int8()) GTEST_SKIP() << "this processor has no products of 8-bit numbers";
  const ops::Int8Matrix matrix = ops::int8_matrix(at::randint(1, 128, {64, 64}, at::kChar), at::ones({64}));
  for (const float odd : {NAN, INFINITY, -INFINITY}) {
    const Tensor x = at::ones({2, 64});
    x[1][33] = odd;
    const Tensor y = ops::linear_int8(x, matrix, {}, {});
    EXPECT_TRUE(y[0].isfinite().all().item<bool>());
    EXPECT_FALSE(y[1].isfinite().any().item<bool>()) << odd;
  }
}

TEST(Int8, RefusesWhatCouldLeave32Bits) {
  EXPECT_THROW(ops::int8_matrix(at::zeros({1, 65540}, at::kChar), at::ones({1})), c10::Error);
  EXPECT_THROW(ops::int8_matrix(at::zeros({1, 6}, at::kChar), at::ones({1})), c10::Error);
  EXPECT_THROW(ops::int8_matrix(at::zeros({2, 8}, at::kChar), at::ones({1})), c10::Error);
}

}  // namespace
}  // namespace sdgen
