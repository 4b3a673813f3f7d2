// Transformers with a first-block cache. How the cache decides: step_cache_test.cpp. Whole pictures are compared with
// diffusers' in tools/parity.py.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include "core/fixture.h"
#include "nn/block_cache.h"
#include "nn/chroma_transformer.h"
#include "nn/dit_transformer.h"
#include "nn/flux2_transformer.h"
#include "nn/flux_transformer.h"
#include "nn/lumina2_transformer.h"
#include "nn/pixart_transformer.h"
#include "nn/qwen_transformer.h"
#include "nn/sd3_transformer.h"
#include "nn/z_image_transformer.h"

namespace sdgen {
namespace {

using at::Tensor;
using test::Fixture;

template <class NetworkType, class ConfigType>
struct Case {
  using Network = NetworkType;
  using NetworkConfig = ConfigType;
};
struct Flux : Case<FluxTransformer, FluxConfig> {
  static constexpr const char* fixture = "flux-shown";
};
struct Flux2 : Case<Flux2Transformer, Flux2Config> {
  static constexpr const char* fixture = "flux2-shown";
};
struct Chroma : Case<ChromaTransformer, ChromaConfig> {
  static constexpr const char* fixture = "chroma";
};
struct ZImage : Case<ZImageTransformer, ZImageConfig> {
  static constexpr const char* fixture = "z-image";
};
struct Lumina2 : Case<Lumina2Transformer, Lumina2Config> {
  static constexpr const char* fixture = "lumina2";
};
struct QwenImage : Case<QwenImageTransformer, QwenImageConfig> {
  static constexpr const char* fixture = "qwen-image";
};
struct Sd3 : Case<Sd3Transformer, Sd3Config> {
  static constexpr const char* fixture = "sd3";
};
struct PixArt : Case<PixArtTransformer, PixArtConfig> {
  static constexpr const char* fixture = "pixart";
};

template <class Case>
class BlockCached : public testing::Test {
 protected:
  using Network = typename Case::Network;

  // Rows of all kinds of what is told: two different ones.
  static Tensor two(const Tensor& given) {
    const Tensor row = given.slice(0, 0, 1);
    return row.is_floating_point() ? at::cat({row, row * 0.7}) : at::cat({row, row});
  }
  Conditioning told() const {
    const auto tensor = [this](const char* name) { return fixture_.has(name) ? two(fixture_.tensor(name)) : Tensor(); };
    Conditioning c{.context = tensor("in.context"),
                   .context_mask = tensor("in.mask"),
                   .pooled = tensor("in.pooled"),
                   .guidance = tensor("in.guidance")};
    if (c.context_mask.defined()) c.context_mask = c.context_mask.to(at::kBool);
    for (const char* name : {"in.reference", "in.reference_2"})
      if (fixture_.has(name)) c.references.push_back(tensor(name));
    return c;
  }

  const c10::InferenceMode inference_;
  const Fixture fixture_{std::string("layers/") + Case::fixture};
  const std::shared_ptr<const Network> network_ =
      std::make_shared<const Network>(fixture_.weights(), Case::NetworkConfig::from(fixture_.config()));
  const Tensor x_ = two(fixture_.tensor("in.sample")), t_ = at::tensor({900.0F, 400.0F});
};

using Cases = testing::Types<Flux, Flux2, Chroma, ZImage, Lumina2, QwenImage, Sd3, PixArt>;
TYPED_TEST_SUITE(BlockCached, Cases);

// Where a layer moves only one of the pictures as it did, the others are asked for that one alone, with its own step
// and prompt.
TYPED_TEST(BlockCached, AsksTheOtherLayersForRowsThatMove) {
  const Conditioning told = this->told();
  const sdgen::BlockCached<typename TypeParam::Network> cached(this->network_, /*threshold=*/0, /*pictures=*/2);
  const auto whole = [&](const Tensor& x) { return this->network_->predict(x, this->t_, told); };
  EXPECT_TRUE(at::equal(cached.predict(this->x_, this->t_, told), whole(this->x_)));
  for (const int moves : {1, 0}) {
    Tensor moved = this->x_.clone();
    moved[moves].mul_(1.5);
    const Tensor said = cached.predict(moved, this->t_, told), expected = whole(moved);
    EXPECT_TRUE(at::allclose(said, expected, 1e-3, 1e-4)) << moves << ": " << (said - expected).abs().max();
  }
}

TYPED_TEST(BlockCached, AddsWhatTheOtherLayersAdded) {
  const Conditioning told = this->told();
  const sdgen::BlockCached<typename TypeParam::Network> cached(this->network_, /*threshold=*/1e9, /*pictures=*/2);
  EXPECT_TRUE(at::equal(cached.predict(this->x_, this->t_, told), this->network_->predict(this->x_, this->t_, told)));
  const Tensor again = cached.predict(this->x_, this->t_, told),
               same = this->network_->predict(this->x_, this->t_, told);
  EXPECT_TRUE(at::allclose(again, same, 1e-3, 1e-4)) << (again - same).abs().max();
  const Tensor moved = this->x_ * 1.5, said = cached.predict(moved, this->t_, told);
  EXPECT_FALSE(at::allclose(said, this->network_->predict(moved, this->t_, told), 1e-3, 1e-4));
}

}  // namespace
}  // namespace sdgen
