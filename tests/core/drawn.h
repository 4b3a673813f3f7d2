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

// By the pipeline, or by a session of it.
template <class Drawing>
std::vector<Image> drawn_by(Drawing& drawing, const Pipeline& pipeline, const std::vector<Request>& requests,
                            Observer& observer) {
  std::vector<Image> images(requests.size());
  const auto keep = [&](std::size_t i, Image image) { images[i] = std::move(image); };
  drawing.draw(planned(pipeline, requests), keep, observer);
  return images;
}

inline std::vector<Image> drawn(const Pipeline& pipeline, const std::vector<Request>& requests, Observer& observer) {
  return drawn_by(pipeline, pipeline, requests, observer);
}

}  // namespace sdgen::test
