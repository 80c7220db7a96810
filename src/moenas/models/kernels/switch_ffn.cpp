// The Switch FFN in one pass: y[t] = gate[t] (w2[e] act(w1[e] x[t] + b1[e]) + b2[e]), with e the
// expert that the router chose for token t.
//
//   route    logits = x router^T for a few tokens at a time; e = argmax, p = softmax(logits)[e]
//   group    a stable counting sort of the tokens by expert
//   experts  for each tile of at most 96 tokens of one expert: gather its rows, multiply, activate,
//            multiply, scale, scatter. The hidden layer of a tile never leaves the cache.
//
// The weights come packed in panels (gemm.h), as floats or bfloat16; sums are floats always. Tiles
// are independent, and one expert's gradients are summed by one thread in the order of its tokens:
// results don't depend on the number of threads.
//
// A plain C interface, without torch's headers: compiles in seconds and fits any torch. The caller
// (library.py) checks shapes and types; what only the data can tell is checked here.
//
// Axes: T tokens, E experts, D width of a token, H width of the hidden layer.

#include <algorithm>
#include <cmath>

#include "gemm.h"
#include "parallel.h"
#include "simd.h"
#include "tokens.h"

namespace moenas {
namespace {

enum Status { kOk = 0, kNoSuchExpert = 1, kNoMemory = 2, kOutOfDate = 3 };

struct Experts {
  int64_t count, dim, hidden, activation, bfloat16;  // activation: 0 SiLU, 1 GELU
  const void *w1, *w2;                               // packed
  const float *b1, *b2;                              // [E, H], [E, D]
  const void *unpacked_w1, *unpacked_w2;             // what w1, w2 were packed from, or null

