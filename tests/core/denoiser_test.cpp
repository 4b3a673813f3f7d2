// What a network is shown of noisy latents, and what its answers make of them.
#include "diffusion/denoiser.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include "core/fixture.h"

namespace sdgen {
namespace {

using at::Tensor;

// The network of a flow sees x itself, that of a diffusion x of unit variance.
TEST(Denoiser, ShowsFlowsTheLatentsThemselves) {
  const Tensor x = at::tensor({1., 2., -4., 8.}, at::kDouble).view({1, 1, 2, 2});
  const Node node{250, 0.75, 0.25};
  Tensor seen;
  const Network network = [&seen](const Tensor& input, double t) {
    EXPECT_EQ(t, 250);
    return seen = input, input.sin();
  };
  test::expect_close(denoiser(network, Prediction::flow, std::nullopt)(x, node), x - 0.25 * x.sin(), 1e-12, "x0");
  EXPECT_TRUE(at::equal(seen, x));
  denoiser(network, Prediction::sample, std::nullopt)(x, node);
  test::expect_close(seen, x / std::hypot(0.75, 0.25), 1e-12, "of unit variance");
}

// Lin et al., 2023, section 3.4, by hand: u = 0, c = network - 1.
TEST(Denoiser, RescalesGuidance) {
  const Tensor x = at::tensor({1., 2., 4., 8., -1., 0., 3., 5.}, at::kDouble).view({2, 1, 2, 2});
  const Network network = [](const Tensor& both, double) {
    const auto halves = both.chunk(2);
    return at::cat({halves[0] * 0, halves[1].square() - 1});
  };
  const Node node{0, 0.6, 0.8};
  const Tensor c = x.square() - 1, guided = 3 * c;
  for (double phi : {0.0, 0.4, 1.0}) {
    const Tensor out = denoiser(network, Prediction::sample, Guidance{3, phi})(x, node);
    test::expect_close(out, phi * c + (1 - phi) * guided, 1e-12, std::to_string(phi));  // c's own deviation: c itself
  }
}

}  // namespace
}  // namespace sdgen
