// What networks that remember a run's calls look at before they use what they remember.
#pragma once

#include "nn/backbone.h"

namespace sdgen {

// Whether a run's calls go on as they were: with the same prompts, of as many rows.
class Prompted {
 public:
  bool same(const at::Tensor& x, const Conditioning& conditioning);  // as at the call before

 private:
  std::int64_t rows_ = 0;
  at::Tensor prompts_;
};

}  // namespace sdgen
