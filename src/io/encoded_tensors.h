// Tensors of a table in other encodings, which come into being as they are read: a tile at a time, never all of their
// numbers. A scale lies beside its codes as ComfyUI has it (see quantization.h), so that what is read from here, and
// what is read from a file that this was written to, is the same to the bit.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "io/tensor_table.h"

namespace sdgen {

class EncodedTensors : public TensorFile {
 public:
  // The encoding that a tensor shall have; nothing: it is left out. Its own: it is passed on as it is, whatever it is.
  using Choose = std::function<std::optional<Encoding>(const std::string& name, const TensorTable::Entry& entry)>;
  // Requires of a tensor's own encoding: its codes are multiplied by a scale at most (Scaling::only_scales()); of
  // others: encodes(), rows of whole blocks, and of those with a scale a name that ends with ".weight". Reading throws
  // Error(input), which names the tensor, for NaN, infinity, and what is too large.
  EncodedTensors(std::shared_ptr<const TensorTable> table, const Choose& choose);
  const char* format() const override { return "encoded"; }

 private:
  struct Scales {
    std::once_flag once;
    std::vector<float> values;  // one, or one of each row
  };
  // What the bytes of a tensor here are made of.
  struct Source {
    const std::string* name = nullptr;
    const TensorTable::Entry* entry = nullptr;
    bool as_it_is = false;
    Scales* scales = nullptr;             // of codes
    const StoredTensor* codes = nullptr;  // it is the scales of these
    std::string text = {};                // its bytes themselves, where there are no others
  };

  const StoredTensor* add(const std::string& name, StoredTensor tensor, Source source);
  void fetch(const StoredTensor& tensor, std::uint64_t offset, std::span<std::byte> out) const override;
  void encode_part(const StoredTensor& tensor, const Source& source, std::uint64_t offset,
                   std::span<std::byte> out) const;
  const std::vector<float>& scales_of(const StoredTensor& codes, const Source& source) const;

  std::shared_ptr<const TensorTable> table_;
  std::map<const StoredTensor*, Source> sources_;
  mutable std::deque<Scales> scales_;
  std::uint64_t end_ = 0;
};

// Is a tensor of codes in this encoding multiplied by a scale?
bool takes_scale(Encoding encoding);

}  // namespace sdgen
