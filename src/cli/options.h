// What the command line asks for, and the table of its options. src/cli/README.md is the contract; a row is a promise.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"
#include "cli/names.h"
#include "cli/settings.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

enum class Action { generate, inspect, vae_roundtrip, canny, help, help_all, version, list_schedulers };

// What becomes of a file that has the name of a new one.
enum class Existing { replaced, refused, kept };

struct Options {
  Action action = Action::generate;
  std::string subcommand;            // the first word, where it is one
  std::vector<std::string> paths;    // the words after a subcommand that are not options
  std::optional<std::string> model;  // --model; else find_model() looks around
  LoadOptions load;
  std::optional<std::string> profile;  // a file for a trace
  Request request;                     // what the flags say about every picture; its seed is the first one's
  std::optional<std::string> init_image, mask, depth;  // files: read into the requests by Jobs
  // Of the ControlNets, then of the T2I-Adapters: read into the requests by Jobs. A single number is for all.
  std::vector<std::string> control_images;
  std::vector<double> control_scales, control_starts, control_ends;
  double canny_low = 100, canny_high = 200;  // of `sdgen canny`
  std::size_t num_images = 1;
  std::optional<std::string> prompts;     // a batch file; "-": stdin
  std::optional<std::string> from_image;  // a picture whose settings are the defaults
  std::optional<std::string> config;      // a file of defaults, which come after them
  std::vector<std::string> warnings;      // about what it says
  std::string model_sha256;               // of the model that made it; "": not to be compared
  std::size_t shard = 0, shards = 1;      // of the run's pictures those whose index % shards is shard
  bool fail_fast = false;
  std::optional<std::string> wildcards;  // a folder: prompts choose
  std::optional<std::string> sweep;      // see sweep.h
  Settings given;                        // what the command line says
  Settings defaults;                     // what holds where nothing is said: see --from-image
  Settings said;                         // all of it: the command line, the line of a batch file, the defaults
  int preview_every = 0;                 // steps; 0: no previews
  std::optional<Size> grid;              // columns and rows of contact sheets; zeros: as it fits
  bool show = false;                     // pictures in the terminal
  std::optional<std::string> output;     // a file, a folder, a template (see names.h), "-": stdout
  std::optional<Format> format;          // what the file's name says, where it is not given
  std::optional<std::string> manifest;   // a file; else see manifest_path()
  bool no_manifest = false;
  std::optional<std::string> lora_dir;  // of the LoRAs that <lora:NAME:SCALE> in prompts names
  std::optional<Existing> existing;     // what was asked for; see existing_files()
  bool metadata = true;
  bool json = false;
  bool quiet = false;
  bool verbose = false;
};

// One option of the command line.
struct OptionRow {
  using Set = std::function<void(Options&, const Argument&)>;

  // `spelling` lists its flags, ours first, and a placeholder for its value unless it is a switch:
  // "-g --guidance-scale --cfg-scale --scale X". A value that ends in "..." may be given again and again.
  // `choices` are the words that its value can be, for completions and the like.
  OptionRow(std::string_view group, std::string_view spelling, std::string_view help, Set set,
            std::vector<std::string> choices = {});

  std::string_view group;          // its heading in --help
  std::vector<std::string> flags;  // "-g", "--guidance-scale", ...
  std::string value;               // "X"; empty: a switch
  std::string help;
  Set set;  // throws Error(usage)
  std::vector<std::string> choices;
  bool repeatable = false;

  // Does it say something about a picture, so that a line of a batch file may have it?
  bool of_a_picture() const {
    return group == "Prompt" || group == "Picture" || group == "Sampling" || group == "Image input";
  }
  const std::string& name() const { return flags[0].starts_with("--") ? flags[0] : flags[1]; }  // "--guidance-scale"
};

// All options in the order of --help. `schedulers` must outlive the rows.
std::vector<OptionRow> option_rows(std::span<const SchedulerInfo> schedulers);

// The row that has this flag ("-s", "--seed"); null when none has.
const OptionRow* find(std::span<const OptionRow> rows, const std::string& flag);

// A first word of the command line that asks for something else than pictures.
struct Subcommand {
  std::string_view name;  // "inspect"
  Action action;
  std::vector<std::string_view> arguments;  // the paths that it takes, all of them: "PATH"
  std::string_view help;
  std::vector<OptionRow> rows;
  std::function<void(const Options&)> check = {};  // throws Error(usage) for what is missing; null: nothing can be
};
std::vector<Subcommand> subcommands();
// "sdgen inspect PATH"
std::string usage(const Subcommand& command);

// May the options ask for more than one picture?
bool several(const Options& options);

// What becomes of files that exist: what was asked for, else one explicit name after --output is written over, as
// compilers do, and files whose names are made by templates, folders and defaults are refused.
Existing existing_files(const Options& options);

// The pictures that steer, each with its numbers.
std::vector<Control> controls(const Options& options,
                              const std::function<std::shared_ptr<const Image>(const std::string& file)>& read);

// Throws Error(usage) for values that do not go together.
void check_combination(const Options& options);

}  // namespace sdgen::cli
