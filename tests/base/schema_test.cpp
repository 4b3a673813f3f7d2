// The JSON Schema of lines and records: that it is one, and says what the options' own readers say.
#include "cli/schema.h"

#include <gtest/gtest.h>

#include "base/option_samples.h"
#include "base/schema_validator.h"
#include "base/scratch.h"
#include "cli/batch_file.h"
#include "cli/options.h"

namespace sdgen::cli {
namespace {

struct Schema : testing::Test {
  // Do the options take it as a line of a batch file?
  bool read(const OrderedJson& line) {
    try {
      Options options;
      apply(checked(settings_of(Json::parse(line.dump())), rows_), rows_, options);
      return true;
    } catch (const Error&) {
      return false;
    }
  }
  std::vector<OptionRow> rows_ = option_rows();
  SchemaValidator validator_{schema(rows_)};
};

TEST_F(Schema, HasEveryOptionOfAPictureWithItsValues) {
  for (const OptionRow& row : rows_)
    for (const Sample& sample : samples(row)) {
      const OrderedJson line{{key_of(row.name()), sample.recorded}};
      EXPECT_EQ(validator_.satisfies("line", line), row.scope == Scope::picture) << line;
      EXPECT_TRUE(row.scope != Scope::picture || read(line)) << line;
      OrderedJson record{{"sdgen", "1"}, {"scheduler_used", "ddim"}, {"hashes", OrderedJson::object()}};
      record.update(line);
      EXPECT_TRUE(validator_.satisfies("record", record)) << record;
    }
}

TEST_F(Schema, RefusesWhatTheOptionsRefuse) {
  for (const OptionRow& row : rows_) {
    if (row.scope != Scope::picture) continue;
    std::vector<OrderedJson> wrong = {OrderedJson::object(), {{{"a", 1}}}};
    switch (row.value.kind) {
      case Value::Kind::integer:
        wrong.insert(wrong.end(), {row.value.by_chance ? -2 : -1, 0.5, "many"});
        if (row.value.least > 0) wrong.push_back(row.value.least - 1);
        if (row.value.most < UINT64_MAX) wrong.push_back(row.value.most + 1);
        break;
      case Value::Kind::real:
        wrong.insert(wrong.end(), {row.value.low - 1, row.value.high + 1, "many"});
        break;
      case Value::Kind::words:
        wrong.insert(wrong.end(), {"no-such-word", ""});
        break;
      case Value::Kind::text:
        if (!row.value.pattern.empty()) wrong.insert(wrong.end(), {"", "1;1", "1x1x1x", "x", "1,"});
        break;
      case Value::Kind::path:
        wrong.push_back("");
        break;
      default:
        break;
    }
    for (const OrderedJson& value : wrong) {
      const OrderedJson line{{key_of(row.name()), value}};
      EXPECT_FALSE(read(line)) << line;
      EXPECT_FALSE(validator_.satisfies("line", line)) << line;
    }
  }
}

TEST_F(Schema, KnowsNamesAndNoOthers) {
  EXPECT_FALSE(validator_.satisfies("line", {{"cfg_scale", 3}, {"vae", "x"}}));
  EXPECT_TRUE(validator_.satisfies("line", {{"lora", {"x:0.5", "y"}}}));
  EXPECT_TRUE(validator_.satisfies("line", {{"cfg_scale", 3}, {"sampler", "DPM++ 2M Karras"}}));
  EXPECT_FALSE(validator_.satisfies("line", {{"cfg_scal", 3}}));
  EXPECT_FALSE(validator_.satisfies("line", {{"output", "x.png"}}));
  EXPECT_FALSE(validator_.satisfies("record", {{"prompt", "a fox"}}));
}

}  // namespace
}  // namespace sdgen::cli
