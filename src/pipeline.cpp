// The story: request -> tokens -> conditioning -> noise -> denoise loop -> latents -> decode -> picture.
#include <ATen/Parallel.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
#include <tuple>

#include "device.h"
#include "diffusion/denoiser.h"
#include "diffusion/noise.h"
#include "diffusion/schedulers.h"
#include "families.h"
#include "nn/unet.h"
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
                    r.eta, r.sigma_schedule, r.rescale_betas_zero_snr, r.guidance_rescale);
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
  return *request.guidance_scale > 1 && parts.guidance_embed_width == 0;
}

// Negative prompts first under guidance, as diffusers orders them.
Conditioning condition(const Parts& parts, const TextConditioner& text, const Batch& batch, Observer& observer) {
  std::vector<std::string> prompts;
  if (guided(parts, batch.common()))
    for (std::size_t i = 0; i < batch.rows; ++i) prompts.push_back(*batch.row(i).negative_prompt);
  for (std::size_t i = 0; i < batch.rows; ++i) prompts.push_back(batch.row(i).prompt);
  Conditioning conditioning =
      text.encode(prompts, [&observer](const std::string& message) { observer.warning(message); });
  if (parts.guidance_embed_width) {
    // The distilled scale as LCM embeds it (Luo et al., 2023, section 4.1): sines of 1000 (scale - 1).
    const Tensor scale =
        at::full({std::int64_t(prompts.size())}, 1000 * (*batch.common().guidance_scale - 1), at::kFloat);
    conditioning.guidance_embed =
        sinusoidal_embedding(scale, parts.guidance_embed_width, false, 1).to(parts.device, parts.dtype);
  }
  return conditioning;
}

// Progress and cancellation, around every call of the network.
Denoise watched(Denoise denoise, const Batch& batch, int total, Observer& observer) {
  return [denoise = std::move(denoise), &batch, &observer, total, done = 0](const Tensor& x, const Node& at) mutable {
    if (observer.cancelled()) throw Cancelled();
    Tensor x0 = denoise(x, at);
    observer.step(batch.first, batch.requests.size(), ++done, total);
    return x0;
  };
}

Scheduler scheduler_of(const Parts& parts, const Request& r) {
  return Scheduler::choose(parts.scheduler, {r.scheduler, r.timestep_spacing, r.prediction_type, r.eta,
                                             r.sigma_schedule, r.rescale_betas_zero_snr});
}

// -> latents [rows, C, h, w], float32
Tensor denoise(const Parts& parts, const Batch& batch, const Conditioning& conditioning, Observer& observer) {
  const Request& common = batch.common();
  const Scheduler scheduler = scheduler_of(parts, common);
  const Grid grid = scheduler.grid(*common.steps);

  std::vector<std::uint64_t> seeds;
  for (std::size_t i = 0; i < batch.rows; ++i) seeds.push_back(*batch.row(i).seed);
  const VaeConfig& vae = parts.vae->config();
  SeededNoise noise(seeds, {vae.latent_channels, *common.height / vae.factor(), *common.width / vae.factor()},
                    parts.device);

  const Network network = [&](const Tensor& x, double t) { return parts.backbone->predict(x, t, conditioning); };
  std::optional<Guidance> guidance;
  if (guided(parts, common)) guidance = Guidance{*common.guidance_scale, common.guidance_rescale.value_or(0)};
  const Denoise predict_x0 = denoiser(network, scheduler.config.prediction, guidance);
  const Tensor x = noise() * grid.start_scale;
  return scheduler.sampler()(watched(predict_x0, batch, grid.steps.size(), observer), {grid.steps}, x, std::ref(noise));
}

bool finite(const Tensor& x) { return at::isfinite(x).all().item<bool>(); }

// Pictures [rows, 3, H, W] in [-1, 1]. Where the autoencoder overflows in half precision it is run again in float32.
Tensor decode(const Parts& parts, const Tensor& latents, Observer& observer) {
  if (!finite(latents))
    throw Error(Fault::device,
                concat("the U-Net gave NaN or infinity in ", c10::toString(parts.dtype),
                       parts.dtype == at::kFloat ? ": its weights are damaged, or the guidance scale is far too high"
                                                 : "; try --dtype float32"));
  Tensor pictures = parts.vae->decode(latents);
  if (!finite(pictures) && parts.vae_dtype != at::kFloat) {
    observer.warning(
        concat("the autoencoder overflowed in ", c10::toString(parts.vae_dtype), "; decoding again in float32"));
    pictures = parts.make_vae(at::kFloat)->decode(latents);
  }
  if (!finite(pictures))
    throw Error(Fault::device, "the autoencoder gave NaN or infinity even in float32: its weights are damaged");
  return pictures;
}

