// What a model can draw, as its own list says (known_words.json, models/README.md), and what of a prompt is not on it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace sdgen {

class KnownWords {
 public:
  // Reads a list. Throws Error(input).
  explicit KnownWords(const std::filesystem::path& file);

  // What texts say to the model. Names are found as a reader finds them: whatever the case, in the plural, the longest
  // first; words that mean nothing, and numbers, say nothing.
  struct Reading {
    std::vector<std::string> words;    // all
    std::vector<std::string> unknown;  // those that it does not know, each once
    bool things = false;               // are there any that it knows?
    bool known() const { return words.empty() || (things && unknown.empty()); }
  };
  // `texts`: what is drawn of a prompt in the course of a picture.
  Reading read(const std::vector<std::string>& texts) const;
  // One line for the user about a prompt that is not known.
  std::string warning(const std::string& model, std::string_view prompt, const Reading& reading) const;

 private:
  enum class Kind : std::uint8_t { none, empty, thing, unknown };
  struct Unit {            // a word, or an ideograph
    std::vector<int> ids;  // of itself and its singular, as far as they are in names
    std::size_t begin, end;
    std::size_t word;  // which of the text's
    bool ideograph;
    bool follows;  // nothing but blanks and hyphens stands before it: it may go on with a name
  };
  struct Phrase {
    std::size_t units;
    Kind kind;
    std::size_t cost;  // of the text from here on
  };
  using Things = std::vector<std::size_t>;

  std::vector<int> ids_of(const std::string& word) const;
  std::vector<Unit> units_of(std::string_view text) const;
  Phrase best(std::span<const Unit> units, std::span<const std::size_t> costs) const;
  std::vector<Phrase> cover(const std::vector<Unit>& units) const;
  void add(std::string_view phrase, Kind kind);
  void read(std::string_view text, Reading& reading) const;
  Things near(const std::vector<std::string>& words) const;
  Things near(const std::string& word) const;
  Things by_ideographs(const std::string& word) const;
  Things by_spelling(const std::string& word) const;

  std::vector<std::vector<std::string>> things_;         // their names
  std::unordered_map<std::string, int> ids_;             // of the words of all phrases
  std::unordered_map<std::uint64_t, std::size_t> next_;  // (node of the phrases' tree, id) -> node
  std::vector<Kind> kinds_{Kind::none};                  // of the phrases that end at nodes
  std::unordered_map<std::string, Things> near_;
  Things examples_;
};

}  // namespace sdgen
