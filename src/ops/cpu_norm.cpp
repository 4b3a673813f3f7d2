#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/view_as_real.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/cpu.h"

namespace sdgen::ops::cpu {
namespace {

constexpr std::int64_t kRows = 64;  // pixels whose sums are taken in float32 before they go on in double

// So many rows of `width` that a thread's share is worth its start.
std::int64_t grain(std::int64_t width) { return std::max<std::int64_t>(1, 32768 / std::max<std::int64_t>(width, 1)); }

std::vector<float> floats(const Tensor& x) {
  const Tensor all = x.to(at::kFloat).contiguous();
  return {all.const_data_ptr<float>(), all.const_data_ptr<float>() + all.numel()};
}

// What a picture's channels are multiplied with and what is added to them.
struct Affine {
  std::vector<float> scale, offset;
};

// Moments of the channels, x - origin, summed over `pixels` -> those of the groups -> an affine map of the channels.
template <class T>
Affine normalizer(const double* sum, const double* squares, const T* origin, const float* shift, std::int64_t pixels,
                  std::int64_t channels, std::int64_t groups, const std::vector<float>& weight,
                  const std::vector<float>& bias, double eps) {
  Affine affine{std::vector<float>(channels), std::vector<float>(channels)};
  const std::int64_t width = channels / groups;
  for (std::int64_t first = 0; first < channels; first += width) {
    const double count = static_cast<double>(pixels * width);
    const auto base = [&](std::int64_t c) { return static_cast<double>(value(origin[c])) + (shift ? shift[c] : 0.0); };
    double mean = 0, variance = 0;
    for (std::int64_t c = first; c < first + width; ++c) mean += sum[c] + static_cast<double>(pixels) * base(c);
    mean /= count;
    for (std::int64_t c = first; c < first + width; ++c) {
      const double away = base(c) - mean;  // sum of (y + away)^2, with y = x - origin
      variance += squares[c] + 2 * away * sum[c] + static_cast<double>(pixels) * away * away;
    }
    const double inverse = 1 / std::sqrt(std::max(variance / count, 0.0) + eps);
    for (std::int64_t c = first; c < first + width; ++c) {
      const double scale = inverse * weight[c];
      affine.scale[c] = static_cast<float>(scale);
      affine.offset[c] = static_cast<float>(bias[c] + ((shift ? shift[c] : 0.0) - mean) * scale);
    }
  }
  return affine;
}

// x [pictures, pixels, channels], each picture by its own map.
template <class T>
void scale_all(const T* x, std::int64_t pixels, std::int64_t channels, bool silu, const std::vector<Affine>& affines,
               T* to) {
  const std::int64_t blocks = (pixels + kRows - 1) / kRows, pictures = std::int64_t(affines.size());
  at::parallel_for(0, pictures * blocks, 8, [&](std::int64_t begin, std::int64_t end) {
    const auto scale = row_kernels<T>().scale_pixels;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = i % blocks * kRows, at = (i / blocks * pixels + first) * channels;
      const Affine& affine = affines[i / blocks];
      scale(x + at, std::min(kRows, pixels - first), channels, affine.scale.data(), affine.offset.data(), silu,
            to + at);
    }
  });
}

template <class T>
Tensor moments_of(const Tensor& x) {
  const std::int64_t channels = x.size(1), height = x.size(2), width = x.size(3), row = x.stride(2);
  const T* from = numbers<const T>(x);
  std::vector<float> sums(2 * height * channels);
  at::parallel_for(0, height, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      float* sum = sums.data() + 2 * i * channels;
      row_kernels<T>().add_moments(from + i * row, from, width, channels, sum, sum + channels);
    }
  });
  std::vector<double> total(2 * channels);
  for (std::int64_t i = 0; i < height; ++i)
    for (std::int64_t c = 0; c < 2 * channels; ++c) total[c] += sums[2 * i * channels + c];
  const Tensor result = at::empty({2, channels}, at::kDouble);
  double *mean = result.mutable_data_ptr<double>(), *variance = mean + channels;
  const auto pixels = static_cast<double>(height * width);
  for (std::int64_t c = 0; c < channels; ++c) {
    const double from_origin = total[c] / pixels;
    mean[c] = static_cast<double>(value(from[c])) + from_origin;
    variance[c] = std::max(total[channels + c] / pixels - from_origin * from_origin, 0.0);
  }
  return result;
}

