// The loops of kernels.h. CMake compiles this file once for each instruction set, with SDGEN_KERNELS as the namespace
// of its table. Everything has internal linkage, and no standard header is included: otherwise the linker could keep
// this file's copy of an inline function, with instructions that the processor lacks, for the whole program.
#include <cstdint>

#include "ops/kernels.h"
#include "ops/simd.h"
#include "ops/winograd_tiles.h"

#ifndef SDGEN_KERNELS
#define SDGEN_KERNELS baseline
#endif

namespace sdgen::ops {
namespace {

using namespace simd;
using Index = std::int64_t;

template <class T>
SDGEN_INLINE T min(T a, T b) {
  return a < b ? a : b;
}

// --- Rows

template <class T>
void add_moments(const T* x, const T* origin, Index n, Index channels, float* sum, float* squares) {
  for_each_vector(channels, [=](Index c, Index m) {
    Floats s = broadcast(0), q = broadcast(0);
    const Floats from = load_some(origin + c, m);
    for (Index i = 0; i < n; ++i) {
      const Floats y = load_some(x + i * channels + c, m) - from;
      s += y;
      q += y * y;
    }
    store_some(sum + c, s, m);
    store_some(squares + c, q, m);
  });
}

template <bool with_silu, class T>
SDGEN_INLINE void scale_pixels_by(const T* x, Index n, Index channels, const float* scale, const float* offset, T* to) {
  for (Index i = 0; i < n; ++i, x += channels, to += channels)
    for_each_vector(channels, [=](Index c, Index m) {
      const Floats y = load_some(x + c, m) * load_some(scale + c, m) + load_some(offset + c, m);
      store_some(to + c, with_silu ? simd::silu(y) : y, m);
    });
}
template <class T>
void scale_pixels(const T* x, Index n, Index channels, const float* scale, const float* offset, bool silu, T* to) {
  if (silu)
    scale_pixels_by<true>(x, n, channels, scale, offset, to);
  else
    scale_pixels_by<false>(x, n, channels, scale, offset, to);
}

SDGEN_INLINE Floats gelu_for(const float*, Floats x) { return simd::gelu(x); }
SDGEN_INLINE Floats gelu_for(const bfloat16*, Floats x) { return gelu_roughly(x); }

template <class T>
void geglu(const T* x, Index rows, Index width, T* to) {
  for (Index i = 0; i < rows; ++i, x += 2 * width, to += width)
    for_each_vector(width, [=](Index j, Index m) {
      store_some(to + j, load_some(x + j, m) * gelu_for(x, load_some(x + width + j, m)), m);
    });
}

template <class T>
void gelu(const T* x, Index n, T* to) {
  for_each_vector(n, [=](Index i, Index m) { store_some(to + i, gelu_for(x, load_some(x + i, m)), m); });
}
template <class T>
void gelu_tanh(const T* x, Index n, T* to) {
  for_each_vector(n, [=](Index i, Index m) { store_some(to + i, simd::gelu_tanh(load_some(x + i, m)), m); });
}
template <class T>
void silu(const T* x, Index n, T* to) {
  for_each_vector(n, [=](Index i, Index m) { store_some(to + i, simd::silu(load_some(x + i, m)), m); });
}
template <class T>
void quick_gelu(const T* x, Index n, T* to) {
  for_each_vector(n, [=](Index i, Index m) {
    const Floats y = load_some(x + i, m);
    store_some(to + i, y / (1.0f + simd::exp(-1.702f * y)), m);
  });
}

// 2^x for x < 127, to 2e-7 in float32 and, by a polynomial of least largest error, to 1e-4 for bfloat16's weights;
// below 2^-126 that.
SDGEN_INLINE Floats exp2_for(const float*, Floats f) {  // the Taylor series of e^(f ln 2), |f| <= 1/2
  Floats p = (broadcast(1.52527338e-5f) * f + 1.54035304e-4f) * f + 1.33335581e-3f;
  p = p * f + 9.61812911e-3f;
  p = p * f + 5.55041087e-2f;
  p = p * f + 2.40226507e-1f;
  p = p * f + 6.93147181e-1f;
  return p * f + 1.0f;
}
SDGEN_INLINE Floats exp2_for(const bfloat16*, Floats f) {
  Floats p = broadcast(5.58263178e-2f) * f + 2.42630824e-1f;
  p = p * f + 6.93120360e-1f;
  return p * f + 9.99924183e-1f;
}
template <class T>
SDGEN_INLINE Floats exp2(const T* kind, Floats x) {
  x = simd::max(x, broadcast(-126.0f));
  const Floats shifter = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to whole numbers
  const Floats shifted = x + shifter;
  const Floats p = exp2_for(kind, x - (shifted - shifter));
  return bits<Floats>(bits<Ints>(p) + (bits<Ints>(shifted) << 23));
}

// Returns what was stored: sums of that make the weights' rounding errors cancel where one weight is nearly all.
SDGEN_INLINE Floats store_weight(float* to, Floats x) {
  store(to, x);
  return x;
}
SDGEN_INLINE Floats store_weight(bfloat16* to, Floats x) {  // never a NaN, and a tie may go up
  const Words rounded = bits<Words>(x) + 0x8000;
  const Halves y = __builtin_convertvector(rounded >> 16, Halves);
  __builtin_memcpy(to, &y, sizeof y);
  return bits<Floats>(rounded & 0xFFFF0000);
}

template <class T>
float weigh(const float* scores, Index n, float scale, float offset, T* weights) {
  Floats total = broadcast(0);
  for (Index i = 0; i < n; i += kWidth)
    total += store_weight(weights + i, exp2(weights, load(scores + i) * scale - offset));
  return simd::sum(total);
}

float largest(const float* x, Index n) {
  Floats most = load(x);
  for (Index i = kWidth; i < n; i += kWidth) most = simd::max(most, load(x + i));
  return simd::max(most);
}

template <class T>
float length(const T* x, Index n) {
  Floats squares = broadcast(0);
  for_each_vector(n, [&](Index i, Index m) {
    const Floats y = load_some(x + i, m);
    squares += y * y;
  });
  return __builtin_sqrtf(simd::sum(squares));
}

template <class T>
void scale(const float* x, float factor, T* to, Index n) {
  for_each_vector(n, [=](Index i, Index m) { store_some(to + i, load_some(x + i, m) * factor, m); });
}

// Of a row's numbers: f of each, summed.
template <class T, class F>
SDGEN_INLINE float sum_over(const T* x, Index n, const F& f) {
  Floats total = broadcast(0);
  Index i = 0;
  for (; i + kWidth <= n; i += kWidth) total += f(load(x + i));
  float rest = 0;
  for (; i < n; ++i) rest += f(load(x + i, 1))[0];
  return simd::sum(total) + rest;
}

template <class T>
void norm_rows(const T* x, Index rows, Index width, float eps, const float* scale, const float* offset, T* to) {
  for (Index i = 0; i < rows; ++i, x += width, to += width) {
    const float mean = sum_over(x, width, [](Floats y) { return y; }) / static_cast<float>(width);
    const float squares = sum_over(x, width, [=](Floats y) { return (y - mean) * (y - mean); });
    const float factor = 1.0f / __builtin_sqrtf(squares / static_cast<float>(width) + eps);
    for_each_vector(width, [=](Index j, Index m) {
      const Floats y = (load_some(x + j, m) - mean) * factor;
      store_some(to + j, y * load_some(scale + j, m) + load_some(offset + j, m), m);
    });
  }
}

template <bool with_weight, bool with_turns, class T>
SDGEN_INLINE void turned_rows_by(const T* x, Index rows, Index width, float eps, const float* weight,
                                 const float* turns, T* to) {
  for (Index i = 0; i < rows; ++i, x += width, to += width) {
    float factor = 1;
    if constexpr (with_weight) {
      const float squares = sum_over(x, width, [](Floats y) { return y * y; });
      factor = 1.0f / __builtin_sqrtf(squares / static_cast<float>(width) + eps);
    }
    for_each_vector(width, [=](Index j, Index m) {
      Floats y = load_some(x + j, m);
      if constexpr (with_weight) y = y * factor * load_some(weight + j, m);
      if constexpr (with_turns) y = times_complex(y, load_some(turns + j, m));
      store_some(to + j, y, m);
    });
  }
}
template <class T>
void turned_rows(const T* x, Index rows, Index width, float eps, const float* weight, const float* turns, T* to) {
  if (weight && turns)
    turned_rows_by<true, true>(x, rows, width, eps, weight, turns, to);
  else if (weight)
    turned_rows_by<true, false>(x, rows, width, eps, weight, turns, to);
  else if (turns)
    turned_rows_by<false, true>(x, rows, width, eps, weight, turns, to);
  else
    turned_rows_by<false, false>(x, rows, width, eps, weight, turns, to);
}

template <class T>
float dot(const T* x, const float* y, Index n) {
  Floats sums[4] = {};
  Index i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth)
#pragma GCC unroll 4
    for (Index j = 0; j < 4; ++j) sums[j] += load(x + i + j * kWidth) * load(y + i + j * kWidth);
  for_each_vector(n - i, [&](Index j, Index m) { sums[0] += load_some(x + i + j, m) * load_some(y + i + j, m); });
  return simd::sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

template <class T>
void finish(const float* sums, const float* bias, const T* plus, T* to, Index n) {
  for_each_vector(n, [=](Index i, Index m) {
    Floats x = load_some(sums + i, m);
    if (bias) x += load_some(bias + i, m);
    if (plus) x += load_some(plus + i, m);
    store_some(to + i, x, m);
  });
}

template <class T>
float quantize(const T* x, Index n, std::uint8_t* to) {
  Floats most = broadcast(0), odd = broadcast(0);
  for_each_vector(n, [&](Index i, Index m) {
    const Floats y = load_some(x + i, m);
    most = simd::max(y < 0.0f ? -y : y, most);
    odd += y * 0.0f;  // a NaN where there is one, or an infinity
  });
  const float scale = simd::max(most) / 127.0f, factor = scale > 0 ? 1 / scale : 0;
  using Codes = std::uint8_t __attribute__((vector_size(kWidth)));
  for_each_vector(n, [&](Index i, Index m) {
    const Floats shifter = broadcast(12582912.0f + 128.0f);  // 1.5 * 2^23: adding it rounds to whole numbers
    const Words whole = bits<Words>(load_some(x + i, m) * factor + shifter);
    const Codes codes =
        __builtin_convertvector(__builtin_convertvector(whole, Halves), Codes);  // GCC 12 needs the step
    __builtin_memcpy(to + i, &codes, static_cast<unsigned long>(m));
  });
  return scale + simd::sum(odd);
}

template <class T>
void finish_int8(const std::int32_t* products, const std::int32_t* sums, float factor, const float* scales,
                 const float* bias, const T* plus, T* to, Index n) {
  for_each_vector(n, [=](Index i, Index m) {
    Ints product{}, sum{};
    __builtin_memcpy(&product, products + i, static_cast<unsigned long>(m) * 4);
    __builtin_memcpy(&sum, sums + i, static_cast<unsigned long>(m) * 4);
    Floats x = __builtin_convertvector(product - (sum << 7), Floats) * (factor * load_some(scales + i, m));
    if (bias) x += load_some(bias + i, m);
    if (plus) x += load_some(plus + i, m);
    store_some(to + i, x, m);
  });
}

template <class T>
constexpr RowKernels<T> rows_of() {
  return {add_moments<T>, scale_pixels<T>, geglu<T>,    gelu<T>,       gelu_tanh<T>, silu<T>,
          quick_gelu<T>,  weigh<T>,        length<T>,   scale<T>,      norm_rows<T>, turned_rows<T>,
          dot<T>,         finish<T>,       quantize<T>, finish_int8<T>};
}

// --- Products. A tile of a few rows and columns of the result stays in the registers while a part of the taps and
// channels is summed (Goto and van de Geijn, 2008); rows are read where they are, weights from panels that lie in
// reading order. Those that come next are fetched into the second cache meanwhile: a panel is read for a few rows at a
// time, and with its first rows a core would wait for memory as long as it computes.

#if defined(__AVX512F__)
constexpr Index kVectors = 4;                     // 64 columns a panel
constexpr Index kTileRows[] = {0, 12, 12, 8, 6};  // by vectors: 24 sums, 32 registers
constexpr Index kPart = 384, kRowsAtOnce = 192;
#elif defined(__AVX2__)
constexpr Index kVectors = 2;              // 16 columns a panel
constexpr Index kTileRows[] = {0, 12, 6};  // 12 sums, 16 registers
constexpr Index kPart = 256, kRowsAtOnce = 96;
#else
constexpr Index kVectors = 2;
constexpr Index kTileRows[] = {0, 6, 4};
constexpr Index kPart = 320, kRowsAtOnce = 96;
#endif
constexpr Index kPanel = kWidth * kVectors;
constexpr Index kSteps = 4;                         // channels at once: more, and nothing is gained
constexpr Index kLine = 16;                         // numbers of a line of the caches
constexpr Index kLinesAhead = kPanel > 32 ? 2 : 1;  // that are fetched beside them

// The taps and channels that are summed before the result goes back to memory, by shape alone: several taps of few
// channels, or a piece of one tap's channels.
struct Part {
  Index tap, taps, channel, channels;
};

template <class Each>
SDGEN_INLINE void for_each_part(Index taps, Index channels, const Each& each) {
  const Index together = channels < kPart ? (channels > 0 ? kPart / channels : taps) : 1;
  const Index pieces = (channels + kPart - 1) / kPart;
  const Index piece = pieces > 1 ? ((channels + pieces - 1) / pieces + 15) / 16 * 16 : channels;
  for (Index tap = 0; tap < taps; tap += together)
    for (Index channel = 0; channel < channels; channel += piece)
      each(Part{tap, min(together, taps - tap), channel, min(piece, channels - channel)});
}

// What a tile reads and writes: rows and columns of it begin at these pointers.
struct Tile {
  const float* const* rows;
  Index row_stride;
  const float* panel;
  const float* const* from;  // what the sums begin with, and null for zero
  const float* bias;         // or null
  float* const* out;
  Index column;        // of from and out
  const float* ahead;  // the first line to fetch
  Index ahead_step;    // to the next one; 0: there is none
};

// Adds a channel's products.
template <Index n_rows, Index n_vectors>
SDGEN_INLINE void add_channel(const float* const* row, Index channel, const float* weight, Floats (*sum)[n_vectors]) {
  Floats w[n_vectors];
#pragma GCC unroll 4
  for (Index j = 0; j < n_vectors; ++j) w[j] = load(weight + j * kWidth);
#pragma GCC unroll 16
  for (Index i = 0; i < n_rows; ++i) {
    const float x = row[i][channel];
#pragma GCC unroll 4
    for (Index j = 0; j < n_vectors; ++j) sum[i][j] += x * w[j];
  }
}

template <Index n_rows, Index n_vectors>
void add_tile(const Tile& tile, const Part& part) {
  Floats sum[n_rows][n_vectors];
#pragma GCC unroll 16
  for (Index i = 0; i < n_rows; ++i)
#pragma GCC unroll 4
    for (Index j = 0; j < n_vectors; ++j) {
      sum[i][j] = tile.from ? load(tile.from[i] + tile.column + j * kWidth) : Floats{};
      if (tile.bias) sum[i][j] += load(tile.bias + j * kWidth);
    }
  const float *weight = tile.panel, *ahead = tile.ahead;
  for (Index t = 0; t < part.taps; ++t) {
    const float* row[n_rows];
#pragma GCC unroll 16
    for (Index i = 0; i < n_rows; ++i) row[i] = tile.rows[(part.tap + t) * tile.row_stride + i] + part.channel;
    Index c = 0;
    for (; c + kSteps <= part.channels; c += kSteps, weight += kSteps * kPanel) {
#pragma GCC unroll 2
      for (Index i = 0; i < kLinesAhead; ++i, ahead += tile.ahead_step)
        __builtin_prefetch(ahead, /*to be written=*/0, /*of the second cache=*/2);
#pragma GCC unroll 4
      for (Index k = 0; k < kSteps; ++k) add_channel<n_rows>(row, c + k, weight + k * kPanel, sum);
    }
    for (; c < part.channels; ++c, weight += kPanel) add_channel<n_rows>(row, c, weight, sum);
  }
#pragma GCC unroll 16
  for (Index i = 0; i < n_rows; ++i)
#pragma GCC unroll 4
    for (Index j = 0; j < n_vectors; ++j) store(tile.out[i] + tile.column + j * kWidth, sum[i][j]);
}

using AddTile = void (*)(const Tile&, const Part&);

// add_tile of 1..n rows, in a table.
template <Index n_vectors, Index n = kTileRows[n_vectors]>
struct Tiles {
  AddTile of[n + 1];
  constexpr Tiles() : of() { fill<n>(); }
  template <Index rows>
  constexpr void fill() {
    of[rows] = add_tile<rows, n_vectors>;
    if constexpr (rows > 1) fill<rows - 1>();
  }
};
template <Index n_vectors>
constexpr Tiles<n_vectors> kTiles;

constexpr const AddTile* kTilesOf[] = {nullptr, kTiles<1>.of, kTiles<2>.of,
#if defined(__AVX512F__)
                                       kTiles<3>.of, kTiles<4>.of
#endif
};

// A tile that ends inside a vector: its columns in memory of its own.
void add_ragged_tile(const Tile& tile, const Part& part, AddTile add, Index rows, Index columns) {
  constexpr Index most = 12;
  alignas(64) float numbers[most][kPanel] = {}, bias[kPanel] = {};
  float* out[most];
  for (Index i = 0; i < rows; ++i) {
    out[i] = numbers[i];
    for (Index j = 0; tile.from && j < columns; ++j) numbers[i][j] = tile.from[i][tile.column + j];
  }
  for (Index j = 0; tile.bias && j < columns; ++j) bias[j] = tile.bias[j];
  Tile whole = tile;
  whole.from = tile.from ? out : nullptr;
  whole.bias = tile.bias ? bias : nullptr;
  whole.out = out;
  whole.column = 0;
  add(whole, part);
  for (Index i = 0; i < rows; ++i)
    for (Index j = 0; j < columns; ++j) tile.out[i][tile.column + j] = numbers[i][j];
}

// A part of the sum, for all rows and a panel's columns.
struct Piece {
  Part part;
  bool first;  // of the parts
  Index column;
};

const float* weight_of(const Product& p, const Piece& piece) {
  return p.panels + piece.column * p.taps * p.channels + (piece.part.tap * p.channels + piece.part.channel) * kPanel;
}

// `next`: where the weight goes on behind this piece, or null.
void add_piece(const Product& p, const Piece& piece, const float* next) {
  const auto& [part, first, column] = piece;
  const Index columns = min(kPanel, p.end - column), vectors = (columns + kWidth - 1) / kWidth;
  const float* const* from = first ? p.plus : p.out;
  const float* bias = first && p.bias ? p.bias + column : nullptr;
  const Index numbers = part.taps * part.channels * kPanel,
              at_once = part.taps * (part.channels / kSteps) * kLinesAhead * kLine;  // fetched beside a tile
  Index fetched = 0;
  for (Index row = 0, rows; row < p.count; row += rows, fetched += at_once) {
    rows = min(kTileRows[vectors], p.count - row);
    const bool fetches = next && fetched + at_once <= numbers;
    const float* panel = weight_of(p, piece);
    const Tile tile{p.rows + row, p.row_stride, panel,
                    from ? from + row : nullptr,
                    bias, p.out + row, column,
                    fetches ? next + fetched : panel, fetches ? kLine : 0};
    const AddTile add = kTilesOf[vectors][rows];
    if (columns % kWidth)
      add_ragged_tile(tile, part, add, rows, columns);
    else
      add(tile, part);
  }
}

void multiply(const Product& p) {
  Piece piece{};
  bool waits = false;  // for the one behind it
  bool first = true;
  for_each_part(p.taps, p.channels, [&](const Part& part) {
    for (Index column = p.begin; column < p.end; column += kPanel) {
      const Piece next{part, first, column};
      if (waits) add_piece(p, piece, weight_of(p, next));
      piece = next;
      waits = true;
    }
    first = false;
  });
  if (waits) add_piece(p, piece, p.next);
}

Index packed_size(Index columns, Index taps, Index channels) {
  return (columns + kPanel - 1) / kPanel * kPanel * taps * channels;
}

void pack(const float* weight, Index columns, Index taps, Index channels, Index column_stride, Index tap_stride,
          Index channel_stride, float* to) {
  for (Index column = 0; column < columns; column += kPanel)
    for (Index t = 0; t < taps; ++t)
      for (Index c = 0; c < channels; ++c)
        for (Index j = 0; j < kPanel; ++j, ++to)
          *to =
              column + j < columns ? weight[(column + j) * column_stride + t * tap_stride + c * channel_stride] : 0.0f;
}

}  // namespace

namespace SDGEN_KERNELS {
const Kernels kernels = {kPanel,           kRowsAtOnce,        packed_size,        pack,
                         multiply,         simd::winograd_in,  simd::winograd_out, largest,
                         rows_of<float>(), rows_of<bfloat16>()};
}

}  // namespace sdgen::ops
