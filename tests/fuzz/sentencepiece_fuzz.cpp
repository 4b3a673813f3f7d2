// Any bytes are a SentencePiece model that segments every text, or are refused with Error(input).
#include "fuzz.h"
#include "text/charsmap.h"
#include "text/sentencepiece_model.h"
#include "text/tokenizer.h"

using namespace sdgen;
using fuzz::accepts;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  static const fuzz::Folder folder;
  const std::string_view model = fuzz::text_of(bytes, size);
  const std::string text =
      repair_utf8(model.substr(0, 100)) + " A photo of caf\u00e9 ﬁ \u1ec7 12\u4e00! \U0001F600\u0301";
  accepts({Fault::input}, [&] {
    const std::string normal = Charsmap(model, "fuzz").normalize(text);
    fuzz::require(valid_utf8_prefix(normal) == normal.size(), "normalized to UTF-8", normal);
  });
  if (!accepts({Fault::input}, [&] { parse_sentencepiece_model(model, "fuzz"); })) return 0;
  for (const char* name : {"spiece.model", "tokenizer.model"}) {
    folder.clear();
    folder.write(name, model);
    // T5 reads either algorithm's pieces as unigrams where the folder says so.
    if (size % 2) folder.write("tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer", "extra_ids": 3})");
    std::unique_ptr<Tokenizer> tokenizer;
    if (!accepts({Fault::input}, [&] { tokenizer = load_tokenizer(folder.path()); })) continue;
    const TokenizedPrompt prompt = tokenize(*tokenizer, text);
    for (const int id : prompt.ids)
      fuzz::require(id >= 0 && id < tokenizer->vocabulary_size(), "an id of the vocabulary");
  }
  return 0;
}
