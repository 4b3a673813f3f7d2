// Products of rows with panels, as ops/kernels.h describes them. Only for src/ops/vector_kernels.cpp, as ops/simd.h.
//
// A tile of a few rows and columns of the result stays in the registers while a part of the taps and channels is summed
// (Goto and van de Geijn, 2008); rows are read where they are, weights from panels that lie in reading order. Those
// that come next are fetched into the second cache meanwhile: a panel is read for a few rows at a time, and with the
// first of them a core would wait for memory as long as it computes.
#pragma once

#include "ops/kernels.h"
#include "ops/simd.h"

namespace sdgen::simd {
namespace {

using ops::Product;
using Index = std::int64_t;

template <class T>
SDGEN_INLINE T min(T a, T b) {
  return a < b ? a : b;
}

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
  const float *panel = weight_of(p, piece), *const *from = first ? p.plus : p.out;
  const float* bias = first && p.bias ? p.bias + column : nullptr;
  const Index numbers = part.taps * part.channels * kPanel,
              at_once = part.taps * (part.channels / kSteps) * kLinesAhead * kLine;  // fetched beside a tile
  Index fetched = 0;
  for (Index row = 0, rows; row < p.count; row += rows, fetched += at_once) {
    rows = min(kTileRows[vectors], p.count - row);
    const bool fetches = next && fetched + at_once <= numbers;
    const Tile tile{p.rows + row,
                    p.row_stride,
                    panel,
                    from ? from + row : nullptr,
                    bias,
                    p.out + row,
                    column,
                    fetches ? next + fetched : panel,
                    fetches ? kLine : 0};
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
}  // namespace sdgen::simd
