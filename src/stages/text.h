// The text stage: prompts -> Conditioning.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "families/families.h"
#include "stages/batch.h"
#include "stages/model_run.h"
#include "stages/prompt_schedule.h"

namespace sdgen {

// What conditions a network at each call of a run. Few of the calls differ: most prompts say one thing throughout.
struct Conditionings {
  std::vector<Conditioning> distinct;
  std::vector<std::size_t> of_call;  // which of these

  const Conditioning& at(std::size_t call) const { return distinct[of_call[std::min(call, of_call.size() - 1)]]; }
};

// Conditions one model on the prompts of a run. Each prompt is encoded alone, so that a picture's bytes do not depend
// on its neighbours in a batch, and once, as long as the next batch has it too.
class TextStage {
 public:
  // refining: the first model of the run warns, this one need not.
  TextStage(const Parts& parts, bool refining) : parts_(parts), refining_(refining) {}

  // For a run that begins after `calls_before` network calls of other models. Negative prompts first under guidance, as
  // diffusers orders them, then the prompts, those that AND joins one after the other. Empty for models without text.
  Conditionings operator()(const Batch& batch, const ModelRun& run, int calls_before, Observer& observer);

  // May the two, which differ only in their prompts, share a batch? Contexts of a call must be of one length, and
  // a longer neighbour must not change a picture.
  bool alike(const Request& a, const Request& b);

  void release() { encoder_.reset(); }  // its memory is the network's then

 private:
  using Key = std::tuple<std::string, PromptSyntax, int>;  // prompt, syntax, clip_skip
  struct Line {                                            // a row of the network's batch
    const Request* request;
    bool negative;
    std::string text;
  };

  TextConditioner& encoder();
  const Conditioning& encoded(const Key& key, Observer& observer);
  Conditioning together(const std::vector<Line>& lines, Observer& observer);
  std::vector<std::size_t> lengths(const PromptSchedule& schedule, int calls);

  const Parts& parts_;
  bool refining_;
  std::unique_ptr<TextConditioner> encoder_;
  std::map<Key, Conditioning> known_, before_;  // of this batch, and of the one before
};

// Warns of textual inversions that no prompt mentions.
void warn_of_unused_words(const Parts& parts, std::span<const Request> requests, Observer& observer);

}  // namespace sdgen
