// Batch normalisation in training with SiLU behind it, as one operation on bfloat16 activations in channels-last
// memory. libtorch's two operations write and read the normalised values in between, and keep them for backward; here
// they are computed again from what the convolution gave. Sums are taken in fixed pieces and added up in their order, so
// the number of threads changes no bit.

#include "error.h"
#include "norm_kernels.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr auto LAST = at::MemoryFormat::ChannelsLast;

// Values whose sums are taken in 32 bit before they are added up in 64.
constexpr int64_t PIECE = 1 << 16;
// Shortest tile, and what its length is a multiple of: values in the registers of a few turns of a loop, and in one's.
constexpr int64_t TILE = 128, VECTOR = 32;

// How the values of an activation are gone through.
struct Layout {
  int64_t channels, count, tile, piece;

  explicit Layout(const Tensor &x) : channels(x.size(1)), count(x.numel()) {
    tile = std::lcm(channels, VECTOR);
    tile *= (TILE + tile - 1) / tile;
    piece = tile * std::max<int64_t>(1, PIECE / tile);
  }

  int64_t pixels() const { return count / channels; }
  int64_t pieces() const { return (count + piece - 1) / piece; }

  // Coefficients of the channels, repeated for a tile.
  template <typename Of> std::vector<float> repeated(Of &&of) const {
    std::vector<float> values(tile);
    for (int64_t i = 0; i < tile; ++i) {
      values[i] = static_cast<float>(of(i % channels));
    }
    return values;
  }

  template <typename Body> void in_pieces(Body &&body) const {
    at::parallel_for(0, pieces(), 1, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        body(i, i * piece, std::min(piece, count - i * piece));
      }
    });
  }

  // Two sums a channel: `body` adds those of a piece to two rows of a tile's length.
  template <typename Body> void sums(std::vector<double> &first, std::vector<double> &second, Body &&body) const {
    std::vector<float> partial(2 * tile * pieces(), 0.0f);
    in_pieces([&](int64_t i, int64_t at, int64_t length) {
      float *rows = partial.data() + 2 * tile * i;
      body(at, length, rows, rows + tile);
    });
    first.assign(channels, 0.0);
    second.assign(channels, 0.0);
    for (int64_t i = 0; i < pieces(); ++i) {
      const float *rows = partial.data() + 2 * tile * i;
      for (int64_t j = 0; j < tile; ++j) {
        first[j % channels] += rows[j];
        second[j % channels] += rows[tile + j];
      }
    }
  }
};

const uint16_t *bits(const Tensor &x) { return reinterpret_cast<const uint16_t *>(x.const_data_ptr<at::BFloat16>()); }
uint16_t *mutable_bits(Tensor &x) { return reinterpret_cast<uint16_t *>(x.mutable_data_ptr<at::BFloat16>()); }

void check_statistics(const Tensor &t, int64_t channels, const char *name) {
  TORCH_CHECK(t.defined() && t.device().is_cpu() && t.scalar_type() == at::kFloat && t.is_contiguous() &&
                  t.numel() == channels,
              name, " must hold ", channels, " contiguous float32 values on the CPU");
}

// Scale and shift that normalise and apply the learnt affine map.
struct Affine {
  std::vector<float> scale, shift;

  Affine(const Layout &layout, const Tensor &weight, const Tensor &bias, const Tensor &mean, const Tensor &inverse) {
    const float *w = weight.const_data_ptr<float>(), *b = bias.const_data_ptr<float>();
    const float *m = mean.const_data_ptr<float>(), *r = inverse.const_data_ptr<float>();
    scale = layout.repeated([=](int64_t c) { return w[c] * r[c]; });
    shift = layout.repeated([=](int64_t c) { return b[c] - m[c] * (w[c] * r[c]); });
  }
};

