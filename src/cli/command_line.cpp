#include "cli/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iterator>
#include <optional>
#include <set>

#include "cli/defaults.h"
#include "cli/from_image.h"
#include "cli/picture_list.h"
#include "cli/sweep.h"
#include "io/text.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

// Thrown by --help, --version and the like: what follows them does not matter.
struct EndOfParsing {};

// Declares the rows to CLI11. The value of an option is one word whatever it looks like ("-o -", "-p -dash-",
// "--eta -1"), unless it spells an option and was not written with "=".
void declare(CLI::App& app, const std::vector<OptionRow>& rows, const std::set<const OptionRow*>& with_equals,
             CommandLine& command) {
  Options& options = command.options;
  Settings& given = command.given;
  const Action wanted = options.process.action;
  app.set_help_flag();  // ours is a row
  app.allow_extras();   // they get a better message below
  for (const OptionRow& row : rows) {
    const std::string names = joined(row.flags, ",");
    if (row.is_switch()) {
      app.add_flag_callback(names,
                            [&row, &options, &given, wanted] {
                              row.set(options, Argument(row.name(), ""));
                              given.push_back({row.name(), ""});
                              if (options.process.action != wanted) throw EndOfParsing();
                            })
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
          ->trigger_on_parse();
    } else {
      const auto set = [&, &row = row](const std::string& value) {
        if (find(rows, value) && value.size() > 2 && !with_equals.count(&row))
          throw Error(Fault::usage, concat(row.name(), " needs a value, but the option ", value, " follows (",
                                           row.name(), "=", value, " would take it as the value)"));
        row.set(options, Argument(row.name(), value));
        given.push_back({row.name(), value});
      };
      if (!row.repeatable) {
        app.add_option_function<std::string>(names, set);
      } else {  // one word a time; CLI11's vectors would take [a,b] apart
        app.add_option(names,
                       [set](const CLI::results_t& values) {
                         for (const std::string& value : values) set(value);
                         return true;
                       })
            ->expected(1)
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
            ->allow_extra_args(false);
      }
    }
  }
}

[[noreturn]] void refuse(const std::string& word, const std::vector<OptionRow>& rows, const std::string& advice) {
  if (!word.starts_with('-') || word.size() < 2)
    throw Error(Fault::usage, concat("unexpected argument '", printable(word, 60), "'", advice));
  const std::string flag = word.substr(0, word.find('='));
  std::vector<std::string> names;
  for (const OptionRow& row : rows) std::ranges::copy(row.flags, std::back_inserter(names));
  std::erase_if(names, [](const std::string& name) { return name.size() == 2; });  // letters are near to all
  // "-width" was meant to be "--width"; one wrong letter has no neighbours.
  const std::string meant = flag.starts_with("--") ? flag : "-" + flag;
  throw Error(Fault::usage,
              concat("unknown option ", printable(flag, 60), flag.size() > 2 ? did_you_mean(meant, names) : ""));
}

// Reads `words` by the rows into `command`. Returns the words that are not options, or nothing when a row ended the
// parsing.
std::optional<std::vector<std::string>> parse(const std::vector<std::string>& words, const std::vector<OptionRow>& rows,
                                              CommandLine& command) {
  std::set<const OptionRow*> with_equals;  // written --name=VALUE, so that the value is meant whatever it looks like
  CLI::App app;
  declare(app, rows, with_equals, command);

  // CLI11 takes its words from the back.
  std::vector<std::string> reversed;
  bool value_follows = false;
  for (const std::string& word : words) {
    const std::size_t equals = value_follows ? std::string::npos : word.find('=');
    const OptionRow* row = find(rows, value_follows ? "" : word.substr(0, equals));
    value_follows = row && !row->is_switch() && equals == std::string::npos;
    if (row && equals != std::string::npos) {
      if (row->is_switch()) throw Error(Fault::usage, concat(row->name(), " takes no value"));
      with_equals.insert(row);
    }
    if (row && equals + 1 == word.size()) {  // "--prompt=": CLI11 would take the next word
      reversed.insert(reversed.begin(), {"", row->name()});
    } else if (row && equals != std::string::npos) {  // "-s=7" too, which CLI11 would read as "-s" with the value "=7"
      reversed.insert(reversed.begin(), row->name() + word.substr(equals));
    } else {
      reversed.insert(reversed.begin(), word);
    }
  }
  try {
    app.parse(std::move(reversed));
  } catch (const EndOfParsing&) {
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    for (const OptionRow& row : rows)
      if (app.get_option(row.name())->count() > 1 && !row.is_switch() && !row.repeatable)
        throw Error(Fault::usage, concat(row.name(), " is given twice"));
    throw Error(Fault::usage, error.what());
  }
  return app.remaining();
}

