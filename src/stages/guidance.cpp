#include "stages/guidance.h"

#include <cmath>

#include "stages/text.h"

namespace sdgen {

bool guided(const Parts& parts, const Request& r) {
  return r.guidance_scale.value_or(0) > 1 && !parts.guidance_distilled;
}

void settle_guidance(const Models& models, Request& r) {
  if (!std::isfinite(r.guidance_scale.value_or(0)))
    throw Error(Fault::usage, "the guidance scale is not a finite number");
  if (!std::isfinite(r.guidance_rescale.value_or(0)))
    throw Error(Fault::usage, "guidance rescale is not a finite number");
  if (r.guidance_rescale) require_text(models, FieldName{"guidance_rescale"});
  if (!r.guidance_scale) r.guidance_scale = defaults_of(models, r).guidance_scale;
}

void require_shares(const Parts& parts, const Request& r, const PromptSchedule& prompts) {
  if (guided(parts, r) || prompts.weights == std::vector<double>{1}) return;
  throw Error(Fault::usage, concat("AND, and a weight after a prompt's last colon, are shares of the guidance, which ",
                                   parts.guidance_distilled ? "this distilled model has none of"
                                                            : "a guidance scale of 1 or less turns off"));
}

std::optional<Guidance> guidance_of(const Parts& parts, const Request& r, const PromptSchedule& prompts) {
  if (!guided(parts, r)) return std::nullopt;
  return Guidance{*r.guidance_scale, r.guidance_rescale.value_or(0), prompts.weights};
}

}  // namespace sdgen
