// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace semdiff {

// h = u diag(s) vh for each complex 2x2 matrix of h, (..., 2, 2); s is real, (..., 2), in descending order. u and vh are unitary to
// rounding for any finite h, and the first column of vh is real and non-negative. Entries that are not finite give NaN.
std::tuple<at::Tensor, at::Tensor, at::Tensor> svd_2x2(const at::Tensor& h);

}  // namespace semdiff
