#include <ATen/Parallel.h>

#include <cmath>

#include "device/free_memory.h"
#include "device/memory.h"
#include "device/threads.h"
#include "io/file.h"
#include "pipeline/impl.h"
#include "pipeline/on_device.h"
#include "pipeline/timed.h"
#include "stages/plan.h"
#include "stages/text.h"

namespace sdgen {

const char* stage_name(Stage stage) {
  switch (stage) {
    case Stage::load:
      return "load";
    case Stage::text:
      return "text";
    case Stage::denoise:
      return "denoise";
    case Stage::decode:
      return "decode";
  }
  return "";
}

Runtime::Runtime(int threads) {
  if (threads > 0) at::set_num_threads(threads);
  start_threads();
  keep_large_blocks();
}

namespace {

constexpr std::uint64_t kActivations = 2'000'000'000;  // bytes, of a picture of a million pixels, about

std::uint64_t bytes_of_text(const Models& models) {
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < models.count(); ++i)
    if (models[i].text) bytes += models[i].text->bytes;
  return bytes;
}

// Do text encoders and networks not fit into memory together, as far as anybody can tell?
bool lacks_room(const Models& models, Observer& observer) {
  const std::uint64_t text = bytes_of_text(models);
  std::uint64_t steps = 0;
  for (std::size_t i = 0; i < models.count(); ++i) steps += models[i].step_bytes;
  const auto free = free_memory(models.base.device);
  if (!free || text == 0 || text + steps + kActivations <= *free) return false;
  const auto gigabytes = [](std::uint64_t bytes) { return std::round(double(bytes) / 1e8) / 10; };
  observer.detail(concat("text encoders of ", gigabytes(text), " GB and networks of ", gigabytes(steps),
                         " GB do not fit into the ", gigabytes(*free),
                         " GB that are free: prompts are read before the networks are"));
  return true;
}

// Opens the device. Throws Error(usage, device).
AssembleOptions assemble_options(const LoadOptions& options, Observer& observer) {
  AssembleOptions how{.device = open_device(options.device),
                      .precision = options.precision,
                      .quantize = options.quantize,
                      .backbone = options.backbone,
                      .vae = options.vae,
                      .text_encoders = options.text_encoders,
                      .textual_inversions = options.textual_inversions,
                      .strict = options.strict,
                      .controlnets = options.controlnets,
                      .adapters = options.adapters};
  if (options.offload && !how.device.is_cpu()) how.shared = std::make_shared<OffloadDevice>(how.device);
  if (options.quantize != Quantize::none && !how.device.is_cpu())
    observer.warning_of_fields(
        Error(Fault::usage, concat(FieldName{"quantize"}, " saves no memory on ", how.device.str(),
                                   ": matrices have the numbers of their codes, and are widened as they are read")));
  return how;
}

}  // namespace

bool Pipeline::Impl::has_room_for_text() const {
  const auto free = free_memory(models.base.device);
  return !free || bytes_of_text(models) + kActivations / 2 <= *free;
}

Pipeline::Pipeline(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Pipeline::Pipeline(Pipeline&&) noexcept = default;
Pipeline& Pipeline::operator=(Pipeline&&) noexcept = default;
Pipeline::~Pipeline() = default;

Pipeline Pipeline::load(const std::filesystem::path& model, const LoadOptions& options, Observer& observer) {
  Timed timed(observer, Stage::load, 0);
  if (options.batch_size < 1) throw Error(Fault::usage, concat("batch size ", options.batch_size, " is not positive"));
  AssembleOptions how = assemble_options(options, observer);
  const auto warn = [&observer](const std::string& message) { observer.warning(message); };
  const auto read = [&](const std::filesystem::path& path) {
    return on_device(concat("loading ", path.string()), [&] { return assemble(path, how, warn); });
  };
  Models models{name_of(model), read(model), {}, options.loras};
  const Parts& base = models.base;
  for (const std::string& note : base.notes) observer.detail(concat(model.string(), ": ", note));
  auto& refiner = models.refiner;
  if (options.refiner) {
    how.backbone.reset();
    how.text_encoders.clear();
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
                 options.backbone ? network_name(*options.backbone) : "",
                 options.refiner ? name_of(*options.refiner) : "",
                 options.vae ? network_name(*options.vae) : "",
                 how.device.str(),
                 precision_name(base.dtype),
                 base.textual_inversions,
                 base.steering.infos};
  const Parts& last = models.last();
  auto autoencoder = on_device("loading the autoencoder", [&] { return last.picture.make(last.picture.dtype); });
  const Impl::Turns turns = options.offload && how.device.is_cpu()        ? Impl::Turns::always
                            : !how.shared && lacks_room(models, observer) ? Impl::Turns::for_want_of_room
                                                                          : Impl::Turns::never;
  std::unique_ptr<Impl> impl(new Impl{std::move(info), std::size_t(options.batch_size), std::move(models),
                                      std::move(autoencoder), how.shared, options.vae_tiling, turns});
  for (std::size_t i = 0; i < impl->models.count(); ++i)
    impl->steps.push_back(std::make_unique<StepNetwork>(impl->models[i], i == 0 ? model : *options.refiner));
  if (!options.loras.empty()) impl->warn_of_misfits(impl->models.base.lora_infos(options.loras), observer);
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

Plan Pipeline::plan(const Request& request, const Plan* like) const { return make_plan(impl_->models, request, like); }

void Pipeline::prepare(const Plan& plan, Observer& observer) const {
  if (impl_->turns_of_text != Impl::Turns::never) return;  // prompts are read first
  std::unique_lock turn(impl_->turns, std::defer_lock);
  if (impl_->shared) turn.lock();
  for (std::size_t i = 0; i < impl_->models.count(); ++i)
    impl_->steps[i]->with(Impl::of_model(i, plan.impl().loras), observer);
}

}  // namespace sdgen
