#include "cli/wildcards.h"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <sstream>

#include "cli/arguments.h"
#include "io/file.h"
#include "io/text.h"
#include "io/text_file.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kMostDepth = 32;                // braces in braces, lists in lists
constexpr std::size_t kMostChoices = 10'000;  // of a prompt; parts between braces
constexpr std::size_t kMostText = 1u << 20;   // bytes of a prompt that is chosen
constexpr std::size_t kMostList = 64u << 20;  // bytes of a list
constexpr std::size_t kMostName = 200;
constexpr std::string_view kBlanks = " \t\r\n";

// SplitMix64 (Steele, Lea and Flood, 2014): every state gives a good stream, neighbouring seeds too.
class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t stream) : state_(seed) {
    state_ = next() + stream;
    next();
  }
  // In [0, 1), of 53 bits.
  double real() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  // In [0, count).
  std::size_t below(std::size_t count) { return std::min<std::size_t>(std::size_t(real() * double(count)), count - 1); }

 private:
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    return z ^ (z >> 31);
  }
  std::uint64_t state_;
};

// The name of a list that begins at text[at], "__name__"; empty: none does.
std::string_view list_name(std::string_view text, std::size_t at) {
  if (text.substr(at, 2) != "__") return {};
  const std::size_t end = text.find("__", at + 2);
  if (end == std::string_view::npos || end == at + 2 || end - at - 2 > kMostName) return {};
  const std::string_view name = text.substr(at + 2, end - at - 2);
  return name.find_first_of(" \t\r\n{}|,") == std::string_view::npos ? name : std::string_view();
}

bool escaped(std::string_view text, std::size_t at) {
  return text[at] == '\\' && at + 1 < text.size() && std::string_view("{}|_").find(text[at + 1]) != text.npos;
}

template <class Number>
std::optional<Number> number(std::string_view text) {
  text = trimmed(text, kBlanks);
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// What is between two braces.
struct Braces {
  std::size_t least = 1, most = 1;  // how many parts are taken
  std::string_view joint = ", ";
  std::vector<std::string_view> parts;
  std::vector<double> weights;
};

// The pieces of `text` between `separator`s outside braces.
std::vector<std::string_view> cut_at(std::string_view text, std::string_view separator) {
  std::vector<std::string_view> pieces;
  std::size_t begin = 0;
  int depth = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (escaped(text, i)) {
      ++i;
    } else if (text[i] == '{') {
      ++depth;
    } else if (text[i] == '}') {
      --depth;
    } else if (depth == 0 && text.substr(i, separator.size()) == separator) {
      pieces.push_back(text.substr(begin, i - begin));
      begin = i + separator.size();
      i = begin - 1;
    }
  }
  pieces.push_back(text.substr(begin));
  return pieces;
}

// "2", "1-3", "-3", "2-": how many parts are taken, of `all`.
void read_count(std::string_view text, std::size_t all, Braces& braces) {
  const auto wrong = [&](const char* why) {
    throw Error(Fault::usage, concat("'{", printable(text, 40), "$$': ", why));
  };
  const auto read = [&](std::string_view digits, std::size_t otherwise) {
    if (trimmed(digits, kBlanks).empty()) return otherwise;
    const auto value = number<std::size_t>(digits);
    if (!value) wrong("before $$ comes how many parts are taken, like 2 or 1-3");
    return *value;
  };
  const std::size_t dash = text.find('-');
  if (trimmed(text, kBlanks).empty()) wrong("before $$ comes how many parts are taken, like 2 or 1-3");
  braces.least = read(text.substr(0, dash), 0);
  braces.most = dash == std::string_view::npos ? braces.least : read(text.substr(dash + 1), all);
  if (braces.least > braces.most) wrong("the first number is larger than the second");
  // More than there are cannot be taken without repeating one.
  braces.least = std::min(braces.least, all);
  braces.most = std::min(braces.most, all);
}

Braces read_braces(std::string_view inside) {
  Braces braces;
  const std::vector<std::string_view> fields = cut_at(inside, "$$");
  if (fields.size() > 3) throw Error(Fault::usage, concat("'{", printable(inside, 40), "}' has more than two $$"));
  braces.parts = cut_at(fields.back(), "|");
  if (braces.parts.size() > kMostChoices)  // choosing many of many takes the product of both
    throw Error(Fault::usage, concat("more than ", kMostChoices, " parts between braces"));
  if (fields.size() > 1) read_count(fields[0], braces.parts.size(), braces);
  if (fields.size() > 2) braces.joint = fields[1];
  for (std::string_view& part : braces.parts) {
    double weight = 1;
    const std::size_t colons = part.find("::");
    if (const auto found = colons == part.npos ? std::nullopt : number<double>(part.substr(0, colons))) {
      if (!(*found >= 0 && *found <= 1e9))
        throw Error(Fault::usage, concat("'", printable(part, 40), "': the weight is not from 0 to 1e9"));
      weight = *found;
      part.remove_prefix(colons + 2);
    }
    braces.weights.push_back(weight);
  }
  return braces;
}

}  // namespace

// One walk through a prompt.
class Wildcards::Choice {
 public:
  Choice(Wildcards& wildcards, std::uint64_t seed, std::uint64_t stream)
      : wildcards_(wildcards), random_(seed, stream) {}

