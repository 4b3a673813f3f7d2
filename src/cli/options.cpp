#include "cli/options.h"

#include <algorithm>
#include <limits>
#include <sstream>
#include <tuple>

#include "cli/lora_tags.h"
#include "cli/names.h"
#include "cli/schedulers.h"
#include "cli/values.h"
#include "request/validate.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

// Far beyond what is useful, and small enough that no product of them overflows.
constexpr std::uint64_t kMaxBlur = 1024;  // pixels
constexpr std::uint64_t kMaxSteps = 10000;
constexpr std::uint64_t kMaxImages = 1'000'000;
constexpr std::uint64_t kMaxBatch = 1024;
constexpr std::uint64_t kMaxThreads = 4096;
constexpr double kMaxGuidance = 1e6;
constexpr double kMaxControl = 1e3;

// --overwrite, --no-clobber and --skip-existing.
OptionRow::Set existing(Existing wanted) {
  return [wanted](Options& o, const Argument&) {
    if (o.existing && *o.existing != wanted)
      throw Error(Fault::usage, "--overwrite, --no-clobber and --skip-existing exclude each other");
    o.existing = wanted;
  };
}

int whole(const Argument& argument, std::uint64_t most) { return static_cast<int>(argument.integer(1, most)); }

// Of the numbers of control pictures there are as many as pictures, or one.
void check_controls(const Options& o) {
  const std::size_t images = o.control_images.size();
  const auto fail = [](const auto&... what) { throw Error(Fault::usage, concat(what...)); };
  for (const auto& [flag, values] : {std::pair{"--control-scale", &o.control_scales},
                                     {"--control-start", &o.control_starts},
                                     {"--control-end", &o.control_ends}}) {
    if (!values->empty() && images == 0) fail(flag, " needs --controlnet or --t2i-adapter");
    if (values->size() > 1 && values->size() != images)
      fail(flag, ": ", values->size(), " given for ", images, " --control-image; give one for all, or one for each");
  }
}

// The request of options whose pictures are still to be read: something stands for each.
Request unread(const Options& o) {
  const auto picture = std::make_shared<const Image>();
  Request r = o.request;
  if (o.init_image) r.init_image = picture;
  if (o.mask) r.mask = picture;
  if (o.depth) r.depth = picture;
  r.controls = controls(o, [&](const std::string&) { return picture; });
  return r;
}

}  // namespace

OptionRow::OptionRow(std::string_view group, std::string_view spelling, std::string_view help, Set set,
                     std::vector<std::string> choices)
    : group(group), help(help), set(std::move(set)), choices(std::move(choices)) {
  std::istringstream words{std::string(spelling)};
  for (std::string word; words >> word;) {
    if (word.starts_with('-')) {
      flags.push_back(word);
    } else {
      value = word;
    }
  }
  repeatable = value.ends_with("...");
  if (repeatable) value.resize(value.size() - 3);
}

const OptionRow* find(std::span<const OptionRow> rows, const std::string& flag) {
  const auto row =
      std::ranges::find_if(rows, [&](const OptionRow& r) { return std::ranges::count(r.flags, flag) > 0; });
  return row == rows.end() ? nullptr : &*row;
}

