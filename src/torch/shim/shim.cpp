// What tch does not offer, over the same torch::Tensor objects: memory formats, autocast on a CPU, backward from given
// gradients, views of float storage, pinned memory, operations on lists of tensors, deterministic kernels, capabilities.

#include "error.h"

#include <cstdint>
#include <cstdlib>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/cpu/Utils.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/cuda.h>

#ifdef AZT_CUDA
namespace at::cuda {
int warp_size();
}
#endif

namespace {

using azaion::guarded;

at::MemoryFormat memory_format(int channels_last) {
  return channels_last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

at::DeviceType device_type(int cuda) { return cuda ? at::kCUDA : at::kCPU; }

std::vector<at::Tensor> list(const at::Tensor *const *tensors, size_t count) {
  std::vector<at::Tensor> all;
  all.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    all.push_back(*tensors[i]);
  }
  return all;
}

// Operations on lists record nothing for backward.
template <typename Body> char *in_place(Body &&body) noexcept {
  return guarded([&] {
    at::NoGradGuard none;
    body();
  });
}

} // namespace

extern "C" {

void azt_release(char *message) { std::free(message); }

// A tensor of the same values in the format; shares storage if it has the format already.
char *azt_contiguous(const at::Tensor *source, int channels_last, at::Tensor **out) {
  return guarded([&] { *out = new at::Tensor(source->contiguous(memory_format(channels_last))); });
}

char *azt_is_contiguous(const at::Tensor *tensor, int channels_last, int *out) {
  return guarded([&] { *out = tensor->is_contiguous(memory_format(channels_last)); });
}

// State of autocast for one device on this thread, kept by the caller between enter and leave.
struct azt_autocast {
  int cuda;
  int enabled;
  int dtype;
};

// bits16: 0 turns it off, 1 is bfloat16, 2 is float16.
char *azt_autocast_enter(int cuda, int bits16, azt_autocast *previous) {
  return guarded([&] {
    const auto device = device_type(cuda);
    previous->cuda = cuda;
    previous->enabled = at::autocast::is_autocast_enabled(device);
    previous->dtype = static_cast<int>(at::autocast::get_autocast_dtype(device));
    if (bits16) {
      at::autocast::set_autocast_dtype(device, bits16 == 1 ? at::kBFloat16 : at::kHalf);
    }
    at::autocast::set_autocast_enabled(device, bits16 != 0);
    at::autocast::increment_nesting();
  });
}

// Puts the former state back; leaving the outermost region drops the cached casts of weights.
char *azt_autocast_leave(const azt_autocast *previous) {
  return guarded([&] {
    if (at::autocast::decrement_nesting() == 0) {
      at::autocast::clear_cache();
    }
    const auto device = device_type(previous->cuda);
    at::autocast::set_autocast_dtype(device, static_cast<at::ScalarType>(previous->dtype));
    at::autocast::set_autocast_enabled(device, previous->enabled != 0);
  });
}

char *azt_backward(const at::Tensor *const *roots, const at::Tensor *const *gradients, size_t count) {
  return guarded([&] {
    torch::autograd::backward(list(roots, count), list(gradients, count));
  });
}

// Whether the tensor has a gradient, and a handle of it.
char *azt_gradient(const at::Tensor *tensor, at::Tensor **out) {
  return guarded([&] {
    const at::Tensor &gradient = tensor->grad();
    *out = gradient.defined() ? new at::Tensor(gradient) : nullptr;
  });
}

char *azt_clear_gradient(const at::Tensor *tensor) {
  return guarded([&] { tensor->mutable_grad().reset(); });
}

// The elements of a float32 CPU tensor as they lie in memory: in logical order (any_order = 0, the tensor must be
// contiguous), or in whatever order the strides give, without gaps or overlaps.
char *azt_f32_view(const at::Tensor *tensor, int any_order, float **data, int64_t *count) {
  return guarded([&] {
    TORCH_CHECK(tensor->defined(), "the tensor is undefined");
    TORCH_CHECK(tensor->layout() == at::kStrided, "the tensor is not strided (sparse or opaque)");
    TORCH_CHECK(tensor->device().is_cpu(), "the tensor is on ", tensor->device(), ", expected cpu");
    TORCH_CHECK(tensor->scalar_type() == at::kFloat, "the tensor holds ", tensor->scalar_type(), ", expected Float");
    TORCH_CHECK(!tensor->is_neg(), "the tensor is a lazily negated view");
    TORCH_CHECK(any_order ? tensor->is_non_overlapping_and_dense() : tensor->is_contiguous(),
                any_order ? "the tensor has gaps or overlaps in memory" : "the tensor is not contiguous", ", sizes ",
                tensor->sizes(), ", strides ", tensor->strides());
    *count = tensor->numel();
    *data = *count == 0 ? nullptr : tensor->mutable_data_ptr<float>();
  });
}

// Whether no other handle, view or alias reaches the tensor's storage.
char *azt_is_sole_owner(const at::Tensor *tensor, int *out) {
  return guarded([&] { *out = tensor->use_count() == 1 && tensor->storage().use_count() == 1; });
}

// Tells autograd that the values were written behind its back, so that a graph that saved them refuses to run backward.
char *azt_mark_written(const at::Tensor *tensor) {
  return guarded([&] {
    if (!tensor->is_inference()) {
      tensor->unsafeGetTensorImpl()->bump_version();
    }
  });
}

// Whether this libtorch was built for CUDA, and how many devices it finds.
char *azt_cuda_devices(int *built, int *devices) {
  return guarded([&] {
#ifdef AZT_CUDA
    // CUDA is there if its library is loaded, and the linker keeps only libraries that something is used of.
    int (*volatile kept)() = &at::cuda::warp_size;
    (void)kept;
#endif
    *built = at::globalContext().hasCUDART();
    *devices = torch::cuda::device_count();
  });
}

// Waits until everything asked of the device is done; errors of its kernels surface here.
char *azt_cuda_synchronize(int device) {
  return guarded([&] { torch::cuda::synchronize(device); });
}

// A float32 host tensor whose values don't matter, in pinned memory if a CUDA device is to copy to or from it.
char *azt_host_buffer(const int64_t *sizes, size_t dimensions, int pinned, at::Tensor **out) {
  return guarded([&] {
    const auto options = at::TensorOptions().dtype(at::kFloat).pinned_memory(pinned != 0);
    *out = new at::Tensor(at::empty(at::IntArrayRef(sizes, dimensions), options));
  });
}

char *azt_foreach_mul(const at::Tensor *const *self, size_t count, double factor) {
  return in_place([&] { at::_foreach_mul_(list(self, count), factor); });
}

char *azt_foreach_add(const at::Tensor *const *self, const at::Tensor *const *other, size_t count, double alpha) {
  return in_place([&] { at::_foreach_add_(list(self, count), list(other, count), alpha); });
}

char *azt_foreach_lerp(const at::Tensor *const *self, const at::Tensor *const *end, size_t count, double weight) {
  return in_place([&] { at::_foreach_lerp_(list(self, count), list(end, count), weight); });
}

char *azt_foreach_addcmul(const at::Tensor *const *self, const at::Tensor *const *a, const at::Tensor *const *b,
                          size_t count, double value) {
  return in_place([&] { at::_foreach_addcmul_(list(self, count), list(a, count), list(b, count), value); });
}

// self += value * a / (sqrt(b) / root + eps)
char *azt_foreach_add_over_root(const at::Tensor *const *self, const at::Tensor *const *a, const at::Tensor *const *b,
                                size_t count, double root, double eps, double value) {
  return in_place([&] {
    auto denominators = at::_foreach_sqrt(list(b, count));
    at::_foreach_div_(denominators, root);
    at::_foreach_add_(denominators, eps);
    at::_foreach_addcdiv_(list(self, count), list(a, count), denominators, value);
  });
}

// The L2 norm over all values of all tensors, squares summed in 64 bit; one wait for the device.
char *azt_foreach_norm(const at::Tensor *const *tensors, size_t count, double *out) {
  return in_place([&] {
    *out = count == 0 ? 0.0 : at::stack(at::_foreach_norm(list(tensors, count), 2, at::kDouble)).norm().item<double>();
  });
}

char *azt_set_threads(int threads) {
  return guarded([&] { at::set_num_threads(threads); });
}

// libtorch takes this once, before its first parallel work.
char *azt_set_interop_threads(int threads) {
  return guarded([&] { at::set_num_interop_threads(threads); });
}

char *azt_threads(int *intra, int *inter) {
  return guarded([&] {
    *intra = at::get_num_threads();
    *inter = at::get_num_interop_threads();
  });
}

// Runs body(data, 0) ... body(data, count - 1) on libtorch's own threads. What an operation inside does is not split
// further. The body must not throw.
char *azt_parallel(int64_t count, void (*body)(void *, int64_t), void *data) {
  return guarded([&] {
    at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        body(data, i);
      }
    });
  });
}

char *azt_set_deterministic(int on) {
  return guarded([&] {
    auto &context = at::globalContext();
    context.setDeterministicAlgorithms(on != 0, /*warn_only=*/false);
    context.setDeterministicCuDNN(on != 0);
    if (on) {
      context.setBenchmarkCuDNN(false);
    }
  });
}

// Whether this CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX).
char *azt_has_bf16(int *out) {
  return guarded([&] {
    *out = 0;
    const auto capabilities = at::cpu::get_cpu_capabilities();
    for (const char *name : {"avx512_bf16", "amx_bf16"}) {
      const auto found = capabilities.find(name);
      if (found != capabilities.end() && found->second.isBool() && found->second.toBool()) {
        *out = 1;
      }
    }
  });
}

} // extern "C"