template <class T>
void group_norm_of(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias, double eps,
                   bool silu, const Tensor& shift, const Tensor& out) {
  const std::int64_t batch = x.size(0), channels = x.size(1), pixels = x.size(2) * x.size(3);
  const std::int64_t blocks = (pixels + kRows - 1) / kRows;
  const T* from = numbers<const T>(x);
  T* to = numbers<T>(out);
  const std::vector<float> weights = floats(weight), biases = floats(bias),
                           shifts = shift.defined() ? floats(shift) : std::vector<float>();
  std::vector<float> sums(2 * batch * blocks * channels);
  const auto block_of = [&](std::int64_t i) {
    struct {
      std::int64_t picture, first, count;
    } block{i / blocks, i % blocks * kRows, 0};
    block.count = std::min(kRows, pixels - block.first);
    return block;
  };
  at::parallel_for(0, batch * blocks, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto block = block_of(i);
      const T* picture = from + block.picture * pixels * channels;
      float* sum = sums.data() + 2 * i * channels;
      row_kernels<T>().add_moments(picture + block.first * channels, picture, block.count, channels, sum,
                                   sum + channels);
    }
  });
  std::vector<Affine> affines;
  for (std::int64_t b = 0; b < batch; ++b) {
    std::vector<double> total(2 * channels);
    for (std::int64_t i = b * blocks; i < (b + 1) * blocks; ++i)
      for (std::int64_t c = 0; c < 2 * channels; ++c) total[c] += sums[2 * i * channels + c];
    affines.push_back(normalizer(total.data(), total.data() + channels, from + b * pixels * channels,
                                 shifts.empty() ? nullptr : shifts.data() + b * channels, pixels, channels, groups,
                                 weights, biases, eps));
  }
  scale_all(from, pixels, channels, silu, affines, to);
}

template <class T>
void geglu_of(const Tensor& x, const Tensor& out) {
  const std::int64_t width = out.size(-1), rows = width ? out.numel() / width : 0;
  const T* from = numbers<const T>(x);
  T* to = numbers<T>(out);
  at::parallel_for(0, rows, grain(width), [&](std::int64_t begin, std::int64_t end) {
    row_kernels<T>().geglu(from + 2 * begin * width, end - begin, width, to + begin * width);
  });
}

}  // namespace

Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight, const Tensor& bias, double eps, bool silu,
                  const Tensor& shift) {
  const Tensor out = at::empty_like(x);
  by_type(x, [&]<class T>(T) { group_norm_of<T>(x, groups, weight, bias, eps, silu, shift, out); });
  return out;
}

Tensor channel_moments(const Tensor& x) {
  Tensor result;
  by_type(x, [&]<class T>(T) { result = moments_of<T>(x); });
  return result;
}

Tensor scale_channels(const Tensor& x, const Tensor& scale, const Tensor& offset, bool silu) {
  const std::vector<Affine> affine{{floats(scale), floats(offset)}};
  const Tensor out = at::empty_like(x);
  by_type(x, [&]<class T>(T) {
    scale_all(numbers<const T>(x), x.numel() / x.size(1), x.size(1), silu, affine, numbers<T>(out));
  });
  return out;
}

Tensor geglu(const Tensor& x) {
  std::vector<std::int64_t> sizes = x.sizes().vec();
  sizes.back() /= 2;
  const Tensor out = at::empty(sizes, x.options());
  by_type(x, [&]<class T>(T) { geglu_of<T>(x, out); });
  return out;
}

