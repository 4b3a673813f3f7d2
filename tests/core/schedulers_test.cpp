// Every scheduler row against diffusers' class on a toy network: timesteps, start and the latents after every step.
#include "diffusion/schedulers.h"

#include <ATen/ops/cos.h>
#include <ATen/ops/tanh.h>

#include "core/fixture.h"
#include "diffusion/denoiser.h"
#include "sdgen/sdgen.h"

namespace sdgen {
namespace {

using at::Tensor;
using test::Fixture;

// tests/fixtures/README.md
Tensor toy_network(const Tensor& x, double t) {
  return 0.9 * at::tanh(1.5 * x + 0.002 * t - 1) + 0.25 * at::cos(2 * x);
}

struct Trajectory {
  std::vector<double> told;     // timestep of every network call
  std::vector<Tensor> latents;  // at every network call, and the last
  int draws = 0;
  double start_scale = 0;
};

// Runs a scheduler on the toy network in float64.
Trajectory run(const Scheduler& scheduler, int steps, const Tensor& noise) {
  Trajectory result;
  const Grid grid = scheduler.grid(steps);
  result.start_scale = grid.start_scale;
  const Denoise inner = denoiser(toy_network, scheduler.config.prediction, std::nullopt);
  const Denoise denoise = [&](const Tensor& x, const Node& at) {
    result.told.push_back(at.t);
    result.latents.push_back(x);
    return inner(x, at);
  };
  const Noise draw = [&] { return noise[1 + result.draws++]; };
  result.latents.push_back(scheduler.sampler()(denoise, grid.steps, noise[0] * grid.start_scale, draw));
  return result;
}

Scheduler scheduler_of(const Json& c) {
  const Config file(c.at("config"), "scheduler_config.json");
  // The fixture's configs are what from_config gets: nothing forced.
  Scheduler s = Scheduler::choose(
      file, {.name = c.at("scheduler").get<std::string>(), .timestep_spacing = {}, .prediction_type = {}, .eta = {}});
  if (c.at("config").contains("steps_offset")) s.config.steps_offset = c.at("config").at("steps_offset").get<int>();
  if (c.at("config").contains("clip_sample") && scheduler_has(s.config.class_name, "clip_sample"))
    s.config.clip_sample = c.at("config").at("clip_sample").get<bool>();
  if (s.row->takes_eta) s.eta = c.value("eta", 0.0);
  return s;
}

TEST(Schedulers, EqualDiffusersAtEveryStep) {
  const Fixture f("schedulers");
  const Tensor noise = f.tensor("noise").to(at::kDouble), timesteps = f.tensor("timesteps"),
               latents = f.tensor("latents");
  const Json cases = f.json("cases");
  ASSERT_GT(cases.size(), 100u);
  std::map<std::string, double> worst;
  int compared = 0;
  for (const Json& c : cases) {
    const std::string what = c.dump().substr(0, 600);
    // What is for later: it must be refused by name, not computed wrongly.
    const Json& config = c.at("config");
    bool later = config.value("interpolation_type", "linear") != "linear";
    for (const char* key : {"use_karras_sigmas", "use_lu_lambdas"}) later = later || config.value(key, false);
    if (later) {
      EXPECT_THROW(scheduler_of(c), Error) << what;
      continue;
    }
    // Where a trajectory begins at sigma 4096 (zero terminal SNR) the reference's own float32 is worth 2e-5.
    const double tolerance = c.at("init_noise_sigma").get<double>() > 1000 ? 3e-5 : 1e-5;
    ++compared;
    try {
      const Scheduler scheduler = scheduler_of(c);
      const Trajectory got = run(scheduler, c.at("steps").get<int>(), noise);
      const auto t_offset = c.at("timesteps")[0].get<std::int64_t>(),
                 t_count = c.at("timesteps")[1].get<std::int64_t>();
      ASSERT_EQ(std::int64_t(got.told.size()), t_count) << what;
      for (std::int64_t i = 0; i < t_count; ++i)
        EXPECT_NEAR(got.told[i], timesteps[t_offset + i].item<double>(), 1e-4) << what << " call " << i;
      EXPECT_NEAR(got.start_scale, c.at("init_noise_sigma").get<double>(), 1e-5 * got.start_scale) << what;
      EXPECT_EQ(got.draws, c.value("draws", 0)) << what;
      const auto first = c.at("rows")[0].get<std::int64_t>();
      const Json& calls = c.at("calls");
      for (std::size_t k = 0; k < calls.size(); ++k) {
        const double d = test::relative_difference(got.latents.at(calls[k].get<std::size_t>() + 1), latents[first + k]);
        EXPECT_LE(d, tolerance) << what << " after call " << calls[k];
        double& w = worst[c.at("scheduler").get<std::string>()];
        w = std::max(w, d);
      }
    } catch (const std::exception& error) {
      ADD_FAILURE() << what << ": " << error.what();
    }
  }
  EXPECT_GT(compared, 300);
  for (const auto& [name, difference] : worst) RecordProperty(name, std::to_string(difference));
}

// The comparison above must be able to fail: one changed key, one more step, each shows.
TEST(Schedulers, ComparisonNoticesMistakes) {
  const Fixture f("schedulers");
  const Tensor noise = f.tensor("noise").to(at::kDouble);
  const Config file(
      {{"beta_schedule", "scaled_linear"}, {"beta_start", 0.00085}, {"beta_end", 0.012}, {"steps_offset", 1}}, "test");
  for (const SchedulerRow& row : scheduler_rows()) {
    const auto with = [&](const std::function<void(SchedulerConfig&)>& change, int steps = 10) {
      Scheduler s =
          Scheduler::choose(file, {.name = row.name, .timestep_spacing = {}, .prediction_type = {}, .eta = {}});
      change(s.config);
      return run(s, steps, noise).latents.back();
    };
    const Tensor plain = with([](SchedulerConfig&) {});
    const auto changes = [&](const Tensor& other) { return test::relative_difference(other, plain); };
    EXPECT_GT(changes(with([](SchedulerConfig&) {}, 11)), 1e-4) << row.name;
    EXPECT_GT(changes(with([](SchedulerConfig& c) { c.prediction = Prediction::v; })), 1e-3) << row.name;
    EXPECT_GT(changes(with([](SchedulerConfig& c) { c.beta_end = 0.0121; })), 1e-5) << row.name;
    EXPECT_GT(changes(with([](SchedulerConfig& c) { c.spacing = Spacing::trailing; })) +
                  changes(with([](SchedulerConfig& c) { c.spacing = Spacing::leading; })),
              1e-4)
        << row.name;
  }
}

Fault fault_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_GT(std::string(error.what()).size(), 20u);
    return error.fault();
  }
  return Fault::internal;
}

