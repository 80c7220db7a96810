// The experts of a layer as the caller packed them, and whether they still are what it packed.
#pragma once

#include <algorithm>

#include "gemm.h"
#include "simd.h"

namespace moenas {

enum Status { kOk = 0, kNoSuchExpert = 1, kNoMemory = 2, kOutOfDate = 3 };

struct Experts {
  int64_t count, dim, hidden, activation, bfloat16;  // activation: 0 SiLU, 1 GELU
  const void *w1, *w2;                               // packed
  const float *b1, *b2;                              // [E, H], [E, D]
  const void *unpacked_w1, *unpacked_w2;             // what w1, w2 were packed from, or null

  Size dim_padded() const { return round_up(dim, kPanel); }
  Size hidden_padded() const { return round_up(hidden, kPanel); }
};

inline int useful_threads(Size tokens, const Experts& experts, int threads) {
  const double flops = 4.0 * tokens * experts.dim * experts.hidden;
  return static_cast<int>(std::min<double>(threads, 1 + flops / 4e6));  // about 0.1 ms each
}

// Compares a few numbers of each expert's matrix [columns, depth] with their packed copies.
template <class Format>
bool matches(const void* weight, const void* packed, Size experts, Size columns, Size depth) {
  constexpr Size kSamples = 4;
  if (!weight) return true;
  using Element = typename Format::Element;
  const auto* given = static_cast<const Element*>(weight);
  const auto* copy = static_cast<const Element*>(packed);
  const Size size = columns * depth;
  const Size packed_size = packed_words<Format>(columns, depth) * Format::kDepth;
  for (Size e = 0; e < experts; ++e, given += size, copy += packed_size)
    for (Size s = 0; s < kSamples; ++s) {
      const Size at = (s * 2654435761 + e * 40503) % size;  // anywhere
      if (given[at] != copy[packed_index<Format>(depth, at % depth, at / depth)]) return false;
    }
  return true;
}

inline bool up_to_date(const Experts& m) {
  const Size e = m.count, d = m.dim, h = m.hidden;
  const auto both = [&](auto format) {
    using Format = decltype(format);
    return matches<Format>(m.unpacked_w1, m.w1, e, h, d) &&
           matches<Format>(m.unpacked_w2, m.w2, e, d, h);
  };
  return m.bfloat16 ? both(BFloat16{}) : both(Float32{});
}

}  // namespace moenas
