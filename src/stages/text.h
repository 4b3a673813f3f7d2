// The text stage: prompts -> Conditioning.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "families.h"
#include "stages/batch.h"

namespace sdgen {

// Conditions one model on the prompts of a run. Each prompt is encoded alone, so that a picture's bytes do not depend
// on its neighbours in a batch, and once, as long as the next batch has it too.
class TextStage {
 public:
  // refining: the first model of the run warns, this one need not.
  TextStage(const Parts& parts, bool refining) : parts_(parts), refining_(refining) {}

  // Negative prompts first under guidance, as diffusers orders them. Empty for models without text.
  Conditioning operator()(const Batch& batch, Observer& observer);

  void release() { encoder_.reset(); }  // its memory is the network's then

 private:
  using Key = std::pair<std::string, int>;  // prompt, clip_skip

  Conditioning encode(const Key& key, Observer& observer);

  const Parts& parts_;
  bool refining_;
  std::unique_ptr<TextConditioner> encoder_;
  std::map<Key, Conditioning> known_;
};

}  // namespace sdgen