const Subcommand* find_command(const std::vector<Subcommand>& commands, std::string_view name) {
  const auto found = std::ranges::find(commands, name, &Subcommand::name);
  return found == commands.end() ? nullptr : &*found;
}

// The words after a subcommand's name. What follows "--" is never an option, whatever it looks like.
CommandLine parse_subcommand(const Subcommand& command, const std::vector<std::string>& words) {
  CommandLine parsed;
  Options& options = parsed.options;
  options.process.action = command.action;
  options.process.subcommand = command.name;
  const auto end = std::ranges::find(words, "--");
  const auto rest = parse({words.begin(), end}, command.rows, parsed);
  if (!rest) return parsed;
  for (const std::string& word : *rest)
    if (word.starts_with('-')) refuse(word, command.rows, "");
  options.process.paths = *rest;
  if (end != words.end()) options.process.paths.insert(options.process.paths.end(), end + 1, words.end());
  const bool more = !command.arguments.empty() && command.arguments.back().ends_with("...");
  if (options.process.paths.size() > command.arguments.size() && !more)
    throw Error(Fault::usage,
                concat("unexpected argument '", printable(options.process.paths[command.arguments.size()], 60),
                       "'; it is: ", usage(command)));
  if (options.process.paths.size() < command.arguments.size())
    throw Error(Fault::usage, concat(command.name, " needs a ", command.arguments[options.process.paths.size()],
                                     "; it is: ", usage(command)));
  if (command.check) command.check(options);
  for (const std::string& path : options.process.paths)
    if (path.empty()) throw Error(Fault::usage, concat(command.name, ": '' is not a path"));
  return parsed;
}

// Does what was given exclude this option?
bool excluded(std::string_view option, const Settings& given) {
  for (const auto& [one, other] : {std::pair{"--quiet", "--verbose"},
                                   {"--overwrite", "--skip-existing"},
                                   {"--overwrite", "--no-clobber"},
                                   {"--no-clobber", "--skip-existing"},
                                   {"--manifest", "--no-manifest"}})
    if ((option == one && has(given, other)) || (option == other && has(given, one))) return true;
  return option == "--prompts" && has(given, "--prompt");
}

// The pictures of --from-image, where it names several. What they say of the model is the run's, and goes to
// `defaults`. Throws Error(input) where they differ in it and the command line does not say what counts.
class Records {
 public:
  Records(CommandLine& command, const Settings& given, std::span<const OptionRow> rows)
      : command_(command), given_(given), rows_(rows) {}

  void add(const std::string& file) {
    RecordedJob& job = command_.records.emplace_back(file);
    try {
      FromImage found = read_from_image(file, given_, rows_);
      std::ranges::move(found.warnings, std::back_inserter(command_.warnings));
      if (!found.model_sha256.empty()) command_.model_sha256.try_emplace(found.model_sha256, file);
      take_hashes(found.lora_hashes);
      if (found.says_all) compare(file, about_model(found.settings));
      std::ranges::copy_if(found.settings, std::back_inserter(job.settings), [&](const Setting& s) {
        return find(rows_, s.option)->scope == Scope::picture && !excluded(s.option, given_);
      });
    } catch (const Error& error) {
      job.error = error;
    }
  }

  Settings of_run() const {
    if (problem_) throw Error(Fault::input, *problem_);
    return run_ ? run_->second : Settings{};
  }

 private:
  Settings about_model(const Settings& all) const {
    Settings found;
    std::ranges::copy_if(all, std::back_inserter(found), [&](const Setting& s) {
      return find(rows_, s.option)->scope != Scope::picture && !has(given_, s.option);
    });
    return found;
  }

