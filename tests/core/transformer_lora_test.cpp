// What LoRA files make of a transformer's weights where the file has several of them one on the other, in numbers: the
// same as of one matrix, whose rows they are.
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>

#include "adapters/lora.h"
#include "core/fixture.h"
#include "core/tensor_files.h"

namespace sdgen {
namespace {

using at::Tensor;
using test::Tensors;
using test::write_tensors;

Tensor random(at::IntArrayRef shape) { return at::randn(shape, at::kFloat); }

const std::string kBlock = "single_transformer_blocks.0.";
const std::vector<std::string> kRows = {kBlock + "attn.to_q", kBlock + "attn.to_k", kBlock + "attn.to_v",
                                        kBlock + "proj_mlp"};
constexpr const char *kFused = "lora_unet_single_blocks_0_linear1", *kLast = "lora_unet_final_layer_adaLN_modulation_1";
constexpr std::int64_t kWidth = 4;

class FusedLoras : public testing::Test {
 protected:
  FusedLoras() {
    at::manual_seed(3);
    LoraNames::Parameters flux = {{"norm_out.linear.weight", {2 * kWidth, kWidth}},
                                  {"norm_out.linear.bias", {2 * kWidth}},
                                  {"x_embedder.weight", {kWidth, 8}},
                                  {kBlock + "attn.norm_q.weight", {kWidth}}};
    for (const std::string& module : kRows) {
      const std::int64_t rows = module.ends_with("mlp") ? 4 * kWidth : kWidth;
      flux[module + ".weight"] = {rows, kWidth};
      flux[module + ".bias"] = {rows};
      heights_.push_back(rows);
    }
    flux_.add(model_part("transformer"), Architecture::flux_transformer, flux);
    one_.add(model_part("unet"), Architecture::unet, {{"conv_in.weight", {7 * kWidth, kWidth}}});
    last_.add(model_part("unet"), Architecture::unet, {{"conv_in.weight", {2 * kWidth, kWidth}}});
    weights_["norm_out.linear.weight"] = random({2 * kWidth, kWidth});
    weights_[kBlock + "attn.norm_q.weight"] = random({kWidth});
    for (std::size_t i = 0; i < kRows.size(); ++i) {
      weights_[kRows[i] + ".weight"] = random({heights_[i], kWidth});
      weights_[kRows[i] + ".bias"] = random({heights_[i]});
    }
  }

  std::filesystem::path file(const char* module, const Tensors& parts) {
    Tensors named;
    for (const auto& [part, tensor] : parts) named[module + part] = tensor;
    return write_tensors(scratch_, concat("lora", files_++, ".safetensors"), named);
  }
  static LoraSet set(const std::vector<Lora>& files, const LoraNames& names) {
    return {files, names, "Flux", /*strict=*/true, [](const std::string&) {}};
  }
  Tensor merged(const LoraSet& loras, const std::string& name, at::ScalarType dtype = at::kFloat) {
    const auto model = write_tensors(scratch_, "model.safetensors", weights_);
    const Weights w = loras.patch(test::open_weights({model}, at::kCPU, dtype), model_part("transformer"));
    return w.get(name, weights_.at(name).sizes());
  }
  // The single block's first layers, one on the other.
  Tensor together(const LoraSet& loras, const char* leaf = ".weight") {
    std::vector<Tensor> all;
    for (const std::string& module : kRows) all.push_back(merged(loras, module + leaf));
    return at::cat(all);
  }
  // The same of one matrix.
  Tensor whole(const std::vector<Lora>& files, const LoraNames& names, const Tensor& weight) {
    const auto model = write_tensors(scratch_, "whole.safetensors", {{"conv_in.weight", weight}});
    return set(files, names)
        .patch(test::open_weights({model}, at::kCPU, at::kFloat), model_part("unet"))
        .get("conv_in.weight", weight.sizes());
  }

