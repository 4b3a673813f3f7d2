// GroupNorm with or without SiLU, and GEGLU, forward and backward, in bfloat16 on a CPU, for training. Compiled by fused.py.
//
// ATen's backward of GroupNorm for channels_last takes three fifths of the whole time of a training step of the autoencoder,
// its five operators of GEGLU and their backward a quarter of one of the UNet. Two passes suffice for the one, one for the other.
//
// Shapes of GroupNorm: x, y, dx, dy [n, pixels, channels] bfloat16, weight and bias [channels], mean and rstd [n, groups],
// float32. Of GEGLU: x, dx [rows, 2 width], y, dy [rows, width], bfloat16.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <torch/csrc/utils/pybind.h>  // a third of what torch/extension.h takes to compile

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

inline float widen(uint16_t bits) {
  union {
    uint32_t u;
    float f;
  } value{static_cast<uint32_t>(bits) << 16};
  return value.f;
}

inline uint16_t round_to_bfloat16(float f) {  // to nearest, ties to even; no NaN handling: training stops at NaN anyway
  union {
    float f;
    uint32_t u;
  } value{f};
  return static_cast<uint16_t>((value.u + 0x7fff + ((value.u >> 16) & 1)) >> 16);
}

const uint16_t* bits(const at::Tensor& t) { return reinterpret_cast<const uint16_t*>(t.const_data_ptr<at::BFloat16>()); }
uint16_t* bits(at::Tensor& t) { return reinterpret_cast<uint16_t*>(t.mutable_data_ptr<at::BFloat16>()); }

// y = act(x * scale + shift) with a scale and a shift for each channel; mean and rstd for the backward.
void norm_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, at::Tensor y, at::Tensor mean, at::Tensor rstd,
             double eps, bool silu) {
  const int64_t n = x.size(0), pixels = x.size(1), channels = x.size(2), groups = mean.size(1), width = channels / groups;
  const uint16_t* px = bits(x);
  uint16_t* py = bits(y);
  const float *w = weight.const_data_ptr<float>(), *b = bias.const_data_ptr<float>();
  float *pm = mean.mutable_data_ptr<float>(), *pr = rstd.mutable_data_ptr<float>();
  at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(channels), squares(channels), scale(channels), shift(channels);
    for (int64_t i = begin; i < end; ++i) {
      const uint16_t* xi = px + i * pixels * channels;
      uint16_t* yi = py + i * pixels * channels;
      std::fill(sums.begin(), sums.end(), 0.f);
      std::fill(squares.begin(), squares.end(), 0.f);
      for (int64_t p = 0; p < pixels; ++p) {
        float *__restrict s = sums.data(), *__restrict q = squares.data();
        const uint16_t* __restrict row = xi + p * channels;
        for (int64_t c = 0; c < channels; ++c) {
          const float v = widen(row[c]);
          s[c] += v;
          q[c] += v * v;
        }
      }
      for (int64_t g = 0; g < groups; ++g) {
        double sum = 0, square = 0;
        for (int64_t c = g * width; c < (g + 1) * width; ++c) {
          sum += sums[c];
          square += squares[c];
        }
        const double count = static_cast<double>(pixels * width), m = sum / count;
        const double r = 1 / std::sqrt(std::max(square / count - m * m, 0.0) + eps);
        pm[i * groups + g] = static_cast<float>(m);
        pr[i * groups + g] = static_cast<float>(r);
        for (int64_t c = g * width; c < (g + 1) * width; ++c) {
          scale[c] = static_cast<float>(r) * w[c];
          shift[c] = b[c] - static_cast<float>(m * r) * w[c];
        }
      }
      for (int64_t p = 0; p < pixels; ++p) {
        const uint16_t* __restrict row = xi + p * channels;
        uint16_t* __restrict out = yi + p * channels;
        const float *__restrict a = scale.data(), *__restrict t = shift.data();
        if (silu) {
          for (int64_t c = 0; c < channels; ++c) {
            const float z = widen(row[c]) * a[c] + t[c];
            out[c] = round_to_bfloat16(z / (1 + std::exp(-z)));
          }
        } else {
          for (int64_t c = 0; c < channels; ++c) out[c] = round_to_bfloat16(widen(row[c]) * a[c] + t[c]);
        }
      }
    }
  });
}

