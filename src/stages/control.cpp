#include "stages/control.h"

#include <algorithm>
#include <charconv>

#include "image/repaint.h"
#include "image/resize.h"
#include "io/text.h"
#include "io/utf8.h"
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

std::optional<std::int64_t> number_of(std::string_view mode) {
  if (const auto named = std::ranges::find(kControlModes, mode); named != kControlModes.end())
    return named - kControlModes.begin();
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(mode.data(), mode.data() + mode.size(), number);
  if (mode.empty() || error != std::errc() || end != mode.data() + mode.size()) return std::nullopt;
  return number;
}

void require_mode(const std::string& network, const Sight& sight, const Control& control) {
  const FieldName mode{"control_mode"};
  if (sight.modes == 0) {
    if (control.mode.empty()) return;
    throw Error(Fault::usage, concat(mode, ' ', printable(control.mode), ": the ControlNet ", printable(network),
                                     " knows one kind of pictures alone: leave it out, or say none"));
  }
  std::vector<std::string> names;
  for (std::size_t i = 0; i < kControlModes.size() && std::int64_t(i) < sight.modes; ++i)
    names.emplace_back(kControlModes[i]);
  const auto fail = [&](const std::string& what) {
    throw Error(Fault::usage, concat(what, ": ", joined(names, ", "), ", or a number from 0 to ", sight.modes - 1));
  };
  if (control.mode.empty())
    fail(concat("the ControlNet ", printable(network), " knows several kinds of pictures: say with ", mode,
                " what it is shown"));
  const std::optional<std::int64_t> number = number_of(control.mode);
  if (!number || *number < 0 || *number >= sight.modes)
    fail(concat(mode, ' ', printable(control.mode), ": the ControlNet ", printable(network),
                " knows no such kind of pictures"));
}

}  // namespace

void settle_controls(const Models& models, const Request& r) {
  const Steering& steering = models.base.steering;
  for (std::size_t i = 0; i < steering.infos.size(); ++i)
    require_mode(steering.infos[i].name, steering.sights[i], r.controls[i]);
  if (r.guess_mode && !steering.can_guess)
    throw Error(Fault::usage, concat(FieldName{"guess_mode"}, " is for ControlNets of U-Nets; the model ", models.name,
                                     " is a ", models.base.family));
  if (r.skip_layers && steering.any())
    throw Error(Fault::usage, concat(FieldName{"skip_layers"}, " does not go with ", FieldName{"controlnets"},
                                     ": diffusers has no pipeline for both"));
}

PerCall<std::shared_ptr<const Backbone>> steer(const Steer& steer, const ModelRun& run, const Batch& batch,
                                               const std::vector<at::Tensor>& controls) {
  const Request& r = batch.common().request;
  const Steering& steering = run.parts.steering;
  std::vector<ControlInput> uses;
  for (std::size_t i = 0; i < r.controls.size(); ++i) {
    const Control& c = r.controls[i];
    const Sight& sight = steering.sights[i];
    at::Tensor picture = controls[i];
    if (!picture.defined()) {
      const Image image =
          resize(sight.of == Sight::Of::lightness ? grey_picture(*c.image) : *c.image, {*r.width, *r.height});
      picture = to_unit_tensor(image).to(run.parts.device);
    }
    const bool net = steering.infos[i].kind == ControlInfo::Kind::controlnet;
    uses.push_back({picture, c.scale, net ? calls_of_net(run, c) : calls_of_adapter(run, r, c),
                    sight.modes ? *number_of(c.mode) : 0});
  }
  return steer_calls(steer, uses, {r.guess_mode || steering.always_guesses, std::int64_t(batch.rows)},
                     run.end - run.begin, run.parts.recorder);
}

}  // namespace sdgen
