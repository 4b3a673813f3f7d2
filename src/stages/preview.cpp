#include "stages/preview.h"

#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/linalg_lstsq.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/nan_to_num.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/upsample_nearest2d.h>

#include <algorithm>
#include <chrono>
#include <random>

#include "image/resize.h"
#include "sdgen/error.h"
#include "stages/picture_tensor.h"

namespace sdgen {
namespace {

using at::Tensor;

// [B, C, h, w] -> [B*h*w, C + 1] with a one after the channels.
Tensor rows(const Tensor& x) {
  const Tensor flat = x.permute({0, 2, 3, 1}).reshape({-1, x.size(1)});
  return at::cat({flat, at::ones({flat.size(0), 1}, flat.options())}, 1);
}

// Random latents [1, C, kSide, kSide], the same in every run.
Tensor patches(std::int64_t channels, double spread) {
  constexpr std::int64_t side = Projection::kSide / Projection::kPatch;
  std::mt19937 generator(1);
  std::normal_distribution<float> normal(0, static_cast<float>(spread));
  std::vector<float> samples(std::size_t(channels * side * side));
  std::ranges::generate(samples, [&] { return normal(generator); });
  const Tensor small = at::from_blob(samples.data(), {1, channels, side, side}, at::kFloat);
  return at::upsample_nearest2d(small, {Projection::kSide, Projection::kSide});
}

}  // namespace

Projection::Projection(const Autoencoder& autoencoder, std::int64_t channels, std::int64_t factor, double spread,
                       at::Device device) {
  const Tensor latents = patches(channels, spread);
  const Tensor decoded = at::nan_to_num(autoencoder.decode(latents.to(device)).cpu()).clamp(-1, 1);
  const Tensor colours = at::avg_pool2d(decoded, {factor, factor});
  weight_ = std::get<0>(at::linalg_lstsq(rows(latents), colours.permute({0, 2, 3, 1}).reshape({-1, 3})));
}

Tensor Projection::operator()(const Tensor& latents) const {
  const Tensor colours = at::matmul(rows(latents), weight_);
  return colours.reshape({latents.size(0), latents.size(2), latents.size(3), 3}).permute({0, 3, 1, 2});
}

std::vector<Image> Previewer::operator()(const Tensor& x0, std::size_t count, Observer& observer) {
  const Tensor wanted = x0.narrow(0, 0, static_cast<std::int64_t>(count));
  std::vector<Image> images;
  if (autoencoder_.quick()) {
    const Tensor pictures = at::nan_to_num(autoencoder_.decode(wanted)).cpu();
    for (std::size_t i = 0; i < count; ++i) images.push_back(to_image(pictures[i]));
    return images;
  }
  const Tensor latents = at::nan_to_num(wanted.cpu());
  if (!projection_) {
    const auto began = std::chrono::steady_clock::now();
    const double spread = std::clamp(latents.square().mean().sqrt().item<double>(), 0.5, 3.0);
    projection_ = std::make_unique<Projection>(autoencoder_, parts_.latents.channels, parts_.latents.factor, spread,
                                               parts_.device);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - began;
    observer.detail(concat("previews: colours of latents found by decoding ", Projection::kSide, "x", Projection::kSide,
                           " of them, ", static_cast<int>(took.count()), " ms"));
  }
  const Tensor colours = (*projection_)(latents);
  const Size size{static_cast<int>(latents.size(3) * parts_.latents.factor),
                  static_cast<int>(latents.size(2) * parts_.latents.factor)};
  for (std::size_t i = 0; i < count; ++i) images.push_back(resize(to_image(colours[i]), size));
  return images;
}

}  // namespace sdgen
