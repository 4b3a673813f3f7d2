// The command line: what is taken, what is refused, and in which words.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "cli/fields.h"
#include "cli/schedulers.h"
#include "io/edit_distance.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

Options parse(const std::vector<std::string>& words) { return parse_command_line(words).options; }

// Parses with a prompt in front, so that one option can be looked at alone.
Options parse_with_prompt(std::vector<std::string> words) {
  words.insert(words.begin(), {"-p", "x"});
  return parse(words);
}

// The usage error that `words` give.
std::string refusal(const std::vector<std::string>& words) {
  try {
    parse(words);
  } catch (const Error& error) {
    EXPECT_EQ(error.fault(), Fault::usage) << error.what();
    return in_flags(error);
  }
  ADD_FAILURE() << "was accepted";
  return "";
}

std::string refusal_with_prompt(std::vector<std::string> words) {
  words.insert(words.begin(), {"-p", "x"});
  return refusal(words);
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(CommandLine, ReadsEveryOption) {
  const Options o = parse({"-m",
                           "models/a",
                           "--device",
                           "cuda:1",
                           "--dtype",
                           "bfloat16",
                           "--threads",
                           "3",
                           "-p",
                           "a fox",
                           "-n",
                           "blurry",
                           "-W",
                           "640",
                           "-H",
                           "384",
                           "-s",
                           "18446744073709551615",
                           "-b",
                           "4",
                           "--batch-size",
                           "2",
                           "--scheduler",
                           "ddim",
                           "--steps",
                           "12",
                           "-g",
                           "6.5",
                           "--eta",
                           "0.25",
                           "--timestep-spacing",
                           "trailing",
                           "--prediction-type",
                           "v_prediction",
                           "-i",
                           "photo.png",
                           "--mask",
                           "mask.png",
                           "--mask-blur",
                           "4",
                           "--only-masked",
                           "32",
                           "--extend",
                           "0,8,64,16384",
                           "-o",
                           "{index}.png",
                           "--overwrite",
                           "--no-metadata",
                           "--json",
                           "-q"});
  EXPECT_EQ(o.process.action, Action::generate);
  EXPECT_EQ(o.model, "models/a");
  EXPECT_EQ(o.load.device, "cuda:1");
  EXPECT_EQ(o.load.precision, Precision::bfloat16);
  EXPECT_EQ(o.run.threads, 3);
  EXPECT_EQ(o.load.batch_size, 2);
  EXPECT_EQ(o.request.prompt, "a fox");
  EXPECT_EQ(o.request.negative_prompt, "blurry");
  EXPECT_EQ(o.request.width, 640);
  EXPECT_EQ(o.request.height, 384);
  EXPECT_EQ(o.request.seed, 18446744073709551615u);
  EXPECT_EQ(o.run.num_images, 4u);
  EXPECT_EQ(o.request.scheduler, "ddim");
  EXPECT_EQ(o.request.steps, 12);
  EXPECT_EQ(o.request.guidance_scale, 6.5);
  EXPECT_EQ(o.request.eta, 0.25);
  EXPECT_EQ(o.request.timestep_spacing, "trailing");
  EXPECT_EQ(o.request.prediction_type, "v_prediction");
  EXPECT_EQ(o.inputs.init_image, "photo.png");
  EXPECT_EQ(o.inputs.mask, "mask.png");
  EXPECT_EQ(o.request.mask_blur, 4);
  EXPECT_EQ(o.request.only_masked, 32);
  EXPECT_EQ(o.request.extend, (Margins{0, 8, 64, 16384}));
  EXPECT_EQ(parse({"-p", "x", "-i", "in.png", "--depth", "depth.png"}).inputs.depth, "depth.png");
  EXPECT_EQ(o.output.path, "{index}.png");
  EXPECT_EQ(o.output.existing, Existing::replaced);
  EXPECT_FALSE(o.output.metadata);
  EXPECT_TRUE(o.output.json);
  EXPECT_TRUE(o.output.quiet);
}

TEST(CommandLine, LeavesUnsaidThingsToTheModel) {
  const Options o = parse({});
  EXPECT_FALSE(o.request.prompt) << "whether a model takes one is the model's to say";
  EXPECT_FALSE(o.model || o.output.path || o.output.existing || o.output.json || o.output.quiet || o.output.verbose);
  EXPECT_FALSE(o.request.negative_prompt || o.request.width || o.request.height || o.request.seed || o.request.steps);
  EXPECT_FALSE(o.request.guidance_scale || o.request.scheduler || o.request.eta);
  EXPECT_FALSE(o.request.timestep_spacing || o.request.prediction_type);
  EXPECT_EQ(o.run.num_images, 1u);
  EXPECT_TRUE(o.output.metadata);
}

TEST(CommandLine, TakesTheUsualSpellings) {
  EXPECT_EQ(parse_with_prompt({"--width=512"}).request.width, 512);
  EXPECT_EQ(parse_with_prompt({"-W512"}).request.width, 512);
  EXPECT_EQ(parse_with_prompt({"-W=512"}).request.width, 512);
  EXPECT_EQ(parse_with_prompt({"--cfg-scale", "3"}).request.guidance_scale, 3.0);
  EXPECT_EQ(parse_with_prompt({"--scale=3"}).request.guidance_scale, 3.0);
  EXPECT_EQ(parse_with_prompt({"--sampler", "euler"}).request.scheduler, "euler");
  EXPECT_EQ(parse_with_prompt({"--sampling-method", "euler"}).request.scheduler, "euler");
  EXPECT_EQ(parse_with_prompt({"-qb2"}).run.num_images, 2u);
  EXPECT_TRUE(parse_with_prompt({"-v", "-v"}).output.verbose);
}

TEST(CommandLine, LeavesPromptsAlone) {
  for (const std::string prompt : {"", "[a, b]", "-dash", "a=b", "--no such option", "%%", "{}", "\"quoted\"",
                                   "line\nbreak", " blanks ", "一只红苹果", "-5"}) {
    EXPECT_EQ(parse({"-p", prompt}).request.prompt, prompt);
    EXPECT_EQ(parse({"--prompt=" + prompt}).request.prompt, prompt);
  }
  EXPECT_EQ(parse({"-p", "x", "--negative-prompt="}).request.negative_prompt, "");
  EXPECT_EQ(parse({"--prompt=--steps"}).request.prompt, "--steps");
  EXPECT_EQ(parse({"-p", "-n="}).request.prompt, "-n=");
  EXPECT_EQ(parse({"-p", "--json=x"}).request.prompt, "--json=x");
}

TEST(CommandLine, RefusesMissingAndStrayWords) {
  EXPECT_TRUE(contains(refusal({"-p"}), "--prompt: 1 required TEXT missing"));
  EXPECT_TRUE(contains(refusal({"--prompt", "--steps", "20"}), "--prompt needs a value"));
  EXPECT_TRUE(contains(refusal({"a red fox"}), "a prompt goes after --prompt"));
  EXPECT_TRUE(contains(refusal({"-p", "a", "red", "fox"}), "unexpected argument 'red'"));
  EXPECT_EQ(refusal_with_prompt({"--json=yes"}), "--json takes no value");
  for (const std::string word : {"", "-"}) EXPECT_TRUE(contains(refusal_with_prompt({word}), "unexpected argument"));
}

TEST(CommandLine, RefusesRepeatedOptions) {
  EXPECT_EQ(refusal_with_prompt({"-W", "64", "--width", "64"}), "--width is given twice");
  EXPECT_EQ(refusal({"-p", "a", "-p", "b"}), "--prompt is given twice");
  EXPECT_EQ(refusal_with_prompt({"--scheduler", "ddim", "--sampler", "ddim"}), "--scheduler is given twice");
}

TEST(CommandLine, NamesTheNearestOption) {
  EXPECT_EQ(refusal({"--promt", "x"}), "unknown option --promt; did you mean --prompt?");
  EXPECT_EQ(refusal({"--wdith=5"}), "unknown option --wdith; did you mean --width?");
  EXPECT_EQ(refusal({"-width", "5"}), "unknown option -width; did you mean --width?");
  EXPECT_EQ(refusal({"--num-image", "5"}), "unknown option --num-image; did you mean --num-images?");
  EXPECT_EQ(refusal({"--neg", "5"}), "unknown option --neg; did you mean --negative-prompt?");
  EXPECT_EQ(refusal({"--qwertzuiop"}), "unknown option --qwertzuiop");
  EXPECT_EQ(refusal({"-x"}), "unknown option -x");
}

TEST(CommandLine, TakesLorasInTheirOrder) {
  const Options options = parse_with_prompt({"--lora", "[a,b].safetensors", "--lora=c.safetensors:2"});
  ASSERT_EQ(options.request.loras.size(), 2u);
  EXPECT_EQ(options.request.loras[0].path, "[a,b].safetensors");
  EXPECT_EQ(options.request.loras[1].path, "c.safetensors");
  EXPECT_EQ(options.request.loras[1].unet_scale, 2);
}

TEST(CommandLine, TakesSheetsAndPreviews) {
  EXPECT_FALSE(parse_with_prompt({}).output.grid);
  EXPECT_EQ(parse_with_prompt({"--grid", "auto"}).output.grid, GridSize());
  EXPECT_EQ(parse_with_prompt({"--grid", "4x2"}).output.grid, (GridSize{4, 2}));
  for (const char* wrong : {"4", "4x", "x2", "0x2", "65x1", "4x2x1", "Auto", ""})
    EXPECT_TRUE(contains(refusal_with_prompt({"--grid", wrong}), "--grid")) << wrong;
  EXPECT_TRUE(contains(refusal_with_prompt({"--grid", "auto", "--shard", "0/2", "-s", "1"}), "shows a whole run"));
  EXPECT_TRUE(contains(refusal_with_prompt({"--grid", "auto", "-o", "-"}), "--output -"));

  EXPECT_EQ(parse_with_prompt({"--preview-every", "5"}).output.preview_every, 5);
  EXPECT_TRUE(contains(refusal_with_prompt({"--preview-every", "0"}), "--preview-every"));
  EXPECT_TRUE(contains(refusal_with_prompt({"--preview-every", "5", "-o", "-"}), "--output -"));
}

TEST(CommandLine, TakesWordsAndTheirSyntax) {
  const Options options = parse_with_prompt(
      {"--textual-inversion", "a/cat.safetensors", "--textual-inversion", "b.bin:toy", "--prompt-syntax=weighted"});
  ASSERT_EQ(options.load.textual_inversions.size(), 2u);
  EXPECT_EQ(options.load.textual_inversions[0].path, "a/cat.safetensors");
  EXPECT_EQ(options.load.textual_inversions[0].word, "");
  EXPECT_EQ(options.load.textual_inversions[1].path, "b.bin");
  EXPECT_EQ(options.load.textual_inversions[1].word, "toy");
  EXPECT_EQ(options.request.prompt_syntax, PromptSyntax::weighted);
  EXPECT_TRUE(contains(refusal_with_prompt({"--prompt-syntax", "fancy"}), "plain, weighted"));
  EXPECT_TRUE(contains(refusal_with_prompt({"--textual-inversion", ""}), "PATH:WORD"));
}

TEST(CommandLine, ControlPicturesBelongToNetworks) {
  const Options o = parse({"-p",
                           "x",
                           "--controlnet",
                           "a",
                           "--t2i-adapter",
                           "b",
                           "--controlnet",
                           "c",
                           "--control-image",
                           "1",
                           "--control-image",
                           "2",
                           "--control-image",
                           "3",
                           "--control-scale",
                           "0.5",
                           "--control-start",
                           "0",
                           "--control-start",
                           "0.1",
                           "--control-start",
                           "0.2",
                           "--guess-mode"});
  EXPECT_EQ(o.load.controlnets, (std::vector<std::filesystem::path>{"a", "c"}));
  EXPECT_EQ(o.load.adapters, (std::vector<std::filesystem::path>{"b"}));
  EXPECT_EQ(o.inputs.control_images, (std::vector<std::string>{"1", "2", "3"}));
  EXPECT_EQ(o.inputs.control_scales, std::vector<double>{0.5});
  EXPECT_EQ(o.inputs.control_starts, (std::vector<double>{0, 0.1, 0.2}));
  EXPECT_TRUE(o.request.guess_mode);
  for (const auto& [words, message] : std::vector<std::pair<std::vector<std::string>, std::string>>{
           {{"--controlnet", "a"}, "--control-image: 0 for 1 --controlnet and 0 --t2i-adapter"},
           {{"--control-image", "1", "--control-image", "2"}, "--control-image: 2 for 0"},
           {{"--control-scale", "1"}, "--control-scale needs --controlnet"},
           {{"--control-end", "1"}, "--control-end needs --controlnet"},
           {{"--guess-mode"}, "--guess-mode needs --controlnet"},
           {{"--t2i-adapter", "a", "--control-image", "1", "--guess-mode"}, "--guess-mode needs --controlnet"},
           {{"--controlnet", "a", "--control-image", "1", "--control-scale", "1", "--control-scale", "2"},
            "--control-scale: 2 given for 1"},
           {{"--controlnet", "a", "--control-image", "1", "--control-start", "1.1"}, "--control-start: '1.1'"}})
    EXPECT_TRUE(contains(refusal_with_prompt(words), message)) << message << ": " << refusal_with_prompt(words);
}

TEST(CommandLine, ReadsIntegersStrictly) {
  for (const std::string text : {"", "1e3", "0x10", " 7", "7 ", "+7", "-1", "7.0", "７", "1_000", "1,000", "seven",
                                 "inf", "18446744073709551616", "99999999999999999999999"}) {
    if (text != "-1") {
      EXPECT_TRUE(contains(refusal_with_prompt({"--seed", text}), "--seed: '")) << text;
    }
    EXPECT_TRUE(contains(refusal_with_prompt({"--steps=" + text}), "--steps: '")) << text;
  }
  EXPECT_FALSE(parse_with_prompt({"--seed", "-1"}).request.seed) << "as if none were given";
  EXPECT_EQ(refusal_with_prompt({"-W", "+7"}), "--width: '+7' is not a whole number from 1 to 16384, in digits only");
  for (const char* flag : {"--width", "--height", "--steps", "--num-images", "--batch-size", "--threads"}) {
    refusal_with_prompt({flag, "0"});
    refusal_with_prompt({flag, "4294967297"});  // 1 mod 2^32
  }
  EXPECT_EQ(parse_with_prompt({"--seed", "0"}).request.seed, 0u);
  EXPECT_EQ(parse_with_prompt({"--seed", "010"}).request.seed, 10u);  // not octal
}

TEST(CommandLine, ReadsNumbersStrictly) {
  for (const std::string text : {"", "nan", "inf", "-inf", "1e999", "0x1p3", " 7", "7 ", "+7", "7,5", "1e", "7.5x"}) {
    EXPECT_TRUE(contains(refusal_with_prompt({"-g", text}), "--guidance-scale: '")) << text;
  }
  EXPECT_EQ(parse_with_prompt({"-g", "-1"}).request.guidance_scale, -1.0);
  EXPECT_EQ(parse_with_prompt({"-g", "1e-3"}).request.guidance_scale, 1e-3);
  EXPECT_EQ(parse_with_prompt({"-g", ".5"}).request.guidance_scale, 0.5);
  refusal_with_prompt({"--eta", "1.5"});
  refusal_with_prompt({"--eta", "-0.1"});
}

TEST(CommandLine, ReadsWordsStrictly) {
  EXPECT_EQ(refusal_with_prompt({"--dtype", "fp16"}), "--dtype: 'fp16' is not one of auto, float32, float16, bfloat16");
  refusal_with_prompt({"--timestep-spacing", "Leading"});
  refusal_with_prompt({"--prediction-type", "v"});
  for (const char* device : {"gpu", "cuda:", "cuda:-1", "cuda:1x", "cuda:00001", "CPU", ""}) {
    refusal_with_prompt({"--device", device});
  }
  for (const char* device : {"auto", "cpu", "cuda", "cuda:0", "cuda:15"}) {
    EXPECT_EQ(parse_with_prompt({"--device", device}).load.device, device);
  }
}

TEST(CommandLine, RefusesTextThatIsNotUtf8) {
  EXPECT_TRUE(contains(refusal({"-p", "caf\xe9 noir"}), "byte 3"));
  EXPECT_TRUE(contains(refusal_with_prompt({"-n", "\xed\xa0\x80"}), "--negative-prompt: "));  // a surrogate
  EXPECT_TRUE(contains(refusal_with_prompt({"-n", "\xc0\xaf"}), "is not UTF-8"));             // overlong
  EXPECT_FALSE(contains(refusal_with_prompt({"--\x1b[31m"}), "\x1b"));  // no escape sequences in messages
}

TEST(CommandLine, RefusesCombinations) {
  refusal_with_prompt({"-q", "-v"});
  for (const char* other : {"--skip-existing", "--no-clobber"})
    EXPECT_TRUE(contains(refusal_with_prompt({"--overwrite", other, "-s", "1"}), "exclude each other"));
  EXPECT_TRUE(contains(refusal_with_prompt({"--no-clobber", "--skip-existing", "-s", "1"}), "exclude each other"));
  EXPECT_TRUE(contains(refusal_with_prompt({"--skip-existing"}), "needs --seed"));
  refusal_with_prompt({"-o", "-", "-b", "2"});
  refusal_with_prompt({"-o", "-", "--json"});
  refusal_with_prompt({"-o", "-", "--overwrite"});
  refusal_with_prompt({"-o", ""});
  refusal_with_prompt({"-m", ""});
  EXPECT_EQ(parse_with_prompt({"-o", "-"}).output.path, "-");
  EXPECT_EQ(parse_with_prompt({"-o", "/dev/stdout"}).output.path, "-");
  EXPECT_TRUE(contains(refusal_with_prompt({"-o", "x.png", "-b", "2"}), "{index} or {seed}"));
  EXPECT_TRUE(contains(refusal_with_prompt({"-o", "x.TIFF"}), "writes PNG"));
}

TEST(CommandLine, HelpAndFriendsNeedNothingElse) {
  EXPECT_EQ(parse({"--help"}).process.action, Action::help);
  EXPECT_EQ(parse({"-h"}).process.action, Action::help);
  EXPECT_EQ(parse({"-p", "x", "--help", "--no-such"}).process.action, Action::help);
  EXPECT_EQ(parse({"--version"}).process.action, Action::version);
  EXPECT_EQ(parse({"--list-schedulers"}).process.action, Action::list_schedulers);
  EXPECT_EQ(parse({"-p", "-h"}).request.prompt, "-h");
}

TEST(CommandLine, TableHasNoFlagTwice) {
  std::vector<std::string> flags;
  for (const OptionRow& row : option_rows()) flags.insert(flags.end(), row.flags.begin(), row.flags.end());
  std::sort(flags.begin(), flags.end());
  EXPECT_EQ(std::adjacent_find(flags.begin(), flags.end()), flags.end());
}

TEST(Subcommands, AreFirstWords) {
  Options o = parse({"inspect", "models/a"});
  EXPECT_EQ(o.process.action, Action::inspect);
  EXPECT_EQ(o.process.paths, std::vector<std::string>{"models/a"});
  EXPECT_FALSE(o.output.json);
  o = parse({"inspect", "--json", "[a, b].png"});
  EXPECT_TRUE(o.output.json);
  EXPECT_EQ(o.process.paths, std::vector<std::string>{"[a, b].png"});
  EXPECT_TRUE(parse({"inspect", "x", "--json"}).output.json);
  EXPECT_EQ(parse({"inspect", "--", "--json"}).process.paths, std::vector<std::string>{"--json"});
  EXPECT_EQ(parse({"inspect", "inspect"}).process.paths, std::vector<std::string>{"inspect"});
  EXPECT_EQ(parse({"-p", "inspect"}).request.prompt, "inspect");  // not a first word
}

TEST(Subcommands, RefuseWhatTheyDoNotTake) {
  EXPECT_EQ(refusal({"inspect"}), "inspect needs a PATH; it is: sdgen inspect PATH");
  EXPECT_EQ(refusal({"inspect", "a", "b"}), "unexpected argument 'b'; it is: sdgen inspect PATH");
  EXPECT_EQ(refusal({"inspect", ""}), "inspect: '' is not a path");
  EXPECT_EQ(refusal({"inspect", "x", "--jsno"}), "unknown option --jsno; did you mean --json?");
  EXPECT_EQ(refusal({"inspect", "x", "--json=1"}), "--json takes no value");
  EXPECT_EQ(refusal({"inspect", "x", "--prompt", "y"}), "unknown option --prompt");
  EXPECT_EQ(refusal({"inspct", "x"}), "unexpected argument 'inspct'; did you mean inspect?");
  EXPECT_TRUE(contains(refusal({"-p", "x", "inspect"}), "unexpected argument 'inspect'"));
}

TEST(SchedulerNames, UnderstandsForeignSpellings) {
  const auto request = [](const char* text) {
    Request r;
    set_scheduler(r, Argument("--scheduler", text));
    return r;
  };
  const auto name = [&](const char* text) { return request(text).scheduler; };
  EXPECT_EQ(name("dpm++2m"), "dpm++2m");
  EXPECT_EQ(name("DPM++ 2M"), "dpm++2m");
  EXPECT_EQ(name("Euler a"), "euler-a");
  EXPECT_EQ(name("euler_a"), "euler-a");
  EXPECT_EQ(name("DDIM"), "ddim");
  EXPECT_EQ(name("UniPC"), "unipc");
  EXPECT_EQ(name("k_euler_a"), "euler-a");
  EXPECT_EQ(name("dpmpp_2m"), "dpm++2m");
  EXPECT_EQ(name("DPM++ 2M Karras"), "dpm++2m");
  EXPECT_EQ(request("DPM++ 2M Karras").sigma_schedule, "karras");
  EXPECT_EQ(request("Euler Exponential").sigma_schedule, "exponential");
  EXPECT_EQ(request("UniPC beta").sigma_schedule, "beta");
  EXPECT_FALSE(request("DPM++ 2M").sigma_schedule);
}

TEST(SchedulerNames, SigmaScheduleFlagWinsOverTheSuffix) {
  const std::vector<std::string> flag{"--sigma-schedule", "beta"}, name{"--scheduler", "DPM++ 2M Karras"};
  EXPECT_EQ(parse_with_prompt({flag[0], flag[1], name[0], name[1]}).request.sigma_schedule, "beta");
  EXPECT_EQ(parse_with_prompt({name[0], name[1], flag[0], flag[1]}).request.sigma_schedule, "beta");
  EXPECT_EQ(parse_with_prompt(name).request.sigma_schedule, "karras");
}

TEST(SchedulerNames, AreThoseOfClassesToo) {
  const auto scheduler = [](const char* name) { return parse_with_prompt({"--scheduler", name}).request.scheduler; };
  for (const auto& [name, ours] : {std::pair{"euler_ancestral", "euler-a"},
                                   {"EulerAncestralDiscreteScheduler", "euler-a"},
                                   {"EulerDiscreteScheduler", "euler"},
                                   {"UniPCMultistepScheduler", "unipc"},
                                   {"DPMSolverMultistepScheduler", "dpm++2m"},
                                   {"LCMScheduler", "lcm"}})
    EXPECT_EQ(scheduler(name), ours) << name;
}

TEST(SchedulerNames, NamesTheNearest) {
  const auto unknown = [](const char* text) { return refusal_with_prompt({"--scheduler", text}); };
  EXPECT_TRUE(contains(unknown("dpm+2m"), "did you mean dpm++2m?"));
  EXPECT_TRUE(contains(unknown("eulr"), "did you mean euler?"));
  EXPECT_TRUE(contains(unknown("DPM+ 2M Karras"), "did you mean dpm++2m?"));
  EXPECT_TRUE(contains(unknown("warp"), "unknown scheduler 'warp'"));
  EXPECT_FALSE(contains(unknown("warp"), "did you mean"));
  EXPECT_TRUE(contains(unknown(""), "--list-schedulers"));
  // Samplers of others that are not here: none of ours is what they mean.
  for (const char* name : {"dpmpp_3m_sde", "euler_cfg_pp", "euler_ancestral_cfg_pp", "heunpp2", "restart", "er_sde",
                           "res_multistep", "gradient_estimation", "DPM fast", "uni_pc_bh3"})
    EXPECT_FALSE(contains(unknown(name), "did you mean")) << unknown(name);
}

TEST(SchedulerNames, ListHasALineEach) {
  const std::string list = scheduler_list();
  EXPECT_EQ(std::count(list.begin(), list.end(), '\n'), static_cast<std::ptrdiff_t>(scheduler_infos().size()));
  EXPECT_TRUE(list.starts_with("ddpm         DDPMScheduler"));
}

TEST(Nearest, CountsEdits) {
  const std::vector<std::string> words = {"width", "height", "eta"};
  EXPECT_EQ(nearest("width", words), "width");
  // Of a megabyte nothing is near: it is not measured, which would take seconds.
  EXPECT_EQ(edit_distance(std::string(1000, 'k'), std::string(999, 'k')), 1000u);
  EXPECT_EQ(edit_distance(std::string(256, 'k'), std::string(255, 'k')), 1u);
  EXPECT_EQ(nearest("wdith", words), "width");   // swapped
  EXPECT_EQ(nearest("widh", words), "width");    // missing
  EXPECT_EQ(nearest("widdth", words), "width");  // too much
  EXPECT_EQ(nearest("heigth", words), "height");
  EXPECT_EQ(nearest("etta", words), "eta");
  EXPECT_EQ(nearest("hei", words), "height");
  EXPECT_EQ(nearest("etaoin", words), "eta");
  EXPECT_EQ(nearest("zzzzz", words), "");
  EXPECT_EQ(nearest("", words), "");
}

}  // namespace
}  // namespace sdgen::cli
