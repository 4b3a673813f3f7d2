#include "io/json.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/scratch.h"

namespace sdgen {
namespace {

std::string refusal(std::string_view text, int max_depth = 16, std::size_t max_values = 1000) {
  return message_of(Fault::input, [&] { parse_json(text, "x.json", max_depth, max_values); });
}

Config config(std::string_view text) { return Config(parse_json(text, "x.json"), "x.json"); }

template <class Get>
std::string wrong(std::string_view text, Get get) {
  return message_of(Fault::input, [&] { get(config(text)); });
}

std::string nested(int depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(ParseJson, ReadsEveryKindOfValue) {
  const Json json = parse_json(R"( {"a": [1, -2, 3.5, true, false, null, "\u00e9\ud83d\ude00"], "b": {}} )", "x.json");
  EXPECT_EQ(json["a"].size(), 7u);
  EXPECT_EQ(json["a"][0], 1);
  EXPECT_EQ(json["a"][1], -2);
  EXPECT_EQ(json["a"][2], 3.5);
  EXPECT_TRUE(json["a"][3].get<bool>());
  EXPECT_TRUE(json["a"][5].is_null());
  EXPECT_EQ(json["a"][6], "é😀");
  EXPECT_EQ(json["b"], Json::object());
  EXPECT_EQ(parse_json("18446744073709551615", "x.json"), std::numeric_limits<std::uint64_t>::max());
}

TEST(ParseJson, KeepsOrderOfListsAndPlacesOfNestedValues) {
  EXPECT_EQ(parse_json(R"([{"a":{"b":[[1],[2,[3]]]},"c":4},[],5])", "x.json").dump(),
            R"([{"a":{"b":[[1],[2,[3]]]},"c":4},[],5])");
}

TEST(ParseJson, RefusesWhatIsNoJson) {
  for (const char* text :
       {"{",     "}",       "[1,]",        "{\"a\":}", "{\"a\" 1}", "{a:1}", "'a'",   "\"a",   "nul",           "01",
        "+1",    "1.",      ".5",          "1e",       "--1",       "0x10",  "[1] 2", "{} {}", "// comment\n1", "NaN",
        "[1 2]", "\"\\x\"", "\"\\ud800\"", "\"\n\"",   " "}) {
    const std::string message = refusal(text);
    EXPECT_CONTAINS(message, "x.json: is not valid JSON: ");
    EXPECT_FALSE(contains(message, "json.exception")) << message;
  }
  EXPECT_CONTAINS(refusal(""), "is empty");
}

TEST(ParseJson, SaysWhereTheFaultIs) { EXPECT_CONTAINS(refusal("{\n  \"a\": x\n}"), "line 2, column 8"); }

TEST(ParseJson, RefusesTextAfterNul) {
  EXPECT_CONTAINS(refusal(std::string_view("{}\0{\"a\":1}", 10)), "NUL byte at offset 2");
  EXPECT_CONTAINS(refusal(std::string_view("{}\0", 3)), "NUL byte at offset 2");
}

TEST(ParseJson, RefusesInvalidUtf8) {
  for (const char* bytes : {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80"}) {
    EXPECT_CONTAINS(refusal(std::string("\"a") + bytes + "\""), "is not valid UTF-8 at offset 2");
  }
}

TEST(ParseJson, RefusesDuplicateKeysOfOneObjectOnly) {
  EXPECT_CONTAINS(refusal(R"({"a":1,"b":2,"a":1})"), "has the key 'a' twice");
  EXPECT_CONTAINS(refusal(R"({"x":[{"b":{},"\u0062":3}]})"), "has the key 'b' twice");
  EXPECT_EQ(parse_json(R"([{"a":{"a":1}},{"a":2}])", "x.json").size(), 2u);
}

TEST(ParseJson, CapsDepth) {
  EXPECT_EQ(parse_json(nested(3), "x.json", 3).dump(), "[[[]]]");
  EXPECT_CONTAINS(refusal(nested(4), 3), "is nested deeper than 3");
  EXPECT_CONTAINS(refusal(nested(5'000'000)), "is nested deeper than 16");
  EXPECT_CONTAINS(refusal(R"({"a":{"a":{}}})", 2), "is nested deeper than 2");
  EXPECT_EQ(parse_json("[[],[[]],[]]", "x.json", 3).size(), 3u) << "siblings are not nested";
}

TEST(ParseJson, CapsTheNumberOfValues) {
  EXPECT_EQ(parse_json("[1,2,3]", "x.json", 16, 4).size(), 3u);
  EXPECT_CONTAINS(refusal("[1,2,3]", 16, 3), "holds more than 3 values");
  EXPECT_CONTAINS(refusal(R"({"a":{"b":1}})", 16, 2), "holds more than 2 values");
}

TEST(ParseJson, ReadsPythonsInfinityOutsideOfStrings) {
  const Json json = parse_json(R"({"a":-Infinity,"b":[Infinity],"c":"\"Infinity\\","d":"-Infinity"})", "x.json");
  EXPECT_EQ(json["a"], -std::numeric_limits<double>::infinity());
  EXPECT_EQ(json["b"][0], std::numeric_limits<double>::infinity());
  EXPECT_EQ(json["c"], "\"Infinity\\");
  EXPECT_EQ(json["d"], "-Infinity");
  EXPECT_CONTAINS(refusal("[+Infinity]"), "is not valid JSON");
}

TEST(ParseJson, MakesWhatItQuotesHarmless) {
  const std::string message = refusal("{\"a\\u001b[31m\":1,\"a\\u001b[31m\":2}");
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
  EXPECT_CONTAINS(message, "'a\\x1b[31m'");
  EXPECT_LT(refusal("{\"" + std::string(100'000, 'k') + "\" 1}").size(), 1000u);
}

TEST(ReadJson, ReadsFilesOfBoundedSize) {
  const Scratch scratch;
  const auto path = scratch.write("a.json", "{\"a\": 1}");
  EXPECT_EQ(read_json(path)["a"], 1);
  EXPECT_EQ(read_json(path, 8)["a"], 1);
  const std::string message = message_of(Fault::input, [&] { read_json(path, 7); });
  EXPECT_CONTAINS(message, path.string());
  EXPECT_CONTAINS(message, "has 8 bytes, at most 7");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { read_json(scratch / "b.json"); }), "No such file");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { read_json(scratch.folder()); }), "is a folder");
}

TEST(Config, GivesValuesAndFallbacks) {
  const Config c = config(R"({"b":true,"i":-7,"n":2.5,"s":"x","null":null,"is":[1,2],"ns":[1,2.5],"ss":["a","b"]})");
  EXPECT_EQ(c.who(), "x.json");
  EXPECT_TRUE(c.has("b"));
  EXPECT_FALSE(c.has("null"));
  EXPECT_FALSE(c.has("absent"));
  EXPECT_TRUE(c.boolean("b", false));
  EXPECT_TRUE(c.boolean("absent", true));
  EXPECT_EQ(c.integer("i", 0), -7);
  EXPECT_EQ(c.integer("null", 3), 3);
  EXPECT_EQ(c.number("n", 0), 2.5);
  EXPECT_EQ(c.number("i", 0), -7.0);
  EXPECT_EQ(c.number("absent", 0.5), 0.5);
  EXPECT_EQ(c.string("s", "y"), "x");
  EXPECT_EQ(c.string("null", "y"), "y");
  EXPECT_EQ(c.integers("is"), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(c.numbers("ns"), (std::vector<double>{1, 2.5}));
  EXPECT_EQ(c.strings("ss"), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(c.integers("absent").empty());
  EXPECT_TRUE(c.numbers("null").empty());
}

TEST(Config, AnEmptyListIsNoAbsence) {
  const Config c = config(R"({"k":[]})");
  const std::string expected = "x.json: 'k' is a list of 0, expected a list of ";
  EXPECT_CONTAINS(message_of(Fault::input, [&] { c.integers("k"); }), expected + "integers");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { c.numbers("k"); }), expected + "finite numbers");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { c.strings("k"); }), expected + "strings");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { c.integers("k", 2, 8); }), "a list of 0, expected one integer");
}

