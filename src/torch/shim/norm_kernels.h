// Passes over channels-last bfloat16 activations for batch normalisation in training, with or without SiLU behind it.
// Plain loops without libtorch, in a file of their own so that they alone are compiled for speed.
//
// Values lie pixel after pixel, all channels of a pixel side by side. A coefficient per channel would make short inner
// loops where channels are few, so coefficients are laid out for a tile of several pixels: `tile` values, a multiple
// of the channels. A pass goes over `count` values, a multiple of the channels too; the last tile may be cut.

#pragma once

#include <cstdint>

namespace azaion {

// Sums of v - centre and of its square, added to `sum` and `square` (tile values each).
void sums(const uint16_t *values, int64_t count, int64_t tile, const float *centre, float *sum, float *square);

// out = f(scale * v + shift), f SiLU or nothing.
void forward(const uint16_t *values, uint16_t *out, int64_t count, int64_t tile, const float *scale,
             const float *shift, bool silu);

// `before` = d, the gradient before f; sums of d and of d * (v - mean) are added to `sum` and `product`.
void backward_sums(const uint16_t *gradient, const uint16_t *values, uint16_t *before, int64_t count, int64_t tile,
                   const float *scale, const float *shift, const float *mean, bool silu, float *sum, float *product);

// gradient = scale * gradient + slope * v + offset.
void backward(uint16_t *gradient, const uint16_t *values, int64_t count, int64_t tile, const float *scale,
              const float *slope, const float *offset);

} // namespace azaion
