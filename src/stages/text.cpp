#include "stages/text.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include "nn/unet.h"
#include "stages/models.h"

namespace sdgen {
namespace {

using at::Tensor;

// What SDXL is told about a picture's sizes. To a refiner diffusers describes the negative prompt's picture as
// uncropped and as an ugly one.
std::vector<float> size_ids(const Parts& parts, const Request& r, bool negative) {
  if (parts.size_ids == SizeIds::none) return {};
  const Size own{*r.width, *r.height}, original = r.original_size.value_or(own), target = r.target_size.value_or(own);
  const Point crop = negative && parts.size_ids == SizeIds::aesthetic_score ? Point{} : r.crop.value_or(Point{});
  std::vector<int> ids{original.height, original.width, crop.top, crop.left};
  std::vector<float> result(ids.begin(), ids.end());
  if (parts.size_ids == SizeIds::target_size) {
    result.push_back(target.height);
    result.push_back(target.width);
  } else {
    result.push_back(negative ? 2.5f : 6.0f);
  }
  return result;
}

}  // namespace

Conditioning TextStage::operator()(const Batch& batch, Observer& observer) {
  if (!parts_.text) return {};
  std::map<Key, Conditioning> before = std::move(known_);
  known_.clear();
  std::vector<Tensor> context, pooled, ids;
  const auto add = [&](const Request& r, bool negative) {
    const bool zeros = negative && parts_.zero_empty_negative && !r.negative_prompt;
    // diffusers skips layers for the prompt alone.
    const Key key{(negative ? r.negative_prompt : r.prompt).value_or(""), negative ? 0 : r.clip_skip.value_or(0)};
    if (!known_.contains(key)) {
      const auto old = before.find(key);
      known_[key] = old != before.end() ? old->second : encode(key, observer);
    }
    const Conditioning& c = known_[key];
    context.push_back(zeros ? at::zeros_like(c.context) : c.context);
    if (c.pooled.defined()) pooled.push_back(zeros ? at::zeros_like(c.pooled) : c.pooled);
    if (const auto sizes = size_ids(parts_, r, negative); !sizes.empty()) ids.push_back(at::tensor(sizes).unsqueeze(0));
  };
  for (const bool negative : {true, false})
    if (!negative || guided(parts_, batch.common()))
      for (std::size_t i = 0; i < batch.rows; ++i) add(batch.row(i), negative);

  Conditioning all{.context = at::cat(context), .pooled = {}, .size_ids = {}, .guidance_embed = {}};
  if (!pooled.empty()) all.pooled = at::cat(pooled);
  if (!ids.empty()) all.size_ids = at::cat(ids).to(parts_.device);
  if (parts_.guidance_embed_width) {
    // The distilled scale as LCM embeds it (Luo et al., 2023, section 4.1): sines of 1000 (scale - 1).
    const Tensor scale =
        at::full({std::int64_t(context.size())}, 1000 * (*batch.common().guidance_scale - 1), at::kFloat);
    all.guidance_embed =
        sinusoidal_embedding(scale, parts_.guidance_embed_width, false, 1).to(parts_.device, parts_.dtype);
  }
  return all;
}

Conditioning TextStage::encode(const Key& key, Observer& observer) {
  if (!encoder_) encoder_ = parts_.text();
  return encoder_->encode(key.first, key.second, [&](const std::string& message) {
    if (!refining_) observer.warning(message);  // the first model said so
  });
}

}  // namespace sdgen