TEST(Schedulers, RefuseWhatTheClassDoesNotHave) {
  const Config file({{"_class_name", "PNDMScheduler"}, {"skip_prk_steps", true}}, "scheduler_config.json");
  const auto choose = [&file](SchedulerChoice choice) { return [&file, choice] { Scheduler::choose(file, choice); }; };
  EXPECT_EQ(fault_of(choose({"eulr", {}, {}, {}})), Fault::usage);
  EXPECT_EQ(fault_of(choose({"plms", {}, "sample", {}})), Fault::usage);
  EXPECT_EQ(fault_of(choose({"euler", {}, {}, 0.5})), Fault::usage);
  EXPECT_EQ(fault_of(choose({"euler", {}, {}, 0.0})), Fault::usage);
  EXPECT_EQ(fault_of(choose({"ddim", {}, {}, 1.5})), Fault::usage);
  EXPECT_EQ(fault_of(choose({"ddim", "karras", {}, {}})), Fault::usage);
  EXPECT_EQ(fault_of(choose({"ddim", {}, "x0", {}})), Fault::usage);
  EXPECT_EQ(fault_of(choose({"ddim", {}, {}, 0.5})), Fault::internal);  // no fault
}

TEST(Schedulers, RefuseStepCountsThatDoNotFit) {
  const Config file({{"steps_offset", 1}}, "scheduler_config.json");
  for (const char* name : {"ddpm", "ddim", "plms"}) {
    const Scheduler s = Scheduler::choose(file, {name, {}, {}, {}});
    EXPECT_EQ(fault_of([&] { s.grid(1001); }), Fault::usage) << name;
    EXPECT_EQ(fault_of([&] { s.grid(1000); }), Fault::usage)
        << name;  // with the offset the first would be timestep 1000
  }
  const Scheduler dpm = Scheduler::choose(file, {"dpm++2m", {}, {}, {}});
  EXPECT_EQ(fault_of([&] { dpm.grid(2000); }), Fault::usage);
}

