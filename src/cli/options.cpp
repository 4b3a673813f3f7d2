#include "cli/options.h"

#include <algorithm>
#include <array>

#include "cli/names.h"
#include "cli/picture_list.h"
#include "request/validate.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

// Of what is said about control pictures there are as many as pictures, or one.
void check_controls(const Inputs& inputs) {
  const std::size_t images = inputs.control_images.size();
  const auto fail = [](const auto&... what) { throw Error(Fault::usage, concat(what...)); };
  for (const auto& [flag, given] : {std::pair{"--control-scale", inputs.control_scales.size()},
                                    {"--control-start", inputs.control_starts.size()},
                                    {"--control-end", inputs.control_ends.size()},
                                    {"--control-mode", inputs.control_modes.size()}}) {
    if (given > 0 && images == 0) fail(flag, " needs --controlnet or --t2i-adapter");
    if (given > 1 && given != images)
      fail(flag, ": ", given, " given for ", images, " --control-image; give one for all, or one for each");
  }
}

// The request of options whose pictures are still to be read: something stands for each.
Request unread(const Options& o) {
  const auto picture = std::make_shared<const Image>();
  Request r = o.request;
  if (o.inputs.init_image) r.init_image = picture;
  if (o.inputs.mask) r.mask = picture;
  if (o.inputs.depth) r.depth = picture;
  r.references.assign(o.inputs.reference_images.size(), picture);
  r.controls = controls(o.inputs, [&](const std::string&) { return picture; });
  return r;
}

}  // namespace

std::vector<Control> controls(const Inputs& inputs,
                              const std::function<std::shared_ptr<const Image>(const std::string& file)>& read) {
  const auto of = [](const auto& values, std::size_t i, auto otherwise) {
    return values.empty() ? otherwise : values[values.size() == 1 ? 0 : i];
  };
  std::vector<Control> result;
  for (std::size_t i = 0; i < inputs.control_images.size(); ++i)
    result.push_back({read(inputs.control_images[i]), of(inputs.control_scales, i, 1.0),
                      of(inputs.control_starts, i, 0.0), of(inputs.control_ends, i, 1.0),
                      of(inputs.control_modes, i, std::string())});
  return result;
}

std::vector<std::string> input_pictures(const Inputs& inputs) {
  std::vector<std::string> files = inputs.control_images;
  files.insert(files.end(), inputs.reference_images.begin(), inputs.reference_images.end());
  for (const auto* file : {&inputs.init_image, &inputs.mask, &inputs.depth})
    if (*file) files.push_back(**file);
  return files;
}

bool lists_inputs(const Options& options) { return std::ranges::any_of(input_pictures(options.inputs), names_several); }

bool lists_records(const Options& options) {
  return options.process.from_image && names_several(*options.process.from_image);
}

namespace {

// Do the pictures of a run differ by more than what they are made of?
bool are_numbered(const Options& options) {
  return options.run.prompts || options.run.sweep || options.run.num_images > 1;
}

}  // namespace

bool several(const Options& options) {
  return are_numbered(options) || lists_inputs(options) || lists_records(options);
}

DefaultNames default_names(const Options& options) {
  const bool of_inputs = lists_inputs(options) || lists_records(options);
  if (are_numbered(options)) return of_inputs ? DefaultNames::numbered_inputs : DefaultNames::numbered;
  return of_inputs ? DefaultNames::inputs : DefaultNames::one;
}

Existing existing_files(const Options& options) {
  if (options.output.existing) return *options.output.existing;
  return options.output.path && names_one_file(*options.output.path) ? Existing::replaced : Existing::refused;
}

void check_combination(const Options& options) {
  const auto require = [](bool good, const std::string& message) {
    if (!good) throw Error(Fault::usage, message);
  };
  require(!(options.output.quiet && options.output.verbose), "--quiet and --verbose exclude each other");
  const bool resumes = options.output.existing == Existing::kept;
  const bool seeds = options.request.seed || options.run.prompts || options.run.sweep || lists_records(options);
  require(!resumes || seeds,
          "--skip-existing needs --seed: with a random seed no run can finish what another has begun");
  require(options.run.shards == 1 || seeds, "--shard needs --seed: with random seeds the shards make no whole");
  const ImageFormat& format = output_format(options.output.path, options.output.format);
  require(!options.output.quality || format.takes_quality,
          concat("--quality means nothing to ", format.name, " files, which lose nothing"));
  require(!(options.output.manifest && options.output.no_manifest), "--manifest and --no-manifest exclude each other");
  require(!options.run.fail_fast || options.run.prompts || lists_inputs(options) || lists_records(options),
          "--fail-fast is about the lines of --prompts, and the pictures of a folder");
  require(!lists_records(options) || !options.run.prompts,
          "--prompts and --from-image with several pictures both say what is drawn");
  if (!lists_records(options)) check_picture(options);
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
    output_template(options.output.path, default_names(options), options.output.format);
  }
}

void check_picture(const Options& options) {
  check_controls(options.inputs);
  validate(unread(options),
           {options.load.controlnets.size(), options.load.adapters.size(), options.load.refiner.has_value()});
}

}  // namespace sdgen::cli
