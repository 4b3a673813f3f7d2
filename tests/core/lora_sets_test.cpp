// Pictures with different LoRAs from one pipeline: each is drawn as it is alone, to the bit, whatever was drawn before.
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "core/drawn.h"
#include "core/tensor_files.h"
#include "core/tiny_models.h"
#include "pipeline/step_network.h"

namespace sdgen {
namespace {

using Loras = std::vector<Lora>;

// What a pipeline said and did.
struct Heard : Observer {
  void stage(Stage stage, std::size_t, double) override { loads += stage == Stage::load; }
  void warning(const std::string& message) override { warnings.push_back(message); }
  int loads = 0;
  std::vector<std::string> warnings;
};

class LoraSets : public testing::Test {
 protected:
  LoraSets() { at::manual_seed(1); }

  std::string file(const std::string& name, const test::Tensors& tensors) {
    return test::write_tensors(scratch_, name + ".safetensors", tensors).string();
  }
  static at::Tensor random(at::IntArrayRef shape) { return at::randn(shape, at::kFloat); }
  static test::Tensors of_unet() {
    return {{"lora_unet_conv_in.lora_down.weight", random({2, 4, 3, 3})},
            {"lora_unet_conv_in.lora_up.weight", random({8, 2, 1, 1})}};
  }
  static test::Tensors of_text() {
    const std::string layer = "lora_te_text_model_encoder_layers_0_mlp_fc1";
    return {{layer + ".lora_down.weight", random({2, 32})}, {layer + ".lora_up.weight", random({64, 2})}};
  }
  static test::Tensors of_word() { return {{"bundle_emb.<s1>.emb_params", random({2, 32})}}; }
  static test::Tensors together(test::Tensors one, const test::Tensors& other) {
    one.insert(other.begin(), other.end());
    return one;
  }

  static Pipeline load(const Loras& loras = {}, Observer* observer = nullptr) {
    Observer nobody;
    return Pipeline::load(test::kTinySd,
                          {.device = "cpu", .precision = Precision::float32, .batch_size = 2, .loras = loras},
                          observer ? *observer : nobody);
  }
  static Request request(const Loras& loras, std::uint64_t seed = 7) {
    Request r;
    r.prompt = "a <s1> fox";
    r.seed = seed;
    r.steps = 2, r.width = 32, r.height = 32;
    r.loras = loras;
    return r;
  }
  static std::vector<Image> drawn(const Pipeline& pipeline, const std::vector<Request>& requests) {
    Observer nobody;
    return test::drawn(pipeline, requests, nobody);
  }

