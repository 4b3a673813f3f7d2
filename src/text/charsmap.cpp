#include "text/charsmap.h"

#include <algorithm>
#include <cstddef>

#include "io/utf8.h"
#include "sdgen/error.h"
#include "text/unicode.h"

namespace sdgen {
namespace {

constexpr std::size_t kLongestCluster = 5;  // bytes; longer ones are never looked up whole

// The parts of a unit of a darts-clone double array.
bool has_leaf(std::uint32_t unit) { return (unit >> 8 & 1) != 0; }
std::uint32_t label(std::uint32_t unit) { return unit & (1u << 31 | 0xFF); }
std::size_t offset(std::uint32_t unit) { return static_cast<std::size_t>(unit >> 10) << ((unit & 1u << 9) >> 6); }
std::size_t value(std::uint32_t unit) { return unit & 0x7FFFFFFF; }

std::uint32_t little_endian(std::string_view bytes) {
  std::uint32_t result = 0;
  for (int i = 3; i >= 0; --i) result = result << 8 | static_cast<std::uint8_t>(bytes[static_cast<std::size_t>(i)]);
  return result;
}

}  // namespace

Charsmap::Charsmap(std::string_view bytes, const std::string& who) {
  if (bytes.empty()) return;
  const auto fail = [&](const std::string& what) {
    throw Error(Fault::input, who + ": precompiled_charsmap: " + what);
  };
  if (bytes.size() < 4) fail(concat("has ", bytes.size(), " bytes, too few for its header"));
  const std::uint32_t size = little_endian(bytes);
  bytes.remove_prefix(4);
  if (size > bytes.size() || size % 4 != 0 || size == 0) {
    fail(concat("says that its trie has ", size, " bytes, but ", bytes.size(), " follow"));
  }
  trie_.reserve(size / 4);
  for (std::size_t i = 0; i < size; i += 4) trie_.push_back(little_endian(bytes.substr(i, 4)));
  replacements_ = bytes.substr(size);
  if (valid_utf8_prefix(replacements_) != replacements_.size()) fail("its replacements are not UTF-8");
}

std::optional<std::string_view> Charsmap::replacement(std::string_view text) const {
  if (trie_.empty()) return std::nullopt;
  std::size_t node = offset(trie_[0]);
  for (const char c : text) {
    const auto byte = static_cast<std::uint8_t>(c);
    node ^= byte;
    if (byte == 0 || node >= trie_.size() || label(trie_[node]) != byte) return std::nullopt;
    const std::uint32_t unit = trie_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    const std::size_t begin = node < trie_.size() ? value(trie_[node]) : replacements_.size();
    const bool inside_character = begin < replacements_.size() && (replacements_[begin] & 0xC0) == 0x80;
    if (begin >= replacements_.size() || inside_character) return std::nullopt;
    const std::size_t end = std::min(replacements_.find('\0', begin), replacements_.size());
    return std::string_view(replacements_).substr(begin, end - begin);
  }
  return std::nullopt;
}

std::string Charsmap::normalize(std::string_view text) const {
  if (trie_.empty()) return std::string(text);
  std::string out;
  out.reserve(text.size());
  std::size_t begin = 0;
  for (const std::size_t end : unicode::cluster_ends(text)) {
    const std::string_view cluster = text.substr(begin, end - begin);
    begin = end;
    if (cluster.size() <= kLongestCluster) {
      if (const auto replaced = replacement(cluster)) {
        out += *replaced;
        continue;
      }
    }
    for (std::size_t at = 0, after = 0; at < cluster.size(); at = after) {
      next_character(cluster, after);
      const std::string_view character = cluster.substr(at, after - at);
      out += replacement(character).value_or(character);
    }
  }
  return out;
}

}  // namespace sdgen
