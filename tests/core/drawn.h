// Requests, drawn.
#pragma once

#include <vector>

#include "sdgen/sdgen.h"

namespace sdgen::test {

inline std::vector<Plan> planned(const Pipeline& pipeline, const std::vector<Request>& requests) {
  std::vector<Plan> plans;
  for (const Request& request : requests) plans.push_back(pipeline.plan(request));
  return plans;
}

inline std::vector<Image> drawn(const Pipeline& pipeline, const std::vector<Request>& requests, Observer& observer) {
  std::vector<Image> images(requests.size());
  const auto keep = [&](std::size_t i, Image image) { images[i] = std::move(image); };
  pipeline.draw(planned(pipeline, requests), keep, observer);
  return images;
}

}  // namespace sdgen::test
