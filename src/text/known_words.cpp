#include "text/known_words.h"

#include <algorithm>
#include <array>
#include <functional>
#include <iterator>
#include <span>
#include <unordered_set>
#include <utility>

#include "io/edit_distance.h"
#include "io/json.h"
#include "io/utf8.h"
#include "sdgen/error.h"
#include "text/unicode.h"

namespace sdgen {
namespace {

constexpr std::size_t kShownPrompt = 60, kShownWords = 5, kNear = 3;

bool joins(std::string_view gap) { return gap.find_first_not_of(" \t\n-_.") == std::string_view::npos; }

bool has_ideographs(std::string_view text) {
  for (std::size_t at = 0; at < text.size();)
    if (unicode::is_ideograph(next_character(text, at))) return true;
  return false;
}

// As words are compared: in lower case, without apostrophes and the signs that make emoji of characters.
std::string folded(std::string_view word) {
  std::string out;
  for (std::size_t at = 0; at < word.size();) {
    const char32_t c = next_character(word, at);
    if (c != '\'' && c != 0x2019 && c != 0xFE0F && c != kNoCharacter) unicode::append_lower(out, c);
  }
  return out;
}

// The words of a name.
std::vector<unicode::Word> split(std::string_view name) {
  std::vector<unicode::Word> words;
  for (std::size_t at = 0; (at = name.find_first_not_of(" -.", at)) != std::string_view::npos;) {
    const std::size_t end = std::min(name.find_first_of(" -.", at), name.size());
    words.push_back({at, end});
    at = end;
  }
  return words;
}

// Calls work(begin, end, ideograph) for a word's runs of letters, and for each of its ideographs.
template <class Work>
void for_units(std::string_view text, const unicode::Word& word, const Work& work) {
  std::size_t begin = word.begin;  // of the run
  for (std::size_t at = word.begin; at < word.end;) {
    const std::size_t here = at;
    const char32_t c = next_character(text, at);
    const bool ideograph = unicode::is_ideograph(c);
    if (c != '_' && !ideograph) continue;
    if (begin < here) work(begin, here, false);
    if (ideograph) work(here, at, true);
    begin = at;
  }
  if (begin < word.end) work(begin, word.end, false);
}

constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kIrregular{{{"man", "men"},
                                                                                   {"child", "children"},
                                                                                   {"foot", "feet"},
                                                                                   {"tooth", "teeth"},
                                                                                   {"goose", "geese"},
                                                                                   {"mouse", "mice"}}};

// What an English word may be the plural of, and what its plural may be.
std::vector<std::string> singulars(const std::string& word) {
  std::vector<std::string> found;
  const auto with = [&](std::size_t less, std::string_view ending) {
    if (word.size() >= less + 3) found.push_back(word.substr(0, word.size() - less).append(ending));
  };
  for (const auto& [one, many] : kIrregular)
    if (word.ends_with(many)) found.push_back(word.substr(0, word.size() - many.size()).append(one));
  if (!word.ends_with('s') || word.ends_with("ss")) return found;
  with(1, "");
  if (word.ends_with("ies")) with(3, "y");
  if (word.ends_with("ves")) with(3, "f"), with(3, "fe");
  if (word.ends_with("es")) with(2, "");
  return found;
}
std::vector<std::string> plurals(const std::string& word) {
  std::vector<std::string> found{word + "s", word + "es"};
  for (const auto& [one, many] : kIrregular)
    if (word.ends_with(one)) found.push_back(word.substr(0, word.size() - one.size()).append(many));
  for (const auto& [ending, many] : {std::pair{"y", "ies"}, {"f", "ves"}, {"fe", "ves"}})
    if (word.ends_with(ending))
      found.push_back(word.substr(0, word.size() - std::string_view(ending).size()).append(many));
  return found;
}

// elefant, elephant
std::string by_sound(std::string word) {
  for (std::size_t at = 0; (at = word.find("ph", at)) != std::string::npos;) word.replace(at, 2, "f");
  return word;
}

using Score = std::pair<std::size_t, std::size_t>;  // and whose it is

// The best, the first of equals.
std::vector<std::size_t> best_of(std::vector<Score> scores) {
  std::ranges::stable_sort(scores, std::greater{}, &Score::first);
  std::vector<std::size_t> best;
  for (const auto& [score, thing] : scores)
    if (best.size() < kNear && std::ranges::find(best, thing) == best.end()) best.push_back(thing);
  return best;
}

}  // namespace

KnownWords::KnownWords(const std::filesystem::path& file) {
  const Config list = Config::read(file);
  const auto indices = [&](const Json& found, const std::string& where) {
    Things things;
    if (!found.is_array()) list.unsupported(where, "expected a list of numbers of things");
    for (const Json& index : found) {
      if (!index.is_number_unsigned() || index >= things_.size())
        list.unsupported(where, concat("expected numbers of things, 0 to ", things_.size() - 1));
      things.push_back(index);
    }
    return things;
  };
  for (const std::string& word : list.strings("empty")) add(word, Kind::empty);
  if (!list.has("things") || !list.json()["things"].is_array() || list.json()["things"].empty())
    list.unsupported("things", "expected a list of lists of names");
  for (const Json& names : list.json()["things"]) {
    things_.push_back(Config({{"names", names}}, concat(list.who(), ": things")).strings("names"));
    for (const std::string& name : things_.back()) add(name, Kind::thing);
  }
  for (const std::string& word : list.strings("parts")) add(word, Kind::thing);
  if (list.has("examples")) examples_ = indices(list.json()["examples"], "examples");
  if (!list.has("near")) return;
  if (!list.json()["near"].is_object())
    list.unsupported("near", "expected an object: word -> list of numbers of things");
  for (const auto& [word, things] : list.json()["near"].items()) {
    near_[folded(word)] = indices(things, "near");
    if (has_ideographs(word)) add(word, Kind::unknown);  // a word that is not known is one, too
  }
}

// What a phrase is first, it stays.
void KnownWords::add(std::string_view phrase, Kind kind) {
  std::size_t node = 0;
  const auto step = [&](std::size_t begin, std::size_t end, bool) {
    const std::string word = folded(phrase.substr(begin, end - begin));
    const int id = ids_.try_emplace(word, static_cast<int>(ids_.size())).first->second;
    const auto [next, is_new] = next_.try_emplace(node << 32 | static_cast<std::uint32_t>(id), kinds_.size());
    if (is_new) kinds_.push_back(Kind::none);
    node = next->second;
  };
  for (const unicode::Word& word : split(phrase)) for_units(phrase, word, step);
  if (node != 0 && kinds_[node] == Kind::none) kinds_[node] = kind;
}

std::vector<int> KnownWords::ids_of(const std::string& word) const {
  std::vector<int> ids;
  const auto look = [&](const std::string& form) {
    if (const auto found = ids_.find(form); found != ids_.end()) ids.push_back(found->second);
  };
  look(word);
  for (const std::string& form : singulars(word)) look(form);
  return ids;
}

std::vector<KnownWords::Unit> KnownWords::units_of(std::string_view text) const {
  std::vector<Unit> units;
  std::size_t number = 0;  // of the word
  const auto add_unit = [&](std::size_t begin, std::size_t end, bool ideograph) {
    std::string word = folded(text.substr(begin, end - begin));
    std::vector<int> ids = ids_of(word);
    if (ids.empty() && !ideograph) {
      // 1, 1.5, 8k, 50mm say nothing; 2girls says girls
      const bool digits = std::erase_if(word, [](char c) { return c >= '0' && c <= '9'; }) > 0;
      if (word.size() <= (digits ? 2 : 1)) return;
      if (digits) ids = ids_of(word);
    }
    const std::size_t before = units.empty() ? 0 : units.back().end;
    const bool follows = !units.empty() && joins(text.substr(before, begin - before));
    units.push_back({std::move(ids), begin, end, number, ideograph, follows});
  };
  for (const unicode::Word& word : unicode::words(text)) {
    for_units(text, word, add_unit);
    ++number;
  }
  return units;
}

// The phrase that `units` had best begin with; `costs`: of what follows the first, the second, ... of them.
KnownWords::Phrase KnownWords::best(std::span<const Unit> units, std::span<const std::size_t> costs) const {
  constexpr std::size_t unknown = 1000;
  Phrase best{1, Kind::unknown, costs[0] + unknown + 1};
  std::vector<std::size_t> nodes{0};
  for (std::size_t i = 0; i < units.size() && !nodes.empty() && (i == 0 || units[i].follows); ++i) {
    std::vector<std::size_t> next;
    for (const std::size_t node : nodes)
      for (const int id : units[i].ids)
        if (const auto found = next_.find(node << 32 | static_cast<std::uint32_t>(id)); found != next_.end())
          next.push_back(found->second);
    nodes = std::move(next);
    for (const std::size_t node : nodes) {
      const std::size_t cost = costs[i] + 1 + (kinds_[node] == Kind::unknown ? unknown : 0);
      if (kinds_[node] != Kind::none && (cost < best.cost || (cost == best.cost && i + 1 > best.units)))
        best = {i + 1, kinds_[node], cost};
    }
  }
  return best;
}

// The phrases of a text that leave the fewest words unknown, and of these the longest.
std::vector<KnownWords::Phrase> KnownWords::cover(const std::vector<Unit>& units) const {
  std::vector<std::size_t> costs(units.size() + 1);
  std::vector<Phrase> at(units.size());
  for (std::size_t i = units.size(); i-- > 0;) {
    at[i] = best(std::span(units).subspan(i), std::span(costs).subspan(i + 1));
    costs[i] = at[i].cost;
  }
  std::vector<Phrase> phrases;
  for (std::size_t i = 0; i < units.size(); i += phrases.back().units) phrases.push_back(at[i]);
  return phrases;
}

KnownWords::Reading KnownWords::read(const std::vector<std::string>& texts) const {
  Reading reading;
  for (const std::string& text : texts) read(text, reading);
  std::unordered_set<std::string> seen;
  std::erase_if(reading.unknown, [&seen](const std::string& word) { return !seen.insert(word).second; });
  return reading;
}

void KnownWords::read(std::string_view text, Reading& reading) const {
  const std::vector<Unit> units = units_of(text);
  const std::vector<Phrase> phrases = cover(units);
  std::size_t at = 0;  // the phrase's first unit
  for (auto phrase = phrases.begin(); phrase != phrases.end();) {
    // Characters of a Chinese word stand together: where one is unknown, the others are not what they are alone.
    const Unit& first = units[at];
    std::size_t count = phrase->units;
    bool known = phrase->kind != Kind::unknown, thing = phrase->kind == Kind::thing;
    const bool alone = count == 1 && first.ideograph;
    for (++phrase; alone && phrase != phrases.end() && phrase->units == 1; ++phrase, ++count) {
      const Unit& next = units[at + count];
      if (!next.ideograph || next.word != first.word) break;
      known &= phrase->kind != Kind::unknown;
      thing |= phrase->kind == Kind::thing;
    }
    const std::string word(text.substr(first.begin, units[at + count - 1].end - first.begin));
    reading.words.push_back(word);
    at += count;
    if (known)
      reading.things |= thing;
    else
      reading.unknown.push_back(word);
  }
}

// The things that most of a Chinese word's characters are in; the last says what kind of thing it is.
KnownWords::Things KnownWords::by_ideographs(const std::string& word) const {
  std::vector<Score> scores;
  for (std::size_t thing = 0; thing < things_.size(); ++thing)
    for (const std::string& name : things_[thing]) {
      std::size_t score = name.find(word) == std::string::npos ? 0 : word.size(), last = 0;
      for (std::size_t at = 0; at < word.size(); last = at) {
        next_character(word, at);
        score += name.find(word.substr(last, at - last)) != std::string::npos;
        if (at == word.size() && name.ends_with(word.substr(last))) ++score;
      }
      if (score > 0) scores.emplace_back(score, thing);
    }
  return best_of(std::move(scores));
}

// Things whose names have the word in them, are written otherwise (fire truck, firetruck), end or begin it
// (lighthouse), or are nearly it (elefant). Things stand beside things of their kind.
KnownWords::Things KnownWords::by_spelling(const std::string& word) const {
  constexpr std::size_t same = 1000, part = 900, ending = 800, beginning = 700, kin = 600, nearly = 500;
  std::vector<Score> scores;
  const auto compound = [&](const std::string& name) {  // of a name and other letters
    return name.size() >= 4 && word.size() >= name.size() + 3;
  };
  const std::string sound = by_sound(word);
  const auto away = [&](const std::string& name) {
    const std::string other = by_sound(name);
    const std::size_t sizes = std::max(sound.size(), other.size()) - std::min(sound.size(), other.size());
    return sound[0] == other[0] && sizes <= sound.size() / 5 ? edit_distance(sound, other) : sound.size();
  };
  for (std::size_t thing = 0; thing < things_.size(); ++thing)
    for (const std::string& written : things_[thing]) {
      const std::string name = folded(written);
      const std::vector<unicode::Word> parts = split(name);
      std::string joined;
      bool has = false;
      for (const unicode::Word& one : parts) {
        joined += name.substr(one.begin, one.end - one.begin);
        has |= name.compare(one.begin, one.end - one.begin, word) == 0;
      }
      if (joined == word) {
        scores.emplace_back(same, thing);
      } else if (has) {
        scores.emplace_back(part, thing);
      } else if (parts.size() == 1 && compound(name) && (word.ends_with(name) || word.starts_with(name))) {
        scores.emplace_back((word.ends_with(name) ? ending : beginning) + name.size(), thing);
        if (thing > 0) scores.emplace_back(kin, thing - 1);
        if (thing + 1 < things_.size()) scores.emplace_back(kin, thing + 1);
      } else if (const std::size_t letters = away(name); letters <= sound.size() / 5) {
        scores.emplace_back(nearly - letters, thing);
      }
    }
  if (std::ranges::find(scores, same, &Score::first) != scores.end())
    std::erase_if(scores, [](const Score& score) { return score.first < same; });
  return best_of(std::move(scores));
}

KnownWords::Things KnownWords::near(const std::string& word) const {
  std::vector<std::string> forms{word};
  std::ranges::move(singulars(word), std::back_inserter(forms));
  Things things;
  for (const std::string& plural : plurals(word))
    for (std::size_t thing = 0; thing < things_.size(); ++thing)
      if (std::ranges::find(things_[thing], plural) != things_[thing].end()) things.push_back(thing);
  for (const std::string& form : forms)
    if (const auto found = near_.find(form); found != near_.end()) {
      things.insert(things.end(), found->second.begin(), found->second.end());
      return things;
    }
  if (has_ideographs(word)) return by_ideographs(word);
  for (const std::string& form : forms)
    if (things.empty()) things = by_spelling(form);
  return things;
}

KnownWords::Things KnownWords::near(const std::vector<std::string>& words) const {
  // The first word is the subject, as a rule: two of its things, then one of each.
  std::vector<Things> all;
  for (const std::string& word : std::span(words).first(std::min(words.size(), kShownWords)))
    if (Things things = near(folded(word)); !things.empty()) all.push_back(std::move(things));
  Things found;
  const auto take = [&](std::size_t thing) {
    if (found.size() < kNear && std::ranges::find(found, thing) == found.end()) found.push_back(thing);
  };
  if (!all.empty()) std::ranges::for_each(std::span(all[0]).first(std::min<std::size_t>(all[0].size(), 2)), take);
  for (std::size_t i = 0; i < kNear; ++i)
    for (const Things& things : all)
      if (i < things.size()) take(things[i]);
  return found;
}

std::string KnownWords::warning(const std::string& model, std::string_view prompt, const Reading& reading) const {
  const bool in_part = reading.things;
  const std::vector<std::string>& words = reading.unknown.empty() ? reading.words : reading.unknown;
  Things offered = near(words);
  if (offered.empty() && !in_part) offered = examples_;
  std::string names;  // in the script of the words
  for (std::size_t i = 0; i < offered.size(); ++i) {
    const std::vector<std::string>& called = things_[offered[i]];
    const auto name = std::ranges::find(called, has_ideographs(words[0]), &has_ideographs);
    names += concat(i == 0 ? "" : ", ", printable(name == called.end() ? called[0] : *name, 60));
  }
  const std::string shown = printable(prompt, kShownPrompt);
  if (!in_part)
    return concat("the model ", model, " knows nothing of \"", shown, "\" and draws something else; it knows ",
                  things_.size(), " things", names.empty() ? "" : ", such as ", names,
                  "; for others bring a model of your own, for example: sdgen -m v1-5-pruned-emaonly.safetensors");
  std::string unknown;
  for (std::size_t i = 0; i < std::min(words.size(), kShownWords); ++i)
    unknown += concat(i == 0 ? "\"" : ", \"", printable(words[i], 40), '"');
  if (words.size() > kShownWords) unknown += concat(" and ", words.size() - kShownWords, " more words");
  return concat("the model ", model, " does not know ", unknown, " of \"", shown, '"',
                names.empty() ? "" : "; it knows ", names);
}

}  // namespace sdgen
