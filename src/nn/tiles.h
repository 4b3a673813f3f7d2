// Encoding and decoding large pictures in tiles without seams.
//
// A convolution needs only its surroundings: with a margin of neighbours, which are computed twice and cut off, tiles
// come out as the whole would. What is left are the norms, whose moments are over the whole picture (tiles with norms
// of their own differ in brightness; this is where other programs' seams come from). So the tiles are gone through
// several times: each pass adds up the moments over all tiles, and the next one normalises with them, until they stay
// the same.
#pragma once

#include <map>
#include <vector>

#include "nn/layers.h"

namespace sdgen {

// Along one side of what is under way, in its own pixels: margins that are to be cut off around what belongs to a tile.
struct TileSpan {
  std::int64_t before, length, after;
  std::int64_t all() const { return before + length + after; }
  TileSpan times(std::int64_t n) const { return {n * before, n * length, n * after}; }
  // With margins of at most `margin`; where the picture ends there is none.
  TileSpan trimmed(std::int64_t margin) const { return {std::min(before, margin), length, std::min(after, margin)}; }
};
struct TileArea {
  TileSpan rows, columns;
  TileArea times(std::int64_t n) const { return {rows.times(n), columns.times(n)}; }
  TileArea trimmed(std::int64_t margin) const { return {rows.trimmed(margin), columns.trimmed(margin)}; }
};
// The part `inner` of x [.., H, W], which covers `area`: inner lies within it.
Tensor cut(const Tensor& x, const TileArea& area, const TileArea& inner);

// Replaces group norms while it lives: they see a picture in tiles and normalise with the moments of the whole of it.
class TiledNorms {
 public:
  explicit TiledNorms(const std::vector<const GroupNorm*>& norms);
  TiledNorms(const TiledNorms&) = delete;
  TiledNorms& operator=(const TiledNorms&) = delete;
  ~TiledNorms();

  // What the next tensors that reach a norm cover.
  void set_area(const TileArea& area) { area_ = area; }
  // After all tiles: how far the moments that this pass assumed are from those that it saw, at most, as a share of the
  // results' standard deviation. The next pass assumes what this one saw.
  double end_pass();

 private:
  struct Moments {
    Tensor sums;  // float64 [2, C]: of the pixels' values and of their squares
    double pixels = 0;
  };
  struct Norming {
    Tensor mean, inverse;  // of the groups: float64 [G, 1]; inverse: of the standard deviation
  };
  static Norming norming(const GroupNorm& norm, const Moments& moments);
  Tensor forward(const GroupNorm& norm, const Tensor& x, Activation act);

  std::map<const GroupNorm*, Moments> measured_;
  std::map<const GroupNorm*, Norming>
      assumed_;  // in this pass; empty in the first one, which takes what it has measured so far
  TileArea area_{};
};

// Calls work(area, norms) for all tiles of a picture of height x width, each at most `tile` x `tile`, in passes until
// `norms` know the whole picture. Around a tile its area has all of the picture.
void in_passes(const std::vector<const GroupNorm*>& norms, std::int64_t height, std::int64_t width, std::int64_t tile,
               const std::function<void(const TileArea& area, TiledNorms& norms)>& work);

}  // namespace sdgen