Image to_image(const Tensor& picture) {  // [3, H, W] in [-1, 1]
  const Tensor bytes = ((picture / 2 + 0.5).clamp(0, 1) * 255).round().to(at::kByte).permute({1, 2, 0}).contiguous();
  Image image{static_cast<int>(bytes.size(1)), static_cast<int>(bytes.size(0)), {}};
  image.rgb.resize(bytes.numel());
  std::memcpy(image.rgb.data(), bytes.data_ptr(), image.rgb.size());
  return image;
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

}  // namespace

const char* stage_name(Stage stage) {
  constexpr const char* names[] = {"load", "text", "denoise", "decode"};
  return names[static_cast<int>(stage)];
}

struct Pipeline::Impl {
  ModelInfo info;
  std::size_t batch_size;
  Parts parts;
};

Pipeline::Pipeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pipeline::Pipeline(Pipeline&&) noexcept = default;
Pipeline& Pipeline::operator=(Pipeline&&) noexcept = default;
Pipeline::~Pipeline() = default;

Pipeline Pipeline::load(const std::filesystem::path& model, const LoadOptions& options, Observer& observer) {
  Timed timed(observer, Stage::load, 0);
  if (options.batch_size < 1) throw Error(Fault::usage, concat("batch size ", options.batch_size, " is not positive"));
  if (options.threads > 0) at::set_num_threads(options.threads);
  const at::Device device = open_device(options.device);
  const auto warn = [&observer](const std::string& message) { observer.warning(message); };
  Parts parts =
      on_device(concat("loading ", model.string()), [&] { return assemble(model, device, options.precision, warn); });
  // As the user calls it: behind the links of a cache is only a hash.
  const std::filesystem::path named = std::filesystem::absolute(model / "").lexically_normal().parent_path();
  ModelInfo info{model, named.filename().string(), parts.family, device.str(),
                 parts.dtype == at::kHalf       ? "float16"
                 : parts.dtype == at::kBFloat16 ? "bfloat16"
                                                : "float32"};
  timed.end();
  return Pipeline(std::make_unique<Impl>(Impl{std::move(info), std::size_t(options.batch_size), std::move(parts)}));
}

const ModelInfo& Pipeline::info() const { return impl_->info; }
int Pipeline::size_factor() const { return static_cast<int>(impl_->parts.vae->config().factor()); }

Request Pipeline::complete(const Request& request) const {
  const Parts& parts = impl_->parts;
  const Request& defaults = parts.defaults;
  Request r = request;
  if (!r.negative_prompt) r.negative_prompt = defaults.negative_prompt;
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
  if (!std::isfinite(r.guidance_rescale.value_or(0)))
    throw Error(Fault::usage, "guidance rescale is not a finite number");
  if (!std::isfinite(*r.guidance_scale)) throw Error(Fault::usage, "the guidance scale is not a finite number");

  // Building the grid and the sampler finds every combination that this scheduler refuses.
  const Scheduler scheduler = scheduler_of(parts, r);
  scheduler.grid(*r.steps);
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
  const Parts& parts = impl_->parts;
  std::unique_ptr<TextConditioner> text;
  const std::vector<Batch> all = batches(requests, impl_->batch_size);
  for (const Batch& batch : all) {
    const Request& r = batch.common();
    const Tensor pictures = on_device(concat("making ", batch.rows, " picture(s) of ", *r.width, "x", *r.height), [&] {
      Timed encoding(observer, Stage::text, batch.first);
      if (!text) text = parts.text();
      const Conditioning conditioning = condition(parts, *text, batch, observer);
      if (&batch == &all.back()) text.reset();  // its memory is the network's now
      encoding.end();

      Timed denoising(observer, Stage::denoise, batch.first);
      const Tensor latents = denoise(parts, batch, conditioning, observer);
      denoising.end();

      Timed decoding(observer, Stage::decode, batch.first);
      const Tensor decoded = decode(parts, latents, observer).cpu();
      decoding.end();
      return decoded;
    });
    for (std::size_t i = 0; i < batch.requests.size(); ++i) done(batch.first + i, to_image(pictures[i]));
  }
}

}  // namespace sdgen
