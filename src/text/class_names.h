// The classes that a model draws, by number and by name.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/json.h"

namespace sdgen {

class ClassNames {
 public:
  // `index`: a model_index.json, whose id2label names them, several names of one with commas between them; or does not
  // name them at all. Throws Error(input).
  ClassNames(const Config& index, std::int64_t count);

  // "207", "golden retriever" or all that id2label says of it; upper or lower case, and with what white space. Throws
  // Error(usage) for what names no class, or several ones.
  std::int64_t number_of(const std::string& prompt) const;

 private:
  void add(const std::string& name, std::int64_t number);
  [[noreturn]] void unknown(const std::string& prompt) const;

  std::string who_;
  std::int64_t count_;
  std::map<std::string, std::vector<std::int64_t>> numbers_;  // by the name as it is compared
};

}  // namespace sdgen
