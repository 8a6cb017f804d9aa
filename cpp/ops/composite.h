// SPDX-License-Identifier: Apache-2.0
// The random ops written in ATen calls, for devices without a kernel of ours. Same counter layout: integers are equal, floats agree to
// rounding. The deterministic ops' composites live beside their kernels.
#pragma once

#include <ATen/core/Tensor.h>

#include "../kernels/kernels.h"

namespace semdiff::composite {

at::Tensor normal(at::IntArrayRef size, kernels::PhiloxKey key, at::ScalarType dtype, at::Device device);

// n for x: the shape and dtype of x, complex as two reals. float16 and bfloat16 get float32.
at::Tensor normal_like(const at::Tensor& x, kernels::PhiloxKey key);

// Coefficients (float64, CPU) shaped to multiply x, on x's device in its computing dtype.
at::Tensor broadcast_to(const at::Tensor& coefficients, const at::Tensor& x);

// float32 for float16 and bfloat16, else x.
at::Tensor computing(const at::Tensor& x);

}  // namespace semdiff::composite
