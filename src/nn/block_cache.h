// A transformer that uses again, at some calls, what its layers said at an earlier one.
#pragma once

#include <concepts>
#include <functional>
#include <memory>
#include <vector>

#include "nn/prompted.h"

namespace sdgen {

// First-block cache (Cheng, 2024, in ParaAttention; diffusers' FirstBlockCacheConfig): where the first layer of a
// transformer moves its tokens almost as it did when all layers were asked last, what the others added then is added
// again. "Almost": mean(|r - r'|) <= threshold * mean(|r'|), r and r' what the first layer adds to the picture's
// tokens, now and then, over all rows of a picture.
//
// It remembers a run's calls: one for each run.
class BlockCache {
 public:
  // `pictures`: of a batch, whose rows are [pictures; pictures; ...].
  BlockCache(double threshold, std::int64_t pictures) : threshold_(threshold), pictures_(pictures) {}

  // Which rows of a batch layers are asked for.
  class Rows {
   public:
    Rows() = default;  // all
    explicit Rows(at::Tensor index) : index_(std::move(index)) {}
    at::Tensor of(const at::Tensor& tensor) const;  // undefined stays so

   private:
    at::Tensor index_;
  };
  // What the layers from `begin` to `end` make of streams of tokens [B, ..., width], the picture's first; behind the
  // last layer of what is drawn alone, the first of these.
  using Streams = std::vector<at::Tensor>;
  using Layers = std::function<Streams(std::size_t begin, std::size_t end, Streams streams, const Rows& rows)>;

  // Moves, which a list in braces does not.
  template <class... Tensors>
  static Streams streams(Tensors... tensors) {
    Streams all;
    (all.push_back(std::move(tensors)), ...);
    return all;
  }

  // Before a call: lets go of what was said to other prompts.
  void begin(const at::Tensor& x, const Conditioning& conditioning);
  // What all `count` layers make of the tokens of what is drawn [B, N, width]. Without a cache all are asked.
  static at::Tensor through(BlockCache* cache, std::size_t count, const Layers& layers, Streams streams);

 private:
  at::Tensor behind_first(const at::Tensor& before, Streams streams, std::size_t count, const Layers& layers);
  std::vector<std::int64_t> changed(const at::Tensor& moved) const;  // rows

  double threshold_;
  std::int64_t pictures_;
  // To the picture's tokens, when all layers were asked: by the first, and by the others.
  at::Tensor moved_, added_;
  Prompted prompted_;
};

// Can it ask one?
template <class Network>
concept CachesBlocks = requires(const Network& network, const at::Tensor& x, const Conditioning& c, BlockCache& cache) {
  { network.predict(x, x, c, cache) } -> std::same_as<at::Tensor>;
};

// A transformer that asks such a cache.
template <CachesBlocks Network>
class BlockCached final : public Backbone {
 public:
  BlockCached(std::shared_ptr<const Network> network, double threshold, std::int64_t pictures)
      : network_(std::move(network)), cache_(threshold, pictures) {}

  at::Tensor predict(const at::Tensor& x, const at::Tensor& t, const Conditioning& conditioning) const override {
    cache_.begin(x, conditioning);
    return network_->predict(x, t, conditioning, cache_);
  }

 private:
  std::shared_ptr<const Network> network_;
  mutable BlockCache cache_;
};

}  // namespace sdgen