  Scratch scratch_;
  LoraNames flux_, one_, last_;
  Tensors weights_;
  std::vector<std::int64_t> heights_;
  int files_ = 0;
};

std::vector<Tensors> products(std::int64_t height) {
  const Tensor down = random({2, kWidth}), up = random({height, 2}), three = at::scalar_tensor(3, at::kFloat);
  return {{{".lora_down.weight", down}, {".lora_up.weight", up}, {".alpha", three}},
          {{".lora_down.weight", down}, {".lora_up.weight", up}, {".dora_scale", random({height, 1}).abs()}},
          {{".lora_down.weight", down}, {".lora_up.weight", up}, {".dora_scale", random({1, kWidth}).abs()}},
          {{".lora_A.weight", down}, {".lora_B.weight", up}, {".lora_magnitude_vector", random({height}).abs()}},
          {{".hada_w1_a", up}, {".hada_w1_b", down}, {".hada_w2_a", random({height, 2})}, {".hada_w2_b", down}},
          {{".lokr_w1", random({4, 2})}, {".lokr_w2", random({height / 4, 2})}},
          {{".diff", random({height, kWidth})}},
          {{".a1.weight", random({kWidth, 2})},
           {".a2.weight", random({2, kWidth})},
           {".b1.weight", up},
           {".b2.weight", down}},
          {{".weight", random({height})}, {".on_input", at::zeros({}, at::kFloat)}},
          {{".weight", random({kWidth})}, {".on_input", at::scalar_tensor(1, at::kFloat)}},
          {{".oft_blocks", random({height / 4, 4, 4})}, {".rescale", random({height, 1})}},
          // Blocks that reach over the bounds of layers, and stages that mix all rows.
          {{".oft_blocks", random({2, height / 2, height / 2})}},
          {{".oft_blocks", random({2, height / 2, 2, 2})}}};
}

TEST_F(FusedLoras, AreTheRowsOfOneMatrix) {
  const Tensor weight = together(LoraSet());
  for (const Tensors& parts : products(7 * kWidth)) {
    SCOPED_TRACE(parts.begin()->first);
    const Tensor got = together(set({{file(kFused, parts), 0.75}}, flux_));
    const Tensor expected = whole({{file("lora_unet_conv_in", parts), 0.75}}, one_, weight);
    EXPECT_GT((expected - weight).abs().max().item<float>(), 0.1);
    test::expect_close(got, expected, 1e-5, "merged");
  }
}

// What the makers' last norm says first, diffusers' says last.
TEST_F(FusedLoras, HalvesThatChangedPlaces) {
  const auto exchanged = [](const Tensor& rows) {
    return at::cat({rows.narrow(0, kWidth, kWidth), rows.narrow(0, 0, kWidth)});
  };
  const Tensor weight = weights_.at("norm_out.linear.weight");
  for (const Tensors& parts : products(2 * kWidth)) {
    SCOPED_TRACE(parts.begin()->first);
    const Tensor got = merged(set({{file(kLast, parts), 0.5}}, flux_), "norm_out.linear.weight");
    const Tensor expected = exchanged(whole({{file("lora_unet_conv_in", parts), 0.5}}, last_, exchanged(weight)));
    test::expect_close(got, expected, 1e-5, "merged");
  }
}

TEST_F(FusedLoras, BiasesAreRowsToo) {
  const Tensor change = random({7 * kWidth}), before = together(LoraSet(), ".bias");
  const LoraSet loras = set({{file(kFused, {{".diff_b", change}}), 2}}, flux_);
  test::expect_close(together(loras, ".bias"), before + 2 * change, 1e-6, "merged");
}

// As PEFT merges the bias of its up: scaled as the product.
TEST_F(FusedLoras, UpsHaveBiases) {
  const Tensor change = random({7 * kWidth}), before = together(LoraSet(), ".bias");
  const LoraSet loras = set({{file(kFused, {{".lora_A.weight", random({2, kWidth})},
                                            {".lora_B.weight", random({7 * kWidth, 2})},
                                            {".lora_B.bias", change},
                                            {".alpha", at::scalar_tensor(3, at::kFloat)}}),
                              0.5}},
                            flux_);
  test::expect_close(together(loras, ".bias"), before + 0.5 * 3 / 2 * change, 1e-6, "merged");
}

TEST_F(FusedLoras, NormsAreReplaced) {
  const std::string name = kBlock + "attn.norm_q.weight";
  const Tensor other = random({kWidth}), own = weights_.at(name);
  for (const char* module :
       {"single_blocks.0.norm.query_norm.scale", "lora_unet_single_blocks_0_norm_query_norm.set_weight",
        "diffusion_model.single_blocks.0.norm.query_norm.set_weight"}) {
    const auto path = file(module, {{"", other}});
    test::expect_close(merged(set({{path}}, flux_), name), other, 1e-6, module);
    test::expect_close(merged(set({{path, 0.25}}, flux_), name), own + 0.25 * (other - own), 1e-6, module);
  }
}

TEST_F(FusedLoras, ControlLorasAreRefusedByName) {
  const auto path = file("img_in", {{".lora_A.weight", random({2, 16})}, {".lora_B.weight", random({kWidth, 2})}});
  const std::string message = message_of(Fault::input, [&] { set({{path}}, flux_); });
  EXPECT_CONTAINS(message, "widens the network's input from 8 to 16 channels, as control LoRAs do");
  EXPECT_CONTAINS(message, "FLUX.1-Depth-dev");
  const auto wrong = file("img_in", {{".lora_A.weight", random({2, 9})}, {".lora_B.weight", random({kWidth, 2})}});
  EXPECT_CONTAINS(message_of(Fault::input, [&] { set({{wrong}}, flux_); }), "seems to be made for another model");
}

// Those of the model's names and of its makers', of what is fused and what is not, add up in the order of the files;
// what looks at the weight sees the model's own.
TEST_F(FusedLoras, FilesAddUp) {
  const auto all = products(7 * kWidth);
  const Tensor weight = together(LoraSet());
  const Tensor down = random({2, kWidth}), up = random({kWidth, 2});
  const auto own =
      file("transformer.single_transformer_blocks.0.attn.to_k", {{".lora_A.weight", down}, {".lora_B.weight", up}});
  for (const std::size_t other : {0u, 5u, 12u}) {
    const auto fused = file(kFused, all[other]), alone = file("lora_unet_conv_in", all[other]);
    const Tensor got = together(set({{own}, {fused, -0.5}}, flux_));
    Tensor expected = whole({{alone, -0.5}}, one_, weight);
    expected.narrow(0, kWidth, kWidth).add_(up.matmul(down));
    test::expect_close(got, expected, 1e-5, "merged");
  }
}

// Where the model is kept in half the bits, what rows are mixed with is not.
TEST_F(FusedLoras, OriginalsAreInFloat32) {
  const Tensors parts = products(7 * kWidth).back();
  const LoraSet loras = set({{file(kFused, parts)}}, flux_);
  for (const std::string& module : kRows) {
    const Tensor exact = merged(loras, module + ".weight"), half = merged(loras, module + ".weight", at::kBFloat16);
    EXPECT_TRUE(half.equal(exact.to(at::kBFloat16))) << module;
  }
}

TEST_F(FusedLoras, AMisfitIsSaidOfTheWholeMatrix) {
  const auto path = file(kFused, {{".lora_down.weight", random({2, 6})}, {".lora_up.weight", random({28, 2})}});
  const std::string message = message_of(Fault::input, [&] { set({{path}}, flux_); });
  EXPECT_CONTAINS(message, "has shape [2,6], which does not fit the model's [28,4]");
  EXPECT_CONTAINS(message, "seems to be made for Flux, the model is Flux");
}

}  // namespace
}  // namespace sdgen
