// fuzz_words options | configs: lines for a libFuzzer dictionary (scripts/fuzz), of what the tables know. options:
// keys, words and AUTOMATIC1111's keys of the options, and what schedulers and their schedules are called, here and
// elsewhere; configs: the schedulers' classes, and the keys and words of these classes' configs.
#include <iostream>
#include <set>
#include <string>
#include <string_view>

#include "cli/option_row.h"
#include "cli/schedulers.h"
#include "cli/settings.h"
#include "schedulers/classes.h"

namespace sdgen {
namespace {

std::set<std::string> of_options() {
  std::set<std::string> words;
  for (const cli::OptionRow& row : cli::option_rows()) {
    for (const std::string& flag : row.flags)
      if (flag.starts_with("--")) words.insert(cli::key_of(flag));
    words.insert(row.value.words.begin(), row.value.words.end());
    if (row.a1111) words.insert(std::string(row.a1111->key) + ": ");
  }
  for (const SchedulerInfo& info : scheduler_infos()) {
    words.insert({info.name, info.a1111, info.comfyui});
    if (info.takes_eta()) words.insert(info.eta_key + ": ");
  }
  for (const cli::ScheduleType& type : cli::schedule_types()) words.insert({type.a1111, type.comfyui, type.value});
  return words;
}

std::set<std::string> of_configs() {
  std::set<std::string> words;
  for (const SchedulerClass& type : scheduler_classes()) {
    words.insert(type.name);
    words.insert(type.beta_schedules.begin(), type.beta_schedules.end());
    for (const auto& [key, value] : type.defaults.items()) {
      words.insert(key);
      if (value.is_string()) words.insert(value.get<std::string>());
    }
    for (const SchedulerWords& each : type.words) words.insert(each.own.begin(), each.own.end());
  }
  return words;
}

}  // namespace
}  // namespace sdgen

int main(int argc, char** argv) {
  const bool configs = argc == 2 && std::string_view(argv[1]) == "configs";
  for (const std::string& word : configs ? sdgen::of_configs() : sdgen::of_options())
    if (!word.empty()) std::cout << '"' << word << "\"\n";
  return std::cout.flush() ? 0 : 1;
}
