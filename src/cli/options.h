// What the command line asks for. src/cli/README.md is the contract.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/arguments.h"
#include "cli/names.h"
#include "cli/option_row.h"
#include "cli/settings.h"
#include "cli/values.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

enum class Action {
  generate,
  inspect,
  convert,
  vae_roundtrip,
  canny,
  compare,
  verify,
  help,
  help_all,
  version,
  list_schedulers,
  schema
};

// What becomes of a file that has the name of a new one.
enum class Existing { replaced, refused, kept };

// The pictures that a picture is made of: files, which Jobs reads into the requests.
struct Inputs {
  std::optional<std::string> init_image, mask, depth;
  std::vector<std::string> reference_images;
  std::optional<std::string> expect;  // what should come out
  // Of the ControlNets, then of the T2I-Adapters. A single number is for all.
  std::vector<std::string> control_images;
  std::vector<double> control_scales, control_starts, control_ends;
  std::vector<std::string> control_modes;  // "": none
};

// How stderr tells of the progress: a bar or lines for people, or a line of JSON for each step.
enum class ProgressForm { text, json };

// Which pictures a run makes.
struct RunOptions {
  std::optional<std::string> prompts;    // a batch file; "-": stdin
  std::optional<std::string> wildcards;  // a folder: prompts choose
  std::optional<std::string> sweep;      // see sweep.h
  std::optional<std::string> lora_dir;   // of the LoRAs that <lora:NAME:SCALE> in prompts names
  std::size_t num_images = 1;            // of each line, and of each cell of the sweep
  std::size_t shard = 0, shards = 1;     // of the run's pictures those whose index % shards is shard
  bool fail_fast = false;
  std::optional<std::string> profile;  // a file for a trace
  int threads = 0;                     // of the CPU; 0: one a core that this process may use
};

// What is written, where, and what is said about it.
struct OutputOptions {
  std::optional<std::string> path;      // a file, a folder, a template (see names.h), "-": stdout
  const ImageFormat* format = nullptr;  // null: what the file's name says
  std::optional<int> quality;           // of what is written; none: the format's own
  std::optional<Existing> existing;     // what was asked for; see existing_files()
  bool metadata = true;
  bool mark = true;                     // that a model made the pictures
  std::optional<std::string> manifest;  // a file; else see manifest_path()
  bool no_manifest = false;
  int preview_every = 0;         // steps; 0: no previews
  std::optional<GridSize> grid;  // contact sheets
  bool show = false;             // pictures in the terminal
  bool json = false;
  bool quiet = false, verbose = false;
  ProgressForm progress = ProgressForm::text;
  bool nowhere = false;  // pictures are made and not written: nothing has a name
};

// How far pictures may differ and still count as the same; all that are given count. None: not at all.
struct Limits {
  std::optional<int> max = {};      // the largest difference of a sample
  std::optional<double> psnr = {};  // at least, in dB
  std::optional<double> ssim = {};  // at least
  std::optional<int> hash = {};     // bits of the perceptual hashes
};

// What this call of the program is for, and where else its options come from.
struct ProcessOptions {
  Action action = Action::generate;
  std::string subcommand;                    // the first word, where it is one
  std::vector<std::string> paths;            // the words after a subcommand that are not options
  double canny_low = 100, canny_high = 200;  // of `sdgen canny`
  std::optional<std::string> junit;          // of `sdgen compare` and `verify`: a file for the report
  std::vector<std::string> models;           // of `sdgen verify`: where models are now
  std::size_t every = 1;                     // of `sdgen verify`: one of so many pictures
  std::size_t jobs = 1;                      // of `sdgen verify`: so many processes at once
  std::optional<std::string> from_image;     // a picture whose settings are the defaults
  std::optional<std::string> config;         // a file of defaults, which come after them
  bool dry_run = false;                      // say what would be made, and make nothing
};

// What was asked for, by what it is about. Nothing of what the program finds out on the way is in it.
struct Options {
  std::optional<std::string> model;  // --model; else find_model() looks around
  Request request;                   // what is said about every picture; its seed is the first one's
  Inputs inputs;
  LoadOptions load;
  RunOptions run;
  OutputOptions output;
  Limits limits;
  ProcessOptions process;
};

// A first word of the command line that asks for something else than pictures.
struct Subcommand {
  std::string_view name;  // "inspect"
  Action action;
  std::vector<std::string_view> arguments;  // the paths that it takes: "PATH"; "PATH..." is one or more, the last one
  std::string_view help;
  std::vector<OptionRow> rows;
  std::function<void(const Options&)> check = {};  // throws Error(usage) for what is missing; null: nothing can be
};
std::vector<Subcommand> subcommands();
// "sdgen inspect PATH"
std::string usage(const Subcommand& command);

// The files of pictures that one is made of.
std::vector<std::string> input_pictures(const Inputs& inputs);
// Does an option name a folder of pictures, or a pattern (picture_list.h), so that there is a picture of each? Of
// --from-image, the pictures say themselves how they are made.
bool lists_inputs(const Options& options);
bool lists_records(const Options& options);

// May the options ask for more than one picture?
bool several(const Options& options);
// How pictures are named where --output does not say.
DefaultNames default_names(const Options& options);

// What becomes of files that exist: what was asked for, else one explicit name after --output is written over, as
// compilers do, and files whose names are made by templates, folders and defaults are refused.
Existing existing_files(const Options& options);

// The pictures that steer, each with its numbers.
std::vector<Control> controls(const Inputs& inputs,
                              const std::function<std::shared_ptr<const Image>(const std::string& file)>& read);

// Throws Error(usage) for values that do not go together: about a run, and about a picture.
void check_combination(const Options& options);
void check_picture(const Options& options);

}  // namespace sdgen::cli
