#include "request/validate.h"

#include <cmath>

#include "sdgen/error.h"

namespace sdgen {
namespace {

template <class... What>
void require(bool good, const What&... what) {
  if (!good) throw Error(Fault::usage, concat(what...));
}

// Pictures, and what is said about them.
void require_pictures(const Request& r) {
  for (const auto& [given, field] : {std::pair{r.strength.has_value(), FieldName{"strength"}},
                                     {r.mask != nullptr, FieldName{"mask"}},
                                     {r.extend.has_value(), FieldName{"extend"}},
                                     {r.depth != nullptr, FieldName{"depth"}}})
    require(!given || r.init_image, field, " needs ", FieldName{"init_image"}, ", the picture that it is about");
  require(!r.mask_blur || r.mask, FieldName{"mask_blur"}, " needs ", FieldName{"mask"});
  require(!r.only_masked || r.mask || r.extend, FieldName{"only_masked"}, " needs ", FieldName{"mask"}, ", or ",
          FieldName{"extend"});
  require(!r.depth || (!r.extend && !r.only_masked), "a depth map goes with whole pictures: it has no ",
          FieldName{"extend"}, " and no ", FieldName{"only_masked"});
  const Margins margins = r.extend.value_or(Margins{1});
  require(margins != Margins{}, "margins of 0 on every side extend nothing");
  for (const auto& [value, name] : {std::pair{r.mask_blur.value_or(0), "mask blur"},
                                    {r.only_masked.value_or(0), "padding"},
                                    {margins.left, "margin"},
                                    {margins.top, "margin"},
                                    {margins.right, "margin"},
                                    {margins.bottom, "margin"}})
    require(value >= 0 && value <= kMostSide, name, ' ', value, " is outside 0..", kMostSide);
}

// As many pictures as networks.
void require_controls(const Request& r, const Networks& networks) {
  const std::size_t beside = networks.controlnets + networks.adapters;
  const bool own = beside == 0 && r.controls.size() == 1 && networks.steered_itself.value_or(true);
  require(own || networks.steered_itself == true || r.controls.size() == beside, FieldName{"controls"}, ": ",
          r.controls.size(), " for ", networks.controlnets, ' ', FieldName{"controlnets"}, " and ", networks.adapters,
          ' ', FieldName{"adapters"}, "; each needs one");
  for (std::size_t i = 0; i < r.controls.size(); ++i) {
    const Control& c = r.controls[i];
    require(c.image != nullptr, FieldName{"controls"}, ": there is no picture for network ", i + 1);
    require(std::isfinite(c.scale), "the control scale of network ", i + 1, " is not finite");
    require(c.start >= 0 && c.start < c.end && c.end <= 1, "the control start of network ", i + 1, ", ", c.start,
            ", and its end, ", c.end, ", are not a part of 0 to 1: the start must be less than the end");
  }
  require(!r.guess_mode || networks.controlnets > 0, FieldName{"guess_mode"}, " needs ", FieldName{"controlnets"});
  require(!r.only_masked || r.controls.empty(), FieldName{"only_masked"},
          " works on a part of the picture, and a control image shows the whole: leave out one of them");
}

}  // namespace

void validate(const Request& r, const Networks& networks) {
  require_pictures(r);
  require_controls(r, networks);
  require(!r.refiner_start || networks.refiner, FieldName{"refiner_start"}, " needs ", FieldName{"refiner"});
  require(!r.refiner_start || (*r.refiner_start > 0 && *r.refiner_start < 1), "refiner start ",
          r.refiner_start.value_or(0), " is not between 0 and 1");
  require(!r.strength || (*r.strength > 0 && *r.strength <= 1), "strength ", r.strength.value_or(0),
          " is not above 0 and at most 1");
}

}  // namespace sdgen
