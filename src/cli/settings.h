// What options say, before it is read: from the command line, a batch line, a file, the environment.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sdgen::cli {

class Argument;
struct Options;
struct OptionRow;

struct Setting {
  std::string option;  // by its long name: "--steps"
  std::string value;   // "30"; of a switch: empty
  bool operator==(const Setting&) const = default;
};

// In the order in which they were said; a repeatable option may be there several times.
using Settings = std::vector<Setting>;

bool has(const Settings& settings, std::string_view option);
// All that were said, in their order.
std::vector<std::string> values_of(const Settings& settings, std::string_view option);

// What batch files, records and configuration files call an option: "--guidance-scale" <-> "guidance_scale".
std::string key_of(std::string_view option);
std::string option_of_key(std::string_view key);

// `first`, and of `then` the options that `first` does not mention, which come before it, so that what one option says
// in passing about another ("DPM++ 2M Karras" has a sigma schedule) does not change what was said outright.
Settings merged(const Settings& first, const Settings& then);

// The settings under their rows' own names ("--cfg-scale" -> "--guidance-scale"). Throws Error(usage) for one that no
// row has (with the nearest), one given twice, and a switch with a value.
Settings checked(const Settings& settings, std::span<const OptionRow> rows);

// Throws Error(usage) where the option does not take the value.
void try_out(const OptionRow& row, const Argument& value);

// Reads the settings, which are checked, into the options. Throws Error(usage) for values.
void apply(const Settings& settings, std::span<const OptionRow> rows, Options& options);

}  // namespace sdgen::cli
