#include "stages/text.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include "io/utf8.h"
#include "sdgen/error.h"
#include "stages/guidance.h"

namespace sdgen {
namespace {

using at::Tensor;

// `context` with empty chunks after it.
Tensor padded(const Tensor& context, const Tensor& empty, std::int64_t length) {
  std::vector<Tensor> parts{context};
  for (std::int64_t have = context.size(1); have < length; have += empty.size(1)) parts.push_back(empty);
  return parts.size() == 1 ? context : at::cat(parts, 1);
}

[[noreturn]] void takes_no_text(const std::string& model, const FieldName& field) {
  throw Error(Fault::usage, concat(field, ": the model ", model,
                                   " takes no text: it has no text encoder, and draws whatever it was trained on"));
}

}  // namespace

void require_prompt(bool takes_text, const std::string& model, const Request& r) {
  if (takes_text && !r.prompt)
    throw Error(Fault::usage, concat("no prompt: say with ", FieldName{"prompt"}, " what the picture shows"));
  if (takes_text) return;
  for (const auto& fields : {kPrompts, kNegativePrompts})
    for (const TextField& field : fields)
      if (r.*field.text) takes_no_text(model, FieldName{field.name});
  for (const auto& [given, field] : {std::pair{r.prompt_syntax.has_value(), FieldName{"prompt_syntax"}},
                                     {r.guidance_scale.has_value(), FieldName{"guidance_scale"}},
                                     {r.true_cfg_scale.has_value(), FieldName{"true_cfg_scale"}},
                                     {r.max_sequence_length.has_value(), FieldName{"max_sequence_length"}},
                                     {r.clip_skip.has_value(), FieldName{"clip_skip"}}})
    if (given) takes_no_text(model, field);
}

namespace {

// Of a model that draws classes.
void require_class(const Models& models, const Request& r) {
  for (const auto& [given, field] : {std::pair{r.negative_prompt.has_value(), FieldName{"negative_prompt"}},
                                     {r.clip_skip.has_value(), FieldName{"clip_skip"}},
                                     {r.prompt_syntax == PromptSyntax::weighted, FieldName{"prompt_syntax"}}})
    if (given)
      throw Error(Fault::usage, concat(field, ": the model ", models.name,
                                       " draws classes: its prompt is the number or the name of one, and no text"));
  models.base.text->classes->number_of(*r.prompt);
}

}  // namespace

void require_text(const Models& models, const FieldName& field) {
  if (!models.base.text) takes_no_text(models.name, field);
}

namespace {

// What the second and third encoder are told. Nothing, "", is what the first one is told, as in diffusers.
void settle_further_texts(const Models& models, Request& r) {
  const std::size_t encoders = models.base.text ? models.base.text->encoders : 0;
  for (const auto& fields : {kPrompts, kNegativePrompts})
    for (std::size_t i = 1; i < fields.size(); ++i) {
      std::optional<std::string>& text = r.*fields[i].text;
      if (text && encoders <= i)
        throw Error(Fault::usage,
                    concat(FieldName{fields[i].name}, ": the model ", models.name, " has ", encoders,
                           encoders == 1 ? " text encoder, which reads " : " text encoders; they read ",
                           FieldName{fields[0].name}, encoders == 2 ? concat(" and ", FieldName{fields[1].name}) : ""));
      if (text && text->empty()) text.reset();
    }
  if (models.base.text && models.base.text->zero_empty_negative && !r.negative_prompt && r.negative_prompt_2)
    throw Error(Fault::usage, concat(FieldName{"negative_prompt_2"}, " needs ", FieldName{"negative_prompt"},
                                     ", without which this model is told zeros"));
}

// How much of a prompt T5, or a language model, reads.
void settle_sequence_length(const Models& models, Request& r) {
  const int most = models.base.text ? models.base.text->most_sequence_length : 0;
  const int own = models.base.text ? models.base.text->max_sequence_length : 0;
  if (r.max_sequence_length && own == 0)
    throw Error(Fault::usage, concat(FieldName{"max_sequence_length"}, ": the model ", models.name,
                                     " has no text encoder whose length could be chosen, as T5's can"));
  if (r.max_sequence_length && (*r.max_sequence_length < 1 || *r.max_sequence_length > most))
    throw Error(Fault::usage, concat("the maximum sequence length ", *r.max_sequence_length, " is outside 1..", most));
  if (!r.max_sequence_length && own > 0)
    r.max_sequence_length = defaults_of(models, r).max_sequence_length.value_or(own);
}

}  // namespace

void settle_text(const Models& models, Request& r) {
  const Parts& parts = models.base;
  require_prompt(parts.text.has_value(), models.name, r);
  if (parts.text && parts.text->classes) require_class(models, r);
  if (parts.sizes.count == 0 && r.sizes != TrainingSizes{})
    throw Error(Fault::usage,
                concat("original size, crop and target size are inputs of SDXL; this is a ", parts.family));
  if (r.clip_skip && (*r.clip_skip < 0 || *r.clip_skip > models.clip_skips()))
    throw Error(Fault::usage, concat("clip skip ", *r.clip_skip, " is outside 0..", models.clip_skips(),
                                     ", what this model's text encoders have layers for"));
  if (!r.negative_prompt) r.negative_prompt = defaults_of(models, r).negative_prompt;
  if (r.prompt && !r.prompt_syntax) r.prompt_syntax = PromptSyntax::plain;
  if (r.prompt_syntax == PromptSyntax::weighted && !parts.text->weights)
    throw Error(Fault::usage,
                concat(FieldName{"prompt_syntax"}, ": the model ", models.name,
                       " reads prompts as a language model does, whole sentences: its words cannot be weighed"));
  settle_further_texts(models, r);
  settle_sequence_length(models, r);
}

void forget_texts(Request& r) {
  for (const auto& fields : {kPrompts, kNegativePrompts})
    for (const TextField& field : fields) (r.*field.text).reset();
  r.clip_skip.reset();
  r.sizes = {};
}

Conditionings TextStage::operator()(const Batch& batch, int calls_before, Observer& observer) {
  if (!parts_.text) return {{{}}, {0}};
  before_ = std::move(known_);
  known_.clear();
  const bool negatives = guided(parts_, batch.common().request);
  const auto prompts = [&](std::size_t row) -> const PromptSchedule& { return batch.row(row).prompts[index_]; };
  Conditionings result;
  std::map<std::vector<Texts>, std::size_t> known;  // the texts of a call -> which of the distinct
  for (int call = 0; call < batch.common().run(index_).calls(); ++call) {
    std::vector<Line> lines;
    std::vector<Texts> texts;
    const auto add = [&](const ScheduledTexts& prompt, std::size_t row, bool negative) {
      texts.push_back(prompt.at(calls_before + call));
      lines.push_back({&batch.row(row).request, negative, texts.back()});
    };
    if (negatives)
      for (std::size_t row = 0; row < batch.rows; ++row) add(prompts(row).negative, row, true);
    for (std::size_t part = 0; part < prompts(0).prompts.size(); ++part)
      for (std::size_t row = 0; row < batch.rows; ++row) add(prompts(row).prompts[part], row, false);
    const auto [found, is_new] = known.try_emplace(std::move(texts), result.distinct.size());
    if (is_new) result.distinct.push_back(together(lines, observer));
    result.of_call.push_back(found->second);
  }
  before_.clear();
  return result;
}

Conditioning TextStage::together(const std::vector<Line>& lines, Observer& observer) {
  const auto key = [this](const Line& line, const Texts& texts) {
    // diffusers skips layers for the prompt alone.
    return Key{texts,
               {.syntax = line.request->prompt_syntax.value_or(PromptSyntax::plain),
                .clip_skip = line.negative ? 0 : line.request->clip_skip.value_or(0),
                .max_sequence_length = line.request->max_sequence_length.value_or(0),
                .negative = line.negative && parts_.text->negatives_read_apart}};
  };
  const auto tokens = [](const Conditioning& one) { return one.context.defined() ? one.context.size(1) : 0; };
  std::int64_t length = 0;
  for (const Line& line : lines) length = std::max(length, tokens(encoded(key(line, line.texts), observer)));
  std::vector<Conditioning> rows;
  for (const Line& line : lines) {
    Conditioning row = encoded(key(line, line.texts), observer);
    if (parts_.text->any_length) {
      row.context_mask = at::arange(length).lt(tokens(row)).unsqueeze(0);
      row.context = at::constant_pad_nd(row.context, {0, 0, 0, length - tokens(row)});
    } else if (tokens(row) < length) {
      const Conditioning& empty = encoded(key(line, {""}), observer);
      row.context = padded(row.context, empty.context, length);
      if (row.context_mask.defined()) row.context_mask = padded(row.context_mask, empty.context_mask, length);
    }
    if (line.negative && parts_.text->zero_empty_negative && !line.request->negative_prompt) {
      row.context = at::zeros_like(row.context);
      if (row.pooled.defined()) row.pooled = at::zeros_like(row.pooled);
    }
    if (parts_.sizes.count > 0) row.size_ids = at::tensor(parts_.sizes.of(*line.request, line.negative)).unsqueeze(0);
    if (parts_.guidance_distilled && parts_.takes_guidance_scale)
      row.guidance = at::full({1}, *line.request->guidance_scale, at::kDouble);
    rows.push_back(std::move(row));
  }
  Conditioning all = Conditioning::stacked(rows);
  for (Tensor* member : {&all.size_ids, &all.guidance})
    if (member->defined()) *member = member->to(parts_.device);
  return all;
}

TextConditioner& TextStage::encoder() {
  if (!encoder_) encoder_ = parts_.text->make(loras_);
  return *encoder_;
}

const Conditioning& TextStage::encoded(const Key& key, Observer& observer) {
  if (const auto known = known_.find(key); known != known_.end()) return known->second;
  if (const auto old = before_.find(key); old != before_.end()) return known_[key] = old->second;
  return known_[key] = encoder().encode(key.first, key.second, [&](const std::string& message) {
    if (index_ == 0) observer.warning(message);  // the first model said so
  });
}

bool TextStage::alike(const Plan::Impl& a, const Plan::Impl& b) {
  if (a.request.prompt_syntax != PromptSyntax::weighted) return true;
  const PromptSchedule &first = a.prompts[index_], &second = b.prompts[index_];
  if (first == second) return true;
  const int calls = scheduled_steps(a.run(index_).scheduler, a.request);
  const int tokens = a.request.max_sequence_length.value_or(0);
  return first.weights == second.weights && lengths(first, calls, tokens) == lengths(second, calls, tokens);
}

std::vector<std::size_t> TextStage::lengths(const PromptSchedule& schedule, int calls, int max_sequence_length) {
  std::map<Texts, std::size_t> known;
  std::vector<std::size_t> result;
  for (int call = 0; call <= calls; ++call) {
    std::size_t longest = 0;
    const auto look = [&](const ScheduledTexts& prompt) {
      const auto [found, is_new] = known.try_emplace(prompt.at(call), 0);
      if (is_new) found->second = encoder().chunks(found->first, max_sequence_length);
      longest = std::max(longest, found->second);
    };
    look(schedule.negative);
    for (const ScheduledTexts& prompt : schedule.prompts) look(prompt);
    result.push_back(longest);
  }
  return result;
}

void warn_of_unused_words(const Parts& parts, std::span<const Plan> plans, Observer& observer) {
  for (const TextualInversionInfo& info : parts.textual_inversions)
    if (std::ranges::none_of(plans, [&info](const Plan& plan) { return mentions(plan.request(), info); }))
      observer.warning(concat("no prompt has the word '", printable(info.word), "' of ", info.path.string(),
                              ": the textual inversion changes nothing"));
}

void UnknownWords::warn(const Models& models, std::span<const Plan> plans, bool last, Observer& observer) {
  constexpr std::size_t few = 3;
  if (all_told_ || !models.base.text || !models.base.text->known) return;
  const KnownWords& known = *models.base.text->known;
  std::set<std::string_view> read;
  std::size_t more = 0;
  for (const Plan& plan : plans) {
    if (!plan.loras().empty()) continue;  // which teach it more
    const std::string& prompt = *plan.request().prompt;
    if (told_.contains(prompt) || !read.insert(prompt).second) continue;
    const KnownWords::Reading reading = known.read(drawn_texts(plan.impl().prompts[0], plan.request()));
    if (reading.known()) continue;
    if (told_.size() == few) {
      ++more;
      continue;
    }
    told_.insert(prompt);
    observer.warning(known.warning(models.name, prompt, reading));
  }
  all_told_ = more > 0;
  if (!all_told_) return;
  const std::string count = last ? concat(more, more == 1 ? " more prompt has" : " more prompts have") : "others have";
  observer.warning(concat(count, " words, too, that the model ", models.name, " does not know"));
}

}  // namespace sdgen
