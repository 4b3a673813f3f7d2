// The report of `sdgen inspect` as people and scripts get it.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/scratch.h"
#include "cli/report_text.h"
#include "io/utf8.h"

namespace sdgen::cli {
namespace {

using Json = nlohmann::ordered_json;

TEST(Report, AlignsWhatPeopleRead) {
  const Json report = {
      {"file", "a.safetensors"},
      {"kind", "checkpoint"},
      {"format", "safetensors"},
      {"layout", "original"},
      {"family", "SDXL"},
      {"prediction_type", "v_prediction"},
      {"zero_snr", true},
      {"native_size", {1024, 768}},
      {"components",
       {{{"name", "unet"}, {"parameters", 2567463684}, {"bytes", 5134927368}, {"dtypes", {{"F16", 2}, {"F32", 1}}}}}},
      {"unread", {{"count", 6}, {"names", {"a", "b", "c", "d", "e", "f"}}}},
      {"files", {{{"file", "a"}, {"bytes", 5}, {"sha256", "0123"}, {"a1111_hash", "01"}}}},
  };
  EXPECT_EQ(report_text(report),
            "a.safetensors\n"
            "  kind            checkpoint (safetensors, original names)\n"
            "  family          SDXL\n"
            "  prediction      v_prediction, zero terminal SNR\n"
            "  native size     1024x768\n"
            "  unet            2,567,463,684 parameters, 5.13 GB, F16 x 2, F32 x 1\n"
            "  not read        6 tensors: a, b, c, d, ...\n"
            "  sha256          0123 (AUTOMATIC1111: 01)\n");
}

TEST(Report, DigitsAreInThrees) {
  for (const auto& [number, text] :
       {std::pair{7, "7"}, {123, "123"}, {1234, "1,234"}, {123456, "123,456"}, {1234567, "1,234,567"}}) {
    const Json part = {{"name", "unet"}, {"parameters", number}, {"bytes", 4}, {"dtypes", {{"F32", 1}}}};
    EXPECT_CONTAINS(report_text({{"file", "a"}, {"kind", "checkpoint"}, {"components", {part}}}),
                    concat("  unet            ", text, " parameters, 4 bytes, F32\n"));
  }
}

TEST(Report, SharesOfEncodingsAndTheSizeInMemory) {
  const Json part = {{"name", "transformer"},
                     {"parameters", 2000},
                     {"bytes", 1000},
                     {"dtypes", {{"F32", 3}, {"NF4", 2}}},
                     {"dtype_bytes", {{"F32", 126}, {"NF4", 874}}},
                     {"memory", 937}};
  EXPECT_CONTAINS(
      report_text({{"file", "a"}, {"kind", "checkpoint"}, {"components", {part}}}),
      "  transformer     2,000 parameters, 1000 bytes, F32 x 3 (13 %), NF4 x 2 (87 %); in memory 937 bytes\n");
}

TEST(Report, KeepsTheLinesOfAPrompt) {
  const Json report = {{"file", "a\x1b.png"}, {"kind", "picture"}, {"format", "png"}, {"parameters", "x\nSteps: 2\n"}};
  EXPECT_EQ(report_text(report),
            "a\\x1b.png\n"
            "  kind            picture (png)\n"
            "  parameters      x\n"
            "                  Steps: 2\n");
}

TEST(Report, JsonIsOneLineOfUtf8) {
  const std::string line = report_json({{"file", "caf\xe9\n"}, {"kind", "unknown"}});
  EXPECT_EQ(line, "{\"file\":\"caf\xEF\xBF\xBD\\n\",\"kind\":\"unknown\"}\n");
  EXPECT_EQ(valid_utf8_prefix(line), line.size());
}

}  // namespace
}  // namespace sdgen::cli
