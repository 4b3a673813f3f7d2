// Whatever a tokenizer's folder holds, it is refused with Error(input), or turns every text into ids of its vocabulary.
#include "fuzz.h"
#include "text/prompt_chunks.h"
#include "text/tokenizer.h"

using namespace sdgen;
using fuzz::accepts;

// Sections (see fuzz.h) are the files of the folder, a "+" the text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const std::set<std::string> names = {
      "tokenizer.json",          "tokenizer_config.json", "vocab.json", "merges.txt",
      "special_tokens_map.json", "added_tokens.json",     "+"};
  static const fuzz::Folder folder;
  folder.clear();
  auto parts = fuzz::sections(fuzz::text_of(bytes, size), names);
  for (const auto& [name, content] : parts)
    if (!name.empty() && name != "+") folder.write(name, content);
  std::unique_ptr<Tokenizer> tokenizer;
  if (!accepts({Fault::input}, [&] { tokenizer = load_tokenizer(folder.path()); })) return 0;

  const auto check = [&](const std::vector<int>& ids) {
    for (const int id : ids) fuzz::require(id >= 0 && id < tokenizer->vocabulary_size(), "an id of the vocabulary");
  };
  for (const std::string& text : {parts["+"], std::string("A photo of caf\u00e9 <|endoftext|> 12\u4e00! \U0001F600")}) {
    accepts({Fault::usage}, [&] {
      const TokenizedPrompt prompt = tokenize(*tokenizer, text);
      fuzz::require(prompt.ids.size() == static_cast<std::size_t>(tokenizer->max_length()),
                    "as many ids as are wanted");
      check(prompt.ids);
      if (prompt.cut > 0) cut_words(*tokenizer, text);
    });
    accepts({Fault::usage}, [&] {
      for (const PromptChunk& chunk : weighted_chunks(*tokenizer, text)) {
        fuzz::require(chunk.ids.size() == static_cast<std::size_t>(tokenizer->max_length()), "a whole chunk");
        check(chunk.ids);
      }
    });
    accepts({Fault::usage, Fault::input}, [&] { tokenizer->learn("caf\u00e9", 3); });
  }
  return 0;
}
