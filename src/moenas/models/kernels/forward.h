// The forward pass: each tile of one expert's tokens goes through both layers.
#pragma once

#include <algorithm>
#include <cstring>

#include "experts.h"
#include "parallel.h"
#include "tokens.h"

namespace moenas {

template <class Activation>
void activate(float* values, Size count) {
  for (Size i = 0; i < count; i += kLanes) store(values + i, Activation::value(load(values + i)));
}

template <class Format, class Activation>
Status forward_as(const Experts& m, const Groups& groups, const float* x, Size x_row, float* y,
                  Size y_row, const float* gate, float* before, int threads) {
  const Size dp = m.dim_padded(), hp = m.hidden_padded();
  const Size w1_bytes = hp * m.dim * Format::kWordsPerRow * sizeof(typename Format::Word) / kPanel;
  const Size w2_bytes = dp * m.hidden * Format::kWordsPerRow * sizeof(typename Format::Word) / kPanel;
  const Size tiles_at_most = groups.start[m.count] / kTileRows + m.count;
  const Size per_worker = kTileRows * (dp + hp) + dp + hp;
  auto tiles = allocate<Tile>(tiles_at_most);
  auto scratch = allocate<float>(threads * per_worker);
  if (!tiles || !scratch) return kNoMemory;
  Size count = 0;
  for (Size e = 0; e < m.count; ++e)
    for_tiles(groups, e, [&](const Tile& tile) { tiles[count++] = tile; });
  parallel(count, threads, [&](int worker, Size item) {
    const Tile tile = tiles[item];
    const int32_t* order = groups.order.get() + tile.first;
    float* rows = scratch.get() + worker * per_worker;
    float *hidden = rows + kTileRows * dp, *b1 = hidden + kTileRows * hp, *b2 = b1 + hp;
    std::fill(std::copy_n(m.b1 + tile.expert * m.hidden, m.hidden, b1), b2, 0.f);
    std::fill(std::copy_n(m.b2 + tile.expert * m.dim, m.dim, b2), b2 + dp, 0.f);
    const auto* w1 = static_cast<const char*>(m.w1) + tile.expert * w1_bytes;
    const auto* w2 = static_cast<const char*>(m.w2) + tile.expert * w2_bytes;

    gather(x, x_row, order, tile.rows, m.dim, rows, dp);
    multiply(tile.rows, hp, m.dim, Left{rows, dp}, packed<Format>(w1, m.dim), hidden, hp, b1);
    if (before)
      for (Size i = 0; i < tile.rows; ++i)
        std::copy_n(hidden + i * hp, m.hidden, before + (tile.first + i) * m.hidden);
    activate<Activation>(hidden, tile.rows * hp);
    multiply(tile.rows, dp, m.hidden, Left{hidden, hp}, packed<Format>(w2, m.hidden), rows, dp, b2);
    for (Size i = 0; i < tile.rows; ++i) {
      float *from = rows + i * dp, *to = y + order[i] * y_row;
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

template <class... Arguments>
Status forward(const Experts& m, const Arguments&... arguments) {
  if (m.bfloat16)
    return m.activation ? forward_as<BFloat16, Gelu>(m, arguments...)
                        : forward_as<BFloat16, Silu>(m, arguments...);
  return m.activation ? forward_as<Float32, Gelu>(m, arguments...)
                      : forward_as<Float32, Silu>(m, arguments...);
}

}  // namespace moenas
