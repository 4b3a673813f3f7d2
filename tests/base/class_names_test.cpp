// Classes by number and by name.
#include "text/class_names.h"

#include <gtest/gtest.h>

#include "base/scratch.h"

namespace sdgen {
namespace {

const Json kLabels = {{"0", "tench, Tinca tinca"},  {"134", "crane"}, {"207", "golden retriever"}, {"517", "crane"},
                      {"2", "École, naïve art, ,"}, {"3", "7"}};

ClassNames names(const Json& labels) { return {Config({{"id2label", labels}}, "model_index.json"), 1000}; }
std::string refusal(const ClassNames& known, const std::string& prompt) {
  return message_of(Fault::usage, [&] { known.number_of(prompt); });
}

TEST(ClassNames, AreComparedWithoutCaseAndWhiteSpace) {
  const ClassNames known = names(kLabels);
  for (const char* prompt :
       {"golden retriever", "Golden Retriever", "  GOLDEN\t retriever\n", "golden\u00A0retriever", "207"})
    EXPECT_EQ(known.number_of(prompt), 207) << prompt;
  for (const char* prompt : {"tench", "tinca tinca", "tench, Tinca tinca", "0"})
    EXPECT_EQ(known.number_of(prompt), 0) << prompt;
  EXPECT_EQ(known.number_of("éCOLE"), 2);
  EXPECT_EQ(known.number_of("999"), 999);
  EXPECT_EQ(known.number_of("7"), 3) << "a name comes first";
}

TEST(ClassNames, OthersAreRefusedWithWhatIsNear) {
  const ClassNames known = names(kLabels);
  EXPECT_NE(refusal(known, "golden retreiver").find("the nearest names are 'golden retriever', "), std::string::npos);
  EXPECT_NE(refusal(known, "").find("none is called ''"), std::string::npos);
  EXPECT_NE(refusal(known, "crane").find("several classes are called 'crane': say which by its number: 134, 517"),
            std::string::npos);
  for (const char* number : {"1000", "99999999999999999999", "-1"})
    EXPECT_NE(refusal(known, number).find(concat("class ", number, " is outside 0..999")), std::string::npos) << number;
  EXPECT_NE(refusal(known, "1.5").find("none is called '1.5'"), std::string::npos);
  EXPECT_NE(refusal(known, "a\xFF").find("not valid UTF-8"), std::string::npos);
  const ClassNames nameless(Config(Json::object(), "model_index.json"), 10);
  EXPECT_EQ(nameless.number_of("9"), 9);
  EXPECT_NE(refusal(nameless, "tench").find("it has no names for them (id2label in model_index.json)"),
            std::string::npos);
}

TEST(ClassNames, ThatAreNoNamesAreErrorsOfTheFile) {
  for (const Json& labels : {Json("tench"), Json{{"1000", "x"}}, Json{{"-1", "x"}}, Json{{"one", "x"}}, Json{{"1", 2}}})
    EXPECT_NE(message_of(Fault::input, [&] { names(labels); }).find("model_index.json: id2label"), std::string::npos)
        << labels;
}

}  // namespace
}  // namespace sdgen
