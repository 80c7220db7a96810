// Tokens in memory: where they lie, and how they are grouped by expert.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "parallel.h"

namespace moenas {

// Token t = o * inner + i, channel c, is data[o * outer_stride + i * inner_stride + c * channel].
// Rows of a matrix: channel = 1. A map [B, C, H, W]: o an image, i a position, channel = H * W.
struct Tokens {
  float* data;
  int64_t outer, inner, outer_stride, inner_stride, channel;

  Size count() const { return outer * inner; }
  bool rows() const { return channel == 1 && (outer <= 1 || outer_stride == inner * inner_stride); }
};

// Cache-line aligned memory that is freed with its owner; null when there is none left.
struct Free {
  void operator()(void* p) const { std::free(p); }
};
template <class T>
using Buffer = std::unique_ptr<T[], Free>;

template <class T>
Buffer<T> allocate(Size count) {
  const std::size_t bytes = round_up(std::max<Size>(count, 1) * sizeof(T), 64);
  return Buffer<T>(static_cast<T*>(std::aligned_alloc(64, bytes)));
}

// Copy between tokens anywhere and a matrix [T, dim]: a transpose in blocks that fit a cache.
template <bool TO_ROWS>
void copy_rows(const Tokens& tokens, Size dim, float* rows, int threads) {
  constexpr Size kBlock = 16;
  const Size per_outer = (tokens.inner + kBlock - 1) / kBlock;
  parallel(tokens.outer * per_outer, threads, [&](int, Size item) {
    const Size o = item / per_outer, first = item % per_outer * kBlock;
    const Size last = std::min<Size>(first + kBlock, tokens.inner);
    float* matrix = rows + o * tokens.inner * dim;
    float* map = tokens.data + o * tokens.outer_stride;
    for (Size c0 = 0; c0 < dim; c0 += kBlock) {
      const Size end = std::min(c0 + kBlock, dim);
      if (TO_ROWS)  // the inner loop writes neighbours
        for (Size i = first; i < last; ++i)
          for (Size c = c0; c < end; ++c)
            matrix[i * dim + c] = map[i * tokens.inner_stride + c * tokens.channel];
      else
        for (Size c = c0; c < end; ++c)
          for (Size i = first; i < last; ++i)
            map[i * tokens.inner_stride + c * tokens.channel] = matrix[i * dim + c];
    }
  });
}

// A stable counting sort by expert: expert e's tokens are order[start[e]] to order[start[e + 1]].
struct Groups {
  Buffer<int32_t> order;
  Size start[257] = {0};

  // False when an expert does not exist (order stays unset) or memory is short (order is null).
  bool sort(const uint8_t* expert, Size tokens, Size experts) {
    if (!(order = allocate<int32_t>(tokens))) return false;
    Size count[256] = {0};
    for (Size t = 0; t < tokens; ++t) ++count[expert[t]];
    for (Size e = 0; e < 256; ++e) start[e + 1] = start[e] + count[e];
    if (start[experts] != tokens) return false;
    Size next[256];
    std::copy(start, start + 256, next);
    for (Size t = 0; t < tokens; ++t) order[next[expert[t]]++] = static_cast<int32_t>(t);
    return true;
  }
};

// The tokens of one expert that go through both layers together, while they stay in the cache.
struct Tile {
  Size expert, first, rows;
};

constexpr Size kTileRows = 96;

// Calls body for the tiles of one expert in order; all but the last rows are full register blocks.
template <class Body>
void for_tiles(const Groups& groups, Size expert, const Body& body) {
  const Size first = groups.start[expert], rows = groups.start[expert + 1] - first;
  const Size count = (rows + kTileRows - 1) / kTileRows;
  const Size height = count ? round_up((rows + count - 1) / count, kRows) : 0;
  for (Size r = 0; r < rows; r += height)
    body(Tile{expert, first + r, std::min(height, rows - r)});
}

inline void gather(const float* rows, Size stride, const int32_t* order, Size count, Size dim,
                   float* tile, Size tile_stride) {
  for (Size i = 0; i < count; ++i)
    std::memcpy(tile + i * tile_stride, rows + order[i] * stride, dim * sizeof(float));
}

}  // namespace moenas
