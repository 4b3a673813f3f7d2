// Output names: templates, safe file names, and what a run writes.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "base/scratch.h"
#include "cli/command_line.h"
#include "cli/jobs.h"
#include "cli/model_path.h"
#include "cli/names.h"
#include "cli/results.h"
#include "io/file.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

namespace fs = std::filesystem;

// A folder that lives as long as the test.
class CliNames : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "sdgen-names-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { fs::remove_all(folder_); }
  void touch(const std::string& name) { std::ofstream(folder_ / name) << "x"; }

  Options options(const std::string& output) {
    Options o;
    o.request.prompt = "a fox";
    o.request.seed = 7;
    o.output.path = (folder_ / output).string();
    return o;
  }

  fs::path folder_;
};

// What the options ask for without a batch file.
struct Plan {
  std::vector<Request> requests;
  std::vector<fs::path> files, skipped;
  std::uint64_t first_seed = 0;
  bool random_seed = false;
};
Plan make_plan(const Options& options, const std::string& model) {
  const CommandLine command{options, {}, {}, {}, {}};
  Jobs jobs(command, model, {});
  Plan plan{{}, {}, {}, jobs.first_seed(), jobs.random_seed()};
  while (auto line = jobs.next())
    for (Job& job : *line) plan.requests.push_back(job.request), plan.files.push_back(job.file);
  for (const Job& job : jobs.take_skipped()) plan.skipped.push_back(job.file);
  return plan;
}

Fault fault_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_STRNE(error.what(), "");
    return error.fault();
  }
  ADD_FAILURE() << "nothing was thrown";
  return Fault::internal;
}

TEST(NameTemplate, FillsFields) {
  const NameFields fields{42, 18446744073709551615u, "a red/blue fox", "sd-1.5"};
  const auto expand = [&](const char* text) { return NameTemplate(text).expand(fields); };
  EXPECT_EQ(expand("plain.png"), "plain.png");
  EXPECT_EQ(expand("out/{index}.png"), "out/42.png");
  EXPECT_EQ(expand("{index:06}-{seed}.png"), "000042-18446744073709551615.png");
  EXPECT_EQ(expand("{index:6}{index:1}"), "00004242");
  EXPECT_EQ(expand("{prompt}.{model}"), "a_red_blue_fox.sd-1.5");
  EXPECT_EQ(expand("{{{index}}}"), "{42}");
  EXPECT_EQ(expand(""), "");
}

TEST(NameTemplate, RefusesWhatItDoesNotKnow) {
  for (const char* text : {"{", "}", "{index", "index}", "{}", "{step}", "{Index}", "{index:}", "{index:x}",
                           "{index:0}", "{index:21}", "{index:-6}", "{prompt:5}", "{model:05}", "{{index}"}) {
    EXPECT_EQ(fault_of([&] { NameTemplate{text}; }), Fault::usage) << text;
  }
}

TEST(NameTemplate, KnowsWhetherItTellsPicturesApart) {
  EXPECT_TRUE(NameTemplate("{index}").tells_pictures_apart());
  EXPECT_TRUE(NameTemplate("a{seed:020}").tells_pictures_apart());
  EXPECT_FALSE(NameTemplate("{prompt}{model}").tells_pictures_apart());
  EXPECT_FALSE(NameTemplate("{{index}}").tells_pictures_apart());
}

TEST(SafeFileName, KeepsWhatFileSystemsTake) {
  EXPECT_EQ(safe_file_name("a red fox"), "a_red_fox");
  EXPECT_EQ(safe_file_name("../../etc/passwd"), "etc_passwd");
  EXPECT_EQ(safe_file_name("a:b*c?d\"e<f>g|h\\i"), "a_b_c_d_e_f_g_h_i");
  EXPECT_EQ(safe_file_name("tabs\t\nand \x7f\x01 controls"), "tabs_and_controls");
  EXPECT_EQ(safe_file_name("-rf ~"), "rf");
  EXPECT_EQ(safe_file_name("(a:1.2), b"), "a_1.2_,_b");
  EXPECT_EQ(safe_file_name("一只红苹果"), "一只红苹果");
  EXPECT_EQ(safe_file_name("caf\xe9 noir"), "caf_noir");
  for (const char* text : {"", ".", "..", "///", "   ", "-._", "\xff"}) EXPECT_EQ(safe_file_name(text), "untitled");
}

