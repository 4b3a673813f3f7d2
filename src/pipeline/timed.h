// A stage of the work.
#pragma once

#include <ATen/record_function.h>

#include <chrono>

#include "sdgen/sdgen.h"

namespace sdgen {

// Reports how long it took and is in --profile's trace.
class Timed {
 public:
  Timed(Observer& observer, Stage stage, std::size_t first) : observer_(observer), stage_(stage), first_(first) {
    traced_.before(stage_name(stage));
  }
  void end() {
    traced_.end();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin_;
    observer_.stage(stage_, first_, seconds.count());
  }

 private:
  Observer& observer_;
  Stage stage_;
  std::size_t first_;
  at::RecordFunction traced_{at::RecordScope::USER_SCOPE};
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace sdgen
