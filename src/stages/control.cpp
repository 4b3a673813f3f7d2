#include "stages/control.h"

#include <algorithm>

#include "image/repaint.h"
#include "image/resize.h"
#include "sdgen/error.h"
#include "stages/guidance.h"
#include "stages/picture_tensor.h"

namespace sdgen {
namespace {

// Which network calls a control acts in. A call is an entry of diffusers' timesteps: heun and dpm2 have two a step. Its
// ControlNet pipelines take the entry i of n where start <= i/n and (i+1)/n <= end.
Calls calls_of_net(const ModelRun& run, const Control& control) {
  const double n = double(run.grid.steps.size() - run.begin);
  Calls calls{0, run.end - run.begin};
  while (calls.begin < calls.end && double(calls.begin) / n < control.start) ++calls.begin;
  while (calls.end > calls.begin && double(calls.end) / n > control.end) --calls.end;
  return calls;
}

// Its adapter pipeline for SDXL counts steps, not entries, and cuts the product off (adapter_conditioning_factor); a
// start is ours.
Calls calls_of_adapter(const ModelRun& run, const Request& r, const Control& control) {
  const std::size_t entries = run.end - run.begin;
  const bool whole = run.end == run.grid.steps.size();  // else a refiner has the rest, and the entries are the steps
  const double steps = double(whole ? std::min(std::size_t(*r.steps), entries) : entries);
  return {std::size_t(steps * control.start), control.end < 1 ? std::size_t(steps * control.end) : entries};
}

// Pillow's lightness in all three channels.
Image grey_picture(const Image& image) {
  Image result{image.width, image.height, {}};
  for (const std::uint8_t sample : luma(image)) result.rgb.insert(result.rgb.end(), 3, sample);
  return result;
}

}  // namespace

PerCall<std::shared_ptr<const Backbone>> steer(const std::shared_ptr<const UNet>& unet, const ModelRun& run,
                                               const Batch& batch) {
  const Request& r = batch.common().request;
  const Steering& steering = run.parts.steering;
  std::vector<ControlInput> uses;
  for (std::size_t i = 0; i < r.controls.size(); ++i) {
    const Control& c = r.controls[i];
    const bool net = steering.infos[i].kind == ControlInfo::Kind::controlnet;
    const Image image = resize(steering.grey(i) ? grey_picture(*c.image) : *c.image, {*r.width, *r.height});
    uses.push_back({to_unit_tensor(image).to(run.parts.device), c.scale,
                    net ? calls_of_net(run, c) : calls_of_adapter(run, r, c)});
  }
  return steering.steer(unet, uses,
                        {r.guess_mode || steering.always_guess(), guided(run.parts, r) ? std::int64_t(batch.rows) : 0},
                        run.end - run.begin, run.parts.recorder);
}

}  // namespace sdgen