  const Scratch scratch_;
  // The same for the U-Net, for the text encoder, with a word.
  const std::string style_ = file("style", of_unet()), text_ = file("text", of_text()),
                    word_ = file("word", together(of_unet(), of_word()));
  const std::vector<Loras> sets_ = {{},         {{style_}},      {{text_}},
                                    {},         {{word_, 0.5}},  {{style_}, {text_, 1, 0.5}},
                                    {{style_}}, {{style_, 0.5}}, {{style_}, {style_}}};
};

TEST_F(LoraSets, EachPictureIsDrawnAsAlone) {
  std::vector<Request> requests;
  std::vector<Image> alone;
  for (const Loras& loras : sets_) {
    alone.push_back(drawn(load(loras), {request({})})[0]);
    requests.push_back(request(loras));
  }
  for (const std::size_t i : {1, 2, 4, 5, 7, 8})
    EXPECT_NE(alone[i].rgb, alone[0].rgb) << "set " << i << " shows nothing";
  const Pipeline pipeline = load();
  const auto expect_as_alone = [&](const std::vector<Image>& images, const char* how) {
    for (std::size_t i = 0; i < images.size(); ++i) EXPECT_TRUE(images[i].rgb == alone[i].rgb) << how << ", set " << i;
  };
  expect_as_alone(drawn(pipeline, requests), "one run");
  expect_as_alone(drawn(pipeline, requests), "again");
  Observer nobody;
  Pipeline::Session session = pipeline.session();
  std::vector<Image> one_by_one;
  for (const Request& r : requests) one_by_one.push_back(test::drawn_by(session, pipeline, {r}, nobody)[0]);
  expect_as_alone(one_by_one, "a session");

  // Those of all pictures come first.
  Request more = request({{text_, 1, 0.5}});
  EXPECT_TRUE(drawn(load({{style_}}), {more})[0].rgb == alone[5].rgb);
}

// Rows of a batch have the same LoRAs; neighbours with others wait for theirs.
TEST_F(LoraSets, ShareBatchesWithThemselvesAlone) {
  const std::vector<Request> requests = {request({{style_}}, 1), request({{style_}}, 2), request({}, 3),
                                         request({{style_}}, 4)};
  const Pipeline pipeline = load();
  const std::vector<Image> images = drawn(pipeline, requests);
  for (std::size_t i = 0; i < requests.size(); ++i)
    EXPECT_TRUE(drawn(pipeline, {requests[i]})[0].rgb == images[i].rgb) << i;
}

TEST_F(LoraSets, AreReadOnce) {
  Heard heard;
  const Pipeline pipeline = load({}, &heard);
  EXPECT_EQ(heard.loads, 1) << "all that no LoRA changes";
  const std::vector<Plan> plans =
      test::planned(pipeline, {request({{style_}}), request({{style_}}, 8), request({{text_}}), request({{text_}}, 8)});
  pipeline.prepare(plans[0], heard);
  EXPECT_EQ(heard.loads, 2);
  Pipeline::Session session = pipeline.session();
  const Done done = [](std::size_t, const Image&) {};
  session.draw(plans, done, heard);
  EXPECT_EQ(heard.loads, 3);
  session.draw(std::span(plans).last(2), done, heard);
  pipeline.draw(std::span(plans).last(1), done, heard);
  EXPECT_EQ(heard.loads, 3);
}

TEST_F(LoraSets, AThreadsOwn) {
  const Pipeline pipeline = load();
  std::vector<std::vector<Request>> requests(2);
  for (const Loras& loras : sets_)
    for (std::uint64_t thread : {0, 1}) requests[thread].push_back(request(loras, thread));
  std::ranges::reverse(requests[1]);
  std::vector<std::vector<Image>> together(2);
  {
    std::vector<std::jthread> running;
    for (std::size_t i : {0, 1}) running.emplace_back([&, i] { together[i] = drawn(pipeline, requests[i]); });
  }
  for (std::size_t i : {0, 1})
    for (std::size_t k = 0; k < sets_.size(); ++k)
      EXPECT_TRUE(drawn(pipeline, {requests[i][k]})[0].rgb == together[i][k].rgb)
          << "thread " << i << ", picture " << k;
}

TEST_F(LoraSets, WhatIsWrongIsSaidWhenThePictureIsPlanned) {
  Heard heard;
  const Pipeline pipeline = load({}, &heard);
  EXPECT_CONTAINS(message_of(Fault::input, [&] { pipeline.plan(request({{"/no/such.safetensors"}})); }),
                  "there is no file '/no/such.safetensors'");
  const std::string flux = file("flux", {{"lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight", random({2, 8})},
                                         {"lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight", random({8, 2})}});
  for (int twice = 0; twice < 2; ++twice)
    EXPECT_CONTAINS(message_of(Fault::input, [&] { pipeline.plan(request({{style_}, {flux}})); }), "made for Flux");
  const std::string same = file("same", together(of_unet(), of_word()));
  EXPECT_CONTAINS(message_of(Fault::input,
                             [&] {
                               pipeline.plan(request({{word_}, {same}}));
                             }),
                  "brings the word '<s1>', which the model knows already");
  EXPECT_EQ(pipeline.plan(request({{word_}, {word_}})).loras().size(), 2u) << "one file brings its words once";

  const std::string part = file("part", together(of_unet(), {{"lora_unet_nowhere.alpha", random({1})}}));
  const Plan plan = pipeline.plan(request({{part, 0.5, 0.25}, {style_}}));
  ASSERT_EQ(plan.loras().size(), 2u);
  EXPECT_EQ(plan.loras()[0].unet_scale, 0.5);
  EXPECT_EQ(plan.loras()[0].text_scale, 0.25);
  EXPECT_EQ(plan.loras()[0].name, "part");
  const Done done = [](std::size_t, const Image&) {};
  pipeline.draw({&plan, 1}, done, heard);
  pipeline.draw({&plan, 1}, done, heard);
  ASSERT_EQ(heard.warnings.size(), 1u) << "of each file once";
  EXPECT_CONTAINS(heard.warnings[0], "lora_unet_nowhere.alpha");
}

TEST_F(LoraSets, NaNNamesTheLora) {
  test::Tensors damaged = of_unet();
  damaged["lora_unet_conv_in.lora_up.weight"].index_put_({0}, std::nan(""));
  const std::string nan = file("damaged", damaged), strong = file("strong", [] {
                                                      test::Tensors huge = of_unet();
                                                      for (auto& [name, tensor] : huge) tensor = tensor * 1e18;
                                                      return huge;
                                                    }());
  const Pipeline pipeline = load();
  const auto message = [&](const Loras& loras) {
    return message_of(Fault::device, [&] { drawn(pipeline, {request(loras)}); });
  };
  EXPECT_CONTAINS(message({{style_}, {nan}}),
                  concat("the LoRA ", nan, " has NaN or infinity in 'lora_unet_conv_in.lora_up.weight'"));
  EXPECT_CONTAINS(message({{style_}, {strong, 1000}}),
                  "or the LoRAs are too strong, or made for another model: style:1, strong:1000");
  EXPECT_CONTAINS(message({{strong, 1000}}), "or the LoRA is too strong");
}

// A backbone that counts how many there are.
struct Counted : Backbone {
  explicit Counted(int& alive) : alive(alive) { ++alive; }
  ~Counted() override { --alive; }
  at::Tensor predict(const at::Tensor& x, const at::Tensor&, const Conditioning&) const override { return x; }
  int& alive;
};

TEST(StepNetwork, IsGoneBeforeTheNextOneIsRead) {
  int alive = 0, most = 0;
  bool fails = false;
  const Parts parts{.family = "StableDiffusionPipeline",
                    .device = at::kCPU,
                    .dtype = at::kFloat,
                    .make_step =
                        [&](std::span<const Lora>) {
                          if (fails) throw Error(Fault::input, "changed meanwhile");
                          const StepPart step{std::make_shared<Counted>(alive)};
                          most = std::max(most, alive);
                          return step;
                        },
                    .scheduler = Config(Json::object(), "test")};
  StepNetwork network(parts, "model");
  Observer nobody;
  const auto with = [&](const Loras& loras) { return network.with(loras, nobody).backbone; };
  const Backbone* first = with({}).get();
  EXPECT_EQ(with({}).get(), first);
  with({{"a"}});
  with({{"a", 0.5}});
  EXPECT_EQ(most, 1);
  const auto held = with({{"a"}});  // another session's
  with({{"b"}});
  EXPECT_EQ(alive, 2);
  fails = true;
  EXPECT_CONTAINS(message_of(Fault::input, [&] { with({}); }), "changed meanwhile");
  EXPECT_CONTAINS(message_of(Fault::input, [&] { with({{"b"}}); }), "changed meanwhile") << "it is gone";
  fails = false;
  with({{"b"}});
  EXPECT_EQ(alive, 2);
}

}  // namespace
}  // namespace sdgen
