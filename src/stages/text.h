// The text stage: prompts -> Conditioning.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "model/per_call.h"
#include "stages/batch.h"
#include "stages/plan.h"

namespace sdgen {

// What conditions a network at each call of a run.
using Conditionings = PerCall<Conditioning>;

// Throws Error(usage) where a prompt is missing, or it or what is about it is given to a model that takes no text.
void require_prompt(bool takes_text, const std::string& model, const Request& request);
// Throws Error(usage) where the model takes no text, which `field` is about.
void require_text(const Models& models, const FieldName& field);

// Checks and fills what a request says of texts and of the sizes that SDXL is told. Throws Error(usage).
void settle_text(const Models& models, Request& request);

// Takes out what each row of a batch has for itself.
void forget_texts(Request& request);

// Conditions one model on the prompts of a run. Each prompt is encoded alone, so that a picture's bytes do not depend
// on its neighbours in a batch, and once, as long as the next batch has it too.
class TextStage {
 public:
  // Of model `index` of a pipeline, with these LoRAs.
  TextStage(const Parts& parts, std::size_t index, std::vector<Lora> loras)
      : parts_(parts), index_(index), loras_(std::move(loras)) {}

  // For its run, which begins after `calls_before` network calls of the models before it. Negative prompts first under
  // guidance, as diffusers orders them, then the prompts, those that AND joins one after the other. Empty for models
  // without text.
  Conditionings operator()(const Batch& batch, int calls_before, Observer& observer);

  // May the two, which differ only in their prompts, share a batch? Contexts of a call must be of one length, and
  // a longer neighbour must not change a picture.
  bool alike(const Plan::Impl& a, const Plan::Impl& b);

  void release() { encoder_.reset(); }  // its memory is the network's then

 private:
  using Key = std::pair<Texts, TextSettings>;
  struct Line {  // a row of the network's batch
    const Request* request;
    bool negative;
    Texts texts;
  };

  TextConditioner& encoder();
  const Conditioning& encoded(const Key& key, Observer& observer);
  Conditioning together(const std::vector<Line>& lines, Observer& observer);
  std::vector<std::size_t> lengths(const PromptSchedule& schedule, int calls, int max_sequence_length);

  const Parts& parts_;
  std::size_t index_;
  std::vector<Lora> loras_;
  std::unique_ptr<TextConditioner> encoder_;
  std::map<Key, Conditioning> known_, before_;  // of this batch, and of the one before
};

// Warns of textual inversions that no prompt mentions.
void warn_of_unused_words(const Parts& parts, std::span<const Plan> plans, Observer& observer);

// Warns of prompts with words that the model does not know: of the first few each, of the others together.
class UnknownWords {
 public:
  // `last`: no other plans come after these.
  void warn(const Models& models, std::span<const Plan> plans, bool last, Observer& observer);

 private:
  std::set<std::string> told_;  // prompts
  bool all_told_ = false;       // it has warned of the others
};

}  // namespace sdgen
