// The story: request -> tokens -> conditioning -> noise -> denoise loop -> latents -> decode -> picture.
#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <c10/core/InferenceMode.h>
#include <c10/util/Exception.h>

#include <chrono>

#include "device/device.h"
#include "device/memory.h"
#include "diffusion/denoiser.h"
#include "diffusion/noise.h"
#include "io/file.h"
#include "nn/widened.h"
#include "sdgen/error.h"
#include "sdgen/sdgen.h"
#include "stages/batch.h"
#include "stages/control.h"
#include "stages/input_pictures.h"
#include "stages/memory_fallback.h"
#include "stages/model_run.h"
#include "stages/models.h"
#include "stages/picture.h"
#include "stages/picture_tensor.h"
#include "stages/preview.h"
#include "stages/start.h"
#include "stages/text.h"

namespace sdgen {
namespace {

using at::Tensor;

// A stage of the work: reports how long it took and is in --profile's trace.
class Timed {
 public:
  Timed(Observer& observer, Stage stage, std::size_t first) : observer_(observer), stage_(stage), first_(first) {
    traced_.before(stage_name(stage));
  }
  void end() {
    traced_.end();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin_;
    observer_.stage(stage_, first_, seconds.count());
  }

 private:
  Observer& observer_;
  Stage stage_;
  std::size_t first_;
  at::RecordFunction traced_{at::RecordScope::USER_SCOPE};  // for --profile
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// Progress, previews and cancellation, around every call of a network.
class Watch {
 public:
  Watch(const Batch& batch, int total, Previewer& previewer, Observer& observer)
      : batch_(batch), total_(total), previewer_(previewer), observer_(observer) {}
  Denoise operator()(Denoise denoise) {
    return [this, denoise = std::move(denoise)](const Tensor& x, const Node& at) {
      if (observer_.cancelled()) throw Cancelled();
      Tensor x0 = denoise(x, at);
      const std::size_t pictures = batch_.requests.size();
      observer_.step(batch_.first, pictures, ++done_, total_);
      if (observer_.wants_preview(done_, total_)) observer_.preview(batch_.first, previewer_(x0, pictures, observer_));
      return x0;
    };
  }

