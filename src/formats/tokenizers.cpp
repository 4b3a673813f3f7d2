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

bool has_one_of(const fs::path& folder, std::initializer_list<const char*> files) {
  return std::ranges::any_of(files, [&folder](const char* file) { return present(folder / file); });
}

fs::path t5_folder(const fs::path& file) {
  std::vector<fs::path> places = data_places("t5");
  places.insert(places.begin(), file.parent_path());
  if (const fs::path program = program_folder(); !program.empty()) places.push_back(program / "t5");
  std::vector<std::string> looked;
  for (const fs::path& place : places) {
    if (has_one_of(place, {"tokenizer.json", "spiece.model"})) return place;
    looked.push_back(place.empty() ? "." : printable(place.string()));
  }
  throw Error(Fault::input,
              concat(file.string(), ": T5's vocabulary is missing: neither spiece.model nor tokenizer.json is in ",
                     joined(looked),
                     "; scripts/setup unpacks one, and every folder of a model with T5 "
                     "has one in its tokenizer folder"));
}

}  // namespace

bool has_tokenizer(const fs::path& folder) {
  return has_one_of(folder, {"tokenizer.json", "spiece.model", "vocab.json"});
}

fs::path tokenizer_folder(const Component& text_encoder) {
  if (!text_encoder.tokenizer.empty()) return text_encoder.tokenizer;
  if (text_encoder.type->architecture != Architecture::t5) return {};
  return t5_folder(text_encoder.tensors->files().front()->path());
}

std::unique_ptr<Tokenizer> tokenizer_of(const Component& text_encoder) {
  if (const fs::path folder = tokenizer_folder(text_encoder); !folder.empty()) return load_tokenizer(folder);
  // OpenCLIP pads with id 0, which is "!", CLIP with its end token; OpenCLIP's encoders are the ones with exact GELU.
  const bool open_clip = text_encoder.config.string("hidden_act", "") == "gelu";
  return builtin_clip_tokenizer(open_clip ? "!" : "<|endoftext|>");
}

}  // namespace sdgen
