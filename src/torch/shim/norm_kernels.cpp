#include "norm_kernels.h"

#include <algorithm>
#include <bit>

// Compiled for processors with and without 512-bit vectors; the loader takes what fits. It halves the time.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define AZAION_VECTORS __attribute__((target_clones("arch=x86-64-v4", "default")))
#else
#define AZAION_VECTORS
#endif
// What the loops consist of has to become part of every such version.
#define AZAION_INLINE inline __attribute__((always_inline))

namespace azaion {
namespace {

AZAION_INLINE float widen(uint16_t value) { return std::bit_cast<float>(static_cast<uint32_t>(value) << 16); }

// To the nearest, ties to even; what is not a number stays so.
AZAION_INLINE uint16_t narrow(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return static_cast<uint16_t>(value != value ? 0x7fc0 : rounded);
}

// e^x to some 1e-6 of itself, finite for whatever x: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Taylor, degree 5).
// No branches and no calls, so that the loops below become vector code.
AZAION_INLINE float exponential(float x) {
  constexpr float ROUNDER = 12582912.0f; // 1.5 * 2^23: adding it leaves the nearest integer in the low bits.
  const float above = x > -87.0f ? x : -87.0f;
  const float inside = above < 88.0f ? above : 88.0f;
  const float shifted = inside * 1.44269504f + ROUNDER;
  const float r = inside - (shifted - ROUNDER) * 0.693147181f;
  const float p = 1.0f + r * (1.0f + r * (0.5f + r * (1.0f / 6 + r * (1.0f / 24 + r * (1.0f / 120)))));
  const int32_t power = (std::bit_cast<int32_t>(shifted) - std::bit_cast<int32_t>(ROUNDER) + 127) << 23;
  return p * std::bit_cast<float>(power);
}

AZAION_INLINE float sigmoid(float z) { return 1.0f / (1.0f + exponential(-z)); }

template <bool SILU> AZAION_INLINE float activate(float z) { return SILU ? z * sigmoid(z) : z; }

template <bool SILU> AZAION_INLINE float gradient_before(float gradient, float z) {
  if constexpr (!SILU) {
    return gradient;
  }
  const float s = sigmoid(z);
  return gradient * s * (1.0f + z * (1.0f - s));
}

template <bool SILU>
AZAION_INLINE void forward_as(const uint16_t *values, uint16_t *__restrict out, int64_t length, const float *scale,
                              const float *shift) {
  for (int64_t i = 0; i < length; ++i) {
    out[i] = narrow(activate<SILU>(scale[i] * widen(values[i]) + shift[i]));
  }
}

template <bool SILU>
AZAION_INLINE void backward_sums_as(const uint16_t *gradient, const uint16_t *values, uint16_t *__restrict before,
                                    int64_t length, const float *scale, const float *shift, const float *mean,
                                    float *__restrict sum, float *__restrict product) {
  for (int64_t i = 0; i < length; ++i) {
    const float v = widen(values[i]);
    const float d = gradient_before<SILU>(widen(gradient[i]), scale[i] * v + shift[i]);
    before[i] = narrow(d);
    sum[i] += d;
    product[i] += d * (v - mean[i]);
  }
}

} // namespace

AZAION_VECTORS
void sums(const uint16_t *values, int64_t count, int64_t tile, const float *centre, float *__restrict sum,
          float *__restrict square) {
  for (int64_t at = 0; at < count; at += tile) {
    const int64_t length = std::min(tile, count - at);
    for (int64_t i = 0; i < length; ++i) {
      const float v = widen(values[at + i]) - centre[i];
      sum[i] += v;
      square[i] += v * v;
    }
  }
}

AZAION_VECTORS
void forward(const uint16_t *values, uint16_t *out, int64_t count, int64_t tile, const float *scale,
             const float *shift, bool silu) {
  for (int64_t at = 0; at < count; at += tile) {
    const int64_t length = std::min(tile, count - at);
    if (silu) {
      forward_as<true>(values + at, out + at, length, scale, shift);
    } else {
      forward_as<false>(values + at, out + at, length, scale, shift);
    }
  }
}

AZAION_VECTORS
void backward_sums(const uint16_t *gradient, const uint16_t *values, uint16_t *before, int64_t count, int64_t tile,
                   const float *scale, const float *shift, const float *mean, bool silu, float *sum, float *product) {
  for (int64_t at = 0; at < count; at += tile) {
    const int64_t length = std::min(tile, count - at);
    if (silu) {
      backward_sums_as<true>(gradient + at, values + at, before + at, length, scale, shift, mean, sum, product);
    } else {
      backward_sums_as<false>(gradient + at, values + at, before + at, length, scale, shift, mean, sum, product);
    }
  }
}

AZAION_VECTORS
void backward(uint16_t *gradient, const uint16_t *values, int64_t count, int64_t tile, const float *scale,
              const float *slope, const float *offset) {
  for (int64_t at = 0; at < count; at += tile) {
    const int64_t length = std::min(tile, count - at);
    for (int64_t i = 0; i < length; ++i) {
      gradient[at + i] =
          narrow(scale[i] * widen(gradient[at + i]) + (slope[i] * widen(values[at + i]) + offset[i]));
    }
  }
}

} // namespace azaion
