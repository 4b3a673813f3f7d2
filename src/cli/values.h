// Readers of the values that are more than a number or a word. All throw Error(usage) that names flag, text and what
// was expected.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/arguments.h"
#include "sdgen/sdgen.h"

namespace sdgen::cli {

constexpr int kMostLayers = 1000;  // of a network, beyond all that there are

// Of contact sheets. Zeros: as it fits.
struct GridSize {
  int columns = 0, rows = 0;
  bool operator==(const GridSize&) const = default;
};

// A seed that is to be drawn by chance, as AUTOMATIC1111 writes it.
constexpr std::string_view kRandomSeed = "-1";

const std::string& device(const Argument& argument);                  // auto, cpu, cuda, cuda:1
Size size(const Argument& argument);                                  // 1024x768
Point point(const Argument& argument);                                // 0,128: left, top
Margins margins(const Argument& argument);                            // 0,0,64,0: left, top, right, bottom
std::vector<int> layers(const Argument& argument);                    // 7,8,9
Interval interval(const Argument& argument);                          // 0.2,0.8
StepCache step_cache(const Argument& argument);                       // deepcache:3; first-block:0.1
TextualInversion textual_inversion(const Argument& argument);         // cat.safetensors, cat.safetensors:my-cat
std::pair<std::size_t, std::size_t> shard(const Argument& argument);  // 0/8
GridSize grid(const Argument& argument);                              // 4x2; auto
std::string control_mode(const Argument& argument);                   // canny; 3; none: ""

constexpr const char* kNoControlMode = "none";

// As the readers read it.
std::string written(const Size& size);
std::string written(const Point& point);
std::string written(const Margins& margins);
std::string written(const std::vector<int>& layers);
std::string written(const Interval& interval);
std::string written(const StepCache& cache);
std::string written(const TextualInversion& inversion);
std::string written(const GridSize& size);
std::string written_control_mode(const std::string& mode);

}  // namespace sdgen::cli
