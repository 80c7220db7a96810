// Small matrix products: c = a b + bias, or c += a b, with b in panels of a few vectors' width.
//
// A block of `ROWS` x `VECTORS` vectors of c stays in registers while its row blocks of a are
// broadcast against one panel of b (the "outer product" kernel of GotoBLAS; Goto and van de Geijn,
// 2008). Each number of c is one chain of fused multiply-adds over the depth, whatever the block:
// a token's result does not depend on the tokens beside it, nor on the number of threads.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "simd.h"

namespace moenas {

using Size = std::ptrdiff_t;

constexpr int kPanel = 2 * kLanes;                   // columns of a panel
constexpr int kRows = kRegisters == 32 ? 12 : 6;     // rows of a full block: 24 or 12 registers

constexpr int kAhead = 48;                           // rows of a panel to fetch in advance

inline Size round_up(Size n, Size multiple) { return (n + multiple - 1) / multiple * multiple; }

// How a panel stores its numbers: a row of `kPanel` words holds `kDepth` rows of the matrix.
struct Float32 {
  using Word = float;
  using Element = uint32_t;
  static constexpr int kDepth = 1;
  template <int VECTORS>
  static void read(const Word* b, Vec (&rows)[1][VECTORS]) {
    for (int j = 0; j < VECTORS; ++j) rows[0][j] = load(b + j * kLanes);
  }
};

// bfloat16 is the upper half of a float. A word holds two neighbours of a column, the first in its
// low half: the order that matrix units want, and a shift and a mask widen both.
struct BFloat16 {
  using Word = int32_t;
  using Element = uint16_t;
  static constexpr int kDepth = 2;
  template <int VECTORS>
  static void read(const Word* b, Vec (&rows)[2][VECTORS]) {
    for (int j = 0; j < VECTORS; ++j) {
      const IntVec both = load(b + j * kLanes);
      rows[0][j] = reinterpret_cast<Vec>(both << 16);
      rows[1][j] = reinterpret_cast<Vec>(both & IntVec(IntVec{} - 65536));
    }
  }
};

// An operand in memory: element (i, k) of a is data[i * row + k], or data[k * row + i] TRANSPOSED.
struct Left {
  const float* data;
  Size row;
};

// Stored row k of panel j is at data[j * panel + k * row].
template <class Format>
struct Panels {
  const typename Format::Word* data;
  Size row, panel;
};

template <class Format, bool TRANSPOSED, int ROWS, int VECTORS>
void block(Size depth, Left a, const typename Format::Word* b, Size b_row, float* c, Size c_row,
           const float* bias) {
  Vec acc[ROWS][VECTORS];
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < VECTORS; ++j)
      acc[i][j] = load((bias ? bias : c + i * c_row) + j * kLanes);
  for (Size first = 0; first < depth; first += Format::kDepth, b += b_row) {
    __builtin_prefetch(b + kAhead * b_row);  // weights of few tokens stream from far away
    if (VECTORS == 2) __builtin_prefetch(b + kAhead * b_row + kLanes);
    Vec rows[Format::kDepth][VECTORS];
    Format::read(b, rows);
#pragma GCC unroll 2
    for (int r = 0; r < Format::kDepth; ++r) {
      const Size k = first + r;
      if (r > 0 && k == depth) break;  // an odd depth: the last stored row is half empty
#pragma GCC unroll 24
      for (int i = 0; i < ROWS; ++i) {
        const float s = TRANSPOSED ? a.data[k * a.row + i] : a.data[i * a.row + k];
#pragma GCC unroll 2
        for (int j = 0; j < VECTORS; ++j) acc[i][j] = multiply_add(rows[r][j], fill(s), acc[i][j]);
      }
    }
  }
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < VECTORS; ++j) store(c + i * c_row + j * kLanes, acc[i][j]);
}

template <class Format, bool TRANSPOSED, int VECTORS, int... ROWS>
constexpr auto blocks(std::integer_sequence<int, ROWS...>) {
  return std::array{&block<Format, TRANSPOSED, ROWS + 1, VECTORS>...};
}

// c [rows, columns] = a b + bias, or c += a b where bias is null. Columns are a multiple of the
// panel's. Rows are cut into blocks of nearly equal height: a block of one row waits for latency.
template <class Format, bool TRANSPOSED = false, int VECTORS = 2>
void multiply(Size rows, Size columns, Size depth, Left a, Panels<Format> b, float* c, Size c_row,
              const float* bias) {
  constexpr int kMost = VECTORS == 2 ? kRows : 2 * kRows;
  static constexpr auto kBlocks =
      blocks<Format, TRANSPOSED, VECTORS>(std::make_integer_sequence<int, kMost>());
  const Size count = (rows + kMost - 1) / kMost;
  for (Size j = 0; j * VECTORS * kLanes < columns; ++j) {
    const Size column = j * VECTORS * kLanes;
    for (Size i = 0; i < count; ++i) {
      const Size first = rows * i / count, height = rows * (i + 1) / count - first;
      const Left from{a.data + first * (TRANSPOSED ? 1 : a.row), a.row};
      kBlocks[height - 1](depth, from, b.data + j * b.panel, b.row, c + first * c_row + column,
                          c_row, bias ? bias + column : nullptr);
    }
  }
}

// Words of a packed matrix of `depth` rows.
template <class Format>
Size packed_words(Size columns, Size depth) {
  return round_up(columns, kPanel) * round_up(depth, Format::kDepth) / Format::kDepth;
}

// The panels of a whole packed matrix of `depth` rows.
template <class Format>
Panels<Format> packed(const void* data, Size depth) {
  return {static_cast<const typename Format::Word*>(data), kPanel,
          packed_words<Format>(kPanel, depth)};
}

// Where a packed matrix of `depth` rows keeps (row, column), counted in its own elements.
template <class Format>
Size packed_index(Size depth, Size row, Size column) {
  const Size panel = column / kPanel * packed_words<Format>(kPanel, depth);
  const Size word = panel + row / Format::kDepth * kPanel + column % kPanel;
  return word * Format::kDepth + row % Format::kDepth;
}

// Pack a weight [columns, depth] (torch's [out, in]); columns and rows beyond it become zeros.
template <class Format>
void pack_transposed(const void* weight, Size columns, Size depth, void* out) {
  using Element = typename Format::Element;
  const auto* from = static_cast<const Element*>(weight);
  auto* to = static_cast<Element*>(out);
  std::fill_n(to, packed_words<Format>(columns, depth) * Format::kDepth, Element(0));
  for (Size column = 0; column < columns; ++column, from += depth)
    for (Size k = 0; k < depth; ++k) to[packed_index<Format>(depth, k, column)] = from[k];
}

// Pack a matrix [depth, columns] as it lies.
inline void pack_rows(const float* matrix, Size columns, Size depth, float* out) {
  for (Size first = 0; first < columns; first += kPanel)
    for (Size k = 0; k < depth; ++k, out += kPanel) {
      const float* from = matrix + k * columns + first;
      if (first + kPanel <= columns) {
        store(out, load(from));
        store(out + kLanes, load(from + kLanes));
      } else {
        for (Size lane = 0; lane < kPanel; ++lane)
          out[lane] = first + lane < columns ? from[lane] : 0.f;
      }
    }
}

}  // namespace moenas
