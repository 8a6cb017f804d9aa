// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <tuple>

namespace semdiff {

// signal * x + noise * n, n standard normal (per real dimension, drawn with key): the Gaussian channel, and the forward diffusion step.
// signal and noise: shapes that begin like x's, () or (B,) or (B, 1, 1) or up to x's own. An absent signal means 1.
at::Tensor diffuse(const at::Tensor& x, const std::optional<at::Tensor>& signal, const at::Tensor& noise, const at::Tensor& key);

// Each sample divided by its root mean |s|^2, and that divisor, shape (B,). A sample of zeros stays as it is and gets 0.
std::tuple<at::Tensor, at::Tensor> normalize_power(const at::Tensor& s);
at::Tensor normalize_power_backward(const at::Tensor& grad, const std::optional<at::Tensor>& grad_scale, const at::Tensor& normalized,
                                    const at::Tensor& scale);

// 10 log10(sum |s|^2 / sum |y - s|^2) of each sample, float64, shape (B,).
at::Tensor measured_snr_db(const at::Tensor& s, const at::Tensor& y);

// Real (B, ...) to complex (B, uses): neighbours (a, b) become (a + ib)/sqrt(2), an odd count is padded with a zero. unpack undoes it.
at::Tensor pack(const at::Tensor& z);
at::Tensor unpack(const at::Tensor& s, c10::SymIntArrayRef shape);

}  // namespace semdiff