class Norm : public torch::autograd::Function<Norm> {
public:
  static Tensor forward(AutogradContext *context, const Tensor &input, const Tensor &weight, const Tensor &bias,
                        Tensor running_mean, Tensor running_variance, double momentum, double eps, bool silu) {
    const Tensor x = input.contiguous(LAST);
    const Layout layout(x);
    const auto pixels = static_cast<double>(layout.pixels());
    TORCH_CHECK(layout.pixels() > 1, "a single value a channel has no variance; use larger images or batches");

    // About the first pixel, so that a mean far from 0 costs no digits.
    const uint16_t *values = bits(x);
    const auto *first = x.const_data_ptr<at::BFloat16>();
    const auto centre = layout.repeated([=](int64_t c) { return static_cast<float>(first[c]); });
    std::vector<double> sum, square;
    layout.sums(sum, square, [&](int64_t at, int64_t length, float *s, float *q) {
      azaion::sums(values + at, length, layout.tile, centre.data(), s, q);
    });

    Tensor mean = at::empty({layout.channels}, weight.options().requires_grad(false));
    Tensor inverse = at::empty_like(mean);
    float *kept_mean = running_mean.mutable_data_ptr<float>(), *kept = running_variance.mutable_data_ptr<float>();
    for (int64_t c = 0; c < layout.channels; ++c) {
      const double off = sum[c] / pixels;
      const double variance = std::max(square[c] / pixels - off * off, 0.0);
      const double m = static_cast<double>(centre[c]) + off;
      mean.mutable_data_ptr<float>()[c] = static_cast<float>(m);
      inverse.mutable_data_ptr<float>()[c] = static_cast<float>(1.0 / std::sqrt(variance + eps));
      const double unbiased = variance * pixels / (pixels - 1);
      kept_mean[c] = static_cast<float>(momentum * m + (1 - momentum) * kept_mean[c]);
      kept[c] = static_cast<float>(momentum * unbiased + (1 - momentum) * kept[c]);
    }
    running_mean.unsafeGetTensorImpl()->bump_version();
    running_variance.unsafeGetTensorImpl()->bump_version();

    Tensor out = at::empty_like(x, x.options(), LAST);
    const Affine affine(layout, weight, bias, mean, inverse);
    uint16_t *written = mutable_bits(out);
    layout.in_pieces([&](int64_t, int64_t at, int64_t length) {
      azaion::forward(values + at, written + at, length, layout.tile, affine.scale.data(), affine.shift.data(), silu);
    });
    context->save_for_backward({x, weight, bias, mean, inverse});
    context->saved_data["silu"] = silu;
    return out;
  }

  static variable_list backward(AutogradContext *context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &bias = saved[2], &mean = saved[3], &inverse = saved[4];
    const bool silu = context->saved_data["silu"].toBool();
    const Layout layout(x);
    const auto pixels = static_cast<double>(layout.pixels());
    const Tensor gradient = gradients[0].to(at::kBFloat16).contiguous(LAST);
    Tensor out = at::empty_like(x, x.options(), LAST);
    const uint16_t *from = bits(gradient), *values = bits(x);
    uint16_t *written = mutable_bits(out);

    const Affine affine(layout, weight, bias, mean, inverse);
    const float *m = mean.const_data_ptr<float>(), *r = inverse.const_data_ptr<float>();
    const auto means = layout.repeated([=](int64_t c) { return m[c]; });
    std::vector<double> sum, product;
    layout.sums(sum, product, [&](int64_t at, int64_t length, float *s, float *p) {
      azaion::backward_sums(from + at, values + at, written + at, length, layout.tile, affine.scale.data(),
                            affine.shift.data(), means.data(), silu, s, p);
    });

    // d(loss)/dv = scale * (d - mean of d - v^ * mean of d v^), v^ = (v - mean) * inverse: linear in d and v.
    const auto slope_of = [&](int64_t c) { return -affine.scale[c] * r[c] * r[c] * (product[c] / pixels); };
    const auto slope = layout.repeated(slope_of);
    const auto offset =
        layout.repeated([&](int64_t c) { return -affine.scale[c] * (sum[c] / pixels) - m[c] * slope_of(c); });
    layout.in_pieces([&](int64_t, int64_t at, int64_t length) {
      azaion::backward(written + at, values + at, length, layout.tile, affine.scale.data(), slope.data(),
                       offset.data());
    });

    Tensor weight_gradient = at::empty_like(mean), bias_gradient = at::empty_like(mean);
    for (int64_t c = 0; c < layout.channels; ++c) {
      weight_gradient.mutable_data_ptr<float>()[c] = static_cast<float>(product[c] * r[c]);
      bias_gradient.mutable_data_ptr<float>()[c] = static_cast<float>(sum[c]);
    }
    return {out, weight_gradient, bias_gradient, Tensor(), Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

} // namespace

extern "C" {

// Normalises `x` (bfloat16, N x C x H x W, CPU) by its own statistics, moves the running ones, and applies SiLU if
// `silu`; part of the graph.
char *azt_batch_norm(const at::Tensor *x, const at::Tensor *weight, const at::Tensor *bias,
                     const at::Tensor *running_mean, const at::Tensor *running_variance, double momentum, double eps,
                     int silu, at::Tensor **out) {
  return azaion::guarded([&] {
    TORCH_CHECK(x->defined() && x->dim() == 4 && x->device().is_cpu() && x->scalar_type() == at::kBFloat16 &&
                    x->numel() > 0,
                "expected a bfloat16 tensor of four dimensions on the CPU");
    check_statistics(*weight, x->size(1), "weight");
    check_statistics(*bias, x->size(1), "bias");
    check_statistics(*running_mean, x->size(1), "running mean");
    check_statistics(*running_variance, x->size(1), "running variance");
    *out = new Tensor(
        Norm::apply(*x, *weight, *bias, *running_mean, *running_variance, momentum, eps, silu != 0));
  });
}

} // extern "C"
