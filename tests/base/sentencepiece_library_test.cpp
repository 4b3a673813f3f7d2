// Our reading of SentencePiece models against the sentencepiece library itself, on ordinary prompts. (On all text it is
// transformers that we equal, and there the two differ: see src/text/sentencepiece_tokenizer.h.)
#include <gtest/gtest.h>
#include <sentencepiece_processor.h>

#include <filesystem>

#include "text/tokenizer.h"

namespace sdgen {
namespace {

TEST(SentencePieceLibrary, GivesTheSameIdsForOrdinaryPrompts) {
  const std::filesystem::path fixtures = std::filesystem::path(SDGEN_FIXTURES) / "tokenizers";
  sentencepiece::SentencePieceProcessor library;
  ASSERT_TRUE(library.Load((fixtures / "t5" / "spiece.model").string()).ok());
  const auto tokenizer = load_tokenizer(fixtures / "t5");
  for (const char* prompt : {"a red apple on a blue background", "A cat, sitting on the mat; \"quoted\" (twice).",
                             "two  blanks and a trailing one ", "an astronaut riding a horse, 8k, f/1.4, ISO-100",
                             "一只红苹果", "a café in Zürich, naïve style", ""}) {
    std::vector<int> expected;
    ASSERT_TRUE(library.Encode(prompt, &expected).ok());
    EXPECT_EQ(tokenizer->encode(prompt), expected) << prompt;
  }
}

}  // namespace
}  // namespace sdgen
