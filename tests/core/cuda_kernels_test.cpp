// The CUDA kernels, run on the CPU item by item, against ATen's composites in double precision: their arithmetic and
// every address that they touch (under the address sanitizer), but not what is the GPU's own.
#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/group_norm.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "cuda/items.h"

namespace sdgen::cuda {
namespace {

using at::Tensor;

// Items in any order: none may depend on another.
template <class Index>
struct OnCpu {
  template <class Kernel>
  int operator()(const Kernel& kernel) const {
    const auto items = static_cast<Index>(kernel.items());
    for (Index i = items; i-- > 0;) kernel(i);
    return 0;
  }
};

// A copy whose end is the end of its memory, for the sanitizer.
template <class T>
struct Exact {
  explicit Exact(const Tensor& x) : numbers(new (std::align_val_t{16}) T[std::size_t(x.numel())]), count(x.numel()) {
    const Tensor flat = x.to(c10::CppTypeToScalarType<T>::value).contiguous();
    std::copy_n(flat.const_data_ptr<T>(), count, numbers);
  }
  ~Exact() { ::operator delete[](numbers, std::align_val_t{16}); }
  Exact(const Exact&) = delete;
  Exact& operator=(const Exact&) = delete;
  Tensor tensor(at::IntArrayRef sizes) const {
    return at::from_blob(numbers, sizes, c10::CppTypeToScalarType<T>::value).clone();
  }
  T* numbers;
  std::int64_t count;
};

template <class T>
class CudaKernels : public testing::Test {
 protected:
  void SetUp() override { at::manual_seed(5); }
  static Tensor random(at::IntArrayRef sizes) {
    return at::randn(sizes).to(c10::CppTypeToScalarType<T>::value).to(at::kDouble);
  }
  static void expect_near(const Tensor& result, const Tensor& right) {
    const double tolerance = std::is_same_v<T, float> ? 4e-6 : std::is_same_v<T, c10::Half> ? 1.0 / 1024 : 1.0 / 128;
    EXPECT_LE((result.to(at::kDouble) - right).abs().max().template item<double>(),
              tolerance * right.abs().max().template item<double>());
  }
  c10::InferenceMode inference_;
};

using Types = testing::Types<float, c10::Half, c10::BFloat16>;
TYPED_TEST_SUITE(CudaKernels, Types);

TYPED_TEST(CudaKernels, GroupNorm) {
  using T = TypeParam;
  for (const NormShape& s : {NormShape{2, 13 * 9, 320, 32},
                             {1, 5000, 32, 32},
                             {3, 7, 40, 4},
                             {1, 25, 6, 3},
                             {1, 1, 8, 2},
                             {2, kRows * kFanIn + 1, 8, 4},
                             {1, 2 * kRows * kFanIn * kFanIn, 2, 1}}) {
    SCOPED_TRACE(testing::Message() << s.pixels << " pixels, " << s.channels << " channels");
    // Far from zero, where squares lose what varies.
    const Tensor x = this->random({s.batch, s.pixels, s.channels}) + 20, weight = this->random({s.channels}),
                 bias = this->random({s.channels}), shift = this->random({s.batch, s.channels});
    const Tensor rounded = x.to(c10::CppTypeToScalarType<T>::value).to(at::kDouble);
    for (const bool shifted : {false, true})
      for (const bool silu : {false, true}) {
        const Tensor y = (shifted ? rounded + shift.unsqueeze(1) : rounded).transpose(1, 2);
        Tensor right = at::group_norm(y, s.groups, weight, bias, 1e-5).transpose(1, 2);
        if (silu) right = at::silu(right);
        const Exact<T> xs(x), weights(weight), biases(bias), shifts(shift), to(at::zeros_like(x));
        const Exact<float> scratch(at::zeros({group_norm_scratch(s)}));
        const auto run = [&](auto place) {
          return group_norm(xs.numbers, weights.numbers, biases.numbers, shifted ? shifts.numbers : nullptr, to.numbers,
                            scratch.numbers, s, 1e-5, silu, place);
        };
        ASSERT_EQ(run(OnCpu<std::uint32_t>()), 0);
        const Tensor result = to.tensor(x.sizes());
        this->expect_near(result, right);
        run(OnCpu<std::uint64_t>());
        EXPECT_TRUE(at::equal(to.tensor(x.sizes()), result));
      }
  }
}

TYPED_TEST(CudaKernels, Geglu) {
  using T = TypeParam;
  for (const auto& [rows, width] : {std::pair<std::int64_t, std::int64_t>{7, 64}, {3, 5}, {1, 1}, {130, 1280}}) {
    const Tensor x = this->random({rows, 2 * width});
    const auto halves = x.chunk(2, 1);
    const Exact<T> xs(x), to(at::zeros({rows, width}));
    ASSERT_EQ(geglu(xs.numbers, to.numbers, rows, width, OnCpu<std::uint32_t>()), 0);
    this->expect_near(to.tensor({rows, width}), halves[0] * at::gelu(halves[1]));
  }
}

// An error of a launch ends the operator and is handed on.
TEST(CudaKernelErrors, AreHandedOn) {
  int launches = 0;
  const auto failing = [&](const auto&) { return ++launches == 2 ? 700 : 0; };
  std::vector<float> numbers(1000);
  EXPECT_EQ(group_norm<float>(numbers.data(), numbers.data(), numbers.data(), nullptr, numbers.data(), numbers.data(),
                              {1, 20, 4, 2}, 1e-5, true, failing),
            700);
  EXPECT_EQ(launches, 2);
}

}  // namespace
}  // namespace sdgen::cuda
