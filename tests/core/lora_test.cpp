// What LoRA files and textual inversions make of a model's weights, in numbers.
#include "adapters/lora.h"

#include <ATen/ops/empty_like.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/linalg_inv.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/stack.h>

#include "adapters/textual_inversion.h"
#include "core/fixture.h"
#include "core/tensor_files.h"

namespace sdgen {
namespace {

using at::Tensor;
using test::Tensors;
using test::write_tensors;

const std::string kUnet = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q";
const std::string kText = "encoder.layers.0.self_attn.q_proj";

Tensor random(at::IntArrayRef shape) { return at::randn(shape, at::kFloat); }

// A model of one module a component, [6, 4] each, and LoRA files for it.
class LoraNumbers : public testing::Test {
 protected:
  LoraNumbers() {
    at::manual_seed(1);
    names_.add(model_part("unet"), Architecture::unet, {{kUnet + ".weight", {6, 4}}});
    for (const char* encoder : {"text_encoder", "text_encoder_2"})
      names_.add(model_part(encoder), Architecture::clip_text, {{kText + ".weight", {6, 4}}});
  }

  // The component's weight with the files merged into it.
  Tensor merged(const std::vector<Lora>& files, const std::string& component = "unet") {
    const LoraSet loras(files, names_, "Stable Diffusion 1", /*strict=*/true, [](const std::string&) {});
    const std::string name = (component == "unet" ? kUnet : kText) + ".weight";
    const auto model = write_tensors(scratch_, "model.safetensors", {{name, weight_}});
    return loras.patch(test::open_weights({model}, at::kCPU, at::kFloat), model_part(component)).get(name, {6, 4});
  }
  std::filesystem::path file(const Tensors& parts, const std::map<std::string, std::string>& metadata = {}) {
    Tensors named;
    for (const auto& [part, tensor] : parts)
      named["lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q" + part] = tensor;
    return write_tensors(scratch_, concat("lora", files_++, ".safetensors"), named, metadata);
  }
  void expect_equal(const Tensor& got, const Tensor& expected) { test::expect_close(got, expected, 1e-6, "merged"); }

