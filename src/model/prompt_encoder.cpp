#include "model/prompt_encoder.h"

#include <ATen/ops/tensor.h>

#include "sdgen/error.h"

namespace sdgen {

void require_ids(const Tokenizer& tokenizer, std::int64_t known, const char* network) {
  if (tokenizer.vocabulary_size() > known)
    throw Error(Fault::input, concat("the tokenizer has ", tokenizer.vocabulary_size(), " ids, ", network, " knows ",
                                     known, ": they belong to different models"));
}

at::Tensor row_of(const std::vector<int>& ids, at::Device device) {
  return at::tensor(ids, at::kLong).unsqueeze(0).to(device);
}

}  // namespace sdgen