Tensor modulated_norm(const Tensor& x, const Tensor& scale, const Tensor& shift, double eps) {
  const Tensor out = at::empty_like(x);
  const std::int64_t width = x.size(2), tokens = x.size(1);
  const std::vector<float> scales = floats(1 + scale.to(at::kFloat)), shifts = floats(shift);
  by_type(x, [&]<class T>(T) {
    const T* from = numbers<const T>(x);
    T* to = numbers<T>(out);
    at::parallel_for(0, x.size(0) * tokens, grain(width), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin, count; i < end; i += count) {
        count = std::min(end, (i / tokens + 1) * tokens) - i;  // of one row of the batch
        const std::int64_t own = i / tokens * width;
        row_kernels<T>().norm_rows(from + i * width, count, width, float(eps), scales.data() + own, shifts.data() + own,
                                   to + i * width);
      }
    });
  });
  return out;
}

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  const Tensor out = at::empty_like(x);
  const std::int64_t width = x.size(-1), rows = width ? x.numel() / width : 0;
  const std::vector<float> weights = floats(weight);
  by_type(x, [&]<class T>(T) {
    const T* from = numbers<const T>(x);
    T* to = numbers<T>(out);
    at::parallel_for(0, rows, grain(width), [&](std::int64_t begin, std::int64_t end) {
      row_kernels<T>().turned_rows(from + begin * width, end - begin, width, float(eps), weights.data(), nullptr,
                                   to + begin * width);
    });
  });
  return out;
}

Tensor joined_heads(std::span<const Heads> streams, std::int64_t heads, double eps, const Tensor& rotations) {
  const std::int64_t batch = streams[0].x.size(0), width = streams[0].x.size(2);
  std::int64_t all = 0, first = 0;
  for (const Heads& stream : streams) all += stream.x.size(1);
  const Tensor out = at::empty({batch, all, width}, streams[0].x.options());
  const Tensor pairs = rotations.defined() ? at::view_as_real(rotations).contiguous() : Tensor();
  for (const Heads& stream : streams) {
    const std::int64_t tokens = stream.x.size(1);
    const std::vector<float> weight = stream.norm.defined() ? floats(stream.norm) : std::vector<float>();
    by_type(out, [&]<class T>(T) {
      const T* from = numbers<const T>(stream.x);
      T* to = numbers<T>(out);
      const float* turns = pairs.defined() ? pairs.const_data_ptr<float>() + first * (width / heads) : nullptr;
      at::parallel_for(0, batch * tokens, grain(width), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i)
          row_kernels<T>().turned_rows(from + i * width, heads, width / heads, float(eps),
                                       weight.empty() ? nullptr : weight.data(),
                                       turns ? turns + i % tokens * (width / heads) : nullptr,
                                       to + (i / tokens * all + first + i % tokens) * width);
      });
    });
    first += tokens;
  }
  return out;
}

Tensor activated(const Tensor& x, Activation::Kind kind) {
  constexpr std::int64_t piece = 4096;  // whole vectors, so that only the tensor's end is less than one
  const Tensor out = at::empty_like(x);
  const std::int64_t n = x.numel();
  by_type(x, [&]<class T>(T) {
    const RowKernels<T>& rows = row_kernels<T>();
    const auto kernel = kind == Activation::silu        ? rows.silu
                        : kind == Activation::gelu      ? rows.gelu
                        : kind == Activation::gelu_tanh ? rows.gelu_tanh
                                                        : rows.quick_gelu;
    const T* from = numbers<const T>(x);
    T* to = numbers<T>(out);
    at::parallel_for(0, (n + piece - 1) / piece, 4, [&](std::int64_t begin, std::int64_t end) {
      kernel(from + begin * piece, std::min(end * piece, n) - begin * piece, to + begin * piece);
    });
  });
  return out;
}

}  // namespace sdgen::ops::cpu