std::vector<OptionRow> option_rows(std::span<const SchedulerInfo> schedulers) {
  using A = const Argument&;
  constexpr std::uint64_t max_seed = std::numeric_limits<std::uint64_t>::max();
  std::vector<std::string> names;
  for (const SchedulerInfo& scheduler : schedulers) names.push_back(scheduler.name);
  return {
      {"Model", "-m --model PATH",
       "a diffusers folder or a single-file .safetensors checkpoint: Stable Diffusion 1, 2, SDXL; or the folder of a "
       "DDPMPipeline or DDIMPipeline, which takes no prompt; embedded: the model that comes with sdgen (default: "
       "$SDGEN_MODEL, else embedded)",
       [](Options& o, A a) { o.model = a.path(); }},
      {"Model", "--vae PATH", "an autoencoder instead of the model's own: a folder or a .safetensors file",
       [](Options& o, A a) { o.load.vae = a.path(); }},
      {"Model", "--refiner PATH", "an SDXL model that does the last steps, on the pictures that the first one began",
       [](Options& o, A a) { o.load.refiner = a.path(); }},
      {"Model", "--refiner-start X",
       "where it takes over: the share of noise levels that are done by then (default: 0.8)",
       [](Options& o, A a) { o.request.refiner_start = a.real(0, 1); }},

      {"Model", "--lora PATH[:SCALE]...",
       "a LoRA (.safetensors: LoRA, LoCon, LoHa, LoKr, DoRA) and how much of it to add (default: 1); "
       "PATH:unet=0.8,te=0.5 sets U-Net and text encoders separately; may be given several times",
       [](Options& o, A a) { o.load.loras.push_back(lora(a)); }},
      {"Model", "--lora-dir DIR", "where <lora:NAME:SCALE> in a prompt finds NAME.safetensors",
       [](Options& o, A a) { o.lora_dir = a.path(); }},
      {"Model", "--controlnet PATH...",
       "a ControlNet that steers by a picture (see --control-image): a diffusers folder or a .safetensors file; may be "
       "given several times",
       [](Options& o, A a) { o.load.controlnets.push_back(a.path()); }},
      {"Model", "--t2i-adapter PATH...",
       "a T2I-Adapter that steers by a picture: a diffusers folder or a .safetensors file; may be given several times",
       [](Options& o, A a) { o.load.adapters.push_back(a.path()); }},
      {"Model", "--strict", "a LoRA that fits the model only in part is an error (default: a warning)",
       [](Options& o, A) { o.load.strict = true; }},

      {"Model", "--textual-inversion PATH[:WORD]...",
       "a textual inversion (.safetensors) and its word in prompts (default: the name in the file, "
       "else the file's); may be given several times",
       [](Options& o, A a) { o.load.textual_inversions.push_back(textual_inversion(a)); }},

      {"Machine",
       "--device NAME",
       "auto, cpu, cuda or cuda:N (default: auto)",
       [](Options& o, A a) { o.load.device = device(a); },
       {"auto", "cpu", "cuda"}},
      {"Machine",
       "--dtype TYPE",
       "auto, float32, float16 or bfloat16: what the networks compute in (default: auto); float32 on the CPU gives the "
       "same picture as diffusers",
       [](Options& o, A a) { o.load.precision = precision(a); },
       {"auto", "float32", "float16", "bfloat16"}},
      {"Machine", "--vae-tiling",
       "turn latents into pictures, and back, in tiles of 512x512 pixels: memory does not grow with the size, but it "
       "takes about six times as long; the same picture within 1 of 255, without seams",
       [](Options& o, A) { o.load.vae_tiling = true; }},
      {"Machine", "--offload",
       "for GPUs that cannot hold the whole model: text encoder, U-Net and autoencoder take turns; "
       "where one is too large by itself, its layers do; slower",
       [](Options& o, A) { o.load.offload = true; }},
      {"Machine", "--threads N", "CPU threads (default: one a core)",
       [](Options& o, A a) { o.load.threads = whole(a, kMaxThreads); }},
      {"Machine", "--profile FILE", "write how long stages and operators took, as a Chrome trace (for ui.perfetto.dev)",
       [](Options& o, A a) { o.profile = a.path(); }},

      {"Prompt", "-p --prompt TEXT", "what the picture shows", [](Options& o, A a) { o.request.prompt = a.utf8(); }},
      {"Prompt", "-n --negative-prompt TEXT", "what the picture should not show",
       [](Options& o, A a) { o.request.negative_prompt = a.utf8(); }},
      {"Prompt",
       "--prompt-syntax WORD",
       "plain or weighted: the words as written, cut to the model's length, or AUTOMATIC1111's (red fox:1.2), [fox], "
       "BREAK, "
       "AND, [fox:wolf:0.5], [fox|wolf], of any length (default: plain)",
       [](Options& o, A a) {
         o.request.prompt_syntax =
             a.choice({"plain", "weighted"}) == "plain" ? PromptSyntax::plain : PromptSyntax::weighted;
       },
       {"plain", "weighted"}},
      {"Prompt", "--clip-skip N",
       "leave out so many of the text encoder's last layers, as diffusers counts (default: 0; AUTOMATIC1111 calls that "
       "1)",
       [](Options& o, A a) { o.request.clip_skip = static_cast<int>(a.integer(0, 1000)); }},

      {"Picture", "-W --width N", "in pixels (default: the model's own)",
       [](Options& o, A a) { o.request.width = whole(a, kMaxSide); }},
      {"Picture", "-H --height N", "in pixels (default: the model's own)",
       [](Options& o, A a) { o.request.height = whole(a, kMaxSide); }},
      {"Picture", "--original-size WxH",
       "SDXL: of the photograph that the picture should look like (default: the picture's own)",
       [](Options& o, A a) { o.request.original_size = size(a); }},
      {"Picture", "--crop LEFT,TOP", "SDXL: where that photograph should look cropped (default: 0,0)",
       [](Options& o, A a) { o.request.crop = point(a); }},
      {"Picture", "--target-size WxH", "SDXL: the size that the picture is made for (default: its own)",
       [](Options& o, A a) { o.request.target_size = size(a); }},
      {"Picture", "-s --seed N",
       "0 to 2^64-1 (default: random below 2^32); picture i, from 0, uses seed+i, and after 2^64-1 comes 0",
       [](Options& o, A a) { o.request.seed = a.integer(0, max_seed); }},
      {"Picture", "-b --num-images N", "pictures to make (default: 1)",
       [](Options& o, A a) { o.num_images = a.integer(1, kMaxImages); }},

      {"Sampling", "--scheduler --sampler --sampling-method NAME",
       "see --list-schedulers; AUTOMATIC1111's spellings are understood too (default: the model's own)",
       [schedulers](Options& o, A a) { set_scheduler(o.request, a, schedulers); }, names},
      {"Sampling", "--steps N", "denoising steps (default: the model's, else 50)",
       [](Options& o, A a) { o.request.steps = whole(a, kMaxSteps); }},
      {"Sampling", "-g --guidance-scale --cfg-scale --scale X",
       "how strongly the prompt steers; 1 or less: no guidance, and twice as fast (default: the model's, else 7.5; "
       "SDXL: 5)",
       [](Options& o, A a) { o.request.guidance_scale = a.real(-kMaxGuidance, kMaxGuidance); }},
      {"Sampling", "--guidance-rescale X",
       "0 to 1: how far to bring the guided prediction back to the contrast of the prompted one (default: 0)",
       [](Options& o, A a) { o.request.guidance_rescale = a.real(0, 1); }},
      {"Sampling", "--eta X", "ddim, tcd: share of fresh noise, 0 to 1 (default: 0)",
       [](Options& o, A a) { o.request.eta = a.real(0, 1); }},
      {"Sampling",
       "--sigma-schedule WORD",
       "default, karras, exponential or beta (default: the model's own)",
       [](Options& o, A a) {
         o.request.sigma_schedule = a.choice({"default", "karras", "exponential", "beta"});
       },
       {"default", "karras", "exponential", "beta"}},
      {"Sampling", "--rescale-betas-zero-snr", "end the noise schedule in pure noise (default: the model's own)",
       [](Options& o, A) { o.request.rescale_betas_zero_snr = true; }},
      {"Sampling",
       "--timestep-spacing WORD",
       "leading, linspace or trailing (default: the model's own)",
       [](Options& o, A a) {
         o.request.timestep_spacing = a.choice({"leading", "linspace", "trailing"});
       },
       {"leading", "linspace", "trailing"}},
      {"Sampling",
       "--prediction-type WORD",
       "epsilon, v_prediction or sample: what the network was trained to predict (default: the model's own)",
       [](Options& o, A a) {
         o.request.prediction_type = a.choice({"epsilon", "v_prediction", "sample"});
       },
       {"epsilon", "v_prediction", "sample"}},

      {"Image input", "-i --init-image PATH",
       "a PNG or JPEG file to make the picture of; it is resized to --width and --height (default: its own size, "
       "rounded "
       "down to what the model can draw)",
       [](Options& o, A a) { o.init_image = a.path(); }},
      {"Image input", "--strength X",
       "how far it may change, above 0 to 1: the share of the steps that are run (default: 0.8; SDXL: 0.3; with "
       "--mask or --extend 1, SDXL: 0.9999)",
       [](Options& o, A a) { o.request.strength = a.real(0, 1); }},
      {"Image input", "--mask PATH",
       "a PNG or JPEG file, white where the picture is repainted; what is black stays as it is; it is resized to the "
       "picture",
       [](Options& o, A a) { o.mask = a.path(); }},
      {"Image input", "--mask-blur N",
       "soften the mask's edges by a Gaussian of N pixels, 0 to 1024, over which old and new are blended (default: 0)",
       [](Options& o, A a) { o.request.mask_blur = static_cast<int>(a.integer(0, kMaxBlur)); }},
      {"Image input", "--only-masked N",
       "work on the masked part alone, with N pixels around it, at --width and --height (default: the model's own), "
       "and put it back",
       [](Options& o, A a) { o.request.only_masked = static_cast<int>(a.integer(0, kMaxSide)); }},
      {"Image input", "--extend L,T,R,B",
       "let the picture grow by so many pixels at the left, top, right and bottom, and paint what is new; the margins "
       "grow until the model can draw the size",
       [](Options& o, A a) { o.request.extend = margins(a); }},
      {"Image input", "--depth PATH",
       "depth-to-image models: the picture's depth map, a PNG or JPEG file where nearer is brighter",
       [](Options& o, A a) { o.depth = a.path(); }},

      {"Image input", "--control-image PATH...",
       "what steers: edges, depth, a pose, as the network expects it (see sdgen canny); one for each --controlnet, "
       "then "
       "one for each --t2i-adapter; resized to the picture's size, whose default the first one is",
       [](Options& o, A a) { o.control_images.push_back(a.path()); }},
      {"Image input", "--control-scale X...",
       "how strongly; once for all, or one for each --control-image (default: 1)",
       [](Options& o, A a) { o.control_scales.push_back(a.real(-kMaxControl, kMaxControl)); }},
      {"Image input", "--control-start X...", "the share of the steps before which it does not steer (default: 0)",
       [](Options& o, A a) { o.control_starts.push_back(a.real(0, 1)); }},
      {"Image input", "--control-end X...", "the share of the steps after which it no longer steers (default: 1)",
       [](Options& o, A a) { o.control_ends.push_back(a.real(0, 1)); }},
      {"Image input", "--guess-mode",
       "ControlNets steer without the prompt's help: only the prompted half of the guidance, fine details less; "
       "--guidance-scale 3 to 5 goes with it",
       [](Options& o, A) { o.request.guess_mode = true; }},

      {"Batch", "--prompts FILE",
       "a file with a picture a line (.txt: a prompt, then options like --seed 7; .jsonl; .csv or .tsv with a column "
       "'prompt'); -: "
       "lines from stdin, drawn as they arrive",
       [](Options& o, A a) { o.prompts = a.path(); }},
      {"Batch", "--wildcards DIR",
       "let prompts choose, by their seeds: {red|green}, {2$$a|b|c}, {3::often|rarely}, and __name__ for a line of "
       "DIR/name.txt",
       [](Options& o, A a) { o.wildcards = a.path(); }},
      {"Batch", "--sweep SPEC",
       "every combination of some options' values, on the same seeds: \"steps=10,20,30; guidance_scale=3,7\"; up to 20 "
       "by 20 "
       "with a contact sheet that has the values beside it, grid-NAME.png",
       [](Options& o, A a) { o.sweep = a.utf8(); }},
      {"Batch", "--batch-size N", "pictures per network call (default: 1)",
       [](Options& o, A a) { o.load.batch_size = whole(a, kMaxBatch); }},
      {"Batch", "--shard I/N",
       "make only the pictures whose index modulo N is I, 0/N to N-1/N: N such runs make the whole set, "
       "whatever "
       "N is",
       [](Options& o, A a) { std::tie(o.shard, o.shards) = shard(a); }},
      {"Batch", "--fail-fast", "end at the first line that fails (default: go on, and end with exit code 1)",
       [](Options& o, A) { o.fail_fast = true; }},

      {"Output", "-o --output PATH",
       "a file, a folder, or a name with {index}, {index:06}, {seed}, {prompt}, {model}; -: the picture on stdout "
       "(default: "
       "sdgen-{seed}.png, for several pictures {index:05}-{seed}.png)",
       [](Options& o, A a) { o.output = a.path() == "/dev/stdout" ? "-" : a.path(); }},
      {"Output", "--preview-every N",
       "write a preview every N steps, NAME.preview.png beside the picture, which is removed when the "
       "picture is finished; a rough sketch, unless --vae is a tiny autoencoder",
       [](Options& o, A a) { o.preview_every = whole(a, kMaxSteps); }},
      {"Output", "--show",
       "print every picture into the terminal on stderr: kitty's, iTerm2's or sixel graphics, else colours "
       "($SDGEN_SHOW: "
       "kitty, iterm, sixel or blocks, where a terminal is not recognized)",
       [](Options& o, A) { o.show = true; }},
      {"Output", "--grid auto|COLSxROWS",
       "also make a contact sheet, grid- and the name of its first picture, with seeds and what else "
       "differs; auto: as square as possible, 10x10 for more",
       [](Options& o, A a) { o.grid = grid(a); }},
      {"Output",
       "--format NAME",
       "png or jpg, at quality 95 (default: what the name after --output ends in, else png)",
       [](Options& o, A a) {
         o.format = a.choice({"png", "jpg", "jpeg"}) == "png" ? Format::png : Format::jpeg;
       },
       {"png", "jpg"}},
      {"Output", "--overwrite", "replace existing files (default: for one explicit name after --output alone)",
       existing(Existing::replaced)},
      {"Output", "--no-clobber", "never replace a file (default: for names from templates, folders and defaults)",
       existing(Existing::refused)},
      {"Output", "--skip-existing", "make only the pictures whose files are missing; needs --seed",
       existing(Existing::kept)},
      {"Output", "--no-metadata", "do not write the prompt and settings into the picture",
       [](Options& o, A) { o.metadata = false; }},
      {"Output", "--manifest FILE",
       "append a JSON line for every picture: all that is needed to make it again, its file, SHA-256 and timings "
       "(default, of --prompts alone: manifest.jsonl beside the pictures, with --shard manifest-I-of-N.jsonl)",
       [](Options& o, A a) { o.manifest = a.path(); }},
      {"Output", "--no-manifest", "write none", [](Options& o, A) { o.no_manifest = true; }},
      {"Output", "--json", "one JSON line a picture on stdout (default: its path)",
       [](Options& o, A) { o.json = true; }},

      {"Other", "--from-image PATH",
       "make a picture again that sdgen or AUTOMATIC1111 wrote (PNG or JPEG): its settings count where the command "
       "line, "
       "or a line of --prompts, does not say otherwise; see also sdgen inspect",
       [](Options& o, A a) { o.from_image = a.path(); }},
      {"Other", "--config FILE",
       "a TOML file of options (steps = 30, lora = [\"a.safetensors\"]), used where nothing else sets them",
       [](Options& o, A a) { o.config = a.path(); }},
      {"Other", "-q --quiet", "nothing on stderr but errors", [](Options& o, A) { o.quiet = true; }},
      {"Other", "-v --verbose", "say what is done and how long it took", [](Options& o, A) { o.verbose = true; }},
      {"Other", "--list-schedulers", "print the schedulers and end",
       [](Options& o, A) { o.action = Action::list_schedulers; }},
      {"Other", "--version", "print the version and end", [](Options& o, A) { o.action = Action::version; }},
      {"Other", "-h --help", "print this and end", [](Options& o, A) { o.action = Action::help; }},
      {"Other", "--help-all", "print more of this and end", [](Options& o, A) { o.action = Action::help_all; }},
  };
}

