// The backward pass: the same tiles again; one thread sums one expert's gradients in order.
#pragma once

#include <algorithm>

#include "experts.h"
#include "parallel.h"
#include "tokens.h"

namespace moenas {

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

}  // namespace moenas
