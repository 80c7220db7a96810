// Run once after a build, in a process of its own: a small layer of odd sizes against plain loops.

#include <cmath>
#include <cstdint>
#include <vector>

#include "tokens.h"

extern "C" {
int moenas_lanes();
int64_t moenas_packed_bytes(int64_t, int64_t, int64_t, int);
void moenas_pack(const void*, int64_t, int64_t, int64_t, int, void*, int);
int moenas_forward(const void*, const void*, const moenas::Tokens*, const moenas::Tokens*,
                   const uint8_t*, const float*, int, float*, int);
}

namespace {

constexpr int T = 29, D = 21, H = 37, E = 3;

std::vector<float> numbers(int count, int seed) {
  std::vector<float> result;
  for (int i = 0; i < count; ++i) result.push_back(std::sin(0.7f * i + seed) * 0.5f);
  return result;
}

std::vector<char> packed(const std::vector<float>& weight, int columns, int depth) {
  std::vector<char> result(moenas_packed_bytes(E, columns, depth, 0));
  moenas_pack(weight.data(), E, columns, depth, 0, result.data(), 1);
  return result;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int moenas_self_test() {
  auto x = numbers(T * D, 1), router = numbers(E * D, 2), w1 = numbers(E * H * D, 3),
       b1 = numbers(E * H, 4), w2 = numbers(E * D * H, 5), b2 = numbers(E * D, 6),
       y = std::vector<float>(T * D);
  const auto p1 = packed(w1, H, D), p2 = packed(w2, D, H);
  const uint8_t names[E] = {0, 1, 2};
  struct {
    int64_t count = E, dim = D, hidden = H, activation = 0, bfloat16 = 0;
    const void *w1, *w2;
    const float *b1, *b2;
    const void *unpacked_w1, *unpacked_w2;
  } experts;
  experts.w1 = p1.data(), experts.w2 = p2.data(), experts.b1 = b1.data(), experts.b2 = b2.data();
  experts.unpacked_w1 = w1.data(), experts.unpacked_w2 = w2.data();
  const struct {
    const float* router;
    const uint8_t* names;
    int64_t candidates;
  } routes{router.data(), names, E};
  const moenas::Tokens in{x.data(), 1, T, 0, D, 1}, out{y.data(), 1, T, 0, D, 1};
  if (moenas_forward(&experts, &routes, &in, &out, nullptr, nullptr, 1, nullptr, 2)) return 2;

  for (int t = 0; t < T; ++t) {
    double logits[E], total = 0, hidden[H];
    int best = 0;
    for (int e = 0; e < E; ++e) {
      logits[e] = 0;
      for (int c = 0; c < D; ++c) logits[e] += double(x[t * D + c]) * router[e * D + c];
      total += std::exp(logits[e]);
      if (logits[e] > logits[best]) best = e;
    }
    for (int h = 0; h < H; ++h) {
      double sum = b1[best * H + h];
      for (int c = 0; c < D; ++c) sum += double(x[t * D + c]) * w1[(best * H + h) * D + c];
      hidden[h] = sum / (1 + std::exp(-sum));
    }
    for (int c = 0; c < D; ++c) {
      double sum = b2[best * D + c];
      for (int h = 0; h < H; ++h) sum += hidden[h] * w2[(best * D + c) * H + h];
      if (!(std::fabs(y[t * D + c] - sum * std::exp(logits[best]) / total) < 1e-4)) return 3;
    }
  }
  return 0;
}
