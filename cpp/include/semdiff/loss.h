// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>

namespace semdiff {

// Element means: total = reconstruction + lambda_prior * prior + lambda_match * match, and the three terms (formulas in kernels/loss.h).
// alpha_bar: () or (B,), in (0, 1).
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> upsampler_loss(const at::Tensor& mu, const at::Tensor& logvar,
                                                                          const at::Tensor& z, const at::Tensor& alpha_bar,
                                                                          double lambda_prior, double lambda_match, const at::Tensor& key);

// The same with d total / d mu and d total / d logvar, from the same pass over the data.
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> upsampler_loss_with_gradients(
    const at::Tensor& mu, const at::Tensor& logvar, const at::Tensor& z, const at::Tensor& alpha_bar, double lambda_prior,
    double lambda_match, const at::Tensor& key);

}  // namespace semdiff
