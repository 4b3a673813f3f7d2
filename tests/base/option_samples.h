// Values that options take, made from their rows.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cli/arguments.h"
#include "cli/option_row.h"

namespace sdgen::cli {

// A value as it is said, and as a record has it.
struct Sample {
  std::string given;
  OrderedJson recorded;
};

// The ends of ranges, all words, ...
inline std::vector<Sample> samples(const OptionRow& row) {
  const Value& value = row.value;
  static const std::map<std::string, std::vector<std::string>> others = {
      {"--original-size", {"3x4"}},
      {"--target-size", {"1x16384"}},
      {"--crop", {"1,2"}},
      {"--extend", {"1,2,3,4"}},
      {"--skip-layers", {"0", "7,8,9"}},
      {"--guidance-interval", {"0,1", "0.25,0.75"}},
      {"--cache", {"deepcache:3", "deepcache:2:4", "first-block:0.1"}},
      {"--lora", {"l:0.1", "./k:1.safetensors:unet=0.3,te=-1", "c:d/x:1"}},
      {"--textual-inversion", {"t:w", "u"}},
  };
  std::vector<std::string> texts;
  std::vector<Sample> all;
  switch (value.kind) {
    case Value::Kind::none:
      return {{"", true}};
    case Value::Kind::integer:
      for (const std::uint64_t x : {value.least, value.least + (value.most - value.least) / 2, value.most})
        all.push_back({std::to_string(x), x});
      return all;
    case Value::Kind::real:
      for (const double x : {value.low, value.low + (value.high - value.low) / 10, value.high})
        all.push_back({shortest(x), x});
      return all;
    case Value::Kind::words:
      texts = value.words;
      break;
    case Value::Kind::text:
      texts = value.words.empty() ? std::vector<std::string>{"a fox", "", "\"quoted\"\n\x7F, 红: 🦊 \\ é"}
                                  : value.words;
      break;
    case Value::Kind::path:
    case Value::Kind::folder:
      texts = {"a:b.png", "./c d/é"};
      break;
  }
  if (const auto own = others.find(row.name()); own != others.end()) texts = own->second;
  for (const std::string& text : texts) all.push_back({text, text});
  return all;
}

}  // namespace sdgen::cli
