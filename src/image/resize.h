// Pictures in other sizes, as Pillow makes them: what diffusers resizes its inputs with.
#pragma once

#include "sdgen/sdgen.h"

namespace sdgen {

// The picture in `size`, by Pillow's Image.resize(size, Image.LANCZOS), bit for bit: rows and columns, one after the
// other, are convolved with Lanczos' windowed sinc (a = 3; widened by the ratio where the picture shrinks), in fixed
// point with 22 bits after the point, each pass rounded and clipped to 8 bits. Sides are at least 1.
Image resize(const Image& image, Size size);

// Pillow's Image.crop(box): what lies outside the picture is black. left < right, top < bottom.
struct Box {
  int left = 0, top = 0, right = 0, bottom = 0;
  bool operator==(const Box&) const = default;
  Size size() const { return {right - left, bottom - top}; }
};
Image crop(const Image& image, const Box& box);

// Pillow's Image.paste: what falls outside `onto` is left out.
void paste(Image& onto, const Image& image, Point at);

// `count` more columns (of the left and right edge) or rows, all the same: the two outermost ones, extrapolated to the
// edge by cubic convolution. It is what Pillow's Image.resize makes of an empty box along the edge.
enum class Edge { left, top, right, bottom };
Image continued(const Image& image, Edge edge, int count);

}  // namespace sdgen
