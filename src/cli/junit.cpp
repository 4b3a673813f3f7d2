#include "cli/junit.h"

#include <algorithm>
#include <cstdio>

#include "cli/process.h"
#include "io/utf8.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

// Within quotes, or between tags (https://www.w3.org/TR/xml/#charsets).
std::string xml(std::string_view text) {
  std::string result;
  const std::string clean = printable_lines(text, kMostMessage);  // no control characters, valid UTF-8
  for (std::size_t at = 0; at < clean.size();) {
    const char32_t c = next_character(clean, at);
    if (c == '&')
      result += "&amp;";
    else if (c == '<')
      result += "&lt;";
    else if (c == '>')
      result += "&gt;";
    else if (c == '"')
      result += "&quot;";
    else if (c == '\n' || c == '\r' || c == '\t')
      result += concat("&#", int(c), ";");
    else
      append_utf8(result, c == 0xFFFE || c == 0xFFFF ? kReplacement : c);
  }
  return result;
}

std::string attribute(const char* name, std::string_view value) { return concat(' ', name, "=\"", xml(value), '"'); }

std::string seconds(double time) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3f", time);
  return attribute("time", text);
}

}  // namespace

std::string junit(const std::string& suite, std::span<const TestCase> cases) {
  double total = 0;
  for (const TestCase& each : cases) total += each.seconds;
  const auto count = [&](TestCase::Outcome outcome) {
    return std::to_string(std::ranges::count(cases, outcome, &TestCase::outcome));
  };
  const std::string counts =
      concat(attribute("name", suite), attribute("tests", std::to_string(cases.size())),
             attribute("failures", count(TestCase::Outcome::failed)),
             attribute("errors", count(TestCase::Outcome::error)), attribute("skipped", "0"), seconds(total));
  std::string text =
      concat("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites", counts, ">\n  <testsuite", counts, ">\n");
  for (const TestCase& each : cases) {
    text += concat("    <testcase", attribute("classname", suite), attribute("name", each.name), seconds(each.seconds));
    if (each.outcome == TestCase::Outcome::passed) {
      text += "/>\n";
      continue;
    }
    const char* tag = each.outcome == TestCase::Outcome::failed ? "failure" : "error";
    text += concat(">\n      <", tag, attribute("message", each.message.empty() ? each.type : each.message),
                   attribute("type", each.type), ">", xml(each.message), "</", tag, ">\n    </testcase>\n");
  }
  return text + "  </testsuite>\n</testsuites>\n";
}

}  // namespace sdgen::cli
