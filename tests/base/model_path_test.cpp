// Where models are: the home folder, the hub's local cache, a configuration file's own folder.
#include "cli/model_path.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/scratch.h"
#include "cli/command_line.h"
#include "io/file.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

class ModelPaths : public testing::Test {
 protected:
  ModelPaths() {
    set("HOME", (scratch_ / "home").string());
    for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "SDGEN_MODEL"})
      set(name, "");
  }
  ~ModelPaths() override {
    for (const auto& [name, value] : before_) value ? setenv(name.c_str(), value->c_str(), 1) : unsetenv(name.c_str());
  }
  void set(const std::string& name, const std::string& value) {
    const char* old = std::getenv(name.c_str());
    before_.try_emplace(name, old ? std::optional<std::string>(old) : std::nullopt);
    setenv(name.c_str(), value.c_str(), 1);
  }
  // ORG/NAME in a cache, with two snapshots, of which refs/main names the second.
  fs::path cached(const fs::path& cache) {
    const fs::path folder = cache / "models--org--tiny-sd";
    for (const char* revision : {"aaaa", "bbbb"}) fs::create_directories(folder / "snapshots" / revision);
    fs::create_directories(folder / "refs");
    std::ofstream(folder / "refs" / "main") << "bbbb\n";
    return folder;
  }
  Scratch scratch_;
  std::map<std::string, std::optional<std::string>> before_;
};

TEST_F(ModelPaths, OfTheHubAreFoundInItsCache) {
  const fs::path home = scratch_ / "home/.cache/huggingface/hub", other = scratch_ / "other";
  EXPECT_EQ(located("org/tiny-sd"), "org/tiny-sd") << "there is no cache";
  const fs::path folder = cached(home);
  EXPECT_EQ(located("org/tiny-sd"), folder / "snapshots/bbbb");
  EXPECT_EQ(located(folder.string()), folder / "snapshots/bbbb") << "a folder of the cache";
  EXPECT_EQ(located(folder.string() + "/"), folder / "snapshots/bbbb");
  EXPECT_EQ(name_of(located("org/tiny-sd")), "tiny-sd");
  EXPECT_EQ(find_model("org/tiny-sd"), folder / "snapshots/bbbb");
  EXPECT_EQ(located("org/another"), "org/another");
  set("HF_HOME", other.string());
  const fs::path in_home = cached(other / "hub");
  EXPECT_EQ(located("org/tiny-sd"), in_home / "snapshots/bbbb");
  set("HF_HUB_CACHE", (other / "cache").string());
  const fs::path in_cache = cached(other / "cache");
  fs::remove_all(in_cache / "refs");
  fs::last_write_time(in_cache / "snapshots/bbbb", fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(located("org/tiny-sd"), in_cache / "snapshots/aaaa") << "the latest, where nothing says which";
  std::ofstream(in_cache / "refs") << "no folder";
  EXPECT_EQ(located("org/tiny-sd"), in_cache / "snapshots/aaaa");
  const std::string message = message_of(Fault::input, [] { find_model("org/another"); });
  EXPECT_EQ(message, "--model: there is no model 'org/another', and none of this name in the hub's cache");
  EXPECT_EQ(message_of(Fault::input, [] { find_model("./org/another"); }),
            "--model: there is no model './org/another'");
}

TEST_F(ModelPaths, BeginAtHomeWhereNoShellSaysSo) {
  const std::string home = (scratch_ / "home").string();
  for (const auto& [said, path] :
       {std::pair{"~", home}, {"~/a b", home + "/a b"}, {"~x", "~x"}, {"a/~", "a/~"}, {"", ""}, {"./~", "./~"}})
    EXPECT_EQ(in_home(said), path);
  fs::create_directories(scratch_ / "home/sd");
  EXPECT_EQ(find_model("~/sd"), scratch_ / "home/sd");
  set("SDGEN_MODEL", "~/sd");
  EXPECT_EQ(find_model({}), scratch_ / "home/sd");
  const CommandLine line = parse_command_line({"-p", "x", "--lora", "~/ink.safetensors:0.5", "-o", "~/out/"});
  EXPECT_EQ(line.options.request.loras[0].path, scratch_ / "home/ink.safetensors");
  EXPECT_EQ(line.options.output.path, home + "/out/");
}

TEST_F(ModelPaths, OfAConfigurationFileBeginInItsFolder) {
  cached(scratch_ / "home/.cache/huggingface/hub");
  fs::create_directory(scratch_ / "conf");
  const fs::path config =
      scratch_.write("conf/sdgen.toml",
                     "vae = 'vae.safetensors'\nrefiner = 'org/tiny-sd'\nlora = ['a.safetensors:0.5', '~/b']\n"
                     "lora-dir = '/abs'\noutput = 'out/'\n");
  const CommandLine line = parse_command_line({"-p", "x", "--config", config.string()});
  const fs::path folder = scratch_ / "conf";
  EXPECT_EQ(line.options.load.vae, folder / "vae.safetensors");
  EXPECT_EQ(line.options.load.refiner, scratch_ / "home/.cache/huggingface/hub/models--org--tiny-sd/snapshots/bbbb");
  EXPECT_EQ(line.options.request.loras[0].path, folder / "a.safetensors");
  EXPECT_EQ(line.options.request.loras[1].path, scratch_ / "home/b");
  EXPECT_EQ(line.options.run.lora_dir, "/abs");
  EXPECT_EQ(line.options.output.path, "out/") << "what is written goes where the program runs";
}

}  // namespace
}  // namespace sdgen::cli
