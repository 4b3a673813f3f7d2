// Which of a network's tensors are kept in codes when it is asked for, and in which. No torch here.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "formats/model_files.h"
#include "io/tensor_table.h"
#include "sdgen/sdgen.h"

namespace sdgen {

// The encoding of a tensor where its network is quantized; nothing: it stays as it is. What is encoded are the matrices
// of linear layers within the blocks that transformers repeat: of a transformer, of T5, and of the transformers in a
// U-Net. All else stays: what is outside of blocks (embedders of time, text and pictures, the last layers), norms,
// biases, embeddings, convolutions, and CLIP. What is in codes already stays in these.
//
// Rows that are no whole blocks of Q4_K are in Q8_0; those that are no whole blocks of that stay.
std::optional<Encoding> quantized_encoding(Quantize how, std::string_view name, const TensorTable::Entry& entry);

// What became of a table.
struct Quantized {
  std::shared_ptr<const TensorTable> table;
  std::size_t matrices = 0, others = 0;  // those in the encoding asked for, and in another for their rows' sake
};
// The table's tensors, in codes where they are to be and their names begin with `prefix`; numbers are encoded when they
// are read.
Quantized quantized(std::shared_ptr<const TensorTable> table, const std::string& prefix, Quantize how);

// Of the backbone and the text encoders; a backbone in int8 rounds its tokens and pixels, too
// (Component::rounds_tokens), T5 does not: some of its activations are a thousand times as large as the rest. Tells
// `warn` where nothing changes, `note` what does.
void quantize_networks(ModelFiles& model, Quantize how, const Warn& warn, const Warn& note);

const char* quantize_name(Quantize how);

}  // namespace sdgen
