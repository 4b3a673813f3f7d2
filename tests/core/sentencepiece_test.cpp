// The sentencepiece library in one process with libtorch, of which both have flags of the same names.
#include <c10/util/Exception.h>
#include <c10/util/Logging.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "text/tokenizer.h"

namespace sdgen {
namespace {

TEST(SentencePiece, LeavesLibtorchsFlagsAlone) {
  const auto tokenizer = load_tokenizer(std::filesystem::path(SDGEN_FIXTURES) / "tokenizers" / "t5");
  EXPECT_FALSE(tokenizer->encode("a red apple").empty());
  // Not a look at the flag: the program would have its own copy of one that it names.
  EXPECT_THROW(CAFFE_ENFORCE(false, "ends the program where caffe2_use_fatal_for_enforce was written over"),
               c10::Error);
}

}  // namespace
}  // namespace sdgen