TEST(SafeFileName, CutsAtCharacters) {
  EXPECT_EQ(safe_file_name("abcdef", 3), "abc");
  EXPECT_EQ(safe_file_name("abc def", 4), "abc");
  EXPECT_EQ(safe_file_name("红苹果", 7), "红苹");  // 3 bytes each
  EXPECT_EQ(safe_file_name("红", 2), "untitled");
  EXPECT_EQ(safe_file_name("a🍎", 4), "a");
  EXPECT_EQ(safe_file_name(std::string(1000, 'x')).size(), 80u);
}

TEST_F(CliNames, ModelNamesAreTheFoldersOrFiles) {
  fs::create_directory(folder_ / "sd-v1.5");
  touch("v1-5-pruned.safetensors");
  EXPECT_EQ(name_of(folder_ / "sd-v1.5"), "sd-v1.5");
  EXPECT_EQ(name_of(folder_ / "sd-v1.5" / ""), "sd-v1.5");
  EXPECT_EQ(name_of(folder_ / "sd-v1.5" / "."), "sd-v1.5");
  EXPECT_EQ(name_of(folder_ / "v1-5-pruned.safetensors"), "v1-5-pruned");
}

TEST_F(CliNames, PlanCountsSeedsFromTheFirst) {
  Options o = options("{index:02}-{seed}.png");
  o.request.seed = 18446744073709551614u;
  o.run.num_images = 3;
  const Plan plan = make_plan(o, "m");
  ASSERT_EQ(plan.requests.size(), 3u);
  EXPECT_EQ(plan.requests[0].seed, 18446744073709551614u);
  EXPECT_EQ(plan.requests[1].seed, 18446744073709551615u);
  EXPECT_EQ(plan.requests[2].seed, 0u);
  EXPECT_EQ(plan.files[2], folder_ / "02-0.png");
  EXPECT_FALSE(plan.random_seed);
}

TEST_F(CliNames, PlanDrawsASeedOf32Bits) {
  Options o = options("x.png");
  o.request.seed.reset();
  const Plan a = make_plan(o, "m"), b = make_plan(o, "m");
  EXPECT_TRUE(a.random_seed);
  EXPECT_LT(a.first_seed, std::uint64_t{1} << 32);
  EXPECT_EQ(a.requests[0].seed, a.first_seed);
  EXPECT_NE(a.first_seed, b.first_seed);  // by chance equal once in 2^32 runs
}

TEST_F(CliNames, FoldersTakeTheDefaultNames) {
  EXPECT_EQ(make_plan(options(""), "m").files[0], folder_ / "sdgen-7.png");
  Options several = options("");
  several.run.num_images = 2;
  EXPECT_EQ(make_plan(several, "m").files[1], folder_ / "00001-8.png");
  several.output.path = folder_.string();  // without the slash
  EXPECT_EQ(make_plan(several, "m").files[1], folder_ / "00001-8.png");
  EXPECT_EQ(output_template(std::nullopt, DefaultNames::one).expand({0, 7, "", ""}), "sdgen-7.png");
  EXPECT_EQ(output_template(std::nullopt, DefaultNames::numbered).expand({3, 7, "", ""}), "00003-7.png");
}

std::string_view format_of_name(const std::optional<std::string>& output, const char* given = nullptr) {
  const auto& formats = image_formats();
  const auto said = std::ranges::find_if(formats, [&](const ImageFormat* f) { return given && f->word == given; });
  return output_format(output, given ? *said : nullptr).word;
}

