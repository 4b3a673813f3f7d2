// What LoRA files and textual inversions make of a model's weights, in numbers.
#include "adapters/lora.h"

#include <ATen/ops/einsum.h>
#include <ATen/ops/kron.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scalar_tensor.h>

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
  EXPECT_EQ(one.infos()[1].word, "fox");
}

}  // namespace
}  // namespace sdgen
