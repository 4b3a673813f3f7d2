#include "formats/tokenizers.h"

#include <algorithm>
#include <vector>

#include "io/data_files.h"
#include "io/file.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"
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

fs::path folder_with(const MissingVocabulary& vocabulary, const fs::path& file) {
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
  return folder_with(vocabulary_of(text_encoder), text_encoder.tensors->files().front()->path());
}

std::unique_ptr<Tokenizer> tokenizer_of(const Component& text_encoder) {
  if (const fs::path folder = tokenizer_folder(text_encoder); !folder.empty()) return load_tokenizer(folder);
  // OpenCLIP pads with id 0, which is "!", CLIP with its end token; OpenCLIP's encoders are the ones with exact GELU.
  const bool open_clip = text_encoder.config.string("hidden_act", "") == "gelu";
  return builtin_clip_tokenizer(open_clip ? "!" : "<|endoftext|>");
}

}  // namespace sdgen
