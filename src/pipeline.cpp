// The story: request -> tokens -> conditioning -> noise -> denoise loop -> latents -> decode -> picture.
#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <tuple>

#include "device.h"
#include "diffusion/denoiser.h"
#include "diffusion/noise.h"
#include "diffusion/schedulers.h"
#include "families.h"
#include "io/resize.h"
#include "nn/unet.h"
#include "picture_tensor.h"
#include "sdgen/error.h"
#include "sdgen/sdgen.h"

namespace sdgen {
namespace {

using at::Tensor;

// Reports how long a scope took.
class Timed {
 public:
  Timed(Observer& observer, Stage stage, std::size_t first) : observer_(observer), stage_(stage), first_(first) {}
  void end() {
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin_;
    observer_.stage(stage_, first_, seconds.count());
  }

 private:
  Observer& observer_;
  Stage stage_;
  std::size_t first_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// Requests that run as one batch: everything but prompts and seeds is the same.
struct Batch {
  std::size_t first;  // index of requests.front() in the run
  std::span<const Request> requests;
  std::size_t rows;  // pictures of a network call; those past requests.size() repeat the last

  const Request& common() const { return requests.front(); }
  const Request& row(std::size_t i) const { return requests[std::min(i, requests.size() - 1)]; }
};

bool compatible(const Request& a, const Request& b) {
  const auto key = [](const Request& r) {
    return std::tie(r.width, r.height, r.steps, r.guidance_scale, r.scheduler, r.timestep_spacing, r.prediction_type,
                    r.eta, r.sigma_schedule, r.rescale_betas_zero_snr, r.guidance_rescale, r.refiner_start,
                    r.init_image, r.strength);
  };
  return key(a) == key(b);
}

std::vector<Batch> batches(std::span<const Request> requests, std::size_t rows) {
  std::vector<Batch> result;
  for (std::size_t begin = 0; begin < requests.size();) {
    std::size_t end = begin + 1;
    while (end < requests.size() && end - begin < rows && compatible(requests[begin], requests[end])) ++end;
    result.push_back({begin, requests.subspan(begin, end - begin), rows});
    begin = end;
  }
  return result;
}

bool guided(const Parts& parts, const Request& request) {
  return request.guidance_scale.value_or(0) > 1 && parts.guidance_embed_width == 0;
}

// What SDXL is told about a picture's sizes. To a refiner diffusers describes the negative prompt's picture as
// uncropped and as an ugly one.
std::vector<float> size_ids(const Parts& parts, const Request& r, bool negative) {
  if (parts.size_ids == SizeIds::none) return {};
  const Size own{*r.width, *r.height}, original = r.original_size.value_or(own), target = r.target_size.value_or(own);
  const Point crop = negative && parts.size_ids == SizeIds::aesthetic_score ? Point{} : r.crop.value_or(Point{});
  std::vector<int> ids{original.height, original.width, crop.top, crop.left};
  std::vector<float> result(ids.begin(), ids.end());
  if (parts.size_ids == SizeIds::target_size) {
    result.push_back(target.height);
    result.push_back(target.width);
  } else {
    result.push_back(negative ? 2.5f : 6.0f);
  }
  return result;
}

// Conditions one model on the prompts of a run. Each prompt is encoded alone, so that a picture's bytes do not depend
// on its neighbours in a batch, and once, as long as the next batch has it too.
class TextStage {
 public:
  TextStage(const Parts& parts, bool refining) : parts_(parts), refining_(refining) {}

