#include "stages/batch.h"

#include <tuple>

namespace sdgen {
namespace {

bool compatible(const Request& a, const Request& b) {
  const auto key = [](const Request& r) {
    return std::tie(r.width, r.height, r.steps, r.guidance_scale, r.scheduler, r.timestep_spacing, r.prediction_type,
                    r.eta, r.sigma_schedule, r.rescale_betas_zero_snr, r.guidance_rescale, r.refiner_start,
                    r.init_image, r.strength, r.prompt_syntax, r.mask, r.mask_blur, r.only_masked, r.extend, r.depth,
                    r.controls, r.guess_mode);
  };
  return key(a) == key(b);
}

}  // namespace

std::vector<Batch> batches(std::span<const Request> requests, std::size_t rows,
                           const std::function<bool(const Request&, const Request&)>& alike) {
  std::vector<Batch> result;
  for (std::size_t begin = 0; begin < requests.size();) {
    std::size_t end = begin + 1;
    while (end < requests.size() && end - begin < rows && compatible(requests[begin], requests[end]) &&
           alike(requests[begin], requests[end]))
      ++end;
    result.push_back({begin, requests.subspan(begin, end - begin), rows});
    begin = end;
  }
  return result;
}

}  // namespace sdgen
