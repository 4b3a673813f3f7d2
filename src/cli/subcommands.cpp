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
  std::vector<OptionRow> rows = option_rows();
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

Subcommand convert_command() {
  const auto check = [](const Options& options) {
    if (!options.model) throw Error(Fault::usage, "convert needs --model, what to convert");
    if (!options.output.path || *options.output.path == "-")
      throw Error(Fault::usage, "convert needs --output, a .safetensors or .gguf file, or a new folder");
  };
  return {"convert",
          Action::convert,
          {},
          "Write a model's weights in other types, in codes, or in another format: a .safetensors or .gguf file, a "
          "network's folder (of a diffusers model: model/unet, model/transformer, ...), or the folder of a diffusers "
          "model, which becomes a new folder. What --quantize encodes is what it encodes where pictures are made, and "
          "the file makes the same pictures.",
          together({kIn.row("-m --model PATH", file(&Options::model), "what to convert: a file or a folder"),
                    kIn.row("-o --output PATH", field(&OutputOptions::path, written_path()),
                            "NAME.safetensors or NAME.gguf; of a whole model's folder a new folder"),
                    kIn.row("--dtype TYPE",
                            field(&LoadOptions::precision, words<Precision>({{"auto", Precision::automatic},
                                                                             {"float32", Precision::float32},
                                                                             {"float16", Precision::float16},
                                                                             {"bfloat16", Precision::bfloat16}})),
                            "{words}: what is not encoded becomes, codes of the input too (default: auto, as it is "
                            "stored)"),
                    kIn.row("--quantize TYPE", field(&LoadOptions::quantize, quantize_type()),
                            "{words}: encode large matrices: q8_0 and q4_k in .gguf, float8 and int8 in .safetensors "
                            "(default: none)")},
                   shared_rows({"--threads"}), existing_rows(), {json_row(), help_row()}),
          check};
}

// What counts as the same.
std::vector<OptionRow> limit_rows() {
  return {kIn.row("--max N", field(&Limits::max, whole(0, 255)),
                  "the largest difference of a sample, of 255, that still counts as the same"),
          kIn.row("--psnr X", field(&Limits::psnr, number(0, 1000)),
                  "the least peak signal-to-noise ratio, in dB, that still counts as the same"),
          kIn.row("--ssim X", field(&Limits::ssim, number(-1, 1)),
                  "the least structural similarity that still counts as the same"),
          kIn.row("--hash N", field(&Limits::hash, whole(0, 64)),
                  "how many of the 64 bits of the perceptual hashes may differ")};
}

OptionRow junit_row() {
  return kIn.row("--junit FILE", field(&ProcessOptions::junit, written_path()),
                 "write a report in JUnit's XML, which GitHub, GitLab and Jenkins read");
}

Subcommand compare_command() {
  return {"compare",
          Action::compare,
          {"A", "B"},
          "Compare two pictures, or those of two folders by their names; a manifest stands for the pictures that it "
          "tells of. Without a limit pictures are the same where every sample is; with several, all have to hold. One "
          "line a pair. Exit code 1: some differ, or have no partner; 3: some cannot be read.",
          together(limit_rows(),
                   {kIn.row("-o --output PATH", field(&OutputOptions::path, path()),
                            "a PNG for the difference, stretched so that the largest is white; of folders a folder, "
                            "for the pairs that differ"),
                    junit_row(),
                    kIn.row("--no-clobber", set_to(&OutputOptions::existing, Existing::refused),
                            "replace no picture of a difference (default: none in a folder)"),
                    kIn.row("--overwrite", set_to(&OutputOptions::existing, Existing::replaced),
                            "replace those in a folder, too"),
                    kIn.row("--json", on(&OutputOptions::json),
                            "one JSON line a pair: a, b, same, max, mean, psnr (null where the pictures are equal), "
                            "ssim, hash"),
                    help_row()})};
}

constexpr std::uint64_t kMostEvery = 1'000'000, kMostJobs = 1024;

Subcommand verify_command() {
  return {
      "verify",
      Action::verify,
      {"PATH..."},
      "Draw pictures again from what they say of themselves, and compare: files, folders, manifests. Nothing is "
      "written "
      "but reports. Same bytes are asked for where a manifest says that this build made them on this kind of CPU, else "
      "a "
      "tolerance that the precision implies, or the limits given here. Exit code 1: some are different; 3: some cannot "
      "be read, or do not say how they were made, or a file that they were made with is not there; each is named.",
      together({kIn.row("-m --model PATH", field(&ProcessOptions::models, path()),
                        "where a model is now; it is taken for the pictures whose record has its SHA-256; may be given "
                        "several times (default: the path that the record has)"),
                kIn.row("--lora-dir DIR", field(&RunOptions::lora_dir, path(Value::Kind::folder)),
                        "where LoRAs are now that are no longer where the record says; they are known by their hashes"),
                kIn.row("--every N", field(&ProcessOptions::every, whole<std::size_t>(1, kMostEvery)),
                        "verify one of N pictures, from the first on"),
                kIn.row("--jobs N", field(&ProcessOptions::jobs, whole<std::size_t>(1, kMostJobs)),
                        "draw N pictures at once, each in a process that has the networks for itself and its part of "
                        "the threads (default: 1)"),
                kIn.row("-o --output DIR", field(&OutputOptions::path, path(Value::Kind::folder)),
                        "keep what was drawn instead of pictures that are different"),
                kIn.row("--overwrite", set_to(&OutputOptions::existing, Existing::replaced),
                        "replace files that are there (default: do not)"),
                junit_row(),
                kIn.row("--json", on(&OutputOptions::json),
                        "one JSON line a picture: a, same, max, mean, psnr (null where the pictures are equal), ssim, "
                        "hash, why")},
               limit_rows(), shared_rows({"--device", "--offload", "--threads", "--progress", "--quiet", "--verbose"}),
               {help_row()})};
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
      convert_command(),
      vae_roundtrip_command(),
      canny_command(),
      compare_command(),
      verify_command(),
  };
}

std::string usage(const Subcommand& command) {
  std::string text = concat("sdgen ", command.name);
  for (const std::string_view argument : command.arguments) text += concat(' ', argument);
  return text;
}

}  // namespace sdgen::cli
