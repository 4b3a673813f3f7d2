// The options about a picture. Records have them in this order.
#include <algorithm>
#include <limits>

#include "cli/option_fields.h"
#include "cli/schedulers.h"
#include "cli/values.h"
#include "io/text.h"

namespace sdgen::cli {
namespace {

// Far beyond what is useful, and small enough that no product of them overflows.
constexpr std::uint64_t kMaxBlur = 1024;  // pixels
constexpr std::uint64_t kMaxImages = 1'000'000;
constexpr double kMaxGuidance = 1e6;
constexpr double kMaxControl = 1e3;

// What comes from the model's own config stays there: with another model it would be wrong.
bool given_or_with_scheduler(const PictureFacts& made, std::string_view option) {
  return made.request.scheduler || was_given(made, option);
}

// A picture that has grown has the size that its margins give it.
bool has_own_size(const PictureFacts& made, std::string_view) {
  return !made.request.extend || made.request.only_masked;
}

Field scheduler() {
  Field scheduler = field(&Request::scheduler, text());
  for (const SchedulerInfo& info : scheduler_infos()) scheduler.value.words.push_back(info.name);
  scheduler.set = [](Options& o, const Argument& a) { set_scheduler(o.request, a); };
  return scheduler;
}

Field seed(std::uint64_t most) {
  Field seed = field(&Request::seed, whole<std::uint64_t>(0, most));
  seed.value.by_chance = true;
  seed.set = [number = std::move(seed.set)](Options& o, const Argument& a) {
    if (a.raw() == kRandomSeed)
      o.request.seed.reset();
    else
      number(o, a);
  };
  return seed;
}

// A number of each control picture.
Field control(std::vector<double> Inputs::*given, double Control::*used, double low, double high) {
  Field control = field(given, number(low, high));
  control.get = [used](const PictureFacts& made, std::string_view) {
    OrderedJson values;
    for (const Control& each : made.request.controls) values.push_back(each.*used);
    return values;
  };
  return control;
}

Field kind_of_control() {
  const std::vector<std::string> words(kControlModes.begin(), kControlModes.end());
  Field mode =
      field(&Inputs::control_modes,
            parts<std::string>(
                control_mode, written_control_mode,
                {.kind = Value::Kind::text, .words = words, .pattern = concat(joined(words, "|"), "|none|[0-9]+")}));
  mode.get = [](const PictureFacts& made, std::string_view) {
    OrderedJson values;
    const auto& controls = made.request.controls;
    if (std::ranges::all_of(controls, [](const Control& each) { return each.mode.empty(); })) return values;
    for (const Control& each : controls) values.push_back(written_control_mode(each.mode));
    return values;
  };
  return mode;
}

std::vector<OptionRow> prompt_section() {
  const Section in{"Prompt", Scope::picture, /*environment=*/true};
  return {
      in.row("-p --prompt TEXT", field(&Request::prompt, text()), "what the picture shows").from_environment(false),
      in.row("-n --negative-prompt TEXT", field(&Request::negative_prompt, text()), "what the picture should not show"),
      in.row("--prompt-2 TEXT", field(&Request::prompt_2, text()),
             "what the second text encoder is told instead (SDXL, Stable Diffusion 3; Flux: T5)"),
      in.row("--prompt-3 TEXT", field(&Request::prompt_3, text()),
             "what the third one is told instead (Stable Diffusion 3: T5)"),
      in.row("--negative-prompt-2 TEXT", field(&Request::negative_prompt_2, text()), "likewise"),
      in.row("--negative-prompt-3 TEXT", field(&Request::negative_prompt_3, text()), "likewise"),
      in.row("--prompt-syntax WORD",
             field(&Request::prompt_syntax,
                   words<PromptSyntax>({{"plain", PromptSyntax::plain}, {"weighted", PromptSyntax::weighted}})),
             "{words}: the words as written, cut to the model's length, or AUTOMATIC1111's (red fox:1.2), [fox], "
             "BREAK, AND, [fox:wolf:0.5], [fox|wolf], of any length (default: plain)"),
      in.row("--clip-skip N", field(&Request::clip_skip, whole(0, kMostLayers)),
             "leave out so many of the text encoder's last layers, as diffusers counts (default: 0; AUTOMATIC1111 "
             "calls that 1)")
          .in_a1111({.key = "Clip skip", .unless_zero = true, .offset = 1}),
      in.row("--max-sequence-length N", field(&Request::max_sequence_length, whole(1, 512)),
             "{range}: how many tokens of the prompt T5 reads (default: the pipeline's; Stable Diffusion 3: 256, Flux: "
             "512)"),
  };
}

std::vector<OptionRow> picture_section() {
  const Section in{"Picture", Scope::picture, /*environment=*/true};
  constexpr std::uint64_t max_seed = std::numeric_limits<std::uint64_t>::max();
  return {
      in.row("-W --width N", field(&Request::width, whole(1, kMostSide)), "in pixels (default: the model's own)")
          .recorded_if(has_own_size),
      in.row("-H --height N", field(&Request::height, whole(1, kMostSide)), "in pixels (default: the model's own)")
          .recorded_if(has_own_size),
      in.row("--original-size WxH", field(&TrainingSizes::original_size, size_type()),
             "SDXL: of the photograph that the picture should look like (default: the picture's own)"),
      in.row("--crop LEFT,TOP", field(&TrainingSizes::crop, point_type()),
             "SDXL: where that photograph should look cropped (default: 0,0)"),
      in.row("--target-size WxH", field(&TrainingSizes::target_size, size_type()),
             "SDXL: the size that the picture is made for (default: its own)"),
      in.row("-s --seed N", seed(max_seed),
             "0 to 2^64-1, or -1: random below 2^32 (the default); picture i, from 0, uses seed+i, and after 2^64-1 "
             "comes 0")
          .in_a1111({.key = "Seed"}),
      in.row("-b --num-images N", field(&RunOptions::num_images, whole<std::size_t>(1, kMaxImages)),
             "pictures to make (default: 1)"),
  };
}

// What asks the network less.
std::vector<OptionRow> fewer_calls_rows(const Section& in) {
  return {
      in.row(
          "--guidance-interval A,B", field(&Request::guidance_interval, interval_type()),
          "guide in this part of the schedule alone, as shares of its steps, like 0.2,0.8: a step outside takes half "
          "the time, and colours stay softer (default: 0,1)"),
      in.row("--cache KIND:X", field(&Request::cache, step_cache_type()),
             "use again what deep layers said at an earlier step: deepcache:N, of U-Nets, which are asked whole at "
             "every Nth step (deepcache:N:L: but for the last L layers, instead of 1); first-block:X, of transformers, "
             "which are where their first layer moves by more than the share X; about twice as fast, and another "
             "picture (default: none)"),
  };
}

std::vector<OptionRow> sampling_rows(const Section& in) {
  return {
      in.row(
          "--scheduler --sampler --sampling-method NAME", scheduler(),
          "see --list-schedulers; AUTOMATIC1111's and ComfyUI's names are understood too (default: the model's own)"),
      in.row("--steps N", field(&Request::steps, whole(1, kMostSteps)),
             "denoising steps (default: the model's, else 50)")
          .in_a1111({.key = "Steps"}),
      in.row("-g --guidance-scale --cfg-scale --scale X",
             field(&Request::guidance_scale, number(-kMaxGuidance, kMaxGuidance)),
             "how strongly the prompt steers; 1 or less: no guidance, and twice as fast (default: the model's, else "
             "7.5; SDXL: 5; Flux is told it: 3.5)")
          .in_a1111({.key = "CFG scale"}),
      in.row(
          "--true-cfg-scale X", field(&Request::true_cfg_scale, number(-kMaxGuidance, kMaxGuidance)),
          "Flux, which is told --guidance-scale: guide away from --negative-prompt as well, where this is above 1, at "
          "twice the time (default: 1)"),
      in.row("--guidance-rescale X", field(&Request::guidance_rescale, number(0, 1)),
             "{range}: how far to bring the guided prediction back to the contrast of the prompted one (default: 0)")
          .in_a1111({.key = "CFG rescale", .unless_zero = true}),
      in.row("--skip-layers L,L", field(&Request::skip_layers, layers_type()),
             "Stable Diffusion 3 and 3.5: guide away from what the network says without these layers, too; 3.5 medium: "
             "7,8,9"),
      in.row("--skip-layer-scale X", field(&Request::skip_layer_scale, number(-kMaxGuidance, kMaxGuidance)),
             "how strongly (default: 2.8)"),
      in.row("--skip-layer-start X", field(&Request::skip_layer_start, number(0, 1)),
             "the share of the steps after which it begins (default: 0.01)"),
      in.row("--skip-layer-stop X", field(&Request::skip_layer_stop, number(0, 1)),
             "the share of the steps before which it ends (default: 0.2)"),
      in.row("--eta X", field(&Request::eta, number(0, 1)),
             schedulers_with_eta() + ": share of fresh noise, {range} (default: 0)")
          .recorded_if(given_or_with_scheduler, /*asks_what_was_given=*/true),
      in.row("--sigma-schedule WORD",
             field(&Request::sigma_schedule, words({"default", "karras", "exponential", "beta"})),
             "{words} (default: the model's own)")
          .recorded_if(given_or_with_scheduler, /*asks_what_was_given=*/true),
      in.row("--rescale-betas-zero-snr", on(&Request::rescale_betas_zero_snr),
             "end the noise schedule in pure noise (default: the model's own)")
          .recorded_if(was_given, /*asks_what_was_given=*/true),
      in.row("--flow-shift X", field(&Request::flow_shift, number(0.001, kMostFlowShift)),
             "of flow models: how far noise levels move towards pure noise; 1: not at all (default: the model's own)")
          .recorded_if(given_or_with_scheduler, /*asks_what_was_given=*/true),
      in.row("--timestep-spacing WORD", field(&Request::timestep_spacing, words({"leading", "linspace", "trailing"})),
             "{words} (default: the model's own)")
          .recorded_if(given_or_with_scheduler, /*asks_what_was_given=*/true),
      in.row("--prediction-type WORD",
             field(&Request::prediction_type, words({"epsilon", "v_prediction", "sample", "flow_prediction"})),
             "{words}: what the network was trained to predict (default: the model's own)")
          .recorded_if(was_given, /*asks_what_was_given=*/true),
  };
}

std::vector<OptionRow> repainting_rows(const Section& in) {
  return {
      in.row("-i --init-image PATH", file(&Inputs::init_image),
             "a picture to make this one of (PNG, JPEG, WebP, AVIF, JPEG XL); it is resized to --width and --height "
             "(default: its own size, rounded down to what the model can draw); a folder or a pattern "
             "('photos/*.jpg'): a picture of each"),
      in.row("--strength X", field(&Request::strength, number(0, 1)),
             "how far it may change, above 0 to 1: the share of the steps that are run (default: 0.8; SDXL: 0.3; with "
             "--mask or --extend 1, SDXL: 0.9999)")
          .in_a1111({.key = "Denoising strength", .needs = {"--init-image"}}),
      in.row("--mask PATH", file(&Inputs::mask),
             "a picture, white where this one is repainted; what is black stays as it is; it is resized to the "
             "picture; a folder has one for each --init-image, of the same name"),
      in.row("--mask-blur N", field(&Request::mask_blur, whole(0, kMaxBlur)),
             "soften the mask's edges by a Gaussian of N pixels, {range}, over which old and new are blended "
             "(default: 0)")
          .in_a1111({.key = "Mask blur", .needs = {"--mask"}, .unless_zero = true}),
      in.row("--only-masked N", field(&Request::only_masked, whole(0, kMostSide)),
             "work on the masked part alone, with N pixels around it, at --width and --height (default: the model's "
             "own), and put it back")
          .in_a1111({.key = "Masked area padding", .needs = {"--mask", "--extend"}}),
      in.row("--extend L,T,R,B", field(&Request::extend, margins_type()),
             "let the picture grow by so many pixels at the left, top, right and bottom, and paint what is new; the "
             "margins grow until the model can draw the size"),
      in.row("--depth PATH", file(&Inputs::depth),
             "depth-to-image models: the picture's depth map, where nearer is brighter"),
      in.row(
            "--reference-image PATH", file(&Inputs::reference_images),
            "Flux Kontext, FLUX.2: the picture that the prompt is about; for FLUX.2 up to ten, one after the other, "
            "and "
            "the first one's size is the default of --width and --height; Kontext is shown one in its own size that is "
            "nearest in shape")
          .in_core("references"),
  };
}

std::vector<OptionRow> control_rows(const Section& in) {
  return {
      in.row("--control-image PATH", file(&Inputs::control_images),
             "what steers: edges, depth, a pose, as the network expects it (see sdgen canny); one for each "
             "--controlnet, then one for each --t2i-adapter; alone for Flux Depth and Canny; resized to the picture's "
             "size, whose default the first one is")
          .in_core("controls"),
      in.row("--control-scale X", control(&Inputs::control_scales, &Control::scale, -kMaxControl, kMaxControl),
             "how strongly; once for all, or one for each --control-image (default: 1)"),
      in.row("--control-start X", control(&Inputs::control_starts, &Control::start, 0, 1),
             "the share of the steps before which it does not steer (default: 0)"),
      in.row("--control-end X", control(&Inputs::control_ends, &Control::end, 0, 1),
             "the share of the steps after which it no longer steers (default: 1)"),
      in.row(
          "--control-mode MODE", kind_of_control(),
          "Flux's ControlNets for several kinds of pictures: what the picture is, {words}, or the kind's number; once "
          "for all, or one for each --control-image: none for networks that know one kind"),
      in.row("--guess-mode", on(&Request::guess_mode),
             "ControlNets steer without the prompt's help: only the prompted half of the guidance, fine details less; "
             "--guidance-scale 3 to 5 goes with it"),
  };
}

}  // namespace

std::vector<OptionRow> picture_options() {
  const Section sampling{"Sampling", Scope::picture, /*environment=*/true}, image_input{"Image input", Scope::picture};
  return together(prompt_section(), picture_section(), together(sampling_rows(sampling), fewer_calls_rows(sampling)),
                  repainting_rows(image_input), control_rows(image_input));
}

}  // namespace sdgen::cli
