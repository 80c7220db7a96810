// Vectors of floats by GCC's and Clang's vector extensions: the same source for AVX-512, AVX2, SSE2
// and Arm. No -ffast-math, which would break `exp` below.
#pragma once

#include <cstdint>

#if defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace moenas {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kRegisters = 32;
#elif defined(__AVX__)
constexpr int kLanes = 8, kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kRegisters = 32;
#else
constexpr int kLanes = 4, kRegisters = 16;
#endif

typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef int32_t IntVec __attribute__((vector_size(4 * kLanes)));
typedef float VecInMemory __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));
typedef int32_t IntVecInMemory __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const VecInMemory*>(p); }
inline IntVec load(const int32_t* p) { return *reinterpret_cast<const IntVecInMemory*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<VecInMemory*>(p) = v; }
inline Vec fill(float a) { return a - Vec{}; }  // exact, also for -0

// a b + c, rounded once where the CPU can. Said explicitly: left to itself, GCC splits some chains
// of multiply-adds and not others, and a row's bits would depend on the rows beside it.
inline Vec multiply_add(Vec a, Vec b, Vec c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__) && defined(__AVX__)
  return __builtin_ia32_vfmaddps256(a, b, c);  // <immintrin.h> takes seconds to read
#elif defined(__aarch64__)
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}

inline float sum(Vec v) {
  float result = 0;
  for (int i = 0; i < kLanes; ++i) result += v[i];
  return result;
}

// e^x within 2 ulp (Cephes' expf): x = n ln 2 + f, a polynomial in f, and n added to the exponent.
// Above 88.4 infinity, below -87 about 1e-38; NaN stays NaN.
inline Vec exp(Vec x) {
  x = x > fill(89.f) ? fill(89.f) : x;
  x = x < fill(-87.f) ? fill(-87.f) : x;
  const Vec magic = fill(12582912.f);  // adding it rounds to an integer
  const Vec n = (x * 1.44269504088896341f + magic) - magic;
  Vec f = x - n * 0.693359375f;
  f = f + n * 2.12194440e-4f;
  Vec p = f * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * f + 8.3334519073e-3f;
  p = p * f + 4.1665795894e-2f;
  p = p * f + 1.6666665459e-1f;
  p = p * f + 5.0000001201e-1f;
  p = p * f * f + f + 1.f;
  const IntVec exponent = (__builtin_convertvector(n, IntVec) + 127) << 23;
  return p * reinterpret_cast<Vec>(exponent);
}

struct Silu {
  static Vec value(Vec x) { return x / (1.f + exp(-x)); }

  static Vec value_and_slope(Vec x, Vec& slope) {
    const Vec sigmoid = 1.f / (1.f + exp(-x));
    const Vec y = x * sigmoid;
    slope = sigmoid + y * (1.f - sigmoid);
    return y;
  }
};

// x Phi(x) with Phi the normal distribution's integral, by erfc's Chebyshev fit (Numerical Recipes,
// erfcc): relative error 1.2e-7 everywhere, also far out, where 1 + erf would cancel.
struct Gelu {
  static Vec upper_tail(Vec x) {  // Phi(-|x|)
    const Vec z = (x < fill(0.f) ? -x : x) * 0.70710678118654752f;
    const Vec t = 1.f / (1.f + 0.5f * z);
    Vec p = t * 0.17087277f - 0.82215223f;
    p = p * t + 1.48851587f;
    p = p * t - 1.13520398f;
    p = p * t + 0.27886807f;
    p = p * t - 0.18628806f;
    p = p * t + 0.09678418f;
    p = p * t + 0.37409196f;
    p = p * t + 1.00002368f;
    p = p * t - 1.26551223f;
    return 0.5f * t * exp(p - z * z);
  }

  static Vec probability(Vec x) {
    const Vec tail = upper_tail(x);
    return x > fill(0.f) ? 1.f - tail : tail;
  }

  static Vec value(Vec x) { return x * probability(x); }

  static Vec value_and_slope(Vec x, Vec& slope) {
    const Vec phi = probability(x);
    Vec near = x > fill(14.f) ? fill(14.f) : x;  // the density is 0 beyond, and `exp` is not quite
    near = near < fill(-14.f) ? fill(-14.f) : near;
    slope = phi + near * 0.39894228040143268f * exp(near * near * -0.5f);
    return x * phi;
  }
};

}  // namespace moenas
