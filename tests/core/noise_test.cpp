// The same noise bits as torch.Generator("cpu").manual_seed(seed) and torch.randn.
#include "diffusion/noise.h"

#include "core/fixture.h"

namespace sdgen {
namespace {

TEST(SeededNoise, GivesTheFirstValuesOfTorch) {
  // torch 2.11, AVX2 or AVX512: torch.randn((1, 4, 64, 64),
  // generator=torch.Generator("cpu").manual_seed(42)).flatten()[:6]
  const float expected[] = {1.92691529f, 1.48728406f, 0.900717199f, -2.10552096f, 0.678418458f, -1.23454487f};
  const std::uint64_t seeds[] = {42};
  const at::Tensor x = SeededNoise(seeds, {4, 64, 64}, at::kCPU)();
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(x.flatten()[i].item<float>(), expected[i], 5e-7);
}

TEST(SeededNoise, DoesNotDependOnTheBatch) {
  const std::uint64_t seeds[] = {7, 8, (1ull << 63) + 5};
  SeededNoise together(seeds, {4, 9, 5}, at::kCPU);
  const at::Tensor first = together(), second = together();
  for (int i = 0; i < 3; ++i) {
    SeededNoise alone({seeds + i, 1}, {4, 9, 5}, at::kCPU);
    EXPECT_TRUE(first[i].equal(alone()[0]));
    EXPECT_TRUE(second[i].equal(alone()[0]));
  }
  EXPECT_FALSE(first[0].equal(first[1]));
  EXPECT_FALSE(first.equal(second));
}

}  // namespace
}  // namespace sdgen
