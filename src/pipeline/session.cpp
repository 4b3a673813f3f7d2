// The story: plan -> conditioning -> noise -> denoise loop -> latents -> decode -> picture.
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <set>

#include "device/memory.h"
#include "diffusion/denoiser.h"
#include "diffusion/noise.h"
#include "nn/replayed.h"
#include "nn/row_by_row.h"
#include "nn/widened.h"
#include "pipeline/impl.h"
#include "pipeline/on_device.h"
#include "pipeline/timed.h"
#include "stages/batch.h"
#include "stages/control.h"
#include "stages/drawn_size.h"
#include "stages/guidance.h"
#include "stages/input_pictures.h"
#include "stages/memory_fallback.h"
#include "stages/picture.h"
#include "stages/picture_tensor.h"
#include "stages/preview.h"
#include "stages/start.h"
#include "stages/step_cache.h"
#include "stages/telling.h"
#include "stages/text.h"

namespace sdgen {
namespace {

using at::Tensor;

// Progress, previews and cancellation, around every call of a network.
class Watch {
 public:
  Watch(const Batch& batch, int total, Previewer& previewer, Observer& observer)
      : batch_(batch), total_(total), previewer_(previewer), observer_(observer) {}
  Denoise operator()(Denoise denoise) {
    return [this, denoise = std::move(denoise)](const Tensor& x, const Node& at) {
      if (observer_.cancelled()) throw Cancelled();
      Tensor x0 = denoise(x, at);
      const std::size_t pictures = batch_.plans.size();
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

// What a session has of each model.
struct Worker {
  Worker(const Models& models, std::size_t index, const std::vector<Lora>& loras)
      : index(index), parts(models[index]), loras(loras), text(parts, index, loras) {}
  void take(StepPart part) {
    step = std::move(part);
    if (parts.recorder) step.backbone = std::make_shared<Replayed>(step.backbone, parts.recorder);
    if (!parts.text || !parts.text->any_length) return;
    step.backbone = std::make_shared<RowByRow>(step.backbone);
    if (step.cached)
      step.cached = [cached = step.cached](const StepCache& cache, std::int64_t) {
        return std::make_shared<RowByRow>([=] { return cached(cache, /*pictures=*/1); });
      };
  }
  std::size_t index;  // among them
  const Parts& parts;
  std::vector<Lora> loras;
  TextStage text;
  StepPart step = {};  // nothing, until it is needed
};

// How a model's run begins, by the noise that it goes on drawing from.
using Begin = std::function<Start(const ModelRun& run, SeededNoise& noise)>;

// Latents [rows, C, h, w], float32, after the model has run.
Tensor denoise(const Worker& worker, const Batch& batch, const Conditionings& conditionings, Watch& watch,
               const Begin& begin) {
  const Parts& parts = worker.parts;
  const ModelRun& run = batch.common().run(worker.index);
  const Request& common = batch.common().request;
  std::vector<std::uint64_t> seeds;
  for (std::size_t i = 0; i < batch.rows; ++i) seeds.push_back(*batch.row(i).request.seed);
  const Size size = drawn_size(parts.latents, common);
  SeededNoise noise(seeds,
                    {parts.latents.channels, size.height / parts.latents.factor, size.width / parts.latents.factor},
                    parts.device);

  const Start start = begin(run, noise);
  const auto pictures = std::int64_t(batch.rows);
  PerCall<std::shared_ptr<const Backbone>> backbones{{cached(worker.step, common, pictures)}, {0}};
  if (parts.steering.any()) backbones = steer(worker.step.steer, run, batch, start.controls);
  backbones = skip_layers(std::move(backbones), worker.step, run, batch);
  if (start.extra_channels.defined())
    for (auto& backbone : backbones.distinct) backbone = std::make_shared<Widened>(backbone, start.extra_channels);
  if (!start.references.empty())
    for (auto& backbone : backbones.distinct) backbone = std::make_shared<Shown>(backbone, start.references);
  std::size_t call = 0;
  Telling telling(conditionings, pictures);
  const Network network = [&](const Tensor& x, double t) {
    const Tensor times = at::full({x.size(0)}, t, x.options());
    const Conditioning& told = telling.at(call, sdgen::guides(common, run, call));
    const Tensor out = backbones.at(call)->predict(x, times, told);
    ++call;
    return out;
  };
  const auto denoise = [&](const std::optional<Guidance>& guidance) {
    return denoiser(network, run.scheduler.config.prediction, guidance);
  };
  const Denoise guided = denoise(guidance_of(parts, common, batch.common().prompts[worker.index])),
                alone = denoise(std::nullopt);
  const Denoise predict_x0 = [&](const Tensor& x, const Node& at) {
    return (guides(common, run, call) ? guided : alone)(x, at);
  };
  const GridSpan span{run.grid.steps, run.begin, run.end, start.between};
  return run.scheduler.sampler()(watch(predict_x0), span, start.x, std::ref(noise));
}

}  // namespace

struct Pipeline::Session::Impl {
  Impl(const Pipeline::Impl& pipeline, bool warm) : pipeline(pipeline), warm(warm), workers(pipeline.models.count()) {}
  ~Impl() { release_kept_blocks(); }

  void draw(std::span<const Plan> plans, const Done& done, Observer& observer);

 private:
  void require_drawable(const Plan& plan) const;
  void bring(const std::vector<Lora>& loras);
  bool text_goes_first() const;
  void bring_networks(Observer& observer);
  void forget_networks();
  void run(std::span<const Plan> plans, std::size_t made, const MemoryFallback& fallback, const Done& done,
           Observer& observer);
  std::size_t read_some(std::span<const Batch> batches, std::vector<std::vector<Conditionings>>& read,
                        Observer& observer);
  std::vector<Conditionings> read_prompts(const Batch& batch, bool last, Observer& observer);
  void make(const Batch& batch, const std::vector<Conditionings>& conditionings, const MemoryFallback& fallback,
            const Done& done, Observer& observer);
  Tensor latents_of(const Batch& batch, const std::vector<Conditionings>& conditionings, Tiling& tiling,
                    Observer& observer);
  void prepare_pictures(const Request& request);

  const Pipeline::Impl& pipeline;
  bool warm;  // text encoders, and memory for activations, are kept from call to call
  std::vector<std::unique_ptr<Worker>> workers;  // for the LoRAs of the last picture
  Previewer previewer{pipeline.models.last(), *pipeline.autoencoder};
  UnknownWords unknown_words = {};
  std::set<std::string> warned = {};  // of what plans had to say
  Request pictures_from = {};         // in a run all have the same, as a rule
  InputPictures pictures = {};
};

Pipeline::Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pipeline::Session::Session(Session&&) noexcept = default;
Pipeline::Session& Pipeline::Session::operator=(Session&&) noexcept = default;
Pipeline::Session::~Session() = default;

void Pipeline::Session::draw(std::span<const Plan> plans, const Done& done, Observer& observer) {
  impl_->draw(plans, done, observer);
}

Pipeline::Session Pipeline::session() const { return Session(std::make_unique<Session::Impl>(*impl_, /*warm=*/true)); }

void Pipeline::draw(std::span<const Plan> plans, const Done& done, Observer& observer) const {
  Session::Impl(*impl_, /*warm=*/false).draw(plans, done, observer);
}

void Pipeline::Session::Impl::draw(std::span<const Plan> plans, const Done& done, Observer& observer) {
  for (const Plan& plan : plans) require_drawable(plan);
  const c10::InferenceMode inference;
  std::unique_lock turn(pipeline.turns, std::defer_lock);
  if (pipeline.shared) turn.lock();
  for (const Plan& plan : plans)
    for (const std::string& warning : plan.impl().warnings)
      if (warned.insert(warning).second) observer.warning_of_fields(Error(Fault::usage, warning));
  warn_of_unused_words(pipeline.models.base, plans, observer);
  for (const Plan& plan : plans) pipeline.warn_of_misfits(plan.loras(), observer);
  unknown_words.warn(pipeline.models, plans, /*last=*/!warm, observer);
  MemoryFallback fallback(pipeline.batch_size, pipeline.tiles, pipeline.shared);
  std::size_t made = 0;
  const auto count = [&](std::size_t i, Image image) {
    done(i, std::move(image));
    made = i + 1;
  };
  while (made < plans.size()) {
    const std::vector<Lora>& loras = plans[made].impl().loras;
    std::size_t end = made + 1;
    while (end < plans.size() && plans[end].impl().loras == loras) ++end;
    bring(loras);
    try {
      run(plans.first(end), made, fallback, count, observer);
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

// Throws Error(usage) for a plan that is not this pipeline's, or has no seed.
void Pipeline::Session::Impl::require_drawable(const Plan& plan) const {
  if (&plan.impl().run(0).parts != &pipeline.models.base)
    throw Error(Fault::usage, "the plan was made by another pipeline");
  if (!plan.request().seed) throw Error(Fault::usage, "a picture needs a seed: the plan has none");
}

// What is of other LoRAs goes first: what is kept of their texts, too.
void Pipeline::Session::Impl::bring(const std::vector<Lora>& loras) {
  for (std::size_t i = 0; i < workers.size(); ++i) {
    const std::vector<Lora> own = Pipeline::Impl::of_model(i, loras);
    if (workers[i] && workers[i]->loras == own) continue;
    workers[i].reset();
    workers[i] = std::make_unique<Worker>(pipeline.models, i, own);
  }
}

// Do networks have to go, or to wait, while prompts are read?
bool Pipeline::Session::Impl::text_goes_first() const {
  using Turns = Pipeline::Impl::Turns;
  if (pipeline.turns_of_text == Turns::never) return false;
  const bool there = std::ranges::all_of(workers, [](const auto& worker) { return worker->step.backbone != nullptr; });
  return !there || pipeline.turns_of_text == Turns::always || !pipeline.has_room_for_text();
}

void Pipeline::Session::Impl::bring_networks(Observer& observer) {
  for (const auto& worker : workers)
    if (!worker->step.backbone) worker->take(pipeline.steps[worker->index]->with(worker->loras, observer));
}

void Pipeline::Session::Impl::forget_networks() {
  for (const auto& worker : workers) {
    worker->step = {};
    pipeline.steps[worker->index]->forget();
  }
}

// Makes the pictures from number `made` on, which all have the LoRAs that are there.
void Pipeline::Session::Impl::run(std::span<const Plan> plans, std::size_t made, const MemoryFallback& fallback,
                                  const Done& done, Observer& observer) {
  text_goes_first() ? forget_networks() : bring_networks(observer);
  const auto alike = [&](const Plan::Impl& a, const Plan::Impl& b) { return workers[0]->text.alike(a, b); };
  std::vector<Batch> all =
      on_device("reading the prompts", [&] { return batches(plans.subspan(made), fallback.rows(), alike); });
  for (Batch& batch : all) batch.first += made;
  for (std::span<const Batch> left = all; !left.empty();) {
    std::vector<std::vector<Conditionings>> read;
    const std::size_t some = read_some(left, read, observer);
    for (std::size_t i = 0; i < some; ++i) make(left[i], read[i], fallback, done, observer);
    left = left.subspan(some);
  }
}

// Reads the prompts of the first batches, and says of how many: of one, or, where networks have to wait, of so many as
// are well kept in memory.
std::size_t Pipeline::Session::Impl::read_some(std::span<const Batch> batches,
                                               std::vector<std::vector<Conditionings>>& read, Observer& observer) {
  constexpr std::size_t most_bytes = 500'000'000;
  const bool text_first = text_goes_first();
  if (text_first) forget_networks();
  std::size_t bytes = 0;
  do {
    const Batch& batch = batches[read.size()];
    read.push_back(read_prompts(batch, /*last=*/read.size() + 1 == batches.size(), observer));
    for (const Conditionings& of_model : read.back())
      for (const Conditioning& one : of_model.distinct) bytes += one.bytes();
  } while (text_first && read.size() < batches.size() && bytes < most_bytes);
  if (text_first) {
    for (const auto& worker : workers) worker->text.release();
    release_host_memory(pipeline.models.base.device);
    release_kept_blocks();
    bring_networks(observer);
  }
  return read.size();
}

std::vector<Conditionings> Pipeline::Session::Impl::read_prompts(const Batch& batch, bool last, Observer& observer) {
  Timed encoding(observer, Stage::text, batch.first);
  std::vector<Conditionings> conditionings;
  int calls = 0;
  on_device("reading the prompts", [&] {
    for (std::size_t i = 0; i < workers.size(); ++i) {
      conditionings.push_back(workers[i]->text(batch, calls, observer));
      if (last && !warm) workers[i]->text.release();
      calls += batch.common().run(i).calls();
    }
  });
  if (last && !warm) release_host_memory(pipeline.models.base.device);
  encoding.end();
  return conditionings;
}

void Pipeline::Session::Impl::make(const Batch& batch, const std::vector<Conditionings>& conditionings,
                                   const MemoryFallback& fallback, const Done& done, Observer& observer) {
  const Request& r = batch.common().request;
  if (const Size size = drawn_size(pipeline.models.base.latents, r), asked{*r.width, *r.height}; size != asked)
    observer.detail(concat("drawn at ", size.width, "x", size.height,
                           ", the model's own size that is nearest in shape, and cut to ", asked.width, "x",
                           asked.height));
  const Tensor images = on_device(concat("making ", batch.rows, " picture(s) of ", *r.width, "x", *r.height), [&] {
    prepare_pictures(r);
    Tiling tiling{fallback.in_tiles()};
    Tensor latents = latents_of(batch, conditionings, tiling, observer);
    const double offset = pipeline.models.last().latents.repaint_offset;
    if (repaints(r) && offset != 0) latents = latents + offset;
    Timed decoding(observer, Stage::decode, batch.first);
    const Tensor drawn =
        decode(pipeline.models.last(), *pipeline.autoencoder, latents, batch.common().lora_infos, tiling, observer);
    Tensor made = cut_to(drawn, {*r.width, *r.height});
    made = made.is_meta() ? at::zeros(made.sizes()) : made.cpu();  // on paper a picture is black
    decoding.end();
    observer.computed(batch.first, {static_cast<int>(batch.rows), tiling.on});
    return made;
  });
  for (std::size_t i = 0; i < batch.plans.size(); ++i) done(batch.first + i, pictures.finished(to_image(images[i])));
}

Tensor Pipeline::Session::Impl::latents_of(const Batch& batch, const std::vector<Conditionings>& conditionings,
                                           Tiling& tiling, Observer& observer) {
  const Models& models = pipeline.models;
  const Request& r = batch.common().request;
  int calls = 0;
  for (std::size_t i = 0; i < workers.size(); ++i) calls += batch.common().run(i).calls();

  Timed denoising(observer, Stage::denoise, batch.first);
  Watch watch(batch, calls, previewer, observer);
  Tensor latents = denoise(*workers[0], batch, conditionings[0], watch, [&](const ModelRun& run, SeededNoise& noise) {
    // The refiner's autoencoder is loaded, this model's own only now.
    const auto own = models.refiner && r.init_image ? models.base.picture.make(models.base.picture.dtype) : nullptr;
    const Autoencoder& encoder = own ? *own : *pipeline.autoencoder;
    const auto encoded = [&](const Tensor& pixels, const Noise& draw) {
      return encode(models.base, encoder, pixels, draw, tiling, observer);
    };
    return first_start(run, r, pictures, noise, {encoded, encoder.draws()});
  });
  for (std::size_t i = 1; i < workers.size(); ++i)
    latents = denoise(*workers[i], batch, conditionings[i], watch, [&](const ModelRun& run, SeededNoise& noise) {
      return refiner_start(run, pictures, latents, noise);
    });
  denoising.end();
  return latents;
}

void Pipeline::Session::Impl::prepare_pictures(const Request& request) {
  if (share_a_batch(pictures_from, request)) return;
  pictures = InputPictures(pipeline.models.base, request);
  pictures_from = request;
}

}  // namespace sdgen
