// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <tuple>

namespace semdiff {

// (x, variance of its noise, gain) with x = gain s + noise, from y = h s + n, E|s|^2 = 1, E|n|^2 = noise_var.
// method: zf, mmse, mmse_unbiased or matched. y: complex (B, ...). h, of y's dtype, and noise_var, real: shapes that broadcast to y's.
// Where both have one number a sample, so have the results (their broadcast shape, float64); else they have y's shape and precision.
std::tuple<at::Tensor, at::Tensor, at::Tensor> equalize(const at::Tensor& y, const at::Tensor& h, const at::Tensor& noise_var,
                                                        std::string_view method);

}  // namespace semdiff
