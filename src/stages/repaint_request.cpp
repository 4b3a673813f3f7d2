#include "stages/repaint_request.h"

#include <algorithm>

#include "sdgen/error.h"

namespace sdgen {
namespace {

void require(bool good, const char* message) {
  if (!good) throw Error(Fault::usage, message);
}

// Margin at the end and, if it alone grows, at the begin of a side.
void round_up(int& begin, int& end, int side, int factor) {
  const int missing = (factor - (begin + side + end) % factor) % factor;
  (begin > 0 && end == 0 ? begin : end) += missing;
}

}  // namespace

void require_repaint_meaning(const Models& models, const Request& r) {
  constexpr int kMost = 16384;  // pixels
  const Parts& parts = models.base;
  require(!r.mask || r.init_image, "a mask needs the picture that it lies on: see --init-image");
  require(!r.extend || r.init_image, "there is no picture to extend: see --init-image");
  require(!r.depth || r.init_image, "a depth map needs a picture to begin with: see --init-image");
  require(!r.mask_blur || r.mask, "there is no mask to blur: see --mask");
  require(!r.only_masked || repaints(r), "there is no masked part to work on alone: see --mask and --extend");
  const bool own_size = r.extend && r.init_image && !r.only_masked;
  const Size grown = own_size ? grown_size(r) : Size{};
  require(
      !own_size || (r.width.value_or(grown.width) == grown.width && r.height.value_or(grown.height) == grown.height),
      "an extended picture has its own size and its margins': leave out --width and --height, or work on what is "
      "new alone (--only-masked)");
  require(!r.depth || (!r.extend && !r.only_masked),
          "a depth map goes with whole pictures: it has no --extend and no "
          "--only-masked");
  for (const auto& [value, name] : {std::pair{r.mask_blur.value_or(0), "mask blur"},
                                    {r.only_masked.value_or(0), "padding"},
                                    {r.extend.value_or(Margins{}).left, "margin"},
                                    {r.extend.value_or(Margins{}).top, "margin"},
                                    {r.extend.value_or(Margins{}).right, "margin"},
                                    {r.extend.value_or(Margins{}).bottom, "margin"}})
    if (value < 0 || value > kMost) throw Error(Fault::usage, concat(name, ' ', value, " is outside 0..", kMost));
  require(r.extend != Margins{}, "margins of 0 on every side extend nothing");
  if (parts.beside == Beside::masked_picture && !repaints(r))
    throw Error(Fault::usage, concat(models.name, " is a model that repaints pictures (its U-Net takes ",
                                     2 * parts.latent_channels + 1,
                                     " channels): give it a picture with --init-image and with --mask what to repaint, "
                                     "or --extend"));
  if (parts.beside == Beside::depth && !r.depth)
    throw Error(Fault::usage, concat(models.name,
                                     " is a depth-to-image model: give it a picture with --init-image and its depth "
                                     "map with --depth (no depth estimator is built in)"));
  if (r.depth && parts.beside != Beside::depth)
    throw Error(Fault::usage,
                concat("--depth: ", models.name, " is not a depth-to-image model (Stable Diffusion 2 depth)"));
  if (models.refiner && models.refiner->beside != Beside::nothing)
    throw Error(Fault::usage, "--refiner: this model repaints pictures; a refiner takes latents alone");
}

void round_margins(Request& r, int factor) {
  if (!r.extend || r.only_masked) return;
  round_up(r.extend->left, r.extend->right, r.init_image->width, factor);
  round_up(r.extend->top, r.extend->bottom, r.init_image->height, factor);
}

Size grown_size(const Request& r) {
  const Margins m = r.extend.value_or(Margins{});
  return {r.init_image->width + m.left + m.right, r.init_image->height + m.top + m.bottom};
}

}  // namespace sdgen
