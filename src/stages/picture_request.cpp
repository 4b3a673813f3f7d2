#include "stages/picture_request.h"

#include <algorithm>

#include "families/drawn_sizes.h"
#include "sdgen/error.h"
#include "stages/input_pictures.h"

namespace sdgen {
namespace {

// Margin at the end and, if it alone grows, at the begin of a side.
void round_up(int& begin, int& end, int side, int factor) {
  const int missing = (factor - (begin + side + end) % factor) % factor;
  (begin > 0 && end == 0 ? begin : end) += missing;
}

// The size of the init image with its margins.
Size grown_size(const Request& r) {
  const Margins m = r.extend.value_or(Margins{});
  return {r.init_image->width + m.left + m.right, r.init_image->height + m.top + m.bottom};
}

// Lets margins grow until the picture's sides are multiples of `factor`: on the right and at the bottom, or where only
// the left or the top grows, there. Nothing is done where the networks work on the masked part alone.
void round_margins(Request& r, int factor) {
  if (!r.extend || r.only_masked) return;
  round_up(r.extend->left, r.extend->right, r.init_image->width, factor);
  round_up(r.extend->top, r.extend->bottom, r.init_image->height, factor);
}

// Of a model that takes a picture into its channels.
void require_steering(const Models& models, const Request& r) {
  const FieldName controls{"controls"};
  if (r.controls.empty())
    throw Error(Fault::usage,
                concat(models.name, " is steered by a picture, of edges or of depth: give it one with ", controls));
  if (const Control& c = r.controls[0]; c != Control{c.image})
    throw Error(Fault::usage, concat(controls, ": ", models.name,
                                     " takes the picture into its channels: it has no scale, no start and no end"));
}

// Of a model that edits pictures.
void require_shown(const Models& models, const Request& r) {
  const ShownPictures& shown = models.base.shown;
  const FieldName references{"references"};
  if (r.references.empty()) return;
  if (shown.most == 0)
    throw Error(Fault::usage,
                concat(references, ": ", models.name, " is not a model that edits pictures (Flux.1 Kontext, FLUX.2); ",
                       FieldName{"init_image"}, " begins with one"));
  if (r.references.size() > std::size_t(shown.most))
    throw Error(Fault::usage, concat(references, ": ", models.name, " is shown ", shown.most,
                                     shown.most == 1 ? " picture, and " : " pictures at most, and ",
                                     r.references.size(), " are given"));
  for (const auto& picture : r.references) {
    const auto [least, most] = std::minmax(picture->width, picture->height);
    const std::string size = concat(references, ": a picture of ", picture->width, "x", picture->height, " is too ");
    if (least < shown.least_side)
      throw Error(Fault::input, concat(size, "small: ", models.name, " is shown pictures of at least ",
                                       shown.least_side, " pixels a side"));
    if (shown.most_lengthy > 0 && most > shown.most_lengthy * least)
      throw Error(Fault::input, concat(size, most == picture->width ? "wide: " : "high: ", models.name,
                                       " is shown pictures at most ", shown.most_lengthy, " times as long as wide"));
  }
}

void require_meaning(const Models& models, const Request& r) {
  const Parts& parts = models.base;
  const bool steered = parts.extra_channels == ExtraChannels::steering_picture;
  if (parts.finishes && !r.init_image)
    throw Error(
        Fault::usage,
        concat("this model is an SDXL refiner, which finishes another model's pictures: give the SDXL base model "
               "with ",
               FieldName{"model"}, " and this one with ", FieldName{"refiner"}, ", or a picture with ",
               FieldName{"init_image"}));
  if (r.init_image && !parts.defaults.strength)
    throw Error(Fault::usage, concat(FieldName{"init_image"}, ": this is a ", parts.family, ", which ",
                                     parts.shown.most > 0 ? concat("is shown pictures with ", FieldName{"references"})
                                     : steered ? concat("is shown pictures with ", FieldName{"controls"}, " alone")
                                               : "takes no pictures"));
  require_shown(models, r);
  if (steered) require_steering(models, r);
  if (r.extend && !r.only_masked) {
    const Size grown = grown_size(r);
    if (r.width.value_or(grown.width) != grown.width || r.height.value_or(grown.height) != grown.height)
      throw Error(Fault::usage, concat("an extended picture has its own size and its margins': leave out ",
                                       FieldName{"width"}, " and ", FieldName{"height"},
                                       ", or work on what is new alone (", FieldName{"only_masked"}, ")"));
  }
  const bool repainter =
      parts.extra_channels == ExtraChannels::masked_picture || parts.extra_channels == ExtraChannels::picture_and_mask;
  if (repainter && !repaints(r))
    throw Error(
        Fault::usage,
        concat(models.name,
               " is a model that repaints pictures (its network takes more than latents): give it "
               "a picture with ",
               FieldName{"init_image"}, " and with ", FieldName{"mask"}, " what to repaint, or ", FieldName{"extend"}));
  if (parts.extra_channels == ExtraChannels::depth && !r.depth)
    throw Error(Fault::usage,
                concat(models.name, " is a depth-to-image model: give it a picture with ", FieldName{"init_image"},
                       " and its depth map with ", FieldName{"depth"}, " (no depth estimator is built in)"));
  if (r.depth && parts.extra_channels != ExtraChannels::depth)
    throw Error(Fault::usage, concat(FieldName{"depth"}, ": ", models.name,
                                     " is not a depth-to-image model (Stable Diffusion 2 depth)"));
  if (models.refiner && models.refiner->extra_channels != ExtraChannels::nothing)
    throw Error(Fault::usage,
                concat(FieldName{"refiner"}, ": this model repaints pictures; a refiner takes latents alone"));
}

}  // namespace

void settle_pictures(const Models& models, Request& r) {
  require_meaning(models, r);
  const int factor = models.size_factor();
  if (const ShownPictures& shown = models.base.shown; shown.gives_size && !r.references.empty()) {
    const Size first = shown_size(shown, *r.references[0], models.base.latents.multiple);
    if (!r.width) r.width = first.width;
    if (!r.height) r.height = first.height;
  }
  if (r.init_image) round_margins(r, factor);
  // A picture that steers gives the size too, as in diffusers' pipelines.
  if ((!r.init_image && r.controls.empty()) || r.only_masked) return;
  const Image* steering = r.init_image ? nullptr : r.controls[0].image.get();
  const Size given = steering ? Size{steering->width, steering->height} : grown_size(r);
  const auto own = [factor](int side) { return std::max(side / factor, 1) * factor; };
  if (const auto& drawn = models.base.latents.drawn; !drawn.empty() && !r.width && !r.height && !r.extend) {
    const Size size = nearest_in_shape(drawn, given);
    r.width = size.width, r.height = size.height;
  }
  if (!r.width) r.width = own(given.width);
  if (!r.height) r.height = own(given.height);
}

}  // namespace sdgen
