// From argv to Options. The rows of options.h say what there is; here is how it is written:
//   [SUBCOMMAND] --name VALUE   --name=VALUE   -n VALUE   -nVALUE   -qv (switches together)
// CLI11 does the parsing; the rows read their values themselves, because numbers are stricter here than in CLI11.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/lora_folder.h"
#include "cli/options.h"

namespace sdgen::cli {

// What a command line comes to.
struct CommandLine {
  Options options;    // what it says, and the defaults where it says nothing
  Settings given;     // what it says itself
  Settings defaults;  // of the picture of --from-image, then the configuration file, then the environment
  std::vector<std::string> warnings;  // about these
  std::string model_sha256;           // of the model that made that picture; "": not to be compared
  LoraHashes lora_hashes = {};        // of the LoRAs that its prompt names
};

// Throws Error(usage), and Error(input) about the picture of --from-image, which is read here. --help, --version
// and the like end the parsing where they stand. The word after an option that takes a value is its value
// whatever it looks like ("-o -", "-p -dash-", "--eta -1"), unless it spells an option: "--prompt --steps" forgot the
// prompt (and --prompt=--steps would not have).
CommandLine parse_command_line(const std::vector<std::string>& words);

}  // namespace sdgen::cli