 private:
  const Batch& batch_;
  int done_ = 0, total_;
  Previewer& previewer_;
  Observer& observer_;
};

// How a model's run begins, by the noise that it goes on drawing from.
using Begin = std::function<Start(const ModelRun& run, SeededNoise& noise)>;

// Latents [rows, C, h, w], float32, after a model's run.
Tensor denoise(const ModelRun& run, const Batch& batch, const Conditionings& conditionings, Watch& watch,
               const Begin& begin) {
  const Parts& parts = run.parts;
  const Request& common = batch.common();
  std::vector<std::uint64_t> seeds;
  for (std::size_t i = 0; i < batch.rows; ++i) seeds.push_back(*batch.row(i).seed);
  SeededNoise noise(
      seeds, {parts.latents.channels, *common.height / parts.latents.factor, *common.width / parts.latents.factor},
      parts.device);

  const Start start = begin(run, noise);
  const std::unique_ptr<Backbone> steered = steer(run, batch);
  const Backbone& whole = steered ? *steered : *parts.backbone;
  std::optional<Widened> widened;
  if (start.extra_channels.defined()) widened.emplace(whole, start.extra_channels);
  const Backbone& backbone = widened ? *widened : whole;
  const Network network = [&, call = std::size_t{0}](const Tensor& x, double t) mutable {
    return backbone.predict(x, t, conditionings.at(call++));
  };
  std::optional<Guidance> guidance;
  if (guided(parts, common))
    guidance = Guidance{*common.guidance_scale, common.guidance_rescale.value_or(0),
                        prompt_schedule(common, scheduled_steps(run.scheduler, common)).weights};
  const Denoise predict_x0 = denoiser(network, run.scheduler.config.prediction, guidance);
  const GridSpan span{run.grid.steps, run.begin, run.end, start.between};
  return run.scheduler.sampler()(watch(predict_x0), span, start.x, std::ref(noise));
}

// The text encoders of the models of a run.
struct TextStages {
  explicit TextStages(const Models& models) : first(models.base, /*refining=*/false) {
    if (models.refiner) refiner.emplace(*models.refiner, /*refining=*/true);
  }
  TextStage first;
  std::optional<TextStage> refiner;
};

struct OutOfMemory : Error {
  explicit OutOfMemory(const std::string& lack)
      : Error(Fault::device,
              concat(lack, "; try a smaller size, ", FieldName{"batch_size"}, " or ", FieldName{"precision"})),
        lack(lack) {}
  std::string lack;
};

// Runs `work`; what libtorch throws for lack of memory or a failing device becomes an Error(device) that says what was
// being done.
template <class Work>
auto on_device(const std::string& doing, const Work& work) {
  try {
    return work();
  } catch (...) {
    const auto failure = device_failure();
    if (!failure) throw;
    if (!failure->memory) throw Error(Fault::device, concat(doing, ": ", failure->what));
    throw OutOfMemory(concat(doing, ": ", failure->what));
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
  Models models;
  std::unique_ptr<Autoencoder> autoencoder;  // of models.last()
  std::shared_ptr<OffloadDevice> shared;     // by networks that take turns; null: there is room for all
  bool tiles;                                // the autoencoder's work, from the outset
  bool stays_warm;
  InputPictureCache sources = InputPictureCache(models.base);
  std::unique_ptr<TextStages> texts = {};  // from call to call
  Previewer previewer{models.last(), *autoencoder};

  void run(std::span<const Request> requests, std::size_t made, const MemoryFallback& fallback,
           const std::function<void(std::size_t, Image)>& done, Observer& observer);
};

Pipeline::Pipeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pipeline::Pipeline(Pipeline&&) noexcept = default;
Pipeline& Pipeline::operator=(Pipeline&&) noexcept = default;
Pipeline::~Pipeline() = default;

Pipeline Pipeline::load(const std::filesystem::path& model, const LoadOptions& options, Observer& observer) {
  Timed timed(observer, Stage::load, 0);
  if (options.batch_size < 1) throw Error(Fault::usage, concat("batch size ", options.batch_size, " is not positive"));
  if (options.threads > 0) at::set_num_threads(options.threads);
  AssembleOptions how{open_device(options.device), options.precision, options.vae,         options.loras,
                      options.textual_inversions,  options.strict,    options.controlnets, options.adapters};
  if (options.offload && how.device.is_cpu())
    observer.warning("the device is the CPU, and offloading has nothing to take away");
  else if (options.offload)
    how.shared = std::make_shared<OffloadDevice>(how.device);
  keep_large_blocks();
  const auto warn = [&observer](const std::string& message) { observer.warning(message); };
  const auto read = [&](const std::filesystem::path& path) {
    return on_device(concat("loading ", path.string()), [&] { return assemble(path, how, warn); });
  };
  Models models{name_of(model), read(model), {}};
  const Parts& base = models.base;
  auto& refiner = models.refiner;
  if (options.refiner) {
    how.loras.clear();
    how.controlnets.clear();
    how.adapters.clear();
    refiner = read(*options.refiner);
    if (!base.refinable || !refiner->refinable)
      throw Error(Fault::usage, concat(FieldName{"refiner"}, " goes with models of the SDXL family; ", model.string(),
                                       " is a ", base.family, ", ", options.refiner->string(), " a ", refiner->family));
    if (base.latents.channels != refiner->latents.channels || base.latents.factor != refiner->latents.factor)
      throw Error(Fault::input, concat(options.refiner->string(), ": its latents differ from those of ", model.string(),
                                       ": the two models do not belong together"));
  }
  ModelInfo info{model,
                 models.name,
                 base.family,
                 options.refiner ? name_of(*options.refiner) : "",
                 options.vae ? name_of(*options.vae) : "",
                 how.device.str(),
                 base.dtype == at::kHalf       ? "float16"
                 : base.dtype == at::kBFloat16 ? "bfloat16"
                                               : "float32",
                 base.loras,
                 base.textual_inversions,
                 base.steering.infos};
  const Parts& last = models.last();
  auto autoencoder = on_device("loading the autoencoder", [&] { return last.picture.make(last.picture.dtype); });
  std::unique_ptr<Impl> impl(new Impl{std::move(info), std::size_t(options.batch_size), std::move(models),
                                      std::move(autoencoder), how.shared, options.vae_tiling, options.stay_warm});
  release_host_memory(how.device);
  release_kept_blocks();
  timed.end();
  return Pipeline(std::move(impl));
}

const ModelInfo& Pipeline::info() const { return impl_->info; }
int Pipeline::size_factor() const { return impl_->models.size_factor(); }

void Pipeline::check_prompt(const std::filesystem::path& model, const Request& request) {
  require_prompt(takes_text(model), name_of(model), request);
}

Request Pipeline::complete(const Request& request) const {
  Request whole = sdgen::complete(impl_->models, request);
  impl_->sources(whole);  // what is wrong with a picture is found now
  return whole;
}

void Pipeline::operator()(std::span<const Request> requests, const std::function<void(std::size_t, Image)>& done,
                          Observer& observer) const {
  const c10::InferenceMode inference;
  warn_of_unused_words(impl_->models.base, requests, observer);
  std::optional<KeptBlocks> kept;  // what one stage leaves the next takes
  if (!impl_->stays_warm) kept.emplace();
  MemoryFallback fallback(impl_->batch_size, impl_->tiles, impl_->shared);
  std::size_t made = 0;
  const auto count = [&](std::size_t i, Image image) {
    done(i, std::move(image));
    made = i + 1;
  };
  while (made < requests.size()) {
    try {
      impl_->run(requests, made, fallback, count, observer);
    } catch (const OutOfMemory& lack) {
      const std::string less = fallback.next();
      if (less.empty()) throw;
      observer.warning(concat(lack.lack, "; again, ", less));
    } catch (const NeedsTiles& lack) {
      fallback.go_in_tiles();
      observer.warning(concat(lack.what(), "; again from the beginning, in tiles"));
    }
  }
}

// Makes the pictures from number `made` on.
void Pipeline::Impl::run(std::span<const Request> requests, std::size_t made, const MemoryFallback& fallback,
                         const std::function<void(std::size_t, Image)>& done, Observer& observer) {
  const Parts& base = models.base;
  const auto& refiner = models.refiner;
  if (!texts) texts = std::make_unique<TextStages>(models);
  TextStage& text = texts->first;
  const auto alike = [&text](const Request& a, const Request& b) { return text.alike(a, b); };
  std::vector<Batch> all =
      on_device("reading the prompts", [&] { return batches(requests.subspan(made), fallback.rows(), alike); });
  for (Batch& batch : all) batch.first += made;
  for (const Batch& batch : all) {
    const Request& r = batch.common();
    const InputPictures& source = sources(r);
    const Tensor pictures = on_device(concat("making ", batch.rows, " picture(s) of ", *r.width, "x", *r.height), [&] {
      Tiling tiling{fallback.in_tiles()};
      const ModelRun run(base, r, /*refining=*/false);
      std::optional<ModelRun> finish;
      if (refiner) finish.emplace(*refiner, r, /*refining=*/true);

      Timed encoding(observer, Stage::text, batch.first);
      const Conditionings conditioning = text(batch, run, 0, observer);
      const bool release = &batch == &all.back() && !stays_warm;
      if (release) text.release();
      Conditionings refined;
      if (finish) refined = (*texts->refiner)(batch, *finish, run.calls(), observer);
      if (release) {
        texts.reset();
        release_host_memory(base.device);
      }
      encoding.end();

      Timed denoising(observer, Stage::denoise, batch.first);
      Watch watch(batch, run.calls() + (finish ? finish->calls() : 0), previewer, observer);
      Tensor latents = denoise(run, batch, conditioning, watch, [&](const ModelRun& run, SeededNoise& noise) {
        // The refiner's autoencoder is loaded, this model's own only now.
        const auto own = refiner && r.init_image ? base.picture.make(base.picture.dtype) : nullptr;
        const Autoencoder& encoder = own ? *own : *autoencoder;
        const auto latents_of = [&](const Tensor& pictures, const Noise& draw) {
          return encode(base, encoder, pictures, draw, tiling, observer);
        };
        return first_start(run, r, source, noise, {latents_of, encoder.draws()});
      });
      if (finish)
        latents = denoise(*finish, batch, refined, watch, [&](const ModelRun& run, SeededNoise& noise) {
          return refiner_start(run, source, latents, noise);
        });
      denoising.end();

      Timed decoding(observer, Stage::decode, batch.first);
      Tensor pictures = decode(models.last(), *autoencoder, latents, tiling, observer).cpu();
      decoding.end();
      observer.computed(batch.first, {static_cast<int>(batch.rows), tiling.on});
      return pictures;
    });
    for (std::size_t i = 0; i < batch.requests.size(); ++i)
      done(batch.first + i, source.finished(to_image(pictures[i])));
  }
}

}  // namespace sdgen
