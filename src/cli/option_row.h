// What is known of an option, in one place: the command line, batch lines, sweeps, configuration files, the
// environment, records, AUTOMATIC1111's text, help, completions, the JSON Schema and the fuzzers' dictionaries are all
// read off it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"
#include "io/json.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

struct Options;
struct PictureFacts;

// What an option is about.
//   picture   one picture: a line of a batch file may have it, and a sweep
//   model     the networks, which a run loads once
//   run       which pictures are made, and where they go
//   process   this call of the program: it has no place in a file
enum class Scope { picture, model, run, process };

// What can stand after a flag.
struct Value {
  enum class Kind { none, integer, real, words, text, path, folder };
  Kind kind = Kind::none;             // none: a switch
  std::uint64_t least = 0, most = 0;  // of an integer
  bool by_chance = false;             // of an integer: -1 is one that is drawn by chance
  double low = 0, high = 0;           // of a real number
  std::vector<std::string> words{};   // all that it can be; of a text: some
  std::string pattern{};              // of a text: a regular expression (ECMA-262) for all of it
  bool written = false;               // of a path: it is where something is written
};

// What AUTOMATIC1111's text of settings calls an option whose value it has as it is.
struct A1111Key {
  std::string_view key;                      // "Mask blur"
  std::vector<std::string_view> needs = {};  // means something where one of these is given
  bool unless_zero = false;                  // left out where the value is 0
  int offset = 0;                            // how much larger A1111's number is
};

// How an option is read, and what a record says of it.
struct Field {
  using Set = std::function<void(Options&, const Argument&)>;                            // throws Error(usage)
  using Get = std::function<OrderedJson(const PictureFacts&, std::string_view option)>;  // null: nothing

  Value value{};
  Set set{};
  Get get{};                // null: no record has it
  bool from_given = false;  // does get() ask whether the option was said?
  bool list = false;        // may it be said again and again?
};

struct OptionRow {
  using Condition = std::function<bool(const PictureFacts&, std::string_view option)>;

  const std::string& name() const;  // "--guidance-scale"
  bool is_switch() const { return value.kind == Value::Kind::none; }
  // What a record says of it, as a line of a batch file has it; null: nothing.
  OrderedJson recorded_value(const PictureFacts& made) const { return get ? get(made, name()) : OrderedJson(); }

  // For the table: the row with a difference.
  OptionRow about(Scope scope) &&;
  OptionRow from_environment(bool is) &&;
  OptionRow in_a1111(A1111Key key) &&;
  OptionRow in_core(std::string_view field) &&;
  OptionRow recorded(Field::Get get) &&;
  OptionRow recorded_if(Condition condition, bool from_given = false) &&;

  std::string_view section;  // its heading in --help
  Scope scope;
  bool environment;                // is SDGEN_NAME read?
  std::vector<std::string> flags;  // "-g", "--guidance-scale", ...: ours first
  std::string placeholder;         // "X"; of a switch: empty
  bool repeatable;                 // it may be given again and again
  Value value;
  std::string help;
  Field::Set set;
  Field::Get get;
  bool from_given;
  std::optional<A1111Key> a1111;
  std::string field = {};  // what the core's errors call it; as a rule the flag, with underscores
};

// Options that stand together in --help, and are about the same unless they say otherwise.
struct Section {
  std::string_view name;
  Scope scope;
  bool environment = false;

  // `spelling` lists the flags, ours first, and a placeholder for the value unless it is a switch:
  // "-g --guidance-scale --cfg-scale --scale X".
  // In `help`, {words} and {range} stand for those of the value.
  OptionRow row(std::string_view spelling, Field field, std::string_view help) const;
};

// All options in the order of --help, and of records.
const std::vector<OptionRow>& option_rows();
// Its parts.
std::vector<OptionRow> model_options();
std::vector<OptionRow> picture_options();
std::vector<OptionRow> run_options();

// Does it name a file that is read into a request?
bool names_input_picture(const OptionRow& row);

// The row that has this flag ("-s", "--seed"); null when none has.
const OptionRow* find(std::span<const OptionRow> rows, std::string_view flag);

}  // namespace sdgen::cli