  // Negative prompts first under guidance, as diffusers orders them.
  Conditioning operator()(const Batch& batch, Observer& observer) {
    if (!parts_.text) return {};
    std::map<Key, Conditioning> before = std::move(known_);
    known_.clear();
    std::vector<Tensor> context, pooled, ids;
    const auto add = [&](const Request& r, bool negative) {
      const bool zeros = negative && parts_.zero_empty_negative && !r.negative_prompt;
      // diffusers skips layers for the prompt alone.
      const Key key{(negative ? r.negative_prompt : r.prompt).value_or(""), negative ? 0 : r.clip_skip.value_or(0)};
      if (!known_.contains(key)) {
        const auto old = before.find(key);
        known_[key] = old != before.end() ? old->second : encode(key, observer);
      }
      const Conditioning& c = known_[key];
      context.push_back(zeros ? at::zeros_like(c.context) : c.context);
      if (c.pooled.defined()) pooled.push_back(zeros ? at::zeros_like(c.pooled) : c.pooled);
      if (const auto sizes = size_ids(parts_, r, negative); !sizes.empty())
        ids.push_back(at::tensor(sizes).unsqueeze(0));
    };
    for (const bool negative : {true, false})
      if (!negative || guided(parts_, batch.common()))
        for (std::size_t i = 0; i < batch.rows; ++i) add(batch.row(i), negative);

    Conditioning all{.context = at::cat(context), .pooled = {}, .size_ids = {}, .guidance_embed = {}};
    if (!pooled.empty()) all.pooled = at::cat(pooled);
    if (!ids.empty()) all.size_ids = at::cat(ids).to(parts_.device);
    if (parts_.guidance_embed_width) {
      // The distilled scale as LCM embeds it (Luo et al., 2023, section 4.1): sines of 1000 (scale - 1).
      const Tensor scale =
          at::full({std::int64_t(context.size())}, 1000 * (*batch.common().guidance_scale - 1), at::kFloat);
      all.guidance_embed =
          sinusoidal_embedding(scale, parts_.guidance_embed_width, false, 1).to(parts_.device, parts_.dtype);
    }
    return all;
  }

  void release() { encoder_.reset(); }  // its memory is the network's then

 private:
  using Key = std::pair<std::string, int>;  // prompt, clip_skip

  Conditioning encode(const Key& key, Observer& observer) {
    if (!encoder_) encoder_ = parts_.text();
    return encoder_->encode(key.first, key.second, [&](const std::string& message) {
      if (!refining_) observer.warning(message);  // the first model said so
    });
  }

  const Parts& parts_;
  bool refining_;
  std::unique_ptr<TextConditioner> encoder_;
  std::map<Key, Conditioning> known_;
};

Scheduler scheduler_of(const Parts& parts, const Request& r) {
  Scheduler s = Scheduler::choose(
      parts.scheduler,
      {r.scheduler, r.timestep_spacing, r.prediction_type, r.eta, r.sigma_schedule, r.rescale_betas_zero_snr},
      parts.corrections);
  if (r.init_image && parts.strength_spreads && s.has("original_inference_steps")) s.config.strength = *r.strength;
  return s;
}

// The share of a model's grid that it runs. Image to image leaves out the first steps. When two models divide the noise
// levels between them, the first has those from `start` of the schedule on, the refiner the rest (diffusers'
// denoising_end and denoising_start).
struct Leg {
  const Parts& parts;
  Scheduler scheduler;
  Grid grid;
  std::size_t begin, end;

  Leg(const Parts& parts, const Request& r, bool refining)
      : parts(parts),
        scheduler(scheduler_of(parts, r)),
        grid(scheduler.grid(*r.steps)),
        begin(0),
        end(grid.steps.size()) {
    if (r.init_image && !refining) begin = first_step(r);
    if (!r.refiner_start) return;
    const double total = scheduler.config.train_steps, cutoff = std::nearbyint(total - *r.refiner_start * total);
    std::size_t first = 0;
    for (const Step& step : grid.steps) first += step.from.t >= cutoff;
    (refining ? begin : end) = first;
    if (begin > 0 && !refining && begin >= end)  // from pure noise the refiner may have all
      throw Error(Fault::usage, concat("strength ", *r.strength, " begins where the refiner takes over (refiner start ",
                                       *r.refiner_start, "); choose a higher strength or a later start"));
    if (refining && scheduler.row->in_pairs()) begin -= begin % 2;  // never from the middle of a step
    if (refining && begin == end)
      throw Error(Fault::usage, concat("refiner start ", *r.refiner_start, " leaves the refiner none of ",
                                       grid.steps.size(), " steps; choose an earlier one, or more steps"));
  }
  int calls() const { return static_cast<int>(end - begin); }

