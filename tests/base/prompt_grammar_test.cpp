// The prompt language: texts and what A1111 reads in them (its published cases among them), and time.
#include "text/prompt_grammar.h"

#include <gtest/gtest.h>

#include <ctime>
#include <string>
#include <vector>

#include "base/scratch.h"
#include "sdgen/sdgen.h"

namespace sdgen {
namespace {

using Parts = std::vector<PromptPart>;
using Schedule = std::vector<ScheduledPrompt>;
using Composed = std::vector<ComposedPrompt>;

std::string print(const Parts& parts) {
  std::string text;
  for (const PromptPart& part : parts) text += concat("{", part.text, "|", part.weight, "}");
  return text;
}

std::string print(const Schedule& schedule) {
  std::string text;
  for (const ScheduledPrompt& part : schedule) text += concat("{", part.until, "|", part.text, "}");
  return text;
}

std::string print(const Composed& prompts) {
  std::string text;
  for (const ComposedPrompt& part : prompts) text += concat("{", part.text, "|", part.weight, "}");
  return text;
}

struct Case {
  std::string prompt, expected;
};

TEST(PromptWeights, AreA1111s) {
  const Case cases[] = {
      {"normal text", "{normal text|1}"},
      {"an (important) word", "{an |1}{important|1.1}{ word|1}"},
      {"(unbalanced", "{unbalanced|1.1}"},
      {R"(\(literal\])", "{(literal]|1}"},
      {"(unnecessary)(parens)", "{unnecessaryparens|1.1}"},
      {"a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
       "{a |1}{house|1.573}{ |1.1}{on|1}{ a |1.1}{hill|0.55}{, sun, |1.1}{sky|1.4641}{.|1.1}"},
      {"", "{|1}"},
      {"()", "{|1}"},
      {"[fox]", "{fox|0.909091}"},
      {"(a: 1.5 )", "{a|1.5}"},
      {"(a:-1)(b:+2)(c:.5)(d:3.)", "{a|-1}{b|2}{c|0.5}{d|3}"},
      {"(a:x)", "{a:x|1.1}"},
      {"a:1.2)", "{a:1.2)|1}"},
      {"[a:1.2]", "{a:1.2|0.909091}"},
      {"a) b] (c", "{a) b] |1}{c|1.1}"},
      {R"(\\ \: \a \)", R"({\ : a |1})"},
      {"(a [b) c]", "{a |1.1}{b|1}{ c|0.909091}"},
      {"one BREAK two", "{one|1}{BREAK|-1}{two|1}"},
      {"one BREAK  BREAK two", "{one|1}{BREAK|-1}{|1}{BREAK|-1}{two|1}"},
      {"BREAKFAST UNBREAK break", "{BREAKFAST UNBREAK break|1}"},
      {"a,BREAK,b", "{a,|1}{BREAK|-1}{,b|1}"},
      {"(one BREAK two)", "{one|1.1}{BREAK|-1.1}{two|1.1}"},
      {"\u4e00(\u53ea:1.2)\u3000BREAK\u3000b", "{\u4e00|1}{\u53ea|1.2}{|1}{BREAK|-1}{b|1}"},
      {"(((a:1.1):1.2):1.3)", "{a|1.716}"},
      {"(a:0)", "{a|0}"},
  };
  for (const Case& c : cases) EXPECT_EQ(print(parse_weights(c.prompt)), c.expected) << c.prompt;
  EXPECT_DOUBLE_EQ(parse_weights("((house:1.3))")[0].weight, 1.3 * 1.1);
  EXPECT_TRUE(is_break(parse_weights("a BREAK b")[1]));
  EXPECT_FALSE(is_break(parse_weights("(a BREAK b)")[1]));
  for (const char* wrong : {"(a:1.2.3)", "(a:...)", "(a:-.)"})
    EXPECT_CONTAINS(message_of(Fault::usage, [&] { parse_weights(wrong); }), "is not a number");
}

TEST(PromptSchedule, IsA1111s) {
  const Case cases[] = {
      {"test", "{10|test}"},
      {"a [b:3]", "{3|a }{10|a b}"},
      {"a [b: 3]", "{3|a }{10|a b}"},
      {"a [[[b]]:2]", "{2|a }{10|a [[b]]}"},
      {"[(a:2):3]", "{3|}{10|(a:2)}"},
      {"a [b : c : 1] d", "{1|a b  d}{10|a  c  d}"},
      {"a[b:[c:d:2]:1]e", "{1|abe}{2|ace}{10|ade}"},
      {"a [unbalanced", "{10|a [unbalanced}"},
      {"a [b:.5] c", "{5|a  c}{10|a b c}"},
      {"((a][:b:c [d:3]", "{3|((a][:b:c }{10|((a][:b:c d}"},
      {"[a|(b:1.1)]", "{1|a}{2|(b:1.1)}{3|a}{4|(b:1.1)}{5|a}{6|(b:1.1)}{7|a}{8|(b:1.1)}{9|a}{10|(b:1.1)}"},
      {"[fe|]male", "{1|female}{2|male}{3|female}{4|male}{5|female}{6|male}{7|female}{8|male}{9|female}{10|male}"},
      {"[fe|||]male", "{1|female}{2|male}{3|male}{4|male}{5|female}{6|male}{7|male}{8|male}{9|female}{10|male}"},
      {"[a::3]", "{3|a}{10|}"},
      {"[::3]", "{3|}{10|}"},
      {"[:3]", "{3|}{10|}"},
      {"[3]", "{10|[3]}"},
      {"[a:b:0]", "{10|b}"},
      {"[a: b:-3]", "{10| b}"},
      {"[a:b:1.0]", "{10|a}"},
      {"[a:b:12]", "{10|a}"},
      {"[a:b:99999999999999999999]", "{10|a}"},
      {"[a:b:2.5e-1]", "{2|a}{10|b}"},
      {"[a:b:2\n]", "{2|a}{10|b}"},
      {"[x:1 2:3]", "{3|x}{10|1 2}"},
      {"[a:[b:c:1]:2]", "{1|a}{2|a}{10|c}"},
      {"[[a|b]:c:2]", "{1|a}{2|b}{3|c}{4|c}{5|c}{6|c}{7|c}{8|c}{9|c}{10|c}"},
      {"(a [b:c:2]:1.3)", "{2|(a b:1.3)}{10|(a c:1.3)}"},
      {R"([a\:b:c:2])", R"({2|a\:b}{10|c})"},
      {R"(\[a:b:2])", R"({10|\[a:b:2]})"},
      {"[a [b:c:2]", "{2|[a b}{10|[a c}"},
      {"a)b [c:d:2]]", "{2|a)b c]}{10|a)b d]}"},
      {"((a:b:c)[d:2])", "{2|((a:b:c))}{10|((a:b:c)d)}"},
      // What fits no rule is text.
      {"[a:b:c:3]", "{10|[a:b:c:3]}"},
      {"[a)b:c:2]", "{10|[a)b:c:2]}"},
      {"[(a:b:c):2]", "{10|[(a:b:c):2]}"},
      {"[a:b:.]", "{10|[a:b:.]}"},
      {"[a:b:+-3]", "{10|[a:b:+-3]}"},
      {"[a|b:2]", "{10|[a|b:2]}"},
      {"a [{b|d{:.5] c", "{10|a [{b|d{:.5] c}"},
      {"a | b [c:d:.5]", "{10|a | b [c:d:.5]}"},
      {"(a|b) [c:d:2]", "{10|(a|b) [c:d:2]}"},
      {"[c:d:2] a\\", "{10|[c:d:2] a\\}"},
  };
  for (const Case& c : cases) EXPECT_EQ(print(parse_schedule(c.prompt, 10)), c.expected) << c.prompt;
  EXPECT_EQ(print(parse_schedule("a [mountain:lake:0.25] and [an oak:a tree:0.75][ up::0.6][: down:0.25]", 100)),
            "{25|a mountain and an oak up}{60|a lake and an oak up down}{75|a lake and an oak down}"
            "{100|a lake and a tree down}");
}

TEST(PromptSchedule, IsLookedUpByCallsFromZero) {
  const Schedule schedule = parse_schedule("[a:b:3]", 10);
  EXPECT_EQ(text_at(schedule, 0), "a");
  EXPECT_EQ(text_at(schedule, 3), "a");
  EXPECT_EQ(text_at(schedule, 4), "b");
  EXPECT_EQ(text_at(schedule, 11), "b");
  EXPECT_EQ(text_at(parse_schedule("[a|b]", 10), 1), "a");
  EXPECT_EQ(text_at(parse_schedule("[a|b]", 10), 2), "b");
}

TEST(PromptComposition, IsA1111s) {
  const Case cases[] = {
      {"a cat", "{a cat|1}"},
      {"a cat AND a dog", "{a cat|1}{ a dog|1}"},
      {"a cat :1.2 AND a dog:-.5AND", "{a cat|1.2}{ a dog:-.5AND|1}"},
      {"a cat :1.2 AND a dog:-.5 AND ", "{a cat|1.2}{ a dog|-0.5}{|1}"},
      {"SAND ANDY and", "{SAND ANDY and|1}"},
      {"a : b : 2", "{a : b|2}"},
      {"a : b", "{a : b|1}"},
      {"a:1e3", "{a:1e3|1}"},
      {"a:1.2.3", "{a:1.2.3|1}"},
      {"(a:1.2)", "{(a:1.2)|1}"},
      {"a:12.", "{a|12}"},
      {"a:+3\n", "{a|3}"},
      {"AND", "{|1}{|1}"},
      {"a AND [b:c:2] :0.5", "{a|1}{ [b:c:2]|0.5}"},
  };
  for (const Case& c : cases) EXPECT_EQ(print(parse_composition(c.prompt)), c.expected) << c.prompt;
}

TEST(PromptWords, AreFoundInAnyCase) {
  Request request;
  const TextualInversionInfo info{"x", "<cat-toy>", "", 1};
  EXPECT_FALSE(mentions(request, info));
  request.prompt = "a cat";
  EXPECT_FALSE(mentions(request, info));
  request.negative_prompt = "a <Cat-Toy> here";
  EXPECT_TRUE(mentions(request, info));
}

// Cut in a character, the last one would be read beyond the end.
TEST(PromptGrammar, RefusesWhatIsNoUtf8) {
  for (const std::string_view text :
       {"a AND b\xA5 :0.7", "a AND \xF0\x9F", "[a\xC3:b:0.5]", "(a:1.2)\xE4\xBD", "\xFF"}) {
    const std::string exact(text);
    for (const std::string& found : {message_of(Fault::usage, [&] { parse_composition(exact); }),
                                     message_of(Fault::usage, [&] { parse_schedule(exact, 3); }),
                                     message_of(Fault::usage, [&] { parse_weights(exact); })})
      EXPECT_CONTAINS(found, "UTF-8");
  }
}

// A million characters of every kind, none of which may take more than linear time or recurse.
TEST(PromptGrammar, TakesLinearTime) {
  constexpr std::size_t many = 1'000'000;
  const auto repeat = [](std::string_view text) {
    std::string result;
    while (result.size() < many) result += text;
    return result;
  };
  for (const std::string_view text :
       {"(",     "[",  ")",      "]",     ":",      "|",     "\\", "\\(", "()", "(a)", "[a|b]", "(a:1.2)",
        "[a:2]", "a,", "BREAK ", " AND ", ":  1  ", "((a)[", "a)", "[a|", "(:", " ",   "\u4e00"}) {
    const std::string prompt = repeat(text);
    const std::clock_t begin = std::clock();  // of this process: other jobs do not count
    try {
      for (const ComposedPrompt& part : parse_composition(prompt))
        for (const ScheduledPrompt& at : parse_schedule(part.text, 2)) parse_weights(at.text);
    } catch (const Error& error) {
      const std::string what = error.what();
      EXPECT_TRUE(contains(what, "nested more than 100 deep") || contains(what, "joins more than 1000")) << what;
      EXPECT_EQ(error.fault(), Fault::usage);
    }
    EXPECT_LT(static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC, kSanitizersShare) << text;
  }
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { parse_weights(repeat("(")); }), "nested more than 100 deep");
  EXPECT_CONTAINS(message_of(Fault::usage, [&] { parse_schedule(repeat("["), 2); }), "nested more than 100 deep");
  EXPECT_NO_THROW(parse_weights(std::string(kDeepestBracket, '(') + "a" + std::string(kDeepestBracket, ')')));
}

}  // namespace
}  // namespace sdgen