std::vector<Control> controls(const Options& o,
                              const std::function<std::shared_ptr<const Image>(const std::string& file)>& read) {
  const auto of = [](const std::vector<double>& values, std::size_t i, double otherwise) {
    return values.empty() ? otherwise : values[values.size() == 1 ? 0 : i];
  };
  std::vector<Control> result;
  for (std::size_t i = 0; i < o.control_images.size(); ++i)
    result.push_back(
        {read(o.control_images[i]), of(o.control_scales, i, 1), of(o.control_starts, i, 0), of(o.control_ends, i, 1)});
  return result;
}

bool several(const Options& options) { return options.prompts || options.sweep || options.num_images > 1; }

Existing existing_files(const Options& options) {
  if (options.existing) return *options.existing;
  return options.output && names_one_file(*options.output) ? Existing::replaced : Existing::refused;
}

void check_combination(const Options& options) {
  const auto require = [](bool good, const char* message) {
    if (!good) throw Error(Fault::usage, message);
  };
  require(!(options.quiet && options.verbose), "--quiet and --verbose exclude each other");
  const bool resumes = options.existing == Existing::kept;
  require(!resumes || options.request.seed || options.prompts || options.sweep,
          "--skip-existing needs --seed: with a random seed no run can finish what another has begun");
  require(options.shards == 1 || options.request.seed || options.prompts || options.sweep,
          "--shard needs --seed: with random seeds the shards make no whole");
  require(!(options.manifest && options.no_manifest), "--manifest and --no-manifest exclude each other");
  require(!options.fail_fast || options.prompts, "--fail-fast is about the lines of --prompts");
  require(!options.prompts || !has(options.given, "--prompt"), "--prompts has the prompts; leave out --prompt");
  check_controls(options);
  validate(unread(options),
           {options.load.controlnets.size(), options.load.adapters.size(), options.load.refiner.has_value()});
  require(!options.grid || options.shards == 1,
          "--grid shows a whole run, of which --shard makes a part; ask for the sheet when all shards are there: the "
          "same command with --skip-existing and without --shard");
  if (options.output == "-") {
    require(!several(options), "--output -: stdout takes one picture, and more are asked for");
    require(!options.json, "--output - and --json both write on stdout");
    require(!options.manifest, "--output -: a manifest lists files; leave out --manifest");
    require(!options.existing, "--output - writes no file to overwrite, keep or skip");
    require(options.preview_every == 0,
            "--output - writes no file, so --preview-every cannot put a preview next to it");
    require(!options.grid, "--output - writes no file, so --grid cannot put a sheet next to it");
  } else {
    output_template(options.output, several(options), options.format);
  }
}

}  // namespace sdgen::cli
