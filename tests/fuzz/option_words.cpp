// Prints what the table of options brings to the dictionaries of the fuzzers (scripts/fuzz): keys, words,
// AUTOMATIC1111's keys.
#include <iostream>
#include <set>

#include "cli/option_row.h"
#include "cli/settings.h"

int main() {
  using namespace sdgen;
  std::set<std::string> words;
  const std::vector<SchedulerInfo> schedulers = scheduler_infos();
  for (const cli::OptionRow& row : cli::option_rows(schedulers)) {
    for (const std::string& flag : row.flags)
      if (flag.starts_with("--")) words.insert(cli::key_of(flag));
    words.insert(row.value.words.begin(), row.value.words.end());
    if (row.a1111) words.insert(std::string(row.a1111->key) + ": ");
  }
  for (const std::string& word : words) std::cout << '"' << word << "\"\n";
}
