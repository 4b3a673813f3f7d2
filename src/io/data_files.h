// Files that come with sdgen.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace sdgen {

// The folder of the running program; empty where the system does not tell.
std::filesystem::path program_folder();

// Where data of this name may lie, in the order in which they are looked for: $SDGEN_DATA, the models beside the build
// tree, and the install prefix's share/sdgen.
std::vector<std::filesystem::path> data_places(const std::string& name);

}  // namespace sdgen