  Size dim_padded() const { return round_up(dim, kPanel); }
  Size hidden_padded() const { return round_up(hidden, kPanel); }
};

struct Routes {
  const float* router;   // [candidates, D]
  const uint8_t* names;  // expert of each candidate
  int64_t candidates;
};

int useful_threads(Size tokens, const Experts& experts, int threads) {
  const double flops = 4.0 * tokens * experts.dim * experts.hidden;
  return static_cast<int>(std::min<double>(threads, 1 + flops / 4e6));  // about 0.1 ms each
}

template <class Activation>
void activate(float* values, Size count) {
  for (Size i = 0; i < count; i += kLanes) store(values + i, Activation::value(load(values + i)));
}

// Compares a few numbers of each expert's matrix [columns, depth] with their packed copies.
template <class Format, class Element>
bool matches(const void* weight, const void* packed, Size experts, Size columns, Size depth) {
  constexpr Size kSamples = 4;
  if (!weight) return true;
  const auto* given = static_cast<const Element*>(weight);
  const auto* copy = static_cast<const Element*>(packed);
  const Size size = columns * depth, packed_size = round_up(columns, kPanel) * depth;
  for (Size e = 0; e < experts; ++e, given += size, copy += packed_size)
    for (Size s = 0; s < kSamples; ++s) {
      const Size at = (s * 2654435761 + e * 40503) % size;  // anywhere
      if (given[at] != copy[packed_index<Format>(depth, at % depth, at / depth)]) return false;
    }
  return true;
}

bool up_to_date(const Experts& m) {
  const Size e = m.count, d = m.dim, h = m.hidden;
  if (m.bfloat16)
    return matches<BFloat16, uint16_t>(m.unpacked_w1, m.w1, e, h, d) &&
           matches<BFloat16, uint16_t>(m.unpacked_w2, m.w2, e, d, h);
  return matches<Float32, uint32_t>(m.unpacked_w1, m.w1, e, h, d) &&
         matches<Float32, uint32_t>(m.unpacked_w2, m.w2, e, d, h);
}

// ---------------------------------------------------------------------------------------- routing

// The first largest logit, or the first NaN, as torch.max; always a valid index.
Size argmax(const float* logits, Size count) {
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

float probability(float* logits, Size count, Size padded, Size best) {
  const float largest = logits[best];
  for (Size e = count; e < padded; ++e) logits[e] = -INFINITY;
  Vec total{};
  for (Size e = 0; e < padded; e += kLanes) total += exp(load(logits + e) - largest);
  return 1.f / sum(total);
}

// Chooses each token's expert and, where wanted, its probability.
Status route(const Routes& routes, const float* x, Size x_row, Size tokens, Size dim,
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

// ---------------------------------------------------------------------------------------- forward

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

// --------------------------------------------------------------------------------------- backward

struct Gradients {
  float *x, *gate, *w1, *b1, *w2, *b2;  // gate may be null
};

// One worker's memory for the backward pass, cut from one allocation.
struct BackwardScratch {
  float *w1, *w2, *grad_w1, *grad_w2, *b2, *grad_b1, *grad_b2, *x, *y, *after, *hidden, *zeros;

  static Size size(Size dp, Size hp, Size d, Size h) {
    return 2 * (h * dp + d * hp) + 2 * dp + hp + 2 * kTileRows * (dp + hp) + std::max(dp, hp);
  }
  BackwardScratch(float* p, Size dp, Size hp, Size d, Size h) {
    const auto take = [&p](Size n) { return (p += n) - n; };
    w1 = take(h * dp), w2 = take(d * hp), grad_w1 = take(h * dp), grad_w2 = take(d * hp);
    b2 = take(dp), grad_b1 = take(hp), grad_b2 = take(dp);
    x = take(kTileRows * dp), y = take(kTileRows * dp);
    after = take(kTileRows * hp), hidden = take(kTileRows * hp);
    zeros = take(std::max(dp, hp));
    std::fill(b2, x, 0.f);  // sums, and the padding of what is copied in
    std::fill(x, p, 0.f);
  }
};

// Turns the gradient after the activation of one token into the one before it, scales both layers'
// gradients by the gate, adds them to the biases', and returns the gate's gradient: the product of
// the upstream gradient and the expert's output, <gy, w2 a + b2> = <w2^T gy, a> + <gy, b2>.
template <class Activation>
float backward_of_token(Size dp, Size hp, float gate, const float* b2, float* after, float* hidden,
                        float* grad_y, float* grad_b1, float* grad_b2) {
  Vec product{};
  for (Size c = 0; c < hp; c += kLanes) {
    Vec slope;
    const Vec value = Activation::value_and_slope(load(after + c), slope);
    const Vec above = load(hidden + c), below = above * gate * slope;
    product += above * value;
    store(after + c, value);
    store(hidden + c, below);
    store(grad_b1 + c, load(grad_b1 + c) + below);
  }
  for (Size c = 0; c < dp; c += kLanes) {
    const Vec above = load(grad_y + c), below = above * gate;
    product += above * load(b2 + c);
    store(grad_y + c, below);
    store(grad_b2 + c, load(grad_b2 + c) + below);
  }
  return sum(product);
}

template <class Activation>
Status backward_as(const Experts& m, const Groups& groups, const float* x, const float* grad_y,
                   const float* gate, const float* before, const Gradients& grad, int threads) {
  const Size d = m.dim, h = m.hidden, dp = m.dim_padded(), hp = m.hidden_padded();
  const Size per_worker = BackwardScratch::size(dp, hp, d, h);
  auto memory = allocate<float>(threads * per_worker);
  if (!memory) return kNoMemory;
  parallel(m.count, threads, [&](int worker, Size e) {
    float *out_w1 = grad.w1 + e * h * d, *out_w2 = grad.w2 + e * h * d;
    if (groups.start[e] == groups.start[e + 1]) {
      std::fill_n(out_w1, h * d, 0.f), std::fill_n(out_w2, h * d, 0.f);
      std::fill_n(grad.b1 + e * h, h, 0.f), std::fill_n(grad.b2 + e * d, d, 0.f);
      return;
    }
    const BackwardScratch s(memory.get() + worker * per_worker, dp, hp, d, h);
    float* sum_w1 = d == dp ? out_w1 : s.grad_w1;  // padded rows are summed elsewhere
    float* sum_w2 = h == hp ? out_w2 : s.grad_w2;
    std::copy_n(m.b2 + e * d, d, s.b2);
    pack_rows(static_cast<const float*>(m.w1) + e * h * d, d, h, s.w1);
    pack_rows(static_cast<const float*>(m.w2) + e * h * d, h, d, s.w2);
    for_tiles(groups, e, [&](const Tile& tile) {
      const int32_t* order = groups.order.get() + tile.first;
      const float* start = tile.first == groups.start[e] ? s.zeros : nullptr;  // else add
      gather(x, d, order, tile.rows, d, s.x, dp);
      gather(grad_y, d, order, tile.rows, d, s.y, dp);
      for (Size i = 0; i < tile.rows; ++i)
        std::copy_n(before + (tile.first + i) * h, h, s.after + i * hp);
      multiply(tile.rows, hp, d, Left{s.y, dp}, packed<Float32>(s.w2, d), s.hidden, hp, s.zeros);
      for (Size i = 0; i < tile.rows; ++i) {
        const float product = backward_of_token<Activation>(
            dp, hp, gate ? gate[order[i]] : 1.f, s.b2, s.after + i * hp, s.hidden + i * hp,
            s.y + i * dp, s.grad_b1, s.grad_b2);
        if (grad.gate) grad.gate[order[i]] = product;
      }
      multiply<Float32, true>(d, hp, tile.rows, Left{s.y, dp}, {s.after, hp, kPanel}, sum_w2, hp,
                              start);
      multiply<Float32, true>(h, dp, tile.rows, Left{s.hidden, hp}, {s.x, dp, kPanel}, sum_w1, dp,
                              start);
      multiply(tile.rows, dp, h, Left{s.hidden, hp}, packed<Float32>(s.w1, h), s.y, dp, s.zeros);
      for (Size i = 0; i < tile.rows; ++i)
        std::copy_n(s.y + i * dp, d, grad.x + order[i] * d);
      if (d != dp) std::fill_n(s.y, tile.rows * dp, 0.f);
    });
    for (Size i = 0; d != dp && i < h; ++i) std::copy_n(sum_w1 + i * dp, d, out_w1 + i * d);
    for (Size i = 0; h != hp && i < d; ++i) std::copy_n(sum_w2 + i * hp, h, out_w2 + i * h);
    std::copy_n(s.grad_b1, h, grad.b1 + e * h);
    std::copy_n(s.grad_b2, d, grad.b2 + e * d);
  });
  return kOk;
}

}  // namespace
}  // namespace moenas

// ------------------------------------------------------------------------------------ C interface

#define MOENAS_API extern "C" __attribute__((visibility("default")))

using namespace moenas;

MOENAS_API int moenas_lanes() { return kLanes; }

// Bytes of `count` packed weights [columns, depth].
MOENAS_API int64_t moenas_packed_bytes(int64_t count, int64_t columns, int64_t depth, int bfloat16) {
  return count * round_up(columns, kPanel) * depth * (bfloat16 ? 2 : 4);
}

// Packs weights [count, columns, depth]; bfloat16 are packed as the bits they are.
MOENAS_API void moenas_pack(const void* weight, int64_t count, int64_t columns, int64_t depth,
                            int bfloat16, void* out, int threads) {
  const Size size = columns * depth, packed = round_up(columns, kPanel) * depth;
  parallel(count, threads, [&](int, Size e) {
    if (bfloat16)
      pack_transposed<BFloat16>(static_cast<const uint16_t*>(weight) + e * size, columns, depth,
                                static_cast<uint16_t*>(out) + e * packed);
    else
      pack_transposed<Float32>(static_cast<const uint32_t*>(weight) + e * size, columns, depth,
                               static_cast<uint32_t*>(out) + e * packed);
  });
}

// Inference, and the forward pass of training. With routes->candidates > 0 the router decides and
// `expert` is ignored; the output is scaled by the probability where `scale` is set, else by `gate`
// where that is given. `before` [T, H], for the backward pass, is in the order of the experts.
MOENAS_API int moenas_forward(const Experts* experts, const Routes* routes, const Tokens* x,
                              const Tokens* y, const uint8_t* expert, const float* gate, int scale,
                              float* before, int threads) {
  const Size tokens = x->count(), dim = experts->dim;
  if (tokens == 0) return kOk;
  if (!up_to_date(*experts)) return kOutOfDate;
  threads = useful_threads(tokens, *experts, threads);
  Buffer<float> x_rows, y_rows;
  if (!x->rows() && !(x_rows = allocate<float>(tokens * dim))) return kNoMemory;
  if (!y->rows() && !(y_rows = allocate<float>(tokens * dim))) return kNoMemory;
  if (x_rows) copy_rows<true>(*x, dim, x_rows.get(), threads);
  const float* from = x_rows ? x_rows.get() : x->data;
  float* to = y_rows ? y_rows.get() : y->data;
  const Size from_row = x_rows ? dim : x->inner_stride, to_row = y_rows ? dim : y->inner_stride;

  Buffer<uint8_t> chosen;
  Buffer<float> p;
  if (routes->candidates > 0) {
    if (!(chosen = allocate<uint8_t>(tokens))) return kNoMemory;
    if (scale && !(p = allocate<float>(tokens))) return kNoMemory;
    const Status status =
        route(*routes, from, from_row, tokens, dim, chosen.get(), p.get(), threads);
    if (status != kOk) return status;
    expert = chosen.get();
    gate = p.get();
  }
  Groups groups;
  if (!groups.sort(expert, tokens, experts->count)) return groups.order ? kNoSuchExpert : kNoMemory;
  const Status status =
      forward(*experts, groups, from, from_row, to, to_row, gate, before, threads);
  if (status == kOk && y_rows) copy_rows<false>(*y, dim, y_rows.get(), threads);
  return status;
}

// Gradients of moenas_forward with given experts; all tensors are contiguous, weights unpacked.
MOENAS_API int moenas_backward(const Experts* experts, int64_t tokens, const float* x,
                               const float* grad_y, const uint8_t* expert, const float* gate,
                               const float* before, const Gradients* gradients, int threads) {
  threads = useful_threads(tokens, *experts, threads);
  Groups groups;
  if (!groups.sort(expert, tokens, experts->count)) return groups.order ? kNoSuchExpert : kNoMemory;
  return experts->activation ? backward_as<Gelu>(*experts, groups, x, grad_y, gate, before,
                                                 *gradients, threads)
                             : backward_as<Silu>(*experts, groups, x, grad_y, gate, before,
                                                 *gradients, threads);
}
