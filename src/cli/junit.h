// Reports in JUnit's XML, as far as GitHub's actions, GitLab and Jenkins read it
// (https://github.com/testmoapp/junitxml).
#pragma once

#include <span>
#include <string>

namespace sdgen::cli {

struct TestCase {
  // error: it could not be found out.
  enum class Outcome { passed, failed, error };

  std::string name;  // any bytes
  double seconds = 0;
  Outcome outcome = Outcome::passed;
  std::string type = {}, message = {};  // of what did not pass; any bytes
};

// The whole document: one suite, whose cases have its name as their class. What XML has no room for (control
// characters, bytes that are not UTF-8) is spelt out.
std::string junit(const std::string& suite, std::span<const TestCase> cases);

}  // namespace sdgen::cli
