#include "adapters/textual_inversion.h"

#include <ATen/ops/cat.h>

#include <set>

#include "formats/file_kind.h"
#include "formats/lora_names.h"
#include "formats/model_files.h"
#include "io/hash.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

// The one tensor of a file for one encoder.
std::string only_tensor(const TensorTable& table) {
  if (table.find("emb_params")) return "emb_params";
  if (table.tensors().size() == 1) return table.tensors().begin()->first;
  throw Error(Fault::input, concat(table.source(), ": this is ", describe_file(table),
                                   "; a textual inversion holds emb_params, clip_l and clip_g, or one tensor"));
}

// Which tensor is for each of the encoders.
std::vector<std::string> tensors_of(const TensorTable& table, const TextualInversions::Encoders& encoders) {
  const bool both = table.find("clip_l") || table.find("clip_g");
  const bool one_encoder = encoders.size() == 1;
  if (!both && !one_encoder)
    throw Error(Fault::input, concat(table.source(), ": holds '", printable(only_tensor(table)),
                                     "' for one text encoder; this model has two: it needs a file made for SDXL, with "
                                     "clip_l and clip_g"));
  if (!both) return {only_tensor(table)};
  if (one_encoder && encoders[0].first == part_with(Role::text_encoder))
    throw Error(Fault::input, concat(table.source(),
                                     ": holds clip_l and clip_g, for the two text encoders of SDXL; "
                                     "this model has one"));
  std::vector<std::string> result;
  for (const auto& [encoder, width] : encoders) {
    result.emplace_back(encoder->words);
    if (!table.find(result.back()))
      throw Error(Fault::input, concat(table.source(), ": lacks ", result.back(), ", which ", encoder->name, " needs"));
  }
  return result;
}

// How many vectors of `width` a tensor holds.
int vectors_in(const TensorTable& table, const std::string& name, const char* encoder, std::int64_t width) {
  const auto& shape = table.find(name)->shape;
  const auto fail = [&](const std::string& what) {
    throw Error(Fault::input,
                concat(table.source(), ": tensor '", printable(name), "' has shape ", print_shape(shape), "; ", what));
  };
  if (shape.empty() || shape.size() > 2 || shape[0] < 1)
    fail("expected [vectors, width]: this is not a textual inversion");
  if (shape.back() != width)
    fail(concat("the model's ", encoder, " takes vectors of ", width, ": the file is for another family of models"));
  return shape.size() == 1 ? 1 : static_cast<int>(std::min<std::int64_t>(shape[0], 1 << 20));
}

// As diffusers and A1111 name it. ("*" is what A1111 called the only tensor.)
std::string word_of(const TextualInversion& file, const TensorTable& table) {
  std::string word = file.word;
  if (word.empty() && table.tensors().size() == 1) word = table.tensors().begin()->first;
  if (word.empty() || (file.word.empty() &&
                       (word == "*" || word == "emb_params" || word == "clip_g" || word.starts_with("string_to_")))) {
    word = file.path.stem().string();
  }
  if (word.find_first_not_of(' ') == std::string::npos || valid_utf8_prefix(word) != word.size())
    throw Error(Fault::usage, concat(FieldName{"textual_inversions"}, ' ', printable(file.path.string()), ": '",
                                     printable(word), "' is not a word; give it one with PATH:WORD"));
  return word;
}

}  // namespace

// One tensor of a word for each of the encoders: says how many vectors it has.
int TextualInversions::add_sources(const std::shared_ptr<const TensorTable>& table,
                                   const std::vector<std::string>& tensors, const Encoders& encoders) {
  int count = 0;
  for (std::size_t i = 0; i < encoders.size(); ++i) {
    const auto& [encoder, width] = encoders[i];
    const int vectors = vectors_in(*table, tensors[i], encoder->name, width);
    if (count != 0 && count != vectors)
      throw Error(Fault::input, concat(table->source(), ": clip_l has ", count, " vectors, clip_g ", vectors,
                                       "; they must be as many"));
    count = vectors;
    sources_[encoder].push_back({table, tensors[i]});
  }
  return count;
}

TextualInversions::TextualInversions(std::span<const TextualInversion> files, const Encoders& encoders) {
  if (!files.empty() && encoders.empty())
    throw Error(Fault::usage, concat(FieldName{"textual_inversions"},
                                     ": they are made for CLIP's text encoders, and this model has none"));
  for (const TextualInversion& file : files) {
    const auto table = open_single_file(file.path);
    TextualInversionInfo info{file.path, word_of(file, *table), sha256_of_file(file.path).substr(0, 12)};
    info.vectors = add_sources(table, tensors_of(*table, encoders), encoders);
    words_.push_back({info.path, info.word, info.vectors, /*bundled=*/false});
    infos_.push_back(std::move(info));
  }
}

void TextualInversions::add_bundle(const std::filesystem::path& lora, const Encoders& encoders) {
  const auto table = open_single_file(lora);
  std::set<std::string> words;
  for (const auto& [name, entry] : table->tensors())
    if (const std::size_t end = name.rfind('.'); name.starts_with(kBundle) && end > kBundle.size())
      words.insert(name.substr(kBundle.size(), end - kBundle.size()));
  for (const std::string& word : words) {
    std::vector<std::string> tensors;
    for (const auto& [encoder, width] : encoders) {
      const std::string front = concat(kBundle, word, '.');
      tensors.push_back(front + encoder->words);
      if (encoders.size() == 1 && !table->find(tensors.back())) tensors.back() = front + "emb_params";
      if (!table->find(tensors.back()))
        throw Error(Fault::input, concat(table->source(), ": its word '", printable(word), "' lacks the tensor '",
                                         printable(tensors.back()), "': it is for another family of models"));
    }
    const int vectors = add_sources(table, tensors, encoders);
    words_.push_back({lora, word, vectors, /*bundled=*/true});
  }
}

void TextualInversions::teach(Tokenizer& tokenizer) const {
  for (const Word& word : words_) {
    if (word.vectors > tokenizer.room())
      throw Error(Fault::input,
                  concat(word.path.string(), ": has ", word.vectors, " vectors, and a prompt of this model ",
                         "has room for ", tokenizer.room(), " tokens"));
    if (tokenizer.learn(word.word, word.vectors)) continue;
    if (word.bundled)
      throw Error(Fault::input, concat(word.path.string(), ": brings the word '", printable(word.word),
                                       "', which the model knows already"));
    throw Error(Fault::usage,
                concat(FieldName{"textual_inversions"}, ' ', word.path.string(), ": the model knows the word '",
                       printable(word.word), "' already; give it another with PATH:WORD"));
  }
}

at::Tensor TextualInversions::vectors(const ModelPart& encoder) const {
  std::vector<at::Tensor> rows;
  if (const auto found = sources_.find(&encoder); found != sources_.end())
    for (const auto& [table, name] : found->second) {
      const at::Tensor tensor = read_tensor(*table, name, at::kFloat);
      rows.push_back(tensor.view({-1, tensor.size(-1)}));
    }
  return rows.empty() ? at::Tensor() : at::cat(rows);
}

}  // namespace sdgen
