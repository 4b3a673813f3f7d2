#include "model/clip_encoder.h"

#include "sdgen/error.h"

namespace sdgen {

ClipEncoder::ClipEncoder(std::unique_ptr<Tokenizer> tokenizer, std::unique_ptr<ClipText> network, ClipStates states,
                         at::Device device)
    : tokenizer_(std::move(tokenizer)), network_(std::move(network)), states_(states), device_(device) {
  const ClipTextConfig& c = network_->config();
  require_ids(*tokenizer_, c.vocab_size, "the text encoder");
  if (tokenizer_->max_length() > c.max_positions)
    throw Error(Fault::input,
                concat("the tokenizer's model_max_length is ", tokenizer_->max_length(), ", the text encoder has ",
                       c.max_positions, " positions: they belong to different models"));
}

Encoded ClipEncoder::encode(const std::vector<int>& ids, int skipped_layers) const {
  const ClipText::Output output = network_->forward(row_of(ids, device_));
  const at::Tensor states = output.hidden.at(output.hidden.size() - 1 - skipped_layers - states_.left_out);
  return {states_.normed ? network_->normed(states) : states, output.pooled, {}};
}

}  // namespace sdgen
