#include <algorithm>

#include "cli/options.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

constexpr double kMaxEdge = 2040;  // of 8-bit samples: twice 4 * 255

// Rows that a subcommand has in common with the making of pictures.
std::vector<OptionRow> shared_rows(std::initializer_list<std::string_view> names) {
  std::vector<OptionRow> rows = option_rows({});
  std::erase_if(rows, [&](const OptionRow& row) { return std::ranges::count(names, row.name()) == 0; });
  for (OptionRow& row : rows) row.group = "Options";
  return rows;
}

OptionRow no_clobber() {
  return {"Options", "--no-clobber", "do not replace an existing file (default: do)",
          [](Options& o, const Argument&) { o.output.existing = Existing::refused; }};
}
// What happens anyway; so that a script may say it everywhere.
OptionRow overwrite() {
  return {"Options", "--overwrite", "replace an existing file (the default)",
          [](Options& o, const Argument&) { o.output.existing = Existing::replaced; }};
}

Subcommand canny_command() {
  using A = const Argument&;
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
          {{"Options", "-i --init-image PATH", "the picture: PNG or JPEG",
            [](Options& o, A a) { o.inputs.init_image = a.path(); }},
           {"Options", "-o --output PATH", "the PNG to write; -: stdout",
            [](Options& o, A a) { o.output.path = a.path() == "/dev/stdout" ? "-" : a.path(); }},
           {"Options", "--low X", "the weakest edge kept (default: 100)",
            [](Options& o, A a) { o.process.canny_low = a.real(0, kMaxEdge); }},
           {"Options", "--high X", "edges begin where they are stronger than this (default: 200)",
            [](Options& o, A a) { o.process.canny_high = a.real(0, kMaxEdge); }},
           no_clobber(),
           overwrite()},
          check};
}

Subcommand vae_roundtrip_command() {
  using A = const Argument&;
  std::vector<OptionRow> rows = shared_rows({"--model", "--vae", "--device", "--dtype", "--vae-tiling", "--threads"});
  rows.insert(rows.begin(), {{"Options", "-i --init-image PATH", "the picture, a PNG or JPEG file",
                              [](Options& o, A a) { o.inputs.init_image = a.path(); }},
                             {"Options", "-o --output PATH", "the PNG file that it becomes",
                              [](Options& o, A a) { o.output.path = a.path(); }}});
  rows.push_back(no_clobber());
  rows.push_back(overwrite());
  rows.push_back({"Options", "--json", "one line of JSON", [](Options& o, A) { o.output.json = true; }});
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
          rows,
          check};
}

}  // namespace

std::vector<Subcommand> subcommands() {
  using A = const Argument&;
  const OptionRow help{"Options", "-h --help", "print this and end",
                       [](Options& o, A) { o.process.action = Action::help; }};
  Subcommand roundtrip = vae_roundtrip_command();
  roundtrip.rows.push_back(help);
  Subcommand canny = canny_command();
  canny.rows.push_back(help);
  return {
      {"inspect",
       Action::inspect,
       {"PATH"},
       "Say what a file or folder is: checkpoint, U-Net, autoencoder, text encoder, LoRA, ControlNet, textual "
       "inversion, or a picture with its prompt; its family, sizes, types, prediction type and hashes, and the "
       "tensors that nothing would read. Exit code 3: sdgen could not load it, and why.",
       {{"Options", "--json", "one line of JSON", [](Options& o, A) { o.output.json = true; }}, help}},
      roundtrip,
      canny,
  };
}

std::string usage(const Subcommand& command) {
  std::string text = concat("sdgen ", command.name);
  for (const std::string_view argument : command.arguments) text += concat(' ', argument);
  return text;
}

}  // namespace sdgen::cli
