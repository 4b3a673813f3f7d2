// Prompts that choose: {red|green} fox in __places__. The language is that of the Dynamic Prompts extension of
// AUTOMATIC1111's web UI (https://github.com/adieyal/sd-dynamic-prompts, its random sampler); the choices are sdgen's
// own, since a seed has to give the same words everywhere.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sdgen::cli {

// How a prompt spells a choice:
//   {a|b|c}           one of the three; parts may be empty and may hold choices themselves
//   {3::a|b}          with weights: a three times as often as b
//   {2$$a|b|c}        two different ones, joined by ", "; {1-2$$a|b|c} one or two, {0-$$a|b} any number up to all
//   {2$$ and $$a|b|c} joined by " and "
//   __animals/cats__  a line of FOLDER/animals/cats.txt; __animals/*__ of all lists that match. Blank lines and those
//                     that begin with '#' do not count; what a line chooses is chosen in turn
//   \{ \} \| \_       the characters themselves
class Wildcards {
 public:
  // Throws Error(input) when it is not a folder.
  explicit Wildcards(std::filesystem::path folder);

  // The prompt that a seed chooses. `stream` tells apart what one seed chooses for: prompt and negative prompt. Throws
  // Error(usage) for a brace without its partner, a number that is none, a list that is not there (with the nearest),
  // lists that go round in a circle; Error(input) for a list that cannot be read or is empty.
  std::string choose(std::string_view prompt, std::uint64_t seed, std::uint64_t stream);

  // Would choose() change anything?
  static bool chooses(std::string_view prompt);

 private:
  class Choice;
  const std::vector<std::string>& list(const std::string& name);  // by its name or pattern
  const std::vector<std::string>& lists();                        // all their names

  std::filesystem::path folder_;
  std::optional<std::vector<std::string>> lists_;
  std::map<std::string, std::vector<std::string>> known_;  // read once
};

}  // namespace sdgen::cli
