// Routing: the expert with the largest logit for each token, and its probability.
#pragma once

#include <algorithm>
#include <cmath>

#include "experts.h"
#include "parallel.h"
#include "tokens.h"

namespace moenas {

struct Routes {
  const float* router;   // [candidates, D]
  const uint8_t* names;  // expert of each candidate
  int64_t candidates;
};

// The first largest logit, or the first NaN, as torch.max; always a valid index.
inline Size argmax(const float* logits, Size count) {
  Size best = 0;
  float largest = logits[0];
  for (Size e = 1; e < count; ++e) {
    const float logit = logits[e];
    const bool better = logit > largest || (logit != logit && largest == largest);
    best = better ? e : best;
    largest = better ? logit : largest;
  }
  return best;
}

inline float probability(float* logits, Size count, Size padded, Size best) {
  const float largest = logits[best];
  for (Size e = count; e < padded; ++e) logits[e] = -INFINITY;
  Vec total{};
  for (Size e = 0; e < padded; e += kLanes) total += exp(load(logits + e) - largest);
  return 1.f / sum(total);
}

// Chooses each token's expert and, where wanted, its probability.
inline Status route(const Routes& routes, const float* x, Size x_row, Size tokens, Size dim,
             uint8_t* expert, float* p, int threads) {
  constexpr Size kChunk = 96;
  const Size count = routes.candidates, padded = round_up(count, kLanes);
  auto panels = allocate<float>(padded * dim);
  auto zeros = allocate<float>(padded);
  auto scratch = allocate<float>(threads * kChunk * padded);
  if (!panels || !zeros || !scratch) return kNoMemory;
  std::fill_n(zeros.get(), padded, 0.f);
  float* out = panels.get();
  for (Size first = 0; first < padded; first += kLanes)
    for (Size k = 0; k < dim; ++k)
      for (Size e = first; e < first + kLanes; ++e)
        *out++ = e < count ? routes.router[e * dim + k] : 0.f;
  const Panels<Float32> router{panels.get(), kLanes, dim * kLanes};
  parallel((tokens + kChunk - 1) / kChunk, threads, [&](int worker, Size chunk) {
    float* logits = scratch.get() + worker * kChunk * padded;
    const Size first = chunk * kChunk, rows = std::min(kChunk, tokens - first);
    multiply<Float32, false, 1>(rows, padded, dim, Left{x + first * x_row, x_row}, router, logits,
                                padded, zeros.get());
    for (Size i = 0; i < rows; ++i) {
      const Size best = argmax(logits + i * padded, count);
      expert[first + i] = routes.names[best];
      if (p) p[first + i] = probability(logits + i * padded, count, padded, best);
    }
  });
  return kOk;
}

}  // namespace moenas
