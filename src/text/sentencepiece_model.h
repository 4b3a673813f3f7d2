// Files of the SentencePiece library (spiece.model): a serialized protocol buffer, ModelProto of
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
    std::string text;  // UTF-8, not empty, unique
    float score = 0;   // log probability; finite
    Type type = Type::normal;
  };

  std::vector<Piece> pieces;  // the index is the id
  std::string charsmap;       // precompiled_charsmap of the normalizer (see charsmap.h); empty: none
};

// Reads a file of at most 16 MiB (T5 has 0.8, multilingual T5 4.3). Throws Error(input) naming file, offset or piece on
// anything that is not such a model.
SentencePieceModel read_sentencepiece_model(const std::filesystem::path& path);
// The same from memory; `who` names the source in errors.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& who);

}  // namespace sdgen
