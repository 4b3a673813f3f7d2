#include "pipeline/estimate.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "device/device.h"
#include "device/free_memory.h"
#include "ops/tally.h"
#include "pipeline/measure.h"
#include "sdgen/error.h"
#include "stages/batch.h"
#include "stages/plan.h"

namespace sdgen {
namespace {

constexpr std::uint64_t kOtherMemory = 300'000'000;  // bytes of libraries and of what the program keeps

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Tells the stages of a batch apart while it is counted.
class OnPaper : public Observer {
 public:
  OnPaper(const ops::Tally& tally, Observer& cancel) : tally_(tally), cancel_(cancel) {}
  void stage(Stage stage, std::size_t /*first*/, double /*seconds*/) override {
    if (stage != Stage::text) return;
    text = {tally_.calls(), tally_.other_bytes(), tally_.others()};
    text_most = tally_.most_bytes();
    const_cast<ops::Tally&>(tally_).forget_most();
  }
  bool cancelled() override { return cancel_.cancelled(); }

  Work text;
  std::int64_t text_most = 0;

 private:
  const ops::Tally& tally_;
  Observer& cancel_;
};

std::string texts_of(const Request& r) {
  std::string all;
  for (std::size_t i = 0; i < kPrompts.size(); ++i)
    for (const TextField& field : {kPrompts[i], kNegativePrompts[i]}) all += (r.*field.text).value_or("") + '\n';
  return all;
}

double pixels_of(const Plan& plan) { return double(*plan.request().width) * *plan.request().height; }

int calls_of(const Plan& plan) {
  int calls = 0;
  for (const ModelRun& run : plan.impl().runs->of) calls += run.calls();
  return calls;
}

}  // namespace

struct Estimator::Kind {
  Plan plan;        // of the first
  Request request;  // of all, without pixels
  std::size_t pictures = 0, batches = 0;
  bool counted = false;
  Work text = {}, rest = {};  // of a batch
  std::int64_t text_bytes = 0, rest_bytes = 0;
};

Estimator::Estimator(const Pipeline& on_paper, const LoadOptions& options, const std::string& device)
    : pipeline_(on_paper), options_(options), device_(device) {}
Estimator::~Estimator() = default;

std::shared_ptr<const Image> Estimator::of_size(const std::shared_ptr<const Image>& picture) {
  if (!picture) return nullptr;
  auto& known = sizes_[{picture->width, picture->height}];
  if (!known) known = std::make_shared<const Image>(Image{picture->width, picture->height, {}});
  return known;
}

// Requests that cost the same are equal then, and thousands of them keep no pictures.
Request Estimator::without_pixels(Request request) {
  for (auto* picture : {&request.init_image, &request.mask, &request.depth}) *picture = of_size(*picture);
  for (auto& picture : request.references) picture = of_size(picture);
  for (Control& control : request.controls) control.image = of_size(control.image);
  return request;
}

Estimator::Kind& Estimator::kind_of(const Plan& plan) {
  const Request request = without_pixels(plan.request());
  const auto same = [&](const auto& kind) { return share_a_batch(kind->request, request); };
  const auto known = std::ranges::find_if(kinds_, same);
  if (known != kinds_.end()) return **known;
  return *kinds_.emplace_back(new Kind{plan, request});
}

void Estimator::add(const Plan& plan) {
  const bool together = last_ && share_a_batch(last_->request(), plan.request());
  Kind& kind = together ? *last_kind_ : kind_of(plan);
  if (!together || in_batch_ == std::size_t(options_.batch_size)) in_batch_ = 0;
  if (in_batch_++ == 0) ++kind.batches;
  ++kind.pictures;
  last_ = plan;
  last_kind_ = &kind;
  prompts_.insert(texts_of(plan.request()));
}

bool Estimator::count(Kind& kind, Observer& observer) const {
  pipeline_.prepare(kind.plan, observer);  // so that its weights are none of the tally's
  ops::Tally tally;
  OnPaper watch(tally, observer);
  try {
    pipeline_.draw(
        {&kind.plan, 1}, [](std::size_t, const Image&) {}, watch);
  } catch (const c10::Error& error) {
    observer.detail(concat("no estimate: ", error.what_without_backtrace()));
    return false;
  }
  kind.text = watch.text;
  kind.rest = Work{tally.calls(), tally.other_bytes(), tally.others()}.without(watch.text);
  kind.text_bytes = watch.text_most;
  kind.rest_bytes = tally.most_bytes();
  return kind.counted = true;
}

Estimate Estimator::result(Observer& observer) {
  constexpr double most_seconds = 5, most_measuring = 2;
  Estimate all;
  all.kinds = kinds_.size();
  const auto began = std::chrono::steady_clock::now();
  Work work;
  for (const auto& kind : kinds_) {
    const bool due = all.counted == 0 || seconds_since(began) < most_seconds;
    const bool whole = due && count(*kind, observer);
    all.counted += whole;
    const Kind* like = kind.get();
    double share = 1;
    if (!whole && all.counted > 0) {
      const auto distance = [&](const auto& other) {
        return other->counted ? std::abs(std::log(pixels_of(other->plan) / pixels_of(kind->plan))) : INFINITY;
      };
      like = std::ranges::min_element(kinds_, {}, distance)->get();
      share = pixels_of(kind->plan) / pixels_of(like->plan) * calls_of(kind->plan) / calls_of(like->plan);
    }
    all.pictures += kind->pictures;
    all.batches += kind->batches;
    all.calls += kind->batches * std::size_t(calls_of(kind->plan));
    work.add(like->rest, share * double(kind->batches));
    if (kind.get() == kinds_.front().get()) work.add(kind->text, double(prompts_.size()) / options_.batch_size);
    all.activation_bytes =
        std::max(all.activation_bytes, std::uint64_t(double(like->rest_bytes) * std::max(share, 1.0)));
  }
  if (kinds_.empty()) return all;
  std::uint64_t text = 0;
  for (const ModelRun& run : kinds_.front()->plan.impl().runs->of) {
    const Parts& parts = run.parts;
    if (parts.text) text += parts.text->bytes;
    all.step_bytes += parts.step_bytes;
    all.autoencoder_bytes = parts.picture.bytes;
  }
  all.text_bytes = text;
  const at::Device device = open_device(device_);
  all.free = free_memory(device);
  all.in_turns = options_.offload || (all.free && text + all.step_bytes + 2'000'000'000 > *all.free && text > 0);
  const std::uint64_t drawing = all.step_bytes + all.activation_bytes;
  all.memory = all.autoencoder_bytes + kOtherMemory +
               (all.in_turns ? std::max(text, drawing) : std::max(text + all.step_bytes, drawing));
  all.operations = work.operations();
  if (device.is_cpu() && all.counted > 0) all.seconds = measured_seconds(work, most_measuring);
  return all;
}

}  // namespace sdgen