  std::string of(std::string_view text) {
    if (++choices_ > kMostChoices)
      throw Error(Fault::usage, concat("more than ", kMostChoices, " choices in a prompt"));
    if (++depth_ > kMostDepth)
      throw Error(Fault::usage,
                  concat("choices are nested deeper than ", kMostDepth, ": does a list of --wildcards name itself?"));
    std::string chosen;
    for (std::size_t i = 0; i < text.size();) {
      if (escaped(text, i)) {
        chosen += text[i + 1];
        i += 2;
      } else if (text[i] == '{') {
        const std::string_view inside = until_partner(text, i);
        chosen += some(read_braces(inside));
        i += inside.size() + 2;
      } else if (text[i] == '}') {
        throw Error(Fault::usage,
                    concat("'", printable(text.substr(0, i + 1), 60), "': this } has no {; \\} is a plain one"));
      } else if (const std::string_view name = list_name(text, i); !name.empty()) {
        const std::vector<std::string>& lines = wildcards_.list(std::string(name));
        chosen += of(lines[random_.below(lines.size())]);
        i += name.size() + 4;
      } else {
        chosen += text[i++];
      }
      if (chosen.size() > kMostText)
        throw Error(Fault::usage, concat("what is chosen is longer than ", kMostText >> 10, " KiB"));
    }
    --depth_;
    return chosen;
  }

 private:
  static std::string_view until_partner(std::string_view text, std::size_t open) {
    int depth = 0;
    for (std::size_t i = open; i < text.size(); ++i) {
      if (escaped(text, i))
        ++i;
      else if (text[i] == '{')
        ++depth;
      else if (text[i] == '}' && --depth == 0)
        return text.substr(open + 1, i - open - 1);
    }
    throw Error(Fault::usage, concat("'", printable(text.substr(open), 60), "': this { has no }; \\{ is a plain one"));
  }

  // So many of the parts, none twice.
  std::string some(Braces braces) {
    const std::size_t count = braces.least + random_.below(braces.most - braces.least + 1);
    std::string chosen;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t part = one(braces.weights);
      if (i > 0) chosen += of(braces.joint);
      chosen += of(braces.parts[part]);
      braces.parts.erase(braces.parts.begin() + std::ptrdiff_t(part));
      braces.weights.erase(braces.weights.begin() + std::ptrdiff_t(part));
    }
    return chosen;
  }

  std::size_t one(const std::vector<double>& weights) {
    double sum = 0;
    for (const double weight : weights) sum += weight;
    if (sum <= 0) return random_.below(weights.size());
    double at = random_.real() * sum;
    std::size_t chosen = 0;
    for (std::size_t i = 0; i < weights.size() && at >= 0; ++i)
      if (weights[i] > 0) at -= weights[chosen = i];
    return chosen;
  }

  Wildcards& wildcards_;
  Random random_;
  int depth_ = 0;
  std::size_t choices_ = 0;
};

Wildcards::Wildcards(fs::path folder) : folder_(std::move(folder)) {
  if (!fs::is_directory(folder_))
    throw Error(Fault::input, concat("--wildcards: ", printable(folder_.string()), " is not a folder"));
}

std::string Wildcards::choose(std::string_view prompt, std::uint64_t seed, std::uint64_t stream) {
  return Choice(*this, seed, stream).of(prompt);
}

bool Wildcards::chooses(std::string_view prompt) {
  for (std::size_t i = 0; i < prompt.size(); ++i)
    if (!list_name(prompt, i).empty()) return true;
  const std::size_t open = prompt.find('{');
  return open != prompt.npos && prompt.find('|', open) != prompt.npos;
}

const std::vector<std::string>& Wildcards::lists() {
  if (lists_) return *lists_;
  std::vector<std::string> names;
  for (const fs::path& file : files_below(folder_))
    if (file.extension() == ".txt")
      names.push_back(file.lexically_relative(folder_).replace_extension().generic_string());
  std::ranges::sort(names);
  return lists_.emplace(std::move(names));
}

const std::vector<std::string>& Wildcards::list(const std::string& name) {
  const auto [entry, is_new] = known_.try_emplace(name);
  if (!is_new) return entry->second;
  try {
    std::vector<std::string> matching;
    const std::vector<std::string>& all = lists();
    std::ranges::copy_if(all, std::back_inserter(matching), [&](const std::string& each) {
      return fnmatch(name.c_str(), each.c_str(), FNM_PATHNAME | FNM_PERIOD) == 0;
    });
    if (matching.empty())
      throw Error(Fault::usage, concat("__", printable(name, 60), "__: ", printable(folder_.string()), " has no list ",
                                       printable(name, 60), ".txt", did_you_mean(name, all)));
    for (const std::string& each : matching) {
      const fs::path file = folder_ / (each + ".txt");
      std::istringstream text(decoded_text(read_file(file, kMostList), file.string()));
      for (std::string line; std::getline(text, line);) {
        const std::string_view words = trimmed(line, kBlanks);
        if (!words.empty() && !words.starts_with('#')) entry->second.emplace_back(words);
      }
    }
    if (entry->second.empty())
      throw Error(Fault::input, concat((folder_ / (matching.front() + ".txt")).string(), ": no line to choose"));
    for (const std::string& line : entry->second)
      if (valid_utf8_prefix(line) < line.size())
        throw Error(Fault::input, concat((folder_ / (matching.front() + ".txt")).string(), ": '", printable(line, 40),
                                         "' is not UTF-8 text"));
  } catch (const Error&) {
    known_.erase(name);  // the next line that names it fails, too
    throw;
  }
  return entry->second;
}

}  // namespace sdgen::cli
