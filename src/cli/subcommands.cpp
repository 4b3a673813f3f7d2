#include <algorithm>

#include "cli/option_fields.h"
#include "cli/options.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

constexpr double kMaxEdge = 2040;  // of 8-bit samples: twice 4 * 255

constexpr Section kIn{"Options", Scope::process};

// Rows that a subcommand has in common with the making of pictures.
std::vector<OptionRow> shared_rows(std::initializer_list<std::string_view> names) {
  std::vector<OptionRow> rows = model_options();
  std::erase_if(rows, [&](const OptionRow& row) { return std::ranges::count(names, row.name()) == 0; });
  for (OptionRow& row : rows) row.section = kIn.name, row.environment = false;
  return rows;
}

// What happens to a file that exists. The second one does so anyway; a script may say it everywhere.
std::vector<OptionRow> existing_rows() {
  return {kIn.row("--no-clobber", set_to(&OutputOptions::existing, Existing::refused),
                  "do not replace an existing file (default: do)"),
          kIn.row("--overwrite", set_to(&OutputOptions::existing, Existing::replaced),
                  "replace an existing file (the default)")};
}

OptionRow help_row() {
  return kIn.row("-h --help", set_to(&ProcessOptions::action, Action::help), "print this and end");
}
OptionRow json_row() { return kIn.row("--json", on(&OutputOptions::json), "one line of JSON"); }

Subcommand canny_command() {
  const auto check = [](const Options& options) {
    if (!options.inputs.init_image)
      throw Error(Fault::usage, "canny needs --init-image, the picture to look for edges in");
    if (!options.output.path) throw Error(Fault::usage, "canny needs --output, a file for the edges");
  };
  return {"canny",
          Action::canny,
          {},
          "Draw the edges of a picture, white on black, for ControlNets and T2I-Adapters that were trained on them: as "
          "OpenCV's Canny does of the picture in grey.",
          together({kIn.row("-i --init-image PATH", file(&Inputs::init_image), "the picture"),
                    kIn.row("-o --output PATH", output_file(),
                            "the file to write, in the format that its name ends in; -: a PNG on stdout"),
                    kIn.row("--low X", field(&ProcessOptions::canny_low, number(0, kMaxEdge)),
                            "the weakest edge kept (default: 100)"),
                    kIn.row("--high X", field(&ProcessOptions::canny_high, number(0, kMaxEdge)),
                            "edges begin where they are stronger than this (default: 200)")},
                   existing_rows(), {help_row()}),
          check};
}

Subcommand vae_roundtrip_command() {
  const auto check = [](const Options& options) {
    if (!options.inputs.init_image)
      throw Error(Fault::usage, "vae-roundtrip needs --init-image, the picture to encode");
    if (!options.output.path || options.output.path == "-")
      throw Error(Fault::usage, "vae-roundtrip needs --output, a file for the decoded picture");
  };
  return {"vae-roundtrip",
          Action::vae_roundtrip,
          {},
          "Encode a picture with the model's autoencoder, decode it, and print how much of it is left: the PSNR in "
          "dB, against the picture in the nearest smaller size that the autoencoder takes.",
          together({kIn.row("-i --init-image PATH", file(&Inputs::init_image), "the picture"),
                    kIn.row("-o --output PATH", field(&OutputOptions::path, path()),
                            "the file that it becomes, in the format that its name ends in")},
                   shared_rows({"--model", "--vae", "--device", "--dtype", "--vae-tiling", "--threads"}),
                   existing_rows(), {no_mark_row(kIn), json_row(), help_row()}),
          check};
}

}  // namespace

std::vector<Subcommand> subcommands() {
  return {
      {"inspect",
       Action::inspect,
       {"PATH"},
       "Say what a file or folder is: checkpoint, U-Net, autoencoder, text encoder, LoRA, ControlNet, textual "
       "inversion, or a picture with its prompt; its family, sizes, types, prediction type and hashes, and the "
       "tensors that nothing would read. Exit code 3: sdgen could not load it, and why.",
       {json_row(), help_row()}},
      vae_roundtrip_command(),
      canny_command(),
  };
}

std::string usage(const Subcommand& command) {
  std::string text = concat("sdgen ", command.name);
  for (const std::string_view argument : command.arguments) text += concat(' ', argument);
  return text;
}

}  // namespace sdgen::cli