// With h = (x - mean) * rstd, z = h * weight + bias and d = dy * act'(z):
// dweight = sum d h, dbias = sum d, dx = rstd * (d weight - mean(d weight) - h mean(d weight h)), means over the group.
// dweight and dbias [n, channels] are left to be summed over n.
void norm_backward(const at::Tensor& dy, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, const at::Tensor& mean,
              const at::Tensor& rstd, at::Tensor dx, at::Tensor dweight, at::Tensor dbias, bool silu) {
  const int64_t n = x.size(0), pixels = x.size(1), channels = x.size(2), groups = mean.size(1), width = channels / groups;
  const uint16_t *px = bits(x), *pdy = bits(dy);
  uint16_t* pdx = bits(dx);
  const float *w = weight.const_data_ptr<float>(), *b = bias.const_data_ptr<float>();
  const float *pm = mean.const_data_ptr<float>(), *pr = rstd.const_data_ptr<float>();
  float *pdw = dweight.mutable_data_ptr<float>(), *pdb = dbias.mutable_data_ptr<float>();
  at::parallel_for(0, n, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> scale(channels), shift(channels), by_d(channels), by_x(channels), constant(channels);
    std::vector<uint16_t> kept(silu ? pixels * channels : 0);  // d, so that the exponential is taken once
    for (int64_t i = begin; i < end; ++i) {
      const uint16_t *xi = px + i * pixels * channels, *di = pdy + i * pixels * channels;
      uint16_t* oi = pdx + i * pixels * channels;
      float *sums = pdb + i * channels, *products = pdw + i * channels;
      for (int64_t c = 0; c < channels; ++c) {
        const float m = pm[i * groups + c / width], r = pr[i * groups + c / width];
        scale[c] = r * w[c];
        shift[c] = b[c] - m * r * w[c];
        sums[c] = products[c] = 0;
      }
      for (int64_t p = 0; p < pixels; ++p) {
        const uint16_t *__restrict row = xi + p * channels, *__restrict grad = di + p * channels;
        const float *__restrict a = scale.data(), *__restrict t = shift.data();
        float *__restrict s = sums, *__restrict q = products;
        if (silu) {
          uint16_t* __restrict keep = kept.data() + p * channels;
          for (int64_t c = 0; c < channels; ++c) {
            const float v = widen(row[c]), z = v * a[c] + t[c], sigmoid = 1 / (1 + std::exp(-z));
            const float d = widen(grad[c]) * sigmoid * (1 + z * (1 - sigmoid));
            s[c] += d;
            q[c] += d * v;
            keep[c] = round_to_bfloat16(d);
          }
        } else {
          for (int64_t c = 0; c < channels; ++c) {
            const float d = widen(grad[c]);
            s[c] += d;
            q[c] += d * widen(row[c]);
          }
        }
      }
      for (int64_t g = 0; g < groups; ++g) {
        const float m = pm[i * groups + g], r = pr[i * groups + g];
        double mean_d = 0, mean_dh = 0;
        for (int64_t c = g * width; c < (g + 1) * width; ++c) {
          products[c] = (products[c] - m * sums[c]) * r;
          mean_d += static_cast<double>(sums[c]) * w[c];
          mean_dh += static_cast<double>(products[c]) * w[c];
        }
        mean_d /= static_cast<double>(pixels * width);
        mean_dh /= static_cast<double>(pixels * width);
        for (int64_t c = g * width; c < (g + 1) * width; ++c) {
          by_d[c] = r * w[c];
          by_x[c] = static_cast<float>(-r * r * mean_dh);
          constant[c] = static_cast<float>(-r * mean_d + r * r * m * mean_dh);
        }
      }
      const uint16_t* from = silu ? kept.data() : di;
      for (int64_t p = 0; p < pixels; ++p) {
        const uint16_t *__restrict row = xi + p * channels, *__restrict grad = from + p * channels;
        uint16_t* __restrict out = oi + p * channels;
        const float *__restrict kd = by_d.data(), *__restrict kx = by_x.data(), *__restrict k = constant.data();
        for (int64_t c = 0; c < channels; ++c) out[c] = round_to_bfloat16(widen(grad[c]) * kd[c] + widen(row[c]) * kx[c] + k[c]);
      }
    }
  });
}

constexpr float kHalfRoot = 0.70710678f, kDensity = 0.39894228f;  // sqrt(1/2), 1/sqrt(2 pi)

// y = a gelu(b) for x = [a, b]
void geglu_forward(const at::Tensor& x, at::Tensor y) {
  const int64_t rows = y.size(0), width = y.size(1);
  const uint16_t* px = bits(x);
  uint16_t* py = bits(y);
  at::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint16_t *__restrict a = px + i * 2 * width, *__restrict b = a + width;
      uint16_t* __restrict out = py + i * width;
      for (int64_t c = 0; c < width; ++c) {
        const float v = widen(b[c]);
        out[c] = round_to_bfloat16(widen(a[c]) * 0.5f * v * (1 + std::erf(v * kHalfRoot)));
      }
    }
  });
}

// da = dy gelu(b), db = dy a gelu'(b), gelu'(b) = cdf(b) + b density(b)
void geglu_backward(const at::Tensor& dy, const at::Tensor& x, at::Tensor dx) {
  const int64_t rows = dy.size(0), width = dy.size(1);
  const uint16_t *px = bits(x), *pdy = bits(dy);
  uint16_t* pdx = bits(dx);
  at::parallel_for(0, rows, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint16_t *__restrict a = px + i * 2 * width, *__restrict b = a + width, *__restrict d = pdy + i * width;
      uint16_t *__restrict da = pdx + i * 2 * width, *__restrict db = da + width;
      for (int64_t c = 0; c < width; ++c) {
        const float v = widen(b[c]), grad = widen(d[c]), cdf = 0.5f * (1 + std::erf(v * kHalfRoot));
        da[c] = round_to_bfloat16(grad * v * cdf);
        db[c] = round_to_bfloat16(grad * widen(a[c]) * (cdf + v * kDensity * std::exp(-0.5f * v * v)));
      }
    }
  });
}

}  // namespace

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("norm_forward", &norm_forward);
  m.def("norm_backward", &norm_backward);
  m.def("geglu_forward", &geglu_forward);
  m.def("geglu_backward", &geglu_backward);
}
