#include "formats/quantize.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "io/encoded_tensors.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// Lists of blocks, by their names in all layouts. CLIP's (encoder.layers, resblocks) are not among them, nor are the
// layers of the small network that moves Chroma's blocks.
constexpr std::array<std::string_view, 11> kLists{"transformer_blocks",
                                                  "layers",
                                                  "noise_refiner",
                                                  "context_refiner",
                                                  "single_transformer_blocks",
                                                  "double_blocks",
                                                  "single_blocks",
                                                  "joint_blocks",
                                                  "blocks",
                                                  "block",
                                                  "blk"};
// Within blocks, of which each has its own.
constexpr std::array<std::string_view, 4> kEmbeddings{"emb", "relative_attention_bias", "attn_rel_b", "pos_embed"};

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](unsigned char c) { return std::isdigit(c) != 0; });
}

// The matrix of a linear layer in a block, by its name: LIST.NUMBER.(...).weight
bool is_in_a_block(std::string_view name) {
  bool within = false;
  std::string_view before, further;
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t dot = std::min(name.find('.', at), name.size());
    const std::string_view part = name.substr(at, dot - at);
    within = within || (is_number(part) && std::ranges::find(kLists, before) != kLists.end() &&
                        !(before == "layers" && (further == "encoder" || further == "distilled_guidance_layer")));
    if (within && std::ranges::find(kEmbeddings, part) != kEmbeddings.end()) return false;
    further = before;
    before = part;
    at = dot + 1;
  }
  return within && before == "weight";
}

bool is_plain(Encoding encoding) {
  using enum Encoding;
  return encoding == F16 || encoding == BF16 || encoding == F32 || encoding == F64;
}

Encoding encoding_of(Quantize how) {
  switch (how) {
    case Quantize::q8_0:
      return Encoding::Q8_0;
    case Quantize::q4_k:
      return Encoding::Q4_K;
    case Quantize::float8:
      return Encoding::F8_E4M3;
    case Quantize::int8:
      return Encoding::I8;
    case Quantize::none:
      break;
  }
  throw Error(Fault::internal, "no encoding");
}

}  // namespace

std::optional<Encoding> quantized_encoding(Quantize how, std::string_view name, const TensorTable::Entry& entry) {
  const StoredTensor& tensor = *entry.where;
  if (how == Quantize::none || !is_plain(tensor.encoding) || tensor.shape.size() != 2 || tensor.bytes() == 0 ||
      !is_in_a_block(name))
    return std::nullopt;
  const Encoding wanted = encoding_of(how);
  for (const Encoding encoding : {wanted, Encoding::Q8_0})
    if (tensor.shape[1] % info_of(encoding).elements == 0) return encoding;
  return std::nullopt;
}

Quantized quantized(std::shared_ptr<const TensorTable> table, const std::string& prefix, Quantize how) {
  Quantized result;
  auto encoded = std::make_unique<EncodedTensors>(table, [&](const std::string& name, const TensorTable::Entry& entry) {
    if (!name.starts_with(prefix)) return std::optional<Encoding>();
    const std::optional<Encoding> encoding = quantized_encoding(how, name, entry);
    if (encoding) ++(*encoding == encoding_of(how) ? result.matrices : result.others);
    return encoding;
  });
  result.table = std::make_shared<const TensorTable>(std::move(table), std::move(encoded));
  return result;
}

void quantize_networks(ModelFiles& model, Quantize how, const Warn& warn, const Warn& note) {
  if (how == Quantize::none) return;
  std::size_t all = 0;
  for (Component& c : model.components) {
    if (c.type->role != Role::backbone && c.type->role != Role::text_encoder) continue;
    Quantized q = quantized(c.tensors, c.prefix, how);
    c.tensors = std::move(q.table);
    all += q.matrices + q.others;
    c.rounds_tokens = how == Quantize::int8 && c.type->role == Role::backbone;
    const auto begins = [&c](const auto& tensor) { return tensor.first.starts_with(c.prefix); };
    const auto is_int8 = [](const auto& tensor) { return tensor.second.where->encoding == Encoding::I8; };
    const auto is_convolution = [](const auto& tensor) {
      const auto& shape = tensor.second.where->shape;
      return shape.size() == 4 && shape[2] == 3;
    };
    if (c.rounds_tokens && q.matrices == 0)
      all += std::size_t(std::ranges::count_if(
          c.tensors->tensors(), [&](const auto& t) { return begins(t) && (is_int8(t) || is_convolution(t)); }));
    if (q.matrices + q.others == 0) continue;
    note(concat(c.part->name, ": ", q.matrices, " matrices in ", info_of(encoding_of(how)).name,
                q.others > 0 ? concat(", ", q.others, " in Q8_0, whose rows are no whole blocks") : ""));
  }
  if (all == 0)
    warn(concat(model.who(), ": ", FieldName{"quantize"},
                " changes nothing: no matrix in it is in numbers, or its rows ", "are no whole blocks"));
}

const char* quantize_name(Quantize how) {
  switch (how) {
    case Quantize::none:
      return "none";
    case Quantize::q8_0:
      return "q8_0";
    case Quantize::q4_k:
      return "q4_k";
    case Quantize::float8:
      return "float8";
    case Quantize::int8:
      return "int8";
  }
  return "";
}

}  // namespace sdgen
