#include "formats/known_widths.h"

#include <algorithm>
#include <array>

#include "io/text.h"

namespace sdgen {
namespace {

struct Row {
  const char* family;
  std::int64_t context;              // what the cross-attention of its U-Net takes
  std::array<std::int64_t, 2> text;  // of its text encoders
};

constexpr Row kRows[] = {
    {"Stable Diffusion 1", 768, {768}},
    {"Stable Diffusion 2", 1024, {1024}},
    {"SDXL", 2048, {768, 1280}},
    {"SDXL refiner", 1280, {}},  // its encoder is SDXL's second
};

}  // namespace

std::string family_of_context(std::int64_t width) {
  for (const Row& row : kRows)
    if (row.context == width) return row.family;
  return "";
}

std::string family_of_stream(std::int64_t width) {
  switch (width) {
    case 3072:
      return "Flux";
    case 1536:
    case 2432:
      return "Stable Diffusion 3";
    case 3840:
      return "Z-Image";
    case 2304:
      return "Lumina-Image 2";
    default:
      return "";
  }
}

std::string language_model_of(std::int64_t width) {
  switch (width) {
    case 2304:
      return "Gemma-2-2b";
    case 2560:
      return "Qwen3-4B";
    case 3584:
      return "Qwen2.5-VL-7B";
    case 4096:
      return "Qwen3-8B";
    default:
      return "";
  }
}

std::string families_of_text(std::int64_t width) {
  std::vector<std::string> names;
  for (const Row& row : kRows)
    if (width > 0 && std::ranges::find(row.text, width) != row.text.end()) names.emplace_back(row.family);
  return joined(names, " or ");
}

std::string family_of_text(std::int64_t width) {
  const std::string names = families_of_text(width);
  return names.substr(0, names.find(" or "));
}

}  // namespace sdgen
