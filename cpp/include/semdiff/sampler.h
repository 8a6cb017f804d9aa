// SPDX-License-Identifier: Apache-2.0
// Solver steps from time t to a cleaner time s (schedule.h), t and s of shape () or (B,). prediction tells what the network's output is:
// "eps", "x0" or "v". clip bounds the predicted x0.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <string_view>
#include <tuple>

namespace semdiff {

// DDIM (Song, Meng, Ermon, 2020, eq. 12), eta in [0, 1]; eta = 1 is ancestral DDPM sampling. The direction uses the clipped x0.
at::Tensor ddim_step(const at::Tensor& x, const at::Tensor& output, const at::Tensor& t, const at::Tensor& s,
                     const at::Tensor& alphas_cumprod, double eta, std::string_view prediction, std::optional<double> clip,
                     const std::optional<at::Tensor>& key);
std::tuple<at::Tensor, at::Tensor> ddim_step_backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& output,
                                                      const at::Tensor& t, const at::Tensor& s, const at::Tensor& alphas_cumprod,
                                                      double eta, std::string_view prediction, std::optional<double> clip);

// DPM-Solver++(2M) (Lu et al., 2022, algorithm 2): (x_s, x0). First order without previous_x0 and for the step to clean data.
std::tuple<at::Tensor, at::Tensor> dpmpp_2m_step(const at::Tensor& x, const at::Tensor& output,
                                                 const std::optional<at::Tensor>& previous_x0, const std::optional<at::Tensor>& t_previous,
                                                 const at::Tensor& t, const at::Tensor& s, const at::Tensor& alphas_cumprod,
                                                 std::string_view prediction, std::optional<double> clip);
// Gradients of x, output and previous_x0 (empty when there was none).
std::tuple<at::Tensor, at::Tensor, at::Tensor> dpmpp_2m_step_backward(
    const std::optional<at::Tensor>& grad_x_s, const std::optional<at::Tensor>& grad_x0, const at::Tensor& x, const at::Tensor& output,
    const std::optional<at::Tensor>& previous_x0, const std::optional<at::Tensor>& t_previous, const at::Tensor& t, const at::Tensor& s,
    const at::Tensor& alphas_cumprod, std::string_view prediction, std::optional<double> clip);

}  // namespace semdiff
