#include "stages/text.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include "io/utf8.h"
#include "nn/unet.h"
#include "sdgen/error.h"
#include "stages/models.h"

namespace sdgen {
namespace {

using at::Tensor;

// `context` with empty chunks after it.
Tensor padded(const Tensor& context, const Tensor& empty, std::int64_t length) {
  std::vector<Tensor> parts{context};
  for (std::int64_t have = context.size(1); have < length; have += empty.size(1)) parts.push_back(empty);
  return parts.size() == 1 ? context : at::cat(parts, 1);
}

}  // namespace

Conditionings TextStage::operator()(const Batch& batch, const ModelRun& run, int calls_before, Observer& observer) {
  if (!parts_.text) return {{{}}, {0}};
  before_ = std::move(known_);
  known_.clear();
  std::vector<PromptSchedule> schedules;
  for (std::size_t i = 0; i < batch.rows; ++i)
    schedules.push_back(prompt_schedule(batch.row(i), scheduled_steps(run.scheduler, batch.row(i))));
  Conditionings result;
  std::map<std::vector<std::string>, std::size_t> known;  // the texts of a call -> which of the distinct
  for (int call = 0; call < run.calls(); ++call) {
    std::vector<Line> lines;
    std::vector<std::string> texts;
    const auto add = [&](const std::vector<ScheduledPrompt>& prompt, std::size_t row, bool negative) {
      texts.push_back(text_at(prompt, calls_before + call));
      lines.push_back({&batch.row(row), negative, texts.back()});
    };
    if (guided(parts_, batch.common()))
      for (std::size_t row = 0; row < batch.rows; ++row) add(schedules[row].negative, row, true);
    for (std::size_t part = 0; part < schedules[0].prompts.size(); ++part)
      for (std::size_t row = 0; row < batch.rows; ++row) add(schedules[row].prompts[part], row, false);
    const auto [found, is_new] = known.try_emplace(std::move(texts), result.distinct.size());
    if (is_new) result.distinct.push_back(together(lines, observer));
    result.of_call.push_back(found->second);
  }
  before_.clear();
  return result;
}

Conditioning TextStage::together(const std::vector<Line>& lines, Observer& observer) {
  std::vector<Tensor> contexts, pooled, ids;
  std::int64_t length = 0;
  const auto key = [](const Line& line, const std::string& text) {
    // diffusers skips layers for the prompt alone.
    return Key{text, line.request->prompt_syntax.value_or(PromptSyntax::plain),
               line.negative ? 0 : line.request->clip_skip.value_or(0)};
  };
  for (const Line& line : lines) length = std::max(length, encoded(key(line, line.text), observer).context.size(1));
  for (const Line& line : lines) {
    const bool zeros = line.negative && parts_.text->zero_empty_negative && !line.request->negative_prompt;
    const Conditioning& c = encoded(key(line, line.text), observer);
    Tensor context = c.context;
    if (context.size(1) < length) context = padded(context, encoded(key(line, ""), observer).context, length);
    contexts.push_back(zeros ? at::zeros_like(context) : context);
    if (c.pooled.defined()) pooled.push_back(zeros ? at::zeros_like(c.pooled) : c.pooled);
    if (parts_.sizes.count > 0) ids.push_back(at::tensor(parts_.sizes.of(*line.request, line.negative)).unsqueeze(0));
  }
  Conditioning all{.context = at::cat(contexts), .pooled = {}, .size_ids = {}, .guidance_embed = {}};
  if (!pooled.empty()) all.pooled = at::cat(pooled);
  if (!ids.empty()) all.size_ids = at::cat(ids).to(parts_.device);
  if (parts_.guidance_embed_width) {
    // The distilled scale as LCM embeds it (Luo et al., 2023, section 4.1): sines of 1000 (scale - 1).
    const double distilled = 1000 * (*lines[0].request->guidance_scale - 1);
    const Tensor scale = at::full({std::int64_t(contexts.size())}, distilled, at::kFloat);
    all.guidance_embed =
        sinusoidal_embedding(scale, parts_.guidance_embed_width, false, 1).to(parts_.device, parts_.dtype);
  }
  return all;
}

TextConditioner& TextStage::encoder() {
  if (!encoder_) encoder_ = parts_.text->make();
  return *encoder_;
}

const Conditioning& TextStage::encoded(const Key& key, Observer& observer) {
  if (const auto known = known_.find(key); known != known_.end()) return known->second;
  if (const auto old = before_.find(key); old != before_.end()) return known_[key] = old->second;
  const auto& [text, syntax, clip_skip] = key;
  return known_[key] = encoder().encode(text, syntax, clip_skip, [&](const std::string& message) {
    if (!refining_) observer.warning(message);  // the first model said so
  });
}

bool TextStage::alike(const Request& a, const Request& b) {
  if (a.prompt_syntax != PromptSyntax::weighted) return true;
  if (a.prompt == b.prompt && a.negative_prompt == b.negative_prompt) return true;
  const int steps = scheduled_steps(ModelRun(parts_, a, /*refining=*/false).scheduler, a);
  const PromptSchedule first = prompt_schedule(a, steps), second = prompt_schedule(b, steps);
  return first.weights == second.weights && lengths(first, steps) == lengths(second, steps);
}

std::vector<std::size_t> TextStage::lengths(const PromptSchedule& schedule, int calls) {
  std::map<std::string, std::size_t> known;
  std::vector<std::size_t> result;
  for (int call = 0; call <= calls; ++call) {
    std::size_t longest = 0;
    schedule.at(call, [&](const std::string& text) {
      const auto [found, is_new] = known.try_emplace(text, 0);
      if (is_new) found->second = encoder().chunks(text);
      longest = std::max(longest, found->second);
    });
    result.push_back(longest);
  }
  return result;
}

void warn_of_unused_words(const Parts& parts, std::span<const Request> requests, Observer& observer) {
  for (const TextualInversionInfo& info : parts.textual_inversions)
    if (std::none_of(requests.begin(), requests.end(), [&info](const Request& r) { return mentions(r, info); }))
      observer.warning(concat("no prompt has the word '", printable(info.word), "' of ", info.path.string(),
                              ": the textual inversion changes nothing"));
}

}  // namespace sdgen
