// The picture arithmetic of repainting a part of a picture: the part that is worked on, how it is made to fit, and how
// what was made is laid over the picture. The functions equal those of diffusers' VaeImageProcessor, sample by sample.
#pragma once

#include <cstdint>
#include <vector>

#include "image/resize.h"
#include "sdgen/sdgen.h"

namespace sdgen {

// Pillow's convert("L"): 0.299 R + 0.587 G + 0.114 B of every pixel, rows from the top.
std::vector<std::uint8_t> luma(const Image& image);

// Is every pixel of the mask black?
bool black(const Image& mask);

// The smallest part of the picture that holds everything in the mask that is not black, `padding` pixels more on every
// side, widened or heightened to the proportions of `made` as far as the picture goes (get_crop_region). The mask is
// not black.
Box masked_region(const Image& mask, Size made, int padding);

// The picture in `size` with its proportions kept, in the middle. fill: all of it, and where that leaves room its edges
// go on; crop: as much of it as covers everything (resize_mode "fill" and "crop").
enum class Fit { fill, crop };
Image fitted(const Image& image, Size size, Fit fit);

// `made` where the mask is white, `kept` to the bit where it is black, both in between (apply_overlay). All have one
// size.
Image overlaid(const Image& made, const Image& kept, const Image& mask);

// Pixels that a picture grows by are white, and so is, fading out, a border of 16 pixels (at most a quarter of the
// picture) inside every side that grows; the rest is black. `size` is the picture's own.
Image growth_mask(Size size, const Margins& margins);

// The picture with margins, which mirror it and are blurred (deviation 16 pixels): colours that go on from the edges,
// with nothing in them that would be taken for a thing.
Image grown(const Image& image, const Margins& margins);

// The brighter of both, sample by sample. They have one size.
Image brighter(Image a, const Image& b);

}  // namespace sdgen