  Scratch scratch_;
  LoraNames names_;
  int files_ = 0;
  const Tensor weight_ = random({6, 4}), down_ = random({2, 4}), up_ = random({6, 2});
};

TEST_F(LoraNumbers, ScaleIsAlphaOverRankTimesTheStrength) {
  const Tensor product = up_.matmul(down_);
  const Tensors parts = {{".lora_down.weight", down_}, {".lora_up.weight", up_}};
  expect_equal(merged({{file(parts)}}), weight_ + product);
  expect_equal(merged({{file(parts), 0.75}}), weight_ + 0.75 * product);
  Tensors with_alpha = parts;
  with_alpha[".alpha"] = at::scalar_tensor(3, at::kFloat);
  expect_equal(merged({{file(with_alpha), 0.75}}), weight_ + 0.75 * 3 / 2 * product);
  // As diffusers writes it: for all modules, and for single ones.
  const std::string whole = R"({"unet.lora_alpha": 3})";
  expect_equal(merged({{file(parts, {{"lora_adapter_metadata", whole}}), 0.75}}), weight_ + 0.75 * 3 / 2 * product);
  const Json pattern = {{"unet.lora_alpha", 3}, {"unet.alpha_pattern", {{kUnet, 5}}}};
  expect_equal(merged({{file(parts, {{"lora_adapter_metadata", pattern.dump()}})}}), weight_ + 5.0 / 2 * product);
}

TEST_F(LoraNumbers, FilesAddUp) {
  const Tensors one = {{".lora_down.weight", down_}, {".lora_up.weight", up_}};
  const Tensors other = {{".lora_A.weight", 2 * down_}, {".lora_B.weight", up_}};
  expect_equal(merged({{file(one)}, {file(other), -0.25}}), weight_ + 0.5 * up_.matmul(down_));
}

TEST_F(LoraNumbers, EncodersHaveTheirOwnScaleAndTheirOwnWeights) {
  const Tensor second = random({6, 2});
  const std::string layer = "text_model_encoder_layers_0_self_attn_q_proj";
  Tensors tensors;
  for (const auto& [prefix, up] : {std::pair{"lora_te1_", up_}, {"lora_te2_", second}}) {
    tensors[prefix + layer + ".lora_down.weight"] = down_;
    tensors[prefix + layer + ".lora_up.weight"] = up;
  }
  const auto path = write_tensors(scratch_, "text.safetensors", tensors);
  expect_equal(merged({{path, 5, 0.5}}, "text_encoder"), weight_ + 0.5 * up_.matmul(down_));
  expect_equal(merged({{path, 5, 0.5}}, "text_encoder_2"), weight_ + 0.5 * second.matmul(down_));
  EXPECT_TRUE(merged({{path, 5, 0}}, "text_encoder").equal(weight_)) << "a scale of 0";
}

TEST_F(LoraNumbers, DoraKeepsTheMagnitude) {
  const Tensor magnitude = random({6}).abs(), sum = weight_ + 0.5 * up_.matmul(down_);
  const Tensor length = sum.square().sum(1, /*keepdim=*/true).sqrt();
  const Tensors peft = {
      {".lora_A.weight", down_}, {".lora_B.weight", up_}, {".lora_magnitude_vector.weight", magnitude}};
  expect_equal(merged({{file(peft), 0.5}}), magnitude.unsqueeze(1) / length * sum);

  const Tensor whole = weight_ + up_.matmul(down_);
  for (const int dim : {1, 0}) {  // one number a row, and, in other files, one a column
    const Tensor scale = random(dim == 1 ? at::IntArrayRef{6, 1} : at::IntArrayRef{1, 4}).abs();
    const Tensor decomposed = whole * (scale / whole.square().sum(dim, /*keepdim=*/true).sqrt());
    const Tensors lycoris = {{".lora_down.weight", down_}, {".lora_up.weight", up_}, {".dora_scale", scale}};
    expect_equal(merged({{file(lycoris), 0.5}}), weight_ + 0.5 * (decomposed - weight_));
  }
}

TEST_F(LoraNumbers, LohaIsAProductOfTwoElementByElement) {
  const Tensor a1 = random({6, 2}), b1 = random({2, 4}), a2 = random({6, 2}), b2 = random({2, 4});
  const Tensors parts = {{".hada_w1_a", a1},
                         {".hada_w1_b", b1},
                         {".hada_w2_a", a2},
                         {".hada_w2_b", b2},
                         {".alpha", at::scalar_tensor(1, at::kFloat)}};
  expect_equal(merged({{file(parts)}}), weight_ + 0.5 * a1.matmul(b1) * a2.matmul(b2));
}

TEST_F(LoraNumbers, LokrIsAKroneckerProduct) {
  const Tensor w1 = random({3, 2}), w2 = random({2, 2}), a = random({2, 1}), b = random({1, 2});
  expect_equal(merged({{file({{".lokr_w1", w1}, {".lokr_w2", w2}})}}), weight_ + at::kron(w1, w2));
  const Tensors factored = {
      {".lokr_w1", w1}, {".lokr_w2_a", a}, {".lokr_w2_b", b}, {".alpha", at::scalar_tensor(0.5, at::kFloat)}};
  expect_equal(merged({{file(factored)}}), weight_ + 0.5 * at::kron(w1, a.matmul(b)));
}

TEST_F(LoraNumbers, GloraMultipliesTheWeightToo) {
  const Tensor a1 = random({4, 2}), a2 = random({2, 4});
  const Tensors parts = {{".a1.weight", a1},
                         {".a2.weight", a2},
                         {".b1.weight", up_},
                         {".b2.weight", down_},
                         {".alpha", at::scalar_tensor(3, at::kFloat)}};
  const Tensor change = 3.0 / 2 * (weight_.matmul(a1).matmul(a2) + up_.matmul(down_));
  expect_equal(merged({{file(parts), 0.5}}), weight_ + 0.5 * change);
  // Of the model's own weight, whatever other files have made of it.
  expect_equal(merged({{file({{".diff", weight_}})}, {file(parts), 0.5}}), 2 * weight_ + 0.5 * change);
}

TEST_F(LoraNumbers, Ia3ScalesInputsOrOutputs) {
  const Tensor inputs = random({4}), outputs = random({6});
  const auto on_input = [](int yes) { return at::scalar_tensor(yes, at::kFloat); };
  expect_equal(merged({{file({{".weight", inputs}, {".on_input", on_input(1)}}), 0.5}}), weight_ * (1 + 0.5 * inputs));
  expect_equal(merged({{file({{".weight", outputs}, {".on_input", on_input(0)}}), 0.5}}),
               weight_ * (1 + 0.5 * outputs.unsqueeze(1)));
}

// Turns of rows keep lengths and angles: what is turned back is the weight.
TEST_F(LoraNumbers, OftTurnsBlocksOfRows) {
  const Tensor blocks = random({3, 2, 2}), lengths = random({6, 1});
  const Tensor turned = merged({{file({{".oft_blocks", blocks}})}});
  for (int i = 0; i < 3; ++i) {
    const Tensor q = blocks[i] - blocks[i].t(), one = at::eye(2);
    const Tensor turn = (one + q).matmul(at::linalg_inv(one - q));
    expect_equal(turn.matmul(turned.narrow(0, 2 * i, 2)), weight_.narrow(0, 2 * i, 2));
  }
  expect_equal(merged({{file({{".oft_blocks", blocks}}), 0.25}}), 0.75 * weight_ + 0.25 * turned);
  expect_equal(merged({{file({{".oft_blocks", blocks}, {".rescale", lengths}})}}), lengths * turned);
  // Alpha is the share of the weight's rows that the turns may be long.
  const Tensor limited = merged({{file({{".oft_blocks", blocks}, {".alpha", at::scalar_tensor(0.01, at::kFloat)}})}});
  const Tensor all = blocks - blocks.transpose(1, 2);
  expect_equal(limited, merged({{file({{".oft_blocks", blocks * (0.06 / all.norm())}})}}));
}

TEST_F(LoraNumbers, BoftTurnsRowsThatAreFurtherAndFurtherApart) {
  names_.add(model_part("unet"), Architecture::unet, {{kUnet + ".weight", {4, 4}}});
  const Tensor square = random({4, 4}), blocks = random({2, 2, 2, 2});
  const auto turned = [&](double strength) {
    const LoraSet loras(std::vector<Lora>{{file({{".oft_blocks", blocks}}), strength}}, names_, "Stable Diffusion 1",
                        true, [](const std::string&) {});
    const auto model = write_tensors(scratch_, "square.safetensors", {{kUnet + ".weight", square}});
    return loras.patch(test::open_weights({model}, at::kCPU, at::kFloat), model_part("unet"))
        .get(kUnet + ".weight", {4, 4});
  };
  const auto expected = [&](double strength) {
    Tensor rows = square;
    // Neighbours first, then those that are two apart.
    for (const auto& [stage, pairs] :
         {std::pair{0, std::vector<std::pair<int, int>>{{0, 1}, {2, 3}}}, {1, {{0, 2}, {1, 3}}}}) {
      const Tensor before = rows;
      rows = at::empty_like(before);
      for (int i = 0; i < 2; ++i) {
        const Tensor q = blocks[stage][i] - blocks[stage][i].t(), one = at::eye(2);
        const Tensor turn = strength * (one + q).matmul(at::linalg_inv(one - q)) + (1 - strength) * one;
        const auto [a, b] = pairs[i];
        const Tensor pair = turn.matmul(at::stack({before[a], before[b]}));
        rows[a].copy_(pair[0]), rows[b].copy_(pair[1]);
      }
    }
    return rows;
  };
  expect_equal(turned(1), expected(1));
  expect_equal(turned(0.5), expected(0.5));
}

// What is said of a file, where nothing of it fits, or a part.
class LoraWords : public LoraNumbers {
 protected:
  std::string said(const Tensors& tensors, bool refused) {
    const auto path = write_tensors(scratch_, concat("words", files_++, ".safetensors"), tensors);
    std::string warning;
    const auto open = [&] {
      const std::vector<Lora> files = {{path}};
      LoraSet(files, names_, "Stable Diffusion 1", /*strict=*/false, [&](const std::string& text) { warning = text; });
    };
    if (refused) return message_of(Fault::input, open);
    open();
    return warning;
  }
  static constexpr const char* kModule = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q";
};

TEST_F(LoraWords, TheAlgorithmIsNamed) {
  const std::string module = kModule, other = "lora_unet_somewhere_else";
  EXPECT_CONTAINS(said({{module + ".hada_w1_a", random({5, 2})},
                        {module + ".hada_w1_b", random({2, 4})},
                        {module + ".hada_w2_a", random({6, 2})},
                        {module + ".hada_w2_b", random({2, 4})}},
                       true),
                  "the LoRA (LoHa) seems to be");
  EXPECT_CONTAINS(said({{other + ".oft_blocks", random({2, 1, 2, 2})}}, true), "none of its 1 modules (BOFT; e.g. '");
  EXPECT_CONTAINS(said({{module + ".oft_blocks", random({2, 2, 2})}}, true), "the LoRA (OFT) seems to be");
  EXPECT_CONTAINS(said({{"unet." + kUnet + ".vera_lambda_b", random({6})}}, true),
                  "1 modules are VeRA, which is not supported; supported are LoRA");
}

TEST_F(LoraWords, OfTwoAlgorithmsTheShareThatIsLeftOut) {
  const Tensors two = {{concat("unet.", kUnet, ".lora_A.mine.weight"), down_},
                       {concat("unet.", kUnet, ".lora_B.mine.weight"), up_},
                       {"unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_k.ia3_l", random({6})}};
  const std::string text = said(two, false);
  EXPECT_CONTAINS(text, "1 of 2 modules (LoRA and PEFT's (IA)^3) fit the model (Stable Diffusion 1)");
  EXPECT_CONTAINS(text, "; 1 modules are PEFT's (IA)^3, which is not supported; not used: 1 tensors");
  // Two adapters under names of their own, two algorithms for one module: one of each counts, and the rest is told.
  EXPECT_CONTAINS(said({{concat("unet.", kUnet, ".lora_A.one.weight"), down_},
                        {concat("unet.", kUnet, ".lora_B.one.weight"), up_},
                        {concat("unet.", kUnet, ".lora_A.two.weight"), down_},
                        {concat("unet.", kUnet, ".lora_B.two.weight"), up_},
                        {concat("unet.", kUnet, ".diff"), weight_}},
                       false),
                  "not used: 3 tensors");
}

TEST(TextualInversionNumbers, EachEncoderHasItsVectors) {
  const Scratch scratch;
  const ModelPart &first = model_part("text_encoder"), &second = model_part("text_encoder_2");
  const Tensor l = random({2, 4}), g = random({2, 8}), alone = random({4});
  const auto both = write_tensors(scratch, "both.safetensors", {{"clip_l", l}, {"clip_g", g}});
  const std::vector<TextualInversion> files = {{both}};
  const TextualInversions two(files, {{&first, 4}, {&second, 8}});
  EXPECT_TRUE(two.vectors(first).equal(l));
  EXPECT_TRUE(two.vectors(second).equal(g));
  ASSERT_EQ(two.infos().size(), 1u);
  EXPECT_EQ(two.infos()[0].vectors, 2);
  EXPECT_EQ(two.infos()[0].word, "both");

  const auto old = write_tensors(scratch, "old.safetensors", {{"emb_params", l}});
  const std::vector<TextualInversion> several = {{old, "red"},
                                                 {write_tensors(scratch, "one.safetensors", {{"fox", alone}})}};
  const TextualInversions one(several, {{&first, 4}});
  EXPECT_TRUE(one.vectors(first).equal(at::cat({l, alone.unsqueeze(0)}))) << "in the order of the files";
  EXPECT_EQ(one.infos()[0].word, "red");

  // Words that come with a LoRA stand behind those of the files, and are no files of their own.
  TextualInversions more(several, {{&first, 4}});
  more.add_bundle(write_tensors(scratch, "lora.safetensors",
                                {{"bundle_emb.s1.emb_params", g.narrow(1, 0, 4)},
                                 {"bundle_emb.<s0>.emb_params", l},
                                 {"lora_unet_x.alpha", alone}}),
                  {{&first, 4}});
  EXPECT_TRUE(more.vectors(first).equal(at::cat({l, alone.unsqueeze(0), l, g.narrow(1, 0, 4)})));
  EXPECT_EQ(more.infos().size(), 2u);
  TextualInversions xl;
  const auto bundle =
      write_tensors(scratch, "xl.safetensors", {{"bundle_emb.s1.clip_l", l}, {"bundle_emb.s1.clip_g", g}});
  xl.add_bundle(bundle, {{&first, 4}, {&second, 8}});
  EXPECT_TRUE(xl.vectors(second).equal(g));
  EXPECT_FALSE(xl.empty());
  EXPECT_CONTAINS(message_of(Fault::input, [&] { xl.add_bundle(bundle, {{&first, 8}}); }), "vectors of 8");
  EXPECT_EQ(one.infos()[1].word, "fox");
}

}  // namespace
}  // namespace sdgen
