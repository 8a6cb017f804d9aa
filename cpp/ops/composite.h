// SPDX-License-Identifier: Apache-2.0
// The ops written in ATen calls, for devices without a kernel of ours. Same counter layout: integers are equal, floats agree to rounding.
// They take checked arguments and run on any device, the CPU too, where the tests hold them against the kernels. Each is defined beside its
// kernel's op.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <tuple>
#include <vector>

#include "../kernels/kernels.h"

namespace semdiff::composite {

at::Tensor normal(at::IntArrayRef size, kernels::PhiloxKey key, at::ScalarType dtype, at::Device device);

// n for x: the shape and dtype of x, complex as two reals. float16 and bfloat16 get float32.
at::Tensor normal_like(const at::Tensor& x, kernels::PhiloxKey key);

// Coefficients (float64, CPU) shaped to multiply x, on x's device in its computing dtype.
at::Tensor broadcast_to(const at::Tensor& coefficients, const at::Tensor& x);

// float32 for float16 and bfloat16, else x.
at::Tensor computing(const at::Tensor& x);

at::Tensor diffuse(const at::Tensor& x, const std::optional<at::Tensor>& signal, const at::Tensor& noise, kernels::PhiloxKey key);

std::tuple<at::Tensor, at::Tensor> normalize_power(const at::Tensor& s);
at::Tensor normalize_power_backward(const at::Tensor& grad, const std::optional<at::Tensor>& grad_scale, const at::Tensor& normalized,
                                    const at::Tensor& scale);
at::Tensor measured_snr_db(const at::Tensor& s, const at::Tensor& y);

std::tuple<at::Tensor, at::Tensor> fading(const at::Tensor& s, const at::Tensor& noise, const kernels::FadingModel& model, bool whole);
std::tuple<at::Tensor, at::Tensor, at::Tensor> equalize(const at::Tensor& y, const at::Tensor& h, const at::Tensor& noise_var,
                                                        kernels::Equalizer method);
std::tuple<at::Tensor, at::Tensor, at::Tensor> svd_2x2(const at::Tensor& h);

at::Tensor reparameterize(const at::Tensor& mu, const at::Tensor& logvar, kernels::PhiloxKey key);
at::Tensor reparameterize_backward(const at::Tensor& grad, const at::Tensor& sample, const at::Tensor& mu);
std::tuple<at::Tensor, at::Tensor, at::Tensor> gaussian_upsample(const at::Tensor& features, std::int64_t scale, kernels::PhiloxKey key);
at::Tensor gaussian_upsample_backward(const at::Tensor& grad_sample, const std::optional<at::Tensor>& grad_mean,
                                      const std::optional<at::Tensor>& grad_logvar, const at::Tensor& sample, const at::Tensor& mean,
                                      const at::Tensor& logvar, std::int64_t scale);

// (x_s, x0); previous may be undefined. One row serves the whole batch, else there is one for each sample.
std::tuple<at::Tensor, at::Tensor> step(const std::vector<kernels::StepCoefficients>& rows, double clip, const at::Tensor& x,
                                        const at::Tensor& output, const at::Tensor& previous, std::optional<kernels::PhiloxKey> key);
// Gradients of x, output and previous_x0; an undefined grad_x_s or grad_x0 is zero.
std::tuple<at::Tensor, at::Tensor, at::Tensor> step_backward(const std::vector<kernels::StepCoefficients>& rows, double clip,
                                                             const at::Tensor& grad_x_s, const at::Tensor& grad_x0, const at::Tensor& x,
                                                             const at::Tensor& output, bool want_previous);

struct LossResult {
  at::Tensor total, reconstruction, prior, match, grad_mu, grad_logvar;
};
LossResult upsampler_loss(const at::Tensor& mu, const at::Tensor& logvar, const at::Tensor& z, const at::Tensor& alpha_bar,
                          double lambda_prior, double lambda_match, kernels::PhiloxKey key, bool gradients);

}  // namespace semdiff::composite
