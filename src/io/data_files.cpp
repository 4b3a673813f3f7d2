#include "io/data_files.h"

#include <cstdlib>

namespace sdgen {

namespace fs = std::filesystem;

fs::path program_folder() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();  // empty on error
}

std::vector<fs::path> data_places(const std::string& name) {
  std::vector<fs::path> places;
  if (const char* data = std::getenv("SDGEN_DATA"); data && *data) places.push_back(fs::path(data) / name);
  if (const fs::path program = program_folder(); !program.empty()) {
    places.push_back(program.parent_path() / "models" / name);
    places.push_back(program.parent_path() / "share" / "sdgen" / name);
  }
  return places;
}

}  // namespace sdgen
