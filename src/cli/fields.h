// What the command line calls the fields that the core's errors are about.
#pragma once

#include <string>
#include <string_view>

#include "sdgen/error.h"

namespace sdgen::cli {

// "mask_blur" -> "--mask-blur"
std::string flag_of(std::string_view field);

// An error's message for users of the command line.
inline std::string in_flags(const Error& error) { return error.message(flag_of); }

}  // namespace sdgen::cli
