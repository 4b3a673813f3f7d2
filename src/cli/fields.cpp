#include "cli/fields.h"

#include <algorithm>

namespace sdgen::cli {

std::string flag_of(std::string_view field) {
  // A list's flag names one of it, and two have names that people know better.
  for (const auto& [name, flag] : {std::pair{"precision", "--dtype"},
                                   {"loras", "--lora"},
                                   {"textual_inversions", "--textual-inversion"},
                                   {"controlnets", "--controlnet"},
                                   {"adapters", "--t2i-adapter"},
                                   {"controls", "--control-image"}})
    if (field == name) return flag;
  std::string flag = concat("--", field);
  std::ranges::replace(flag, '_', '-');
  return flag;
}

}  // namespace sdgen::cli
