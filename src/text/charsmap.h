// The normalization rules that SentencePiece models carry ("precompiled_charsmap").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sdgen {

// Replaces characters, or short clusters of them, by a table: as tokenizers' normalizer "Precompiled" does, which
// differs from the SentencePiece library: the library replaces the longest match at each place; here a grapheme cluster
// of up to five bytes is looked up first, and the shortest rule that begins it replaces all of it, so that with case
// folding "A" + U+030A becomes "a"; longer clusters are replaced character by character.
//
// Format: u32 little endian, size in bytes of a double-array trie (github.com/s-yata/darts-clone); the trie's units,
// u32 each; then the replacements, each ended by a NUL, at the offsets that the trie's leaves hold.
class Charsmap {
 public:
  Charsmap() = default;  // replaces nothing
  // Throws Error(input) if the sizes do not fit or the replacements are not UTF-8. Wild references inside the trie are
  // harmless: they match nothing.
  Charsmap(std::string_view bytes, const std::string& who);

  std::string normalize(std::string_view text) const;

 private:
  // What replaces `text` by the shortest rule that begins it.
  std::optional<std::string_view> replacement(std::string_view text) const;

  std::vector<std::uint32_t> trie_;
  std::string replacements_;
};

}  // namespace sdgen
