// The forward pass: each tile of one expert's tokens goes through both layers.
#pragma once

#include <algorithm>
#include <cstring>

#include "amx.h"
#include "experts.h"
#include "parallel.h"
#include "tokens.h"

namespace moenas {

// Both layers of a tile on vector registers. Every layer adds its bias; `before` may be null.
template <class Format, class Activation>
struct OnVectors {
  static Size scratch(Size dp, Size hp) { return kTileRows * (dp + hp); }  // floats

  // Reads tile.rows rows [D] through `order`, returns rows [dp] of the output.
  static float* apply(const Experts& m, const Tile& tile, const int32_t* order, const float* x,
                      Size x_row, const void* w1, const float* b1, const void* w2, const float* b2,
                      float* before, float* scratch) {
    const Size dp = m.dim_padded(), hp = m.hidden_padded();
    float *rows = scratch, *hidden = rows + kTileRows * dp;
    gather(x, x_row, order, tile.rows, m.dim, rows, dp);
    multiply(tile.rows, hp, m.dim, Left{rows, dp}, packed<Format>(w1, m.dim), hidden, hp, b1);
    for (Size i = 0; before && i < tile.rows; ++i)
      std::copy_n(hidden + i * hp, m.hidden, before + i * m.hidden);
    for (Size i = 0; i < tile.rows * hp; i += kLanes)
      store(hidden + i, Activation::value(load(hidden + i)));
    multiply(tile.rows, dp, m.hidden, Left{hidden, hp}, packed<Format>(w2, m.hidden), rows, dp, b2);
    return rows;
  }
};

#if MOENAS_AMX
// The same on the matrix unit; widths are multiples of the panel's.
template <class Activation>
struct OnMatrixUnit {
  static Size scratch(Size d, Size h) { return kTileRows * (std::max(d, h) + (d + h) / 2); }

  static float* apply(const Experts& m, const Tile& tile, const int32_t* order, const float* x,
                      Size x_row, const void* w1, const float* b1, const void* w2, const float* b2,
                      float* before, float* scratch) {
    const Size d = m.dim, h = m.hidden;
    float* sums = scratch;
    auto* rows = reinterpret_cast<uint16_t*>(sums + kTileRows * std::max(d, h));
    uint16_t* hidden = rows + kTileRows * d;
    const Tiles tiles;
    for (Size i = 0; i < tile.rows; ++i) round_to_bfloat16(x + order[i] * x_row, d, rows + i * d);
    amx_multiply(tile.rows, h, d, rows, d, packed<BFloat16>(w1, d), sums, h);
    for (Size i = 0; i < tile.rows; ++i) {
      float* row = sums + i * h;
      for (Size c = 0; c < h; c += kLanes) store(row + c, load(row + c) + load(b1 + c));
      if (before) std::copy_n(row, h, before + i * h);
      for (Size c = 0; c < h; c += kLanes) store(row + c, Activation::value(load(row + c)));
      round_to_bfloat16(row, h, hidden + i * h);
    }
    amx_multiply(tile.rows, d, h, hidden, h, packed<BFloat16>(w2, h), sums, d);
    for (Size i = 0; i < tile.rows; ++i)
      for (Size c = 0; c < d; c += kLanes)
        store(sums + i * d + c, load(sums + i * d + c) + load(b2 + c));
    return sums;
  }
};
#endif

template <class Format, class Way>
Status forward_by(const Experts& m, const Groups& groups, const float* x, Size x_row, float* y,
                  Size y_row, const float* gate, float* before, int threads) {
  const Size dp = m.dim_padded(), hp = m.hidden_padded();
  const Size w1_bytes = packed_words<Format>(m.hidden, m.dim) * sizeof(typename Format::Word);
  const Size w2_bytes = packed_words<Format>(m.dim, m.hidden) * sizeof(typename Format::Word);
  const Size tiles_at_most = groups.start[m.count] / kTileRows + m.count;
  const Size per_worker = round_up(Way::scratch(dp, hp) + dp + hp, 16);  // a cache line
  auto tiles = allocate<Tile>(tiles_at_most);
  auto scratch = allocate<float>(threads * per_worker);
  if (!tiles || !scratch) return kNoMemory;
  Size count = 0;
  for (Size e = 0; e < m.count; ++e)
    for_tiles(groups, e, [&](const Tile& tile) { tiles[count++] = tile; });
  parallel(count, threads, [&](int worker, Size item) {
    const Tile tile = tiles[item];
    const int32_t* order = groups.order.get() + tile.first;
    float* b1 = scratch.get() + worker * per_worker;
    float *b2 = b1 + hp, *free = b2 + dp;
    std::fill(std::copy_n(m.b1 + tile.expert * m.hidden, m.hidden, b1), b2, 0.f);
    std::fill(std::copy_n(m.b2 + tile.expert * m.dim, m.dim, b2), free, 0.f);
    const auto* w1 = static_cast<const char*>(m.w1) + tile.expert * w1_bytes;
    const auto* w2 = static_cast<const char*>(m.w2) + tile.expert * w2_bytes;
    float* kept = before ? before + tile.first * m.hidden : nullptr;
    const float* rows = Way::apply(m, tile, order, x, x_row, w1, b1, w2, b2, kept, free);
    for (Size i = 0; i < tile.rows; ++i) {
      const float* from = rows + i * dp;
      float* to = y + order[i] * y_row;
      if (gate) {
        const float factor = gate[order[i]];
        for (Size c = 0; c < m.dim; ++c) to[c] = from[c] * factor;
      } else {
        std::memcpy(to, from, m.dim * sizeof(float));
      }
    }
  });
  return kOk;
}

template <class Activation, class... Arguments>
Status forward_with(const Experts& m, const Arguments&... arguments) {
#if MOENAS_AMX
  if (amx_fits(m)) return forward_by<BFloat16, OnMatrixUnit<Activation>>(m, arguments...);
#endif
  return m.bfloat16 ? forward_by<BFloat16, OnVectors<BFloat16, Activation>>(m, arguments...)
                    : forward_by<Float32, OnVectors<Float32, Activation>>(m, arguments...);
}

template <class... Arguments>
Status forward(const Experts& m, const Arguments&... arguments) {
  return m.activation ? forward_with<Gelu>(m, arguments...) : forward_with<Silu>(m, arguments...);
}

}  // namespace moenas
