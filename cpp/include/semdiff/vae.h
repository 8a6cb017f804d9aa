// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <tuple>

namespace semdiff {

// mu + exp(logvar / 2) * n. The backward gives the gradient of logvar; that of mu is grad itself.
at::Tensor reparameterize(const at::Tensor& mu, const at::Tensor& logvar, const at::Tensor& key);
at::Tensor reparameterize_backward(const at::Tensor& grad, const at::Tensor& sample, const at::Tensor& mu);

// features (B, 2*C*scale^2, h, w) to (sample, mean, logvar), each (B, C, h*scale, w*scale): pixel shuffle, split in two along the
// channels, log-variance bounded to 10 tanh(raw / 10), and the reparameterised draw.
std::tuple<at::Tensor, at::Tensor, at::Tensor> gaussian_upsample(const at::Tensor& features, std::int64_t scale, const at::Tensor& key);
at::Tensor gaussian_upsample_backward(const at::Tensor& grad_sample, const std::optional<at::Tensor>& grad_mean,
                                      const std::optional<at::Tensor>& grad_logvar, const at::Tensor& sample, const at::Tensor& mean,
                                      const at::Tensor& logvar, std::int64_t scale);

}  // namespace semdiff
