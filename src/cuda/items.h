// The kernels themselves: functions of the number of an item, none of which looks at what another one writes. So they
// run on a GPU with a thread for each, and in the tests on the CPU, one after the other, where their results and the
// memory that they touch can be checked without a GPU. (Numbers of items are 32 bits wide where that suffices: a GPU
// has no instruction for a division, and 64 bits take several times as long.)
#pragma once

#include <cmath>
#include <cstdint>

#include "cuda/kernels.h"

#ifdef __CUDACC__
#define SDGEN_ITEM __host__ __device__ inline
#else
#define SDGEN_ITEM inline
#endif

namespace sdgen::cuda {

// Conversions of a type T of numbers; kernels.cu has CUDA's, the tests c10's.
template <class T>
SDGEN_ITEM float to_float(T x) {
  return static_cast<float>(x);
}
template <class T>
SDGEN_ITEM T from_float(float x) {
  return static_cast<T>(x);
}

// So many numbers in a row are read and written at once.
template <class T, int kWidth>
struct alignas(sizeof(T) * kWidth) Vector {
  T at[kWidth];
};

constexpr int kRows = 16;   // pixels whose moments one item adds up
constexpr int kFanIn = 64;  // sums of which one item makes one

SDGEN_ITEM std::int64_t parts(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

// Moments of kWidth channels of kRows pixels, x - origin: the origin, the picture's first pixel, keeps the squares from
// drowning what varies in what does not. Neighbouring items read neighbouring memory.
// Items: [batch, blocks, channels / kWidth] -> sums [batch, blocks, 2, channels].
template <class T, int kWidth>
struct AddMoments {
  const T* x;
  float* sums;
  NormShape shape;
  std::int64_t blocks;

  std::int64_t items() const { return shape.batch * blocks * (shape.channels / kWidth); }
  template <class Index>
  SDGEN_ITEM void operator()(Index item) const {
    const auto per_block = Index(shape.channels / kWidth);
    const Index all = item / per_block, picture = all / Index(blocks), block = all % Index(blocks);
    const std::int64_t channel = static_cast<std::int64_t>(item % per_block) * kWidth;
    const T* pixels = x + picture * shape.pixels * shape.channels + channel;
    const auto load = [&](std::int64_t pixel) {
      return *reinterpret_cast<const Vector<T, kWidth>*>(pixels + pixel * shape.channels);
    };
    const Vector<T, kWidth> origin = load(0);
    const std::int64_t first = static_cast<std::int64_t>(block) * kRows,
                       end = first + kRows < shape.pixels ? first + kRows : shape.pixels;
    float sum[kWidth] = {}, squares[kWidth] = {};
    for (std::int64_t i = first; i < end; ++i) {
      const Vector<T, kWidth> v = load(i);
      for (int j = 0; j < kWidth; ++j) {
        const float y = to_float(v.at[j]) - to_float(origin.at[j]);
        sum[j] += y;
        squares[j] += y * y;
      }
    }
    float* out = sums + (picture * blocks + block) * 2 * shape.channels + channel;
    for (int j = 0; j < kWidth; ++j) {
      out[j] = sum[j];
      out[shape.channels + j] = squares[j];
    }
  }
};

// Items: [batch, parts(blocks, kFanIn), width] of from [batch, blocks, width] -> to [batch, parts, width].
struct AddSums {
  const float* from;
  float* to;
  std::int64_t batch, blocks, width;

  std::int64_t items() const { return batch * parts(blocks, kFanIn) * width; }
  template <class Index>
  SDGEN_ITEM void operator()(Index item) const {
    const auto fewer = Index(parts(blocks, kFanIn)), row = item / Index(width), column = item % Index(width);
    const std::int64_t picture = row / fewer, first = static_cast<std::int64_t>(row % fewer) * kFanIn,
                       end = first + kFanIn < blocks ? first + kFanIn : blocks;
    float sum = 0;
    for (std::int64_t i = first; i < end; ++i) sum += from[(picture * blocks + i) * width + column];
    to[item] = sum;
  }
};

// What a channel is multiplied with and what is added to it. Items: [batch, channels] of sums [batch, 2, channels] ->
// affine [batch, 2, channels].
template <class T>
struct Normalize {
  const T *x, *weight, *bias, *shift;
  const float* sums;
  float* affine;
  NormShape shape;
  double eps;

  std::int64_t items() const { return shape.batch * shape.channels; }
  template <class Index>
  SDGEN_ITEM void operator()(Index item) const {
    const std::int64_t channel = item % Index(shape.channels), picture = item / Index(shape.channels);
    const std::int64_t width = shape.channels / shape.groups, first = channel / width * width;
    const T* origin = x + picture * shape.pixels * shape.channels;
    const auto added = [&](std::int64_t c) {
      return shift ? static_cast<double>(to_float(shift[picture * shape.channels + c])) : 0.0;
    };
    const float *sum = sums + picture * 2 * shape.channels, *squares = sum + shape.channels;
    const auto pixels = static_cast<double>(shape.pixels);
    double total = 0, of_squares = 0;  // of y + base, y = x - origin
    for (std::int64_t c = first; c < first + width; ++c) {
      const double base = static_cast<double>(to_float(origin[c])) + added(c);
      total += sum[c] + pixels * base;
      of_squares += squares[c] + 2 * base * sum[c] + pixels * base * base;
    }
    const double count = pixels * static_cast<double>(width), mean = total / count;
    const double variance = of_squares / count - mean * mean;
    const double scale = to_float(weight[channel]) / sqrt((variance > 0 ? variance : 0) + eps);
    float* out = affine + picture * 2 * shape.channels + channel;
    out[0] = static_cast<float>(scale);
    out[shape.channels] = static_cast<float>(to_float(bias[channel]) + (added(channel) - mean) * scale);
  }
};

// Items: [batch, pixels, channels / kWidth].
template <class T, int kWidth>
struct ScalePixels {
  const T* x;
  const float* affine;
  T* to;
  NormShape shape;
  bool silu;

  std::int64_t items() const { return shape.batch * shape.pixels * (shape.channels / kWidth); }
  template <class Index>
  SDGEN_ITEM void operator()(Index item) const {
    const auto per_pixel = Index(shape.channels / kWidth), pixel = item / per_pixel;
    const std::int64_t channel = static_cast<std::int64_t>(item % per_pixel) * kWidth,
                       picture = pixel / Index(shape.pixels);
    const float *scale = affine + picture * 2 * shape.channels + channel, *offset = scale + shape.channels;
    Vector<T, kWidth> v = reinterpret_cast<const Vector<T, kWidth>*>(x)[item];
    for (int j = 0; j < kWidth; ++j) {
      float y = to_float(v.at[j]) * scale[j] + offset[j];
      if (silu) y = y / (1 + expf(-y));
      v.at[j] = from_float<T>(y);
    }
    reinterpret_cast<Vector<T, kWidth>*>(to)[item] = v;
  }
};

// Items: [rows, width / kWidth].
template <class T, int kWidth>
struct Geglu {
  const T* x;
  T* to;
  std::int64_t rows, width;

  std::int64_t items() const { return rows * (width / kWidth); }
  template <class Index>
  SDGEN_ITEM void operator()(Index item) const {
    const auto per_row = Index(width / kWidth), row = item / per_row, column = item % per_row;
    const auto* from = reinterpret_cast<const Vector<T, kWidth>*>(x + static_cast<std::int64_t>(row) * 2 * width);
    Vector<T, kWidth> a = from[column];
    const Vector<T, kWidth> b = from[per_row + column];
    for (int j = 0; j < kWidth; ++j) {
      const float gate = to_float(b.at[j]);
      a.at[j] = from_float<T>(to_float(a.at[j]) * 0.5f * gate * (1 + erff(gate * 0.70710678f)));
    }
    reinterpret_cast<Vector<T, kWidth>*>(to)[item] = a;
  }
};

// --- The operators, as sequences of kernels. `run(kernel)` runs all of its items before those of the next; it returns
// 0, or an error.

inline std::int64_t group_norm_scratch(const NormShape& s) {
  const std::int64_t blocks = parts(s.pixels, kRows);
  return 2 * s.batch * s.channels * (blocks + parts(blocks, kFanIn) + 1);
}

template <int kWidth, class T, class Run>
int group_norm_of(const T* x, const T* weight, const T* bias, const T* shift, T* to, float* scratch,
                  const NormShape& shape, double eps, bool silu, const Run& run) {
  std::int64_t blocks = parts(shape.pixels, kRows);
  float *sums = scratch, *fewer = sums + 2 * shape.batch * shape.channels * blocks,
        *affine = fewer + 2 * shape.batch * shape.channels * parts(blocks, kFanIn);
  if (const int error = run(AddMoments<T, kWidth>{x, sums, shape, blocks})) return error;
  while (blocks > 1) {
    if (const int error = run(AddSums{sums, fewer, shape.batch, blocks, 2 * shape.channels})) return error;
    blocks = parts(blocks, kFanIn);
    float* const read = sums;  // the larger one, and nobody needs it any more
    sums = fewer;
    fewer = read;
  }
  if (const int error = run(Normalize<T>{x, weight, bias, shift, sums, affine, shape, eps})) return error;
  return run(ScalePixels<T, kWidth>{x, affine, to, shape, silu});
}

// Sixteen bytes at a time where the channels allow it.
template <class T, class Run>
int group_norm(const T* x, const T* weight, const T* bias, const T* shift, T* to, float* scratch,
               const NormShape& shape, double eps, bool silu, const Run& run) {
  constexpr int wide = 16 / sizeof(T);
  const auto norm = shape.channels % wide == 0 ? group_norm_of<wide, T, Run> : group_norm_of<1, T, Run>;
  return norm(x, weight, bias, shift, to, scratch, shape, eps, silu, run);
}

template <class T, class Run>
int geglu(const T* x, T* to, std::int64_t rows, std::int64_t width, const Run& run) {
  constexpr int wide = 16 / sizeof(T);
  return width % wide == 0 ? run(Geglu<T, wide>{x, to, rows, width}) : run(Geglu<T, 1>{x, to, rows, width});
}

}  // namespace sdgen::cuda