  void compare(const std::string& file, Settings model) {
    if (!run_) run_.emplace(file, std::move(model));
    if (run_->first == file || run_->second == model || problem_) return;
    const auto differs = [](const Settings& one, const Settings& other) {
      return std::ranges::find_if(
          one, [&](const Setting& s) { return values_of(one, s.option) != values_of(other, s.option); });
    };
    auto at = differs(run_->second, model);
    const std::string option = at != run_->second.end() ? at->option : differs(model, run_->second)->option;
    problem_ =
        concat("--from-image: ", printable(run_->first), " and ", printable(file), " were not made with the same ",
               option, ", and a run loads one model; say with ", option, " what counts, or take a part of them");
  }

  void take_hashes(const LoraHashes& hashes) {
    for (const auto& [name, hash] : hashes) {
      const auto [known, fresh] = hashes_.try_emplace(name, hash);
      if (fresh)
        command_.lora_hashes[name] = hash;
      else if (known->second != hash)
        command_.lora_hashes.erase(name);  // two files of one name: it does not tell which is meant
    }
  }

  CommandLine& command_;
  const Settings& given_;
  std::span<const OptionRow> rows_;
  std::optional<std::pair<std::string, Settings>> run_;  // the first picture, and what it says of the model
  std::optional<std::string> problem_;
  LoraHashes hashes_;
};

// What --from-image says for the whole run: of a single picture everything.
Settings what_pictures_say(CommandLine& command, const Settings& given, std::span<const OptionRow> rows) {
  const std::string picture = *command.options.process.from_image;
  if (names_several(picture)) {
    const PictureList list("--from-image", picture);
    Records records(command, given, rows);
    for (const std::string& file : list.files()) records.add(file);
    return records.of_run();
  }
  FromImage found = read_from_image(picture, given, rows);
  std::ranges::move(found.warnings, std::back_inserter(command.warnings));
  if (!found.model_sha256.empty()) command.model_sha256[found.model_sha256] = picture;
  command.lora_hashes = std::move(found.lora_hashes);
  return std::move(found.settings);
}

// After the command line come the picture of --from-image, the configuration file, the environment.
CommandLine with_defaults(CommandLine parsed, std::span<const OptionRow> rows) {
  const ProcessOptions& process = parsed.options.process;
  Settings defaults = environment_settings(rows, parsed.warnings);
  std::optional<std::string> config = process.config;
  if (const auto given = values_of(defaults, "--config"); !config && !given.empty()) config = given[0];
  std::erase_if(defaults, [](const Setting& s) { return s.option == "--config"; });
  if (config) defaults = merged(read_config(*config, rows), defaults);
  if (process.from_image) {
    Settings given = parsed.given;  // and what a sweep will say
    if (parsed.options.run.sweep) {
      const Sweep sweep(*parsed.options.run.sweep, rows);
      for (const Sweep::Axis& axis : sweep.axes()) given.push_back({axis.option, axis.values[0]});
    }
    defaults = merged(what_pictures_say(parsed, given, rows), defaults);
  }
  std::erase_if(defaults, [&](const Setting& s) { return excluded(s.option, parsed.given); });
  parsed.options = {};
  apply(merged(parsed.given, defaults), rows, parsed.options);
  parsed.defaults = std::move(defaults);
  return parsed;
}

}  // namespace

CommandLine parse_command_line(const std::vector<std::string>& words) {
  const std::vector<Subcommand> commands = subcommands();
  if (!words.empty())
    if (const Subcommand* command = find_command(commands, words[0]))
      return parse_subcommand(*command, {words.begin() + 1, words.end()});
  const std::vector<OptionRow>& rows = option_rows();
  CommandLine parsed;
  const auto rest = parse(words, rows, parsed);
  if (!rest) return parsed;
  if (!rest->empty()) {
    std::vector<std::string> names;
    for (const Subcommand& command : commands) names.emplace_back(command.name);
    const std::string meant = rest->front() == words[0] ? did_you_mean(words[0], names) : "";
    refuse(rest->front(), rows,
           !meant.empty()                  ? meant
           : parsed.options.request.prompt ? ""
                                           : "; a prompt goes after --prompt");
  }
  parsed = with_defaults(std::move(parsed), rows);
  if (parsed.options.run.prompts && has(parsed.given, "--prompt"))
    throw Error(Fault::usage, "--prompts has the prompts; leave out --prompt");
  check_combination(parsed.options);
  return parsed;
}

}  // namespace sdgen::cli
