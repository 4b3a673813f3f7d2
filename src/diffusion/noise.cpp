#include "diffusion/noise.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>

namespace sdgen {

SeededNoise::SeededNoise(std::span<const std::uint64_t> seeds, std::vector<std::int64_t> shape, at::Device device)
    : shape_(std::move(shape)), device_(device) {
  for (std::uint64_t seed : seeds) generators_.push_back(at::detail::createCPUGenerator(seed));
  shape_.insert(shape_.begin(), 1);
}

at::Tensor SeededNoise::operator()() {
  std::vector<at::Tensor> draws;
  for (at::Generator& generator : generators_) draws.push_back(at::randn(shape_, generator, at::kFloat));
  const at::Tensor all = at::cat(draws);
  // From pinned memory, so that the host does not wait for what the device still has to do.
  return device_.is_cuda() ? all.pin_memory().to(device_, at::kFloat, /*non_blocking=*/true) : all.to(device_);
}

at::Tensor noised(const at::Tensor& x0, const at::Tensor& noise, const Step& step) {
  return step.from.alpha * x0 + step.from.sigma * noise;
}

}  // namespace sdgen
