// What the tests of stages put in the place of networks, and requests for them.
#pragma once

#include <ATen/ops/full.h>

#include <functional>

#include "core/plans.h"
#include "stages/plan.h"
#include "stages/text.h"

namespace sdgen::test {

using at::Tensor;

// What a prompt is encoded as: one number, that tells its length and how many layers were skipped.
inline double code(const std::string& prompt, int clip_skip = 0) {
  return double(prompt.size()) + 100.0 * clip_skip + 1;
}

struct Words : TextConditioner {
  Conditioning encode(const Texts& texts, const TextSettings& settings,
                      const std::function<void(const std::string&)>&) override {
    double number = code(texts[0], settings.clip_skip) + 1000.0 * settings.max_sequence_length;
    for (std::size_t i = 1; i < texts.size(); ++i) number += 10'000.0 * double(i) * code(texts[i]);
    return {.context = at::full({1, 2, 3}, number, at::kFloat), .pooled = at::full({1, 4}, -number, at::kFloat)};
  }
  std::size_t chunks(const Texts&, int) override { return 1; }
};

inline Parts parts_of(const std::string& scheduler, SizeInputs sizes = {}) {
  return {
      .family = "StableDiffusionPipeline",
      .device = at::kCPU,
      .dtype = at::kFloat,
      .text = TextPart{[](std::span<const Lora>) { return std::make_unique<Words>(); }},
      .sizes = sizes,
      .latents = {.factor = 8},
      .scheduler = Config({{"_class_name", scheduler}, {"timestep_spacing", "leading"}, {"steps_offset", 0}}, "test"),
      .rules = {PipelineQuirks::none, PipelineQuirks::none}};
}

inline Request request_of(int steps) {
  Request r;
  r.prompt = "a fox";
  r.negative_prompt = "ugly";
  r.width = 64, r.height = 32;
  r.steps = steps;
  r.guidance_scale = 5;
  r.seed = 1;
  return r;
}

inline Request settle(const Models& models, Request r) {
  settle_text(models, r);
  return r;
}

inline Conditioning conditioned(const Parts& parts, const std::vector<Request>& requests, std::size_t rows) {
  std::vector<Plan> plans;
  for (const Request& request : requests) plans.push_back(plan_as_it_is(parts, request));
  TextStage stage(parts, 0, {});
  Observer nobody;
  return stage({0, plans, rows}, 0, nobody).at(0);
}

inline std::vector<double> firsts(const Tensor& x) {
  const Tensor column = x.flatten(1).select(1, 0).to(at::kDouble).contiguous();
  return {column.const_data_ptr<double>(), column.const_data_ptr<double>() + column.numel()};
}

inline std::shared_ptr<const Image> grey_image(int width, int height, const std::function<int(int x, int y)>& grey) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y)
    for (int x = 0; x < width; ++x) image.rgb.insert(image.rgb.end(), 3, static_cast<std::uint8_t>(grey(x, y)));
  return std::make_shared<const Image>(std::move(image));
}

}  // namespace sdgen::test
