// How much two pictures differ.
#pragma once

#include <cstdint>
#include <optional>

#include "sdgen/sdgen.h"

namespace sdgen {

// Of two pictures of one size, on their 8-bit RGB samples.
struct Difference {
  int max = 0;                      // the largest difference of a sample, of 255
  double mean = 0;                  // of the differences of all samples
  std::optional<double> psnr = {};  // see below; nothing: all samples are equal
  std::optional<double> ssim = {};  // see below; nothing: a side has fewer pixels than its window
  int hash = 0;                     // bits of 64 in which the perceptual hashes differ
};
Difference difference(const Image& a, const Image& b);
// Of pictures of this size in which every sample is equal.
Difference no_difference(Size size);

// The peak signal-to-noise ratio in dB: 10 log10(255^2 / mean squared error). Infinite where all samples are equal.
double psnr(const Image& a, const Image& b);

// The structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to
// structural similarity", equation 13), -1 to 1, with the defaults of scikit-image's structural_similarity: windows of
// 7x7 equal weights, K1 0.01, K2 0.03, the sample covariance; the mean over all windows that lie in the picture whole,
// and over the channels. Nothing where a side has fewer than 7 pixels.
std::optional<double> ssim(const Image& a, const Image& b);

// ImageHash's phash(): the picture in grey, in 32x32 pixels (Pillow's convert("L") and LANCZOS), its cosine transform
// (DCT-II), and a bit for each of the 8x8 lowest frequencies, rows from the top, the first one the highest bit: is the
// coefficient above their median? Bits of coefficients that equal the median but for rounding (of symmetric drawings)
// may differ from ImageHash's, whose rounding decides them.
std::uint64_t perceptual_hash(const Image& image);

// The difference of every sample, stretched so that the largest is 255; black where the pictures are equal. They have
// one size.
Image difference_picture(const Image& a, const Image& b);

}  // namespace sdgen
