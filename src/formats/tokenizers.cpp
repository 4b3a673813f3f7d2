#include "formats/tokenizers.h"

#include <algorithm>
#include <vector>

#include "io/data_files.h"
#include "io/file.h"
#include "io/gguf.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"
#include "text/byte_level_bpe.h"
#include "text/clip_tokenizer.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

bool has_one_of(const fs::path& folder, const std::vector<const char*>& files) {
  return std::ranges::any_of(files, [&folder](const char* file) { return present(folder / file); });
}

// Vocabularies that single files lack: where they are looked for, and what is said where they are in none of the
// places.
struct MissingVocabulary {
  const char *called, *folder;  // the folder of $SDGEN_DATA, and beside the program
  std::vector<const char*> files;
  const char* advice;
};
const MissingVocabulary kT5{
    "T5",
    "t5",
    {"tokenizer.json", "spiece.model"},
    "scripts/setup unpacks one, and every folder of a model with T5 has one in its tokenizer folder"};
const MissingVocabulary kQwen{
    "Qwen",
    "qwen",
    {"tokenizer.json", "vocab.json"},
    "put tokenizer.json of huggingface.co/Qwen/Qwen3-4B, or the tokenizer folder of any model with "
    "Qwen, there"};
const MissingVocabulary kGemma{"Gemma",
                               "gemma",
                               {"tokenizer.json"},
                               "put tokenizer.json of huggingface.co/google/gemma-2-2b, or the tokenizer folder of "
                               "Lumina-Image-2.0, there"};

const MissingVocabulary& vocabulary_of(const Component& text_encoder) {
  if (text_encoder.type->architecture == Architecture::t5) return kT5;
  return text_encoder.config.string("model_type", "") == "gemma2" ? kGemma : kQwen;
}

// What llama.cpp writes into a GGUF of a tokenizer.
constexpr const char* kGgufVocabulary = "tokenizer.ggml.";

bool has_vocabulary_inside(const Component& text_encoder) {
  const auto& metadata = text_encoder.tensors->files().front()->metadata();
  const auto found = metadata.find(concat(kGgufVocabulary, "pre"));
  return found != metadata.end() && found->second == "qwen2";
}

// Qwen's tokenizer of a GGUF.
std::unique_ptr<Tokenizer> tokenizer_inside(const Component& text_encoder) {
  const fs::path& path = text_encoder.tensors->files().front()->path();
  const std::string who = concat(path.string(), ": its vocabulary");
  const GgufLists lists = gguf_lists(path, kGgufVocabulary);
  const auto list = [&](const auto& of_kind, const char* name) -> const auto& {
    const auto found = of_kind.find(concat(kGgufVocabulary, name));
    if (found == of_kind.end()) throw Error(Fault::input, concat(who, " has no list '", kGgufVocabulary, name, "'"));
    return found->second;
  };
  const auto& tokens = list(lists.texts, "tokens");
  const auto& types = list(lists.numbers, "token_type");
  if (types.size() != tokens.size())
    throw Error(Fault::input, concat(who, " has ", tokens.size(), " tokens and ", types.size(), " types of them"));
  constexpr std::int64_t control = 3, of_user = 4;
  Json added = Json::array();
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (types[i] == control || types[i] == of_user)
      added.push_back({{"content", tokens[i]}, {"normalized", false}, {"special", types[i] == control}});
  Json values = {{"extra_special_tokens", std::move(added)}};
  return qwen2_tokenizer(bpe_tables_of(tokens, list(lists.texts, "merges"), who),
                         TokenizerConfig(Config(std::move(values), who)), who);
}

fs::path folder_with(const MissingVocabulary& vocabulary, const Component& text_encoder) {
  const fs::path& file = text_encoder.tensors->files().front()->path();
  if (has_one_of(file.parent_path(), vocabulary.files)) return file.parent_path();
  if (has_vocabulary_inside(text_encoder)) return {};
  std::vector<fs::path> places = data_places(vocabulary.folder);
  places.insert(places.begin(), file.parent_path());
  if (const fs::path program = program_folder(); !program.empty()) places.push_back(program / vocabulary.folder);
  std::vector<std::string> looked;
  for (const fs::path& place : places) {
    if (has_one_of(place, vocabulary.files)) return place;
    looked.push_back(place.empty() ? "." : printable(place.string()));
  }
  std::vector<std::string> files(vocabulary.files.begin(), vocabulary.files.end());
  throw Error(Fault::input, concat(file.string(), ": ", vocabulary.called, "'s vocabulary is missing: no ",
                                   joined(files, " and no "), " is in ", joined(looked), "; ", vocabulary.advice));
}

}  // namespace

bool has_tokenizer(const fs::path& folder) {
  return has_one_of(folder, {"tokenizer.json", "spiece.model", "vocab.json"});
}

fs::path tokenizer_folder(const Component& text_encoder) {
  if (!text_encoder.tokenizer.empty()) return text_encoder.tokenizer;
  const Architecture architecture = text_encoder.type->architecture;
  if (architecture != Architecture::t5 && architecture != Architecture::decoder_text) return {};
  return folder_with(vocabulary_of(text_encoder), text_encoder);
}

std::unique_ptr<Tokenizer> tokenizer_of(const Component& text_encoder) {
  if (const fs::path folder = tokenizer_folder(text_encoder); !folder.empty()) return load_tokenizer(folder);
  if (text_encoder.type->architecture == Architecture::decoder_text) return tokenizer_inside(text_encoder);
  // OpenCLIP pads with id 0, which is "!", CLIP with its end token; OpenCLIP's encoders are the ones with exact GELU.
  const bool open_clip = text_encoder.config.string("hidden_act", "") == "gelu";
  return builtin_clip_tokenizer(open_clip ? "!" : "<|endoftext|>");
}

}  // namespace sdgen