TEST(OutputFormat, IsSaidByNameOrFlag) {
  EXPECT_EQ(format_of_name(std::nullopt), "png");
  EXPECT_EQ(format_of_name("x"), "png");
  EXPECT_EQ(format_of_name("a.b/x"), "png");
  EXPECT_EQ(format_of_name("x.Jpeg"), "jpeg");
  EXPECT_EQ(format_of_name("x.WebP"), "webp");
  EXPECT_EQ(format_of_name("{seed}.avif"), "avif");
  EXPECT_EQ(format_of_name("x.jxl"), "jxl");
  EXPECT_EQ(format_of_name("{seed}.jpg", "jpeg"), "jpeg");
  EXPECT_EQ(format_of_name("x.PNG", "png"), "png");
  EXPECT_EQ(format_of_name("-", "webp"), "webp");
  EXPECT_EQ(format_of_name("x.jpg/"), "png");
  for (const ImageFormat* format : image_formats())
    EXPECT_EQ(output_template("d/", DefaultNames::numbered, format).expand({3, 7, "", ""}),
              concat("d/00003-7", format->ending));
  for (const auto& [name, given] : {std::pair{"x.png", "jpeg"}, {"x.jpe", "png"}, {"x.webp", "jxl"}})
    EXPECT_CONTAINS(message_of(Fault::usage, [&, name = name, given = given] { format_of_name(name, given); }),
                    concat("--output: '", name, "' ends as another format"));
  for (const char* name : {"x.jfif", "x.JPE", "x.jif"}) EXPECT_EQ(format_of_name(name), "jpeg") << name;
  for (const auto& [name, format] :
       {std::pair{"x.gif", "GIF"}, {"{seed}.tga", "TGA"}, {"x.heic", "HEIC"}, {"x.tiff", "TIFF"}, {"x.svg", "SVG"}})
    EXPECT_CONTAINS(message_of(Fault::usage, [&, name = name] { format_of_name(name); }),
                    concat("--output: '", name, "' has the ending of ", format,
                           "; sdgen writes PNG, JPEG, WebP, AVIF and JPEG XL"));
  for (const char* name : {"x.v2", "x.", "x.final", "a fox, 2026.11", ".png", "x.e"})
    EXPECT_EQ(format_of_name(name), "png") << name;
}

TEST(OutputFormat, QualityIsForFormatsThatLose) {
  for (const char* name : {"x.jpg", "x.webp", "x.avif", "x.jxl"})
    EXPECT_EQ(parse_command_line({"-p", "x", "-o", name, "--quality", "80"}).options.output.quality, 80) << name;
  EXPECT_CONTAINS(message_of(Fault::usage,
                             [] {
                               parse_command_line({"-p", "x", "--quality", "80"});
                             }),
                  "--quality means nothing to PNG files");
  for (const char* number : {"0", "101", "x"})
    EXPECT_EQ(fault_of([&] { parse_command_line({"-p", "x", "-o", "x.jpg", "--quality", number}); }), Fault::usage);
}

TEST_F(CliNames, ExistingFilesAreRefusedReplacedOrSkipped) {
  touch("1.png");
  Options o = options("{index}.png");
  o.run.num_images = 3;
  EXPECT_EQ(fault_of([&] { make_plan(o, "m"); }), Fault::output);
  o.output.existing = Existing::replaced;
  EXPECT_EQ(make_plan(o, "m").files.size(), 3u);
  o.output.existing = Existing::kept;
  const Plan plan = make_plan(o, "m");
  ASSERT_EQ(plan.files.size(), 2u);
  EXPECT_EQ(plan.files[1], folder_ / "2.png");
  EXPECT_EQ(plan.requests[1].seed, 9u);  // as if nothing had been skipped
  EXPECT_EQ(plan.skipped, std::vector<fs::path>{folder_ / "1.png"});
}

