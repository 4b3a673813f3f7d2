// The table of schedulers, as everybody but the samplers reads it; and how many files a sampler takes.
#include "cli/schedulers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "base/project_files.h"
#include "base/scratch.h"
#include "io/json.h"
#include "schedulers/classes.h"

namespace sdgen {
namespace {

namespace fs = std::filesystem;

Request asked(const std::string& name, Request request = {}) {
  cli::set_scheduler(request, cli::Argument("--scheduler", name));
  return request;
}

// What a row is called, here and elsewhere.
std::vector<std::string> names_of(const SchedulerInfo& info) {
  std::vector<std::string> names{info.name, info.a1111};
  if (!info.comfyui.empty()) names.push_back(info.comfyui);
  return names;
}

TEST(SchedulerTable, EveryNameIsUnderstood) {
  for (const SchedulerInfo& info : scheduler_infos())
    for (const std::string& name : names_of(info)) {
      EXPECT_EQ(asked(name).scheduler, info.name) << name;
      EXPECT_EQ(asked("k_" + name).scheduler, info.name) << name;
      EXPECT_FALSE(asked(name).sigma_schedule || asked(name).timestep_spacing) << name;
      for (const cli::ScheduleType& type : cli::schedule_types())
        for (const std::string& words : {name + ' ' + type.comfyui, name + '_' + type.comfyui}) {
          EXPECT_EQ(asked(words).scheduler, info.name) << words;
          EXPECT_EQ(asked(words).*type.field, type.value) << words;
        }
    }
}

TEST(SchedulerTable, ComfyUisNamesAreItsOwn) {
  for (const auto& [theirs, ours] : std::map<std::string, std::string>{{"euler_ancestral", "euler-a"},
                                                                       {"dpm_2", "dpm2"},
                                                                       {"dpmpp_2m", "dpm++2m"},
                                                                       {"dpmpp_2m_sde", "dpm++2m-sde"},
                                                                       {"uni_pc", "unipc"},
                                                                       {"uni_pc_bh2", "unipc"},
                                                                       {"ddim", "ddim"}})
    EXPECT_EQ(asked(theirs).scheduler, ours) << theirs;
  EXPECT_EQ(asked("dpmpp_2m karras").sigma_schedule, "karras");
  EXPECT_EQ(asked("euler_ancestral normal").timestep_spacing, "linspace");
  EXPECT_EQ(asked("euler sgm_uniform").timestep_spacing, "trailing");
  EXPECT_EQ(asked("euler ddim_uniform").timestep_spacing, "leading");
  // What is said apart wins; other samplers than these are not guessed at.
  Request given;
  given.sigma_schedule = "beta";
  EXPECT_EQ(asked("dpmpp_2m karras", given).sigma_schedule, "beta");
  for (const char* unknown : {"dpmpp_3m_sde", "dpmpp_2s_ancestral", "ipndm", "karras", "k_", ""})
    EXPECT_NE(message_of(Fault::usage, [&] { asked(unknown); }), "") << unknown;
}

// What is known of a row agrees with what its class has, and is worth knowing.
TEST(SchedulerTable, RowsAreWhole) {
  std::set<std::string> names;
  for (const SchedulerInfo& info : scheduler_infos()) {
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_EQ(scheduler_info(info.name), &info);
    const SchedulerClass* type = scheduler_class(info.diffusers_class);
    ASSERT_TRUE(type) << info.name;
    const Json options = Json::parse(info.options);
    for (const auto& [key, value] : options.items()) EXPECT_TRUE(type->has(key)) << info.name << ": " << key;
    for (const SchedulerWords& words : type->words)
      EXPECT_EQ(type->defaults.at(words.key), words.own.front()) << type->name << ": a foreign word means the default";
    EXPECT_FALSE(info.a1111.empty() || info.paper.empty()) << info.name;
    EXPECT_TRUE(info.on_flow.empty() || (!info.flow && scheduler_info(info.on_flow)->flow)) << info.name;
    EXPECT_TRUE((std::set<std::string>{"", "None", "Karras", "Uniform"}).contains(info.a1111_schedule)) << info.name;
  }
  EXPECT_EQ(scheduler_info("ddim")->summary,
            "order 1, 1 call a step, deterministic unless eta > 0 (Song et al., 2021)");
  EXPECT_EQ(scheduler_info("heun")->summary, "order 2, 2 calls a step, deterministic (Karras et al., 2022)");
  EXPECT_EQ(
      scheduler_info("pndm")->summary,
      "order 2 (weights of order 4), 1 call a step and 9 more, 4 steps or more, deterministic (Liu et al., 2022)");
  EXPECT_EQ(scheduler_info("lcm")->summary,
            "for distilled models, 1 call a step, at most 50 steps, stochastic (Luo et al., 2023)");
  EXPECT_EQ(scheduler_info("flow-lcm")->summary, "for distilled models, 1 call a step, stochastic (Luo et al., 2023)");
  EXPECT_EQ(scheduler_info("warp"), nullptr);
  EXPECT_EQ(scheduler_info("ddim")->models, "diffusion");
  EXPECT_EQ(scheduler_info("euler")->models, "diffusion, flow as flow-euler");
  EXPECT_EQ(scheduler_info("unipc")->models, "diffusion, flow");
  EXPECT_EQ(scheduler_info("flow-heun")->models, "flow");
  EXPECT_EQ(schedulers_for(true),
            "euler, heun, dpm++2m, dpm++3m, dpm++2m-sde, dpm++2s, unipc, deis, lcm, flow-euler, flow-heun, flow-lcm");
}

// The README's table has a line for each, which says what the row says.
TEST(SchedulerTable, IsTheReadmes) {
  const std::string readme = contents(fs::path(SDGEN_SOURCE) / "src/cli/README.md");
  for (const SchedulerInfo& info : scheduler_infos()) {
    std::string options, has;
    const Json added = Json::parse(info.options);
    for (const auto& [key, value] : added.items())
      options +=
          concat(options.empty() ? "" : ", ", key, ' ', value.is_string() ? value.get<std::string>() : value.dump());
    for (const auto& [yes, what] : {std::pair{info.sigma_schedules, "sigma schedules"},
                                    {info.spacings, "spacing"},
                                    {info.zero_snr, "zero SNR"},
                                    {info.predicts_sample, "sample"},
                                    {info.takes_eta(), "eta"}})
      if (yes) has += (has.empty() ? "" : ", ") + std::string(what);
    EXPECT_CONTAINS(readme, concat("| `", info.name, "` | ", info.diffusers_class, " | ", options, " | ", info.models,
                                   " | ", has, " | ", info.a1111, " | ", info.comfyui, " |\n"));
  }
}

// --- How many files a sampler takes: its function, its row, its reference row, its line of the README.

// Names of which no other file has to know, because they are nobody's example.
const std::vector<std::string> kCounted = {"tcd", "deis", "dpm2-a", "lms", "flow-lcm"};
constexpr std::size_t kMostFiles = 4;

// What git has at the top, but for what was made with a scheduler: pictures and figures, and the embedded model's
// choice of its own (models/).
const std::vector<std::string> kProject = {".ci",     ".clang-format", ".clang-tidy", ".gitignore", "CMakeLists.txt",
                                           "LICENSE", "README.md",     "include",     "scripts",    "src",
                                           "tests",   "tools"};
// Likewise, and recorded data, what Python makes, and this file.
bool skipped(const std::string& path) {
  return path == "tools/default_model" || path == "tests/fixtures" || path == "tests/fuzz/corpus" ||
         path == "tests/base/schedulers_test.cpp" || path.ends_with("__pycache__");
}

// Is one of the words in the text, between what are no letters or digits, in capitals or not?
bool mentions(std::string text, std::vector<std::string> words) {
  const auto lower = [](std::string& s) {
    std::ranges::transform(s, s.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  };
  const auto is_word = [&](std::size_t i) {
    return i < text.size() && std::isalnum(static_cast<unsigned char>(text[i]));
  };
  lower(text);
  for (std::string& word : words) {
    lower(word);
    for (std::size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1))
      if (!(at > 0 && is_word(at - 1)) && !is_word(at + word.size())) return true;
  }
  return false;
}

std::set<std::string> files_that_mention(const fs::path& root, const std::vector<std::string>& among,
                                         const std::vector<std::string>& words) {
  return files_that(root, among, skipped, [&](const std::string& text) { return mentions(text, words); });
}

// All that a sampler of the table is called: there, in diffusers, in other programs, in C++.
std::vector<std::string> words_of(const std::string& name) {
  std::map<std::string, std::string> functions;
#define SCHEDULER_CLASS(...)
#define SCHEDULER(grid, sampler, ...) functions[SchedulerInfo{__VA_ARGS__}.name] = #sampler;
#include "schedulers/rows.inc"
#undef SCHEDULER
#undef SCHEDULER_CLASS
  const SchedulerInfo& info = *scheduler_info(name);
  std::vector<std::string> words = names_of(info);
  words.push_back(info.diffusers_class);
  words.push_back(functions.at(name));
  return words;
}

TEST(FilesOfASampler, AreFour) {
  for (const std::string& name : kCounted) {
    const std::set<std::string> files = files_that_mention(SDGEN_SOURCE, kProject, words_of(name));
    EXPECT_LE(files.size(), kMostFiles) << name << ": " << testing::PrintToString(files);
    for (const char* known : {"src/schedulers/rows.inc", "tools/reference/schedulers.py", "src/cli/README.md"})
      EXPECT_TRUE(files.contains(known)) << name << " is not in " << known;
    EXPECT_TRUE(std::ranges::any_of(files, [](const std::string& file) { return file.starts_with("src/diffusion/"); }))
        << name;
  }
}

TEST(FilesOfASampler, AreCountedUnderAllItsNames) {
  const Scratch scratch;
  fs::create_directory(scratch / "folder");
  for (const auto& [file, text] : std::map<std::string, std::string>{{"name.py", "TAKE = (\"tcd\",)"},
                                                                     {"class.dict", "\"TCDScheduler\"\n"},
                                                                     {"grid.cpp", "Grid tcd_grid();"},
                                                                     {"spelling.cpp", "{\"TCD\", 1}"},
                                                                     {"folder/deep.txt", "--scheduler tcd"},
                                                                     {"other.cpp", "int tcdx = 0, xtcd = 1;"}})
    scratch.write(file, text);
  scratch.write("apple.png", "tcd");  // somebody's
  EXPECT_EQ(
      files_that_mention(scratch.folder(), {"name.py", "class.dict", "grid.cpp", "spelling.cpp", "other.cpp", "folder"},
                         words_of("tcd")),
      (std::set<std::string>{"name.py", "class.dict", "grid.cpp", "spelling.cpp", "folder/deep.txt"}));
}

}  // namespace
}  // namespace sdgen
