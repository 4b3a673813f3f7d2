// The report of `sdgen inspect` as it is printed.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace sdgen::cli {

// One line, newline included; always valid UTF-8.
std::string report_json(const nlohmann::ordered_json& report);

// Aligned lines for people: the path, then "  label   value". Reads the keys that inspect.h lists and leaves out what
// is absent.
std::string report_text(const nlohmann::ordered_json& report);

}  // namespace sdgen::cli