 private:
  // Of image to image.
  std::size_t first_step(const Request& r) const {
    const int run = std::min(static_cast<int>(*r.steps * *r.strength), *r.steps);
    if (run < 1)
      throw Error(Fault::usage, concat("strength ", *r.strength, " leaves none of ", *r.steps,
                                       " steps; choose a higher one, or more steps"));
    if (scheduler.config.strength < 1) return 0;
    return std::size_t(*r.steps - run) * (scheduler.row->in_pairs() ? 2 : 1);
  }
};

// Progress and cancellation, around every call of a network.
class Watch {
 public:
  Watch(const Batch& batch, int total, Observer& observer) : batch_(batch), total_(total), observer_(observer) {}
  Denoise operator()(Denoise denoise) {
    return [this, denoise = std::move(denoise)](const Tensor& x, const Node& at) {
      if (observer_.cancelled()) throw Cancelled();
      Tensor x0 = denoise(x, at);
      observer_.step(batch_.first, batch_.requests.size(), ++done_, total_);
      return x0;
    };
  }

 private:
  const Batch& batch_;
  int done_ = 0, total_;
  Observer& observer_;
};

bool finite(const Tensor& x) { return at::isfinite(x).all().item<bool>(); }

// Runs `work` on the autoencoder. Where it overflows in half precision it is asked again in float32.
template <class Work>
Tensor with_autoencoder(const Parts& parts, const Autoencoder& autoencoder, Observer& observer, const Work& work) {
  Tensor result = work(autoencoder);
  if (!finite(result) && parts.autoencoder_dtype != at::kFloat) {
    observer.warning(
        concat("the autoencoder overflowed in ", c10::toString(parts.autoencoder_dtype), "; again in float32"));
    result = work(*parts.make_autoencoder(at::kFloat));
  }
  if (!finite(result))
    throw Error(Fault::device, "the autoencoder gave NaN or infinity even in float32: its weights are damaged");
  return result;
}

// x0 of the picture that a batch is made of: as diffusers does it, the first draw of each picture's generator.
Tensor encode(const Parts& parts, const Autoencoder& autoencoder, const Request& r, const Tensor& noise,
              Observer& observer) {
  const Tensor picture = to_tensor(resize(*r.init_image, {*r.width, *r.height})).to(parts.device);
  return with_autoencoder(parts, autoencoder, observer, [&](const Autoencoder& a) { return a.encode(picture, noise); });
}

// What a model's leg begins with, by the noise that it goes on drawing from.
using Start = std::function<Tensor(const Leg& leg, SeededNoise& noise)>;

// Latents [rows, C, h, w], float32, after a model's leg.
Tensor denoise(const Leg& leg, const Batch& batch, const Conditioning& conditioning, Watch& watch, const Start& start) {
  const Parts& parts = leg.parts;
  const Request& common = batch.common();
  std::vector<std::uint64_t> seeds;
  for (std::size_t i = 0; i < batch.rows; ++i) seeds.push_back(*batch.row(i).seed);
  SeededNoise noise(seeds, {parts.latent_channels, *common.height / parts.factor, *common.width / parts.factor},
                    parts.device);

  const Network network = [&](const Tensor& x, double t) { return parts.backbone->predict(x, t, conditioning); };
  std::optional<Guidance> guidance;
  if (guided(parts, common)) guidance = Guidance{*common.guidance_scale, common.guidance_rescale.value_or(0)};
  const Denoise predict_x0 = denoiser(network, leg.scheduler.config.prediction, guidance);
  const Tensor x = start(leg, noise);
  return leg.scheduler.sampler()(watch(predict_x0), {leg.grid.steps, leg.begin, leg.end}, x, std::ref(noise));
}

// Pictures [rows, 3, H, W] in [-1, 1].
Tensor decode(const Parts& parts, const Autoencoder& autoencoder, const Tensor& latents, Observer& observer) {
  if (!finite(latents))
    throw Error(Fault::device,
                concat("the U-Net gave NaN or infinity in ", c10::toString(parts.dtype),
                       parts.dtype == at::kFloat ? ": its weights are damaged, or the guidance scale is far too high"
                                                 : "; try --dtype float32"));
  return with_autoencoder(parts, autoencoder, observer, [&](const Autoencoder& a) { return a.decode(latents); });
}

// Runs `work`; what libtorch throws for lack of memory or a failing device becomes an Error(device) that says what was
// being done.
template <class Work>
auto on_device(const std::string& doing, const Work& work) {
  const auto failure = [&doing](const std::string& what, const char* advice) {
    return Error(Fault::device, concat(doing, ": ", what.substr(0, what.find('\n')), advice));
  };
  constexpr const char* less = "; try a smaller size, --batch-size or --dtype";
  try {
    return work();
  } catch (const std::bad_alloc&) {
    throw failure("out of memory", less);
  } catch (const c10::OutOfMemoryError& error) {
    throw failure(error.what_without_backtrace(), less);
  } catch (const c10::AcceleratorError& error) {
    throw failure(error.what_without_backtrace(), "");
  } catch (const c10::Error& error) {  // the CPU's allocator throws no type of its own
    const std::string what = error.what_without_backtrace();
    if (what.find("allocate memory") != std::string::npos) throw failure(what, less);
    throw;
  }
}

// A model draws what a prompt says, or hears none: then whatever steers by one is a mistake too.
void require_prompt(bool takes_text, const std::string& model, const Request& r) {
  if (takes_text && !r.prompt) throw Error(Fault::usage, "no prompt: say with --prompt TEXT what the picture shows");
  if (takes_text) return;
  for (const auto& [given, flag] : {std::pair{r.prompt.has_value(), "--prompt"},
                                    {r.negative_prompt.has_value(), "--negative-prompt"},
                                    {r.guidance_scale.has_value(), "--guidance-scale"},
                                    {r.guidance_rescale.has_value(), "--guidance-rescale"},
                                    {r.clip_skip.has_value(), "--clip-skip"}})
    if (given)
      throw Error(Fault::usage, concat(flag, ": the model ", model,
                                       " takes no text: it has no text encoder, and draws "
                                       "whatever it was trained on"));
}

// As the user calls a model: behind the links of a cache is only a hash.
std::string name_of(const std::filesystem::path& model) {
  const auto path = std::filesystem::absolute(model / "").lexically_normal().parent_path();
  return (std::filesystem::is_directory(path) ? path.filename() : path.stem()).string();
}

}  // namespace

const char* stage_name(Stage stage) {
  constexpr const char* names[] = {"load", "text", "denoise", "decode"};
  return names[static_cast<int>(stage)];
}

struct Pipeline::Impl {
  ModelInfo info;
  std::size_t batch_size;
  Parts base;
  std::optional<Parts> refiner;
  std::unique_ptr<Autoencoder> autoencoder;  // of last()

