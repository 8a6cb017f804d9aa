// SPDX-License-Identifier: Apache-2.0
// Argument checks. Every message names the argument, what was expected and what came.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "../kernels/kernels.h"

namespace semdiff {

// The types that the kernels know: torch has floating-point types of 8 bits and less too.
inline bool is_real(at::ScalarType type) { return type == at::kFloat || type == at::kDouble || type == at::kHalf || type == at::kBFloat16; }

inline void check_floating(const at::Tensor& x, const char* name) {
  TORCH_CHECK_TYPE(is_real(x.scalar_type()), name, ": expected a floating-point tensor",
                   at::isFloatingType(x.scalar_type()) ? " of 16 bits or more, got " : ", got ", x.scalar_type());
}

inline void check_floating_or_complex(const at::Tensor& x, const char* name) {
  TORCH_CHECK_TYPE(is_real(x.scalar_type()) || x.scalar_type() == at::kComplexFloat || x.scalar_type() == at::kComplexDouble, name,
                   ": expected a floating-point, complex64 or complex128 tensor, got ", x.scalar_type());
}

inline void check_same(const at::Tensor& x, const char* x_name, const at::Tensor& y, const char* y_name) {
  TORCH_CHECK_VALUE(x.sizes() == y.sizes(), y_name, ": expected the shape of ", x_name, ", ", x.sizes(), ", got ", y.sizes());
  TORCH_CHECK_TYPE(x.scalar_type() == y.scalar_type(), y_name, ": expected the dtype of ", x_name, ", ", x.scalar_type(), ", got ",
                   y.scalar_type());
  TORCH_CHECK_VALUE(x.device() == y.device(), y_name, ": expected the device of ", x_name, ", ", x.device(), ", got ", y.device());
}

// A batch of samples, (B, ...).
inline void check_samples(const at::Tensor& x, const char* name) {
  TORCH_CHECK_VALUE(x.dim() >= 1, name, ": expected a batch of samples, shape (B, ...), got a tensor of no dimensions");
}

// One floating-point number for each sample of x.
inline void check_by_sample(const at::Tensor& values, const char* name, const at::Tensor& x) {
  check_floating(values, name);
  TORCH_CHECK_VALUE(values.dim() == 1 && values.size(0) == x.size(0), name, ": expected shape (", x.size(0), ",), got ", values.sizes());
}

// Finite numbers >= 0, wherever they are.
void check_variances(const at::Tensor& x, const char* name);

// A small tensor of coefficients on the CPU, as contiguous float64.
at::Tensor to_coefficients(const at::Tensor& x, const char* name);

// How many neighbouring elements of x share one coefficient. The coefficients' shape, without trailing ones, must begin x's shape.
std::int64_t check_rows(const at::Tensor& coefficients, const char* name, const at::Tensor& x, const char* x_name);

kernels::PhiloxKey read_key(const at::Tensor& key);

}  // namespace semdiff
