// SPDX-License-Identifier: Apache-2.0
// The diffusion clock. alphas_cumprod is a float64 CPU table of alpha_bar[0..T-1], falling. t is real: an integer indexes the table, a
// fraction interpolates ln SNR = ln(alpha_bar / (1 - alpha_bar)) linearly (alpha_bar itself beside a step of alpha_bar 0 or 1), and t = -1
// means clean data (alpha_bar = 1).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string_view>

namespace semdiff {

// kind: "scaled_linear" and "linear" (beta_start to beta_end), "cosine" (Nichol and Dhariwal, 2021; the betas are not used).
at::Tensor alphas_cumprod(std::string_view kind, std::int64_t steps, double beta_start, double beta_end);

// alpha_bar at each t, float64.
at::Tensor alpha_bar(const at::Tensor& alphas_cumprod, const at::Tensor& t);

// The t whose alpha_bar is 1 / (1 + noise_var). rounding: "none" gives a fraction, "ceil" the first step at least as noisy, "nearest" the
// nearest step. Saturates at 0 and T - 1.
at::Tensor timestep(const at::Tensor& alphas_cumprod, const at::Tensor& noise_var, std::string_view rounding);

// The same for one value, called `name` in errors; the table is trusted.
double alpha_bar_at(const double* table, std::int64_t steps, double t, const char* name);

}  // namespace semdiff
