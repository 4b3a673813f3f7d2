// What a network is shown of noisy latents, and what its answers make of them.
#include "diffusion/denoiser.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include "core/fixture.h"
#include "sdgen/error.h"

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

// diffusers' QwenImagePipeline: of every token, 2x2 latents of all channels. By hand.
TEST(Denoiser, KeepsTheLengthsOfTokens) {
  const Tensor x = at::arange(2. * 4 * 6, at::kDouble).view({1, 2, 4, 6}).sin();
  const Network network = [](const Tensor& both, double) {
    const auto halves = both.chunk(2);
    return at::cat({halves[0].cos(), halves[1] + 1});
  };
  const Tensor out = denoiser(network, Prediction::sample, Guidance{.scale = 4, .kept_norms = KeptNorms::of_tokens})(
      x, Node{0, 0.6, 0.8});
  const Tensor with = x + 1, guided = x.cos() + 4 * (with - x.cos());
  for (std::int64_t row = 0; row < 4; row += 2)
    for (std::int64_t column = 0; column < 6; column += 2) {
      const auto token = [&](const Tensor& y) { return y.slice(2, row, row + 2).slice(3, column, column + 2); };
      const Tensor expected = token(guided) * (token(with).norm() / token(guided).norm());
      test::expect_close(token(out), expected, 1e-12, concat("token at ", row, ", ", column));
    }
}

}  // namespace
}  // namespace sdgen
