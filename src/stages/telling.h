// What a network is told at each call of a run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "stages/text.h"

namespace sdgen {

// While it stays the same, what layers make of the text is kept: of one text at a time, until the run ends.
class Telling {
 public:
  Telling(const Conditionings& all, std::int64_t pictures) : all_(all), pictures_(pictures) {}
  Telling(const Telling&) = delete;
  Telling& operator=(const Telling&) = delete;
  ~Telling() { forget(); }

  // With guidance all rows, without it the prompts' alone.
  const Conditioning& at(std::size_t call, bool guides) {
    const Conditioning& all = all_.at(call);
    if (&all != last_ || guides != guides_) {
      forget();
      if (!guides) prompts_ = all.rows(pictures_, 2 * pictures_);
      last_ = &all, guides_ = guides;
      told().of_text.keep();
    }
    return told();
  }

 private:
  const Conditioning& told() const { return guides_ ? *last_ : prompts_; }
  void forget() {
    if (last_) told().of_text.forget();
  }

  const Conditionings& all_;
  std::int64_t pictures_;
  const Conditioning* last_ = nullptr;
  bool guides_ = true;
  Conditioning prompts_ = {};
};

}  // namespace sdgen
