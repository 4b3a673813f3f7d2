// Models of the SentencePiece library (spiece.model): a serialized protocol buffer, ModelProto of
// github.com/google/sentencepiece, src/sentencepiece_model.proto.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace sdgen {

struct SentencePieceModel {
  enum class Type { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };
  struct Piece {
    std::string text;
    float score = 0;  // log probability
    Type type = Type::normal;
  };

  std::vector<Piece> pieces;  // the index is the id
  std::string charsmap;       // precompiled_charsmap, the normalizer's rules; empty: none
};

// Reads a file of at most 16 MiB (T5 has 0.8, multilingual T5 4.3). Throws Error(input) naming file, offset or piece
// where it is not such a model.
SentencePieceModel read_sentencepiece_model(const std::filesystem::path& path);
// The same from memory; `who` names the source in errors.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& who);

// The model as the library reads it: a unigram model in which every piece but `unknown_id`, which has to be there, is a
// normal one, with a space before the text and none at its end. The library trusts its models, so nothing of a file
// comes to it in another way. Throws Error(input) naming the piece if one is empty, long, not UTF-8, there twice, with
// a NUL or with a score beyond a million, and if the rules of the normalizer lead outside of themselves.
std::string model_for_library(const SentencePieceModel& model, int unknown_id, const std::string& who);

// The text that a piece stands for: U+2581 is a space.
std::string spelled_piece(const std::string& piece);

}  // namespace sdgen
