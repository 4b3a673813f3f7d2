#include "cli/options.h"

#include "cli/names.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

// As many pictures as networks, and of their numbers as many or one.
void check_controls(const Options& o) {
  const std::size_t networks = o.load.controlnets.size() + o.load.adapters.size(),
                    images = o.inputs.control_images.size();
  const auto fail = [](const auto&... what) { throw Error(Fault::usage, concat(what...)); };
  if (images != networks)
    fail("--control-image: ", images, " for ", o.load.controlnets.size(), " --controlnet and ", o.load.adapters.size(),
         " --t2i-adapter; each needs one");
  for (const auto& [flag, values] : {std::pair{"--control-scale", &o.inputs.control_scales},
                                     {"--control-start", &o.inputs.control_starts},
                                     {"--control-end", &o.inputs.control_ends}}) {
    if (!values->empty() && images == 0) fail(flag, " needs --controlnet or --t2i-adapter");
    if (values->size() > 1 && values->size() != images)
      fail(flag, ": ", values->size(), " given for ", images, " --control-image; give one for all, or one for each");
  }
  if (o.request.guess_mode && o.load.controlnets.empty()) fail("--guess-mode needs --controlnet");
}

}  // namespace

bool several(const Options& options) { return options.run.prompts || options.run.sweep || options.run.num_images > 1; }

Existing existing_files(const Options& options) {
  if (options.output.existing) return *options.output.existing;
  return options.output.path && names_one_file(*options.output.path) ? Existing::replaced : Existing::refused;
}

void check_combination(const Options& options) {
  const auto require = [](bool good, const char* message) {
    if (!good) throw Error(Fault::usage, message);
  };
  require(!(options.output.quiet && options.output.verbose), "--quiet and --verbose exclude each other");
  const bool resumes = options.output.existing == Existing::kept;
  require(!resumes || options.request.seed || options.run.prompts || options.run.sweep,
          "--skip-existing needs --seed: with a random seed no run can finish what another has begun");
  require(options.run.shards == 1 || options.request.seed || options.run.prompts || options.run.sweep,
          "--shard needs --seed: with random seeds the shards make no whole");
  require(!(options.output.manifest && options.output.no_manifest), "--manifest and --no-manifest exclude each other");
  require(!options.run.fail_fast || options.run.prompts, "--fail-fast is about the lines of --prompts");
  for (const auto& [given, flag] : {std::pair{options.request.strength.has_value(), "--strength"},
                                    {options.inputs.mask.has_value(), "--mask"},
                                    {options.request.extend.has_value(), "--extend"},
                                    {options.inputs.depth.has_value(), "--depth"}})
    if (given && !options.inputs.init_image)
      throw Error(Fault::usage, concat(flag, " needs --init-image, the picture that it is about"));
  require(!options.request.mask_blur || options.inputs.mask, "--mask-blur needs --mask");
  require(!options.request.only_masked || options.inputs.mask || options.request.extend,
          "--only-masked needs --mask, or --extend");
  check_controls(options);
  require(!options.output.grid || options.run.shards == 1,
          "--grid shows a whole run, of which --shard makes a part; ask for the sheet when all shards are there: the "
          "same command with --skip-existing and without --shard");
  if (options.output.path == "-") {
    require(!several(options), "--output -: stdout takes one picture, and more are asked for");
    require(!options.output.json, "--output - and --json both write on stdout");
    require(!options.output.manifest, "--output -: a manifest lists files; leave out --manifest");
    require(!options.output.existing, "--output - writes no file to overwrite, keep or skip");
    require(options.output.preview_every == 0,
            "--output - writes no file, so --preview-every cannot put a preview next to it");
    require(!options.output.grid, "--output - writes no file, so --grid cannot put a sheet next to it");
  } else {
    output_template(options.output.path, several(options), options.output.format);
  }
}

}  // namespace sdgen::cli