  int clip_skips() const { return refiner ? std::min(base.clip_skips, refiner->clip_skips) : base.clip_skips; }
  // Whose autoencoder turns the latents into pictures.
  const Parts& last() const { return refiner ? *refiner : base; }
};

Pipeline::Pipeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pipeline::Pipeline(Pipeline&&) noexcept = default;
Pipeline& Pipeline::operator=(Pipeline&&) noexcept = default;
Pipeline::~Pipeline() = default;

Pipeline Pipeline::load(const std::filesystem::path& model, const LoadOptions& options, Observer& observer) {
  Timed timed(observer, Stage::load, 0);
  if (options.batch_size < 1) throw Error(Fault::usage, concat("batch size ", options.batch_size, " is not positive"));
  if (options.threads > 0) at::set_num_threads(options.threads);
  AssembleOptions how{open_device(options.device), options.precision, options.vae, options.loras, options.strict};
  const auto warn = [&observer](const std::string& message) { observer.warning(message); };
  const auto read = [&](const std::filesystem::path& path) {
    return on_device(concat("loading ", path.string()), [&] { return assemble(path, how, warn); });
  };
  Parts base = read(model);
  std::optional<Parts> refiner;
  if (options.refiner) {
    how.loras.clear();
    refiner = read(*options.refiner);
    if (base.size_ids == SizeIds::none || refiner->size_ids == SizeIds::none)
      throw Error(Fault::usage, concat("--refiner goes with models of the SDXL family; ", model.string(), " is a ",
                                       base.family, ", ", options.refiner->string(), " a ", refiner->family));
    if (base.latent_channels != refiner->latent_channels || base.factor != refiner->factor)
      throw Error(Fault::input, concat(options.refiner->string(), ": its latents differ from those of ", model.string(),
                                       ": the two models do not belong together"));
  }
  ModelInfo info{model,
                 name_of(model),
                 base.family,
                 options.refiner ? name_of(*options.refiner) : "",
                 options.vae ? name_of(*options.vae) : "",
                 how.device.str(),
                 base.dtype == at::kHalf       ? "float16"
                 : base.dtype == at::kBFloat16 ? "bfloat16"
                                               : "float32",
                 base.loras};
  auto impl = std::make_unique<Impl>(
      Impl{std::move(info), std::size_t(options.batch_size), std::move(base), std::move(refiner), nullptr});
  impl->autoencoder = on_device("loading the autoencoder",
                                [&] { return impl->last().make_autoencoder(impl->last().autoencoder_dtype); });
  timed.end();
  return Pipeline(std::move(impl));
}

const ModelInfo& Pipeline::info() const { return impl_->info; }
int Pipeline::size_factor() const { return static_cast<int>(impl_->base.size_multiple); }

void Pipeline::check_prompt(const std::filesystem::path& model, const Request& request) {
  require_prompt(takes_text(model), name_of(model), request);
}

Request Pipeline::complete(const Request& request) const {
  const Parts& parts = impl_->base;
  const Request& defaults = parts.defaults;
  Request r = request;
  require_prompt(parts.text != nullptr, impl_->info.name, r);
  if (parts.size_ids == SizeIds::aesthetic_score && !r.init_image)
    throw Error(Fault::usage,
                "this model is an SDXL refiner, which finishes another model's pictures: give the SDXL "
                "base model with --model and this one with --refiner, or a picture with --init-image");
  if (parts.in_channels != parts.latent_channels)
    throw Error(Fault::usage, concat("this model repaints pictures (its U-Net takes ", parts.in_channels,
                                     " channels): it needs a picture and a mask, which this version of sdgen does not "
                                     "take"));
  if (parts.size_ids == SizeIds::none && (r.original_size || r.target_size || r.crop))
    throw Error(Fault::usage,
                concat("original size, crop and target size are inputs of SDXL; this is a ", parts.family));
  if (r.clip_skip && (*r.clip_skip < 0 || *r.clip_skip > impl_->clip_skips()))
    throw Error(Fault::usage, concat("clip skip ", *r.clip_skip, " is outside 0..", impl_->clip_skips(),
                                     ", what this model's text encoders have layers for"));
  if (r.refiner_start && !impl_->refiner) throw Error(Fault::usage, "a refiner start needs a refiner: see --refiner");
  if (impl_->refiner && !r.refiner_start) r.refiner_start = 0.8;
  if (r.refiner_start && !(*r.refiner_start > 0 && *r.refiner_start < 1))
    throw Error(Fault::usage, concat("refiner start ", *r.refiner_start, " is not between 0 and 1"));
  if (!r.negative_prompt) r.negative_prompt = defaults.negative_prompt;
  if (r.strength && !r.init_image) throw Error(Fault::usage, "a strength needs a picture: see --init-image");
  if (r.strength && !(*r.strength > 0 && *r.strength <= 1))
    throw Error(Fault::usage, concat("strength ", *r.strength, " is not above 0 and at most 1"));
  if (r.init_image) {
    if (!defaults.strength)
      throw Error(Fault::usage, concat("--init-image: this is a ", parts.family, ", which takes no pictures"));
    const int factor = size_factor();
    const auto own = [factor](int side) { return std::max(side / factor, 1) * factor; };
    if (!r.width) r.width = own(r.init_image->width);
    if (!r.height) r.height = own(r.init_image->height);
    if (!r.strength) r.strength = defaults.strength;
  }
  if (!r.width) r.width = defaults.width;
  if (!r.height) r.height = defaults.height;
  if (!r.steps) r.steps = defaults.steps;
  if (!r.guidance_scale) r.guidance_scale = defaults.guidance_scale;
  if (!r.scheduler) r.scheduler = defaults.scheduler;

  constexpr int kLargest = 16384;
  const int factor = size_factor();
  for (const auto& [name, size] : {std::pair{"width", *r.width}, {"height", *r.height}}) {
    if (size < factor || size > kLargest)
      throw Error(Fault::usage, concat(name, ' ', size, " is outside ", factor, "..", kLargest));
    if (size % factor) {
      const int below = size / factor * factor;
      throw Error(Fault::usage, concat(name, ' ', size, " is not a multiple of ", factor,
                                       ", this model's factor; the nearest are ", below, " and ", below + factor));
    }
  }
  if (*r.steps < 1 || *r.steps > 10'000) throw Error(Fault::usage, concat("steps ", *r.steps, " is outside 1..10000"));
  if (!std::isfinite(r.guidance_scale.value_or(0)))
    throw Error(Fault::usage, "the guidance scale is not a finite number");
  if (!std::isfinite(r.guidance_rescale.value_or(0)))
    throw Error(Fault::usage, "guidance rescale is not a finite number");

  // Building the grid and the sampler finds every combination that this scheduler refuses.
  if (impl_->refiner) Leg(*impl_->refiner, r, /*refining=*/true).scheduler.sampler();
  const Scheduler scheduler = Leg(parts, r, /*refining=*/false).scheduler;
  scheduler.sampler();
  r.scheduler_used = scheduler.row->name;
  if (scheduler.row->spaced()) r.timestep_spacing = spacing_name(scheduler.config.spacing);
  r.prediction_type = prediction_name(scheduler.config.prediction);
  if (scheduler.row->takes_eta()) r.eta = scheduler.config.eta;
  if (scheduler.has("use_karras_sigmas")) r.sigma_schedule = sigma_schedule_name(scheduler.config.sigmas);
  if (scheduler.has("rescale_betas_zero_snr")) r.rescale_betas_zero_snr = scheduler.config.zero_snr;
  return r;
}

void Pipeline::operator()(std::span<const Request> requests, const std::function<void(std::size_t, Image)>& done,
                          Observer& observer) const {
  const c10::InferenceMode inference;
  const Parts& base = impl_->base;
  const auto& refiner = impl_->refiner;
  TextStage text(base, /*refining=*/false);
  std::optional<TextStage> refiner_text;
  if (refiner) refiner_text.emplace(*refiner, /*refining=*/true);
  const std::vector<Batch> all = batches(requests, impl_->batch_size);
  for (const Batch& batch : all) {
    const Request& r = batch.common();
    const Tensor pictures = on_device(concat("making ", batch.rows, " picture(s) of ", *r.width, "x", *r.height), [&] {
      Timed encoding(observer, Stage::text, batch.first);
      const bool last = &batch == &all.back();
      const Conditioning conditioning = text(batch, observer);
      if (last) text.release();
      Conditioning refined;
      if (refiner_text) refined = (*refiner_text)(batch, observer);
      if (refiner_text && last) refiner_text->release();
      encoding.end();

      Timed denoising(observer, Stage::denoise, batch.first);
      const Leg leg(base, r, /*refining=*/false);
      std::optional<Leg> finish;
      if (refiner) finish.emplace(*refiner, r, /*refining=*/true);
      Watch watch(batch, leg.calls() + (finish ? finish->calls() : 0), observer);
      const Start start = [&](const Leg& leg, SeededNoise& noise) -> Tensor {
        if (!r.init_image) return noise() * leg.grid.start_scale;
        // The refiner's is loaded, this model's own only now.
        const auto own = refiner ? base.make_autoencoder(base.autoencoder_dtype) : nullptr;
        const Tensor x0 = encode(base, own ? *own : *impl_->autoencoder, r, noise(), observer);
        return noised(x0, noise(), leg.grid.steps[leg.begin]);
      };
      Tensor latents = denoise(leg, batch, conditioning, watch, start);
      if (finish) latents = denoise(*finish, batch, refined, watch, [&](const Leg&, SeededNoise&) { return latents; });
      denoising.end();

      Timed decoding(observer, Stage::decode, batch.first);
      const Tensor decoded = decode(impl_->last(), *impl_->autoencoder, latents, observer).cpu();
      decoding.end();
      return decoded;
    });
    for (std::size_t i = 0; i < batch.requests.size(); ++i) done(batch.first + i, to_image(pictures[i]));
  }
}

}  // namespace sdgen