TEST(Schedulers, RefuseConfigsThatNobodySupports) {
  const auto own = [](Json json) {
    return fault_of([&] {
      const Scheduler s = Scheduler::choose(Config(std::move(json), "scheduler_config.json"), {});
      s.grid(10);
      s.sampler();
    });
  };
  EXPECT_EQ(own({{"_class_name", "NoScheduler"}}), Fault::input);
  EXPECT_EQ(own({{"_class_name", "PNDMScheduler"}, {"skip_prk_steps", false}}), Fault::input);
  EXPECT_EQ(own({{"_class_name", "EulerDiscreteScheduler"}, {"use_karras_sigmas", true}}), Fault::input);
  EXPECT_EQ(own({{"_class_name", "DDIMScheduler"}, {"beta_schedule", "laplace"}}), Fault::input);
  EXPECT_EQ(own({{"_class_name", "DDIMScheduler"}, {"trained_betas", {2.0, 3.0}}}), Fault::input);
  EXPECT_EQ(own({{"_class_name", "DDPMScheduler"}, {"variance_type", "learned"}}), Fault::input);
  EXPECT_EQ(own({{"_class_name", "DPMSolverMultistepScheduler"}, {"algorithm_type", "sde-dpmsolver++"}}), Fault::input);
  EXPECT_EQ(own({{"_class_name", "PNDMScheduler"}, {"prediction_type", "sample"}, {"skip_prk_steps", true}}),
            Fault::input);
  EXPECT_EQ(own({{"_class_name", "DDIMScheduler"}}), Fault::internal);  // no fault
}

// What the Stable Diffusion pipelines force into a model's config, and what an assigned scheduler inherits of it.
TEST(Schedulers, FollowThePipelinesRules) {
  const auto own = [](Json json) { return Scheduler::choose(Config(std::move(json), "test"), {}).config; };
  const auto assigned = [](Json json, const char* name) {
    return Scheduler::choose(Config(std::move(json), "test"), {name, {}, {}, {}}).config;
  };
  EXPECT_EQ(own({{"_class_name", "DDIMScheduler"}}).steps_offset, 1);
  EXPECT_FALSE(own({{"_class_name", "DDIMScheduler"}}).clip_sample);
  EXPECT_FALSE(own({{"_class_name", "DDIMScheduler"}, {"clip_sample", true}}).clip_sample);
  // Absent keys are the new class's own defaults; present ones were forced before.
  EXPECT_TRUE(assigned({{"_class_name", "PNDMScheduler"}}, "ddim").clip_sample);
  EXPECT_EQ(assigned({{"_class_name", "PNDMScheduler"}}, "ddim").steps_offset, 0);
  EXPECT_FALSE(assigned({{"_class_name", "PNDMScheduler"}, {"clip_sample", true}}, "ddim").clip_sample);
  EXPECT_EQ(assigned({{"_class_name", "PNDMScheduler"}, {"steps_offset", 0}}, "ddim").steps_offset, 1);
  EXPECT_EQ(assigned({{"_class_name", "PNDMScheduler"}}, "euler").spacing, Spacing::linspace);
  EXPECT_EQ(assigned({{"_class_name", "DPMSolverMultistepScheduler"}, {"solver_order", 3}}, "dpm++2m").solver_order, 2);
  // DPM-Solver's null variance_type reaches DDPM, which then adds fixed_small's variance.
  EXPECT_NO_THROW(ddpm(assigned({{"variance_type", nullptr}}, "ddpm")));
}

}  // namespace
}  // namespace sdgen