TEST_F(CliNames, OneExplicitNameIsWrittenOver) {
  for (const char* name : {"x.png", "7.png", "sdgen-7.png"}) touch(name);
  EXPECT_EQ(make_plan(options("x.png"), "m").files[0], folder_ / "x.png");
  Options careful = options("x.png");
  careful.output.existing = Existing::refused;
  EXPECT_CONTAINS(message_of(Fault::output, [&] { make_plan(careful, "m"); }), "--no-clobber");
  for (const char* output : {"{seed}.png", ""})  // a template, a folder
    EXPECT_CONTAINS(message_of(Fault::output, [&] { make_plan(options(output), "m"); }),
                    "exists; --overwrite replaces it, --skip-existing keeps it");
  EXPECT_TRUE(names_one_file("a/{{x}}.png"));
  EXPECT_FALSE(names_one_file("a/{model}.png"));
  EXPECT_FALSE(names_one_file("a/"));
  EXPECT_FALSE(names_one_file(folder_.string()));
}

TEST_F(CliNames, WhatARunReadsIsNotReplacedUnasked) {
  const auto picture = folder_ / "photo.png";
  save_picture(picture, png_format(), {8, 8, std::vector<std::uint8_t>(8 * 8 * 3)}, {}, false);
  fs::create_symlink("photo.png", folder_ / "link.png");
  Options o = options("photo.png");
  o.inputs.init_image = (folder_ / "link.png").string();
  EXPECT_CONTAINS(message_of(Fault::output, [&] { make_plan(o, "m"); }),
                  "is what --init-image reads; --overwrite replaces it");
  o.output.existing = Existing::replaced;
  EXPECT_EQ(make_plan(o, "m").files[0], picture);
  for (auto member : std::vector<std::optional<std::string>& (*)(Options&)>{
           [](Options& o) -> auto& { return o.inputs.mask;
}
, [](Options& o) -> auto& { return o.inputs.depth; }
, [](Options& o) -> auto& { return o.process.from_image; }
, [](Options& o) -> auto& { return o.run.prompts; }
, [](Options& o) -> auto& { return o.process.config; }
,
}  // namespace
) {
  Options other = options("photo.png");
  member(other) = picture.string();
  EXPECT_EQ(fault_of([&] { require_not_an_input(other, picture); }), Fault::output);
}
}  // namespace sdgen::cli

TEST_F(CliNames, PlacesThatCannotBeWrittenAreFoundBeforehand) {
  touch("file");
  fs::create_symlink("nowhere", folder_ / "dangling");
  EXPECT_EQ(make_plan(options("missing/too/x.png"), "m").files[0], folder_ / "missing/too/x.png");  // made later
  for (const auto& output : {std::string("file/x.png"), std::string("file/missing/x.png"),
                             std::string("dangling/x.png"), std::string(300, 'x') + ".png"}) {
    EXPECT_EQ(fault_of([&] { make_plan(options(output), "m"); }), Fault::output) << output;
  }
  fs::create_directory(folder_ / "7.png");
  EXPECT_EQ(fault_of([&] { make_plan(options("{seed}.png"), "m"); }), Fault::output);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 3);  // no temporary file is left
}

TEST_F(CliNames, DevicesAreWrittenTo) {
  Options o = options("");
  o.output.path = "/dev/null";
  EXPECT_EQ(make_plan(o, "m").files[0], "/dev/null");
}

TEST_F(CliNames, ModelIsFoundWhereItIsLookedFor) {
  fs::create_directories(folder_ / "default");
  touch("default/model_index.json");
  unsetenv("SDGEN_MODEL");
  setenv("SDGEN_DATA", folder_.c_str(), 1);
  EXPECT_EQ(find_model(std::nullopt), folder_ / "default");
  EXPECT_EQ(find_model(folder_.string()), folder_);
  setenv("SDGEN_MODEL", folder_.c_str(), 1);
  EXPECT_EQ(find_model(std::nullopt), folder_);
  EXPECT_EQ(find_model((folder_ / "default").string()), folder_ / "default");
  EXPECT_EQ(fault_of([&] { find_model("/no/such/model"); }), Fault::input);
  setenv("SDGEN_MODEL", "/no/such/model", 1);
  EXPECT_EQ(fault_of([&] { find_model(std::nullopt); }), Fault::input);
  unsetenv("SDGEN_MODEL");
  unsetenv("SDGEN_DATA");
}

}  // namespace
}  // namespace sdgen::cli
