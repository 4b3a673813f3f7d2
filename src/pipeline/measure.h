// How long this machine's CPU takes for what networks ask of the operators.
#pragma once

#include <map>

#include "ops/tally.h"

namespace sdgen {

// Calls of the operators, each so many times, and what all others make: bytes, and how many tensors.
struct Work {
  std::map<ops::Call, double> calls = {};
  double other_bytes = 0, others = 0;

  void add(const Work& other, double times);
  Work without(const Work& part) const;
  double operations() const;
};

// Seconds. The calls with the most operations are timed first, each once or a part of it, for `most` seconds or so; the
// rest is taken to be as fast as those of its kind were.
double measured_seconds(const Work& work, double most);

}  // namespace sdgen
