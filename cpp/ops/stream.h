// SPDX-License-Identifier: Apache-2.0
// Runs a kernel over flattened tensors, in parallel and in pieces that do not depend on the number of threads. Kernels know float and
// double; float16 and bfloat16 pass through float scratch, a block at a time.
#pragma once

#include <ATen/Dispatch.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/Tensor.h>
#include <c10/util/complex.h>

#include <algorithm>
#include <array>
#include <type_traits>

#include "../kernels/kernels.h"
#include "isa.h"
#include "pieces.h"

namespace semdiff {

template <typename T>
using RealOf = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <typename T>
const kernels::Table<RealOf<T>>& table_for() {
  if constexpr (std::is_same_v<T, double>) {
    return active_kernels().f64;
  } else {
    return active_kernels().f32;
  }
}

// What a call through the dispatcher would do, which takes as long as the arithmetic of some hundred elements.
inline at::Tensor empty_on_cpu(at::IntArrayRef sizes, at::ScalarType type) { return at::Tensor(at::detail::empty_cpu(sizes, type)); }

// A few coefficients as Real on the CPU, converted here; many as tensors.
template <typename Real>
class Coefficients {
 public:
  explicit Coefficients(const at::Tensor& x) {
    constexpr at::ScalarType type = c10::CppTypeToScalarType<Real>::value;
    const bool near = x.is_cpu() && x.is_contiguous();
    if (near && x.scalar_type() == at::kDouble && type != at::kDouble && x.numel() <= kMost) {
      const auto* from = x.const_data_ptr<double>();
      for (std::int64_t i = 0; i < x.numel(); ++i) few_[static_cast<std::size_t>(i)] = static_cast<Real>(from[i]);
    } else {
      many_ = near && x.scalar_type() == type ? x : x.to(at::kCPU, type).contiguous();
    }
  }
  const Real* data() const { return many_.defined() ? many_.const_data_ptr<Real>() : few_.data(); }

 private:
  static constexpr std::int64_t kMost = 128;
  at::Tensor many_;
  std::array<Real, kMost> few_;
};

// Blocks below which one thread is faster than two. Kernels that draw random numbers cost more an element, so they split earlier.
constexpr std::int64_t kGrainBlocks = 32, kRandomGrainBlocks = 8;

// body(first, count, inputs, outputs): pointers address element `first`. Null pointers stay null.
template <typename T, std::size_t In, std::size_t Out, typename Body>
void stream(std::int64_t size, std::int64_t grain_blocks, const std::array<const T*, In>& inputs, const std::array<T*, Out>& outputs,
            const Body& body) {
  using Real = RealOf<T>;
  using kernels::kBlock;
  const std::int64_t blocks = (size + kBlock - 1) / kBlock;
  parallel_pieces(0, blocks, grain_blocks, [&](std::int64_t block_begin, std::int64_t block_end) {
    const std::int64_t begin = block_begin * kBlock, end = std::min(size, block_end * kBlock);
    std::array<const Real*, In> in{};
    std::array<Real*, Out> out{};
    if constexpr (std::is_same_v<T, Real>) {
      for (std::size_t k = 0; k < In; ++k) in[k] = inputs[k] ? inputs[k] + begin : nullptr;
      for (std::size_t k = 0; k < Out; ++k) out[k] = outputs[k] ? outputs[k] + begin : nullptr;
      body(begin, end - begin, in, out);
    } else {
      alignas(64) Real in_scratch[In][kBlock], out_scratch[Out][kBlock];
      for (std::int64_t first = begin; first < end; first += kBlock) {
        const std::int64_t count = std::min(kBlock, end - first);
        for (std::size_t k = 0; k < In; ++k) {
          in[k] = inputs[k] ? in_scratch[k] : nullptr;
          for (std::int64_t i = 0; in[k] && i < count; ++i) in_scratch[k][i] = static_cast<Real>(inputs[k][first + i]);
        }
        for (std::size_t k = 0; k < Out; ++k) out[k] = outputs[k] ? out_scratch[k] : nullptr;
        body(first, count, in, out);
        for (std::size_t k = 0; k < Out; ++k) {
          for (std::int64_t i = 0; out[k] && i < count; ++i) outputs[k][first + i] = static_cast<T>(out_scratch[k][i]);
        }
      }
    }
  });
}

#define SEMDIFF_DISPATCH(TYPE, NAME, ...) \
  AT_DISPATCH_FLOATING_TYPES_AND2(at::ScalarType::Half, at::ScalarType::BFloat16, TYPE, NAME, __VA_ARGS__)

}  // namespace semdiff
