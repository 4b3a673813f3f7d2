// From argv to Options. The rows of options.h say what there is; here is how it is written:
//   [SUBCOMMAND] --name VALUE   --name=VALUE   -n VALUE   -nVALUE   -qv (switches together)
// CLI11 does the parsing; the rows read their values themselves, because numbers are stricter here than in CLI11.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cli/lora_folder.h"
#include "cli/options.h"
#include "sdgen/error.h"

namespace sdgen::cli {

// What one of the pictures of --from-image with a folder says.
struct RecordedJob {
  std::string file;
  Settings settings;           // about itself; those about the model are the run's
  std::optional<Error> error;  // why it is not to be had
};

// What a command line comes to.
struct CommandLine {
  Options options;    // what it says, and the defaults where it says nothing
  Settings given;     // what it says itself
  Settings defaults;  // of the picture of --from-image, then the configuration file, then the environment
  std::vector<RecordedJob> records = {};  // of --from-image, where it names several pictures
  std::vector<std::string> warnings;      // about these
  // SHA-256 of the models that made the pictures of --from-image, with one picture of each.
  std::map<std::string, std::string> model_sha256 = {};
  LoraHashes lora_hashes = {};  // of the LoRAs that their prompts name
};

// Throws Error(usage), and Error(input) about the picture of --from-image, which is read here. --help, --version
// and the like end the parsing where they stand. The word after an option that takes a value is its value
// whatever it looks like ("-o -", "-p -dash-", "--eta -1"), unless it spells an option: "--prompt --steps" forgot the
// prompt (and --prompt=--steps would not have).
CommandLine parse_command_line(const std::vector<std::string>& words);

}  // namespace sdgen::cli
