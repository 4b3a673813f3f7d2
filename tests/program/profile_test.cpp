// --profile, and what the networks' precision does to a picture.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "image/picture.h"
#include "program/program.h"

namespace sdgen::test {
namespace {

class Profiling : public ProgramWithModel {
 protected:
  Words words(const Words& more) {
    Words all = {"-m", model(), "-p", "a red fox", "-s", "7", "--scheduler", "ddim", "--steps", "3"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

TEST_F(Profiling, WritesATraceOfStagesAndOperators) {
  ASSERT_EQ(run(words({"-o", "fox.png", "--profile", "trace.json"})).exit_code, 0);
  ASSERT_EQ(run(words({"-o", "plain.png"})).exit_code, 0);
  EXPECT_EQ(contents(folder_ / "fox.png"), contents(folder_ / "plain.png"));
  const auto trace = nlohmann::json::parse(contents(folder_ / "trace.json"));
  std::map<std::string, int> events;
  for (const auto& event : trace.at("traceEvents"))
    if (event.value("ph", "") == "X") ++events[event.at("name")];
  for (const char* stage : {"text", "denoise", "decode"}) EXPECT_EQ(events[stage], 1) << stage;
  EXPECT_EQ(events["load"], 2) << "what LoRAs do not change, and what they do";
  for (const char* operation : {"sdgen::group_norm", "sdgen::attention"}) EXPECT_GE(events[operation], 3) << operation;
}

TEST_F(Profiling, KeepsWhatIsThere) {
  ASSERT_EQ(run(words({"-o", "fox.png"})).exit_code, 0);
  const Outcome refused = run(words({"-o", "other.png", "--profile", "fox.png", "--no-clobber"}));
  EXPECT_EQ(refused.exit_code, 4);
  EXPECT_TRUE(contains(refused.err, "fox.png exists")) << refused.err;
  EXPECT_FALSE(fs::exists(folder_ / "other.png"));
  EXPECT_EQ(run(words({"-o", "other.png", "--profile", "fox.png/trace.json"})).exit_code, 4);
  EXPECT_EQ(run(words({"-o", "other.png", "--profile", "new/folder/trace.json"})).exit_code, 0);
  EXPECT_TRUE(fs::exists(folder_ / "new/folder/trace.json"));
  EXPECT_EQ(run(words({"-o", "other.png", "--profile", "fox.png"})).exit_code, 0);
  EXPECT_TRUE(contains(contents(folder_ / "fox.png"), "traceEvents"));
}

double psnr(const Image& a, const Image& b) {
  double squares = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) squares += std::pow(double(a.rgb[i]) - double(b.rgb[i]), 2);
  return 10 * std::log10(255.0 * 255.0 * double(a.rgb.size()) / squares);
}

// 53 to 55 dB on the machine where this was written; a layer that goes wrong shows as less than 20.
TEST_F(Program, Bfloat16IsNearFloat32) {
  for (const char* dtype : {"float32", "bfloat16"})
    ASSERT_EQ(run({"-p", "a red apple on a blue background", "-s", "3", "--dtype", dtype, "-o", concat(dtype, ".png")})
                  .exit_code,
              0);
  EXPECT_GT(psnr(read_picture(folder_ / "float32.png"), read_picture(folder_ / "bfloat16.png")), 40);
}

}  // namespace
}  // namespace sdgen::test