TEST(Config, TakesOneIntegerForAll) {
  const Config c = config(R"({"one":5,"list":[5,10,20]})");
  EXPECT_EQ(c.integers("one", 3, 8), (std::vector<std::int64_t>{5, 5, 5}));
  EXPECT_EQ(c.integers("list", 3, 8), (std::vector<std::int64_t>{5, 10, 20}));
  EXPECT_EQ(c.integers("absent", 2, 8), (std::vector<std::int64_t>{8, 8}));
  EXPECT_CONTAINS(message_of(Fault::input, [&] { c.integers("list", 4, 8); }),
                  "x.json: 'list' is a list of 3, expected one integer or a list of 4");
}

TEST(Config, ConvertsNothing) {
  const auto integer = [](const Config& c) { c.integer("k", 0); };
  EXPECT_EQ(wrong(R"({"k":1.9})", integer), "x.json: 'k' is 1.9, expected an integer of 64 bits");
  EXPECT_EQ(wrong(R"({"k":1.0})", integer), "x.json: 'k' is 1.0, expected an integer of 64 bits");
  EXPECT_CONTAINS(wrong(R"({"k":18446744073709551615})", integer), "'k' is 18446744073709551615, expected");
  EXPECT_CONTAINS(wrong(R"({"k":18446744073709551616})", integer), "expected an integer of 64 bits");
  EXPECT_CONTAINS(wrong(R"({"k":9223372036854775808})", integer), "expected an integer of 64 bits");
  EXPECT_CONTAINS(wrong(R"({"k":"1"})", integer), "'k' is \"1\", expected an integer");
  EXPECT_CONTAINS(wrong(R"({"k":true})", integer), "'k' is true, expected an integer");
  EXPECT_EQ(config(R"({"k":9223372036854775807})").integer("k", 0), std::numeric_limits<std::int64_t>::max());
  EXPECT_EQ(config(R"({"k":-9223372036854775808})").integer("k", 0), std::numeric_limits<std::int64_t>::min());

  EXPECT_CONTAINS(wrong(R"({"k":1})", [](const Config& c) { c.boolean("k", false); }), "expected true or false");
  EXPECT_CONTAINS(wrong(R"({"k":"1"})", [](const Config& c) { c.number("k", 0); }), "expected a number");
  EXPECT_CONTAINS(wrong(R"({"k":1})", [](const Config& c) { c.string("k", ""); }), "expected a string");
  EXPECT_CONTAINS(wrong(R"({"k":[1,2.0]})", [](const Config& c) { c.integers("k"); }),
                  "'k[1]' is 2.0, expected a list of integers");
  EXPECT_CONTAINS(wrong(R"({"k":3})", [](const Config& c) { c.numbers("k"); }), "expected a list of finite numbers");
  EXPECT_CONTAINS(wrong(R"({"k":[null]})", [](const Config& c) { c.numbers("k"); }), "'k[0]' is null");
  EXPECT_CONTAINS(wrong(R"({"k":["a",{}]})", [](const Config& c) { c.strings("k"); }), "'k[1]' is an object of 0");
  EXPECT_CONTAINS(wrong("[1]", [](const Config&) {}), "x.json: is a list of 1, expected a JSON object");
}

TEST(Config, TakesInfinityOnlyWhereTheDefaultIsInfinite) {
  const double infinity = std::numeric_limits<double>::infinity();
  const Config c = config(R"({"lambda_min_clipped": -Infinity})");
  EXPECT_EQ(c.number("lambda_min_clipped", -infinity), -infinity);
  EXPECT_CONTAINS(message_of(Fault::input, [&] { c.number("lambda_min_clipped", 0); }), "is infinite");
}

TEST(Config, NamesWhatIsNotSupported) {
  const Config c = config(R"({"act_fn":"mish","n":3})");
  EXPECT_EQ(message_of(Fault::input, [&] { c.unsupported("act_fn", "only silu is"); }),
            "x.json: act_fn = \"mish\" is not supported (only silu is)");
  EXPECT_EQ(message_of(Fault::input, [&] { c.require("n", 4); }), "x.json: n = 3 is not supported (only 4 is)");
  c.require("n", 3);
  c.require("absent", "x");
}

}  // namespace
}  // namespace sdgen
