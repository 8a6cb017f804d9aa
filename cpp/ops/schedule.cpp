// SPDX-License-Identifier: Apache-2.0
#include "semdiff/schedule.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <cmath>

#include "check.h"
#include "pieces.h"

namespace semdiff {

namespace {

constexpr std::int64_t kMostSteps = 1000000;  // a tenth of a second; diffusion has a thousand

double log_snr(double alpha_bar) { return std::log(alpha_bar / (1.0 - alpha_bar)); }

const double* check_table(const at::Tensor& table) {
  TORCH_CHECK_TYPE(table.scalar_type() == at::kDouble, "alphas_cumprod: expected float64, got ", table.scalar_type());
  TORCH_CHECK_VALUE(table.dim() == 1 && table.size(0) >= 1 && table.is_cpu() && table.is_contiguous(),
                    "alphas_cumprod: expected a contiguous CPU tensor of shape (T,), got ", table.sizes(), " on ", table.device());
  return table.const_data_ptr<double>();
}

}  // namespace

at::Tensor alphas_cumprod(std::string_view kind, std::int64_t steps, double beta_start, double beta_end) {
  TORCH_CHECK_VALUE(steps >= 1, "T: expected at least 1, got ", steps);
  TORCH_CHECK_VALUE(steps <= kMostSteps, "T: expected at most ", kMostSteps, ", got ", steps);
  const bool scaled = kind == "scaled_linear";
  at::Tensor out = at::empty({steps}, at::TensorOptions().dtype(at::kDouble));
  auto* table = out.mutable_data_ptr<double>();
  if (kind == "cosine") {
    const auto f = [](double u) {
      const double c = std::cos((u + 0.008) / 1.008 * (3.14159265358979323846 / 2));
      return c * c;
    };
    double product = 1;
    for (std::int64_t i = 0; i < steps; ++i) {
      const double n = static_cast<double>(steps);
      const double beta = std::min(1.0 - f(static_cast<double>(i + 1) / n) / f(static_cast<double>(i) / n), 0.999);
      product *= 1.0 - beta;
      table[i] = product;
    }
    return out;
  }
  TORCH_CHECK_VALUE(scaled || kind == "linear", "kind: expected scaled_linear, linear or cosine, got ", kind);
  TORCH_CHECK_VALUE(0 < beta_start && beta_start <= beta_end && beta_end < 1,
                    "beta_start, beta_end: expected 0 < beta_start <= beta_end < 1, got ", beta_start, ", ", beta_end);
  const double low = scaled ? std::sqrt(beta_start) : beta_start, high = scaled ? std::sqrt(beta_end) : beta_end;
  double product = 1;
  for (std::int64_t i = 0; i < steps; ++i) {
    const double u = steps == 1 ? 0.0 : static_cast<double>(i) / static_cast<double>(steps - 1);
    const double value = low + (high - low) * u;
    product *= 1.0 - (scaled ? value * value : value);
    table[i] = product;
  }
  return out;
}

double alpha_bar_at(const double* table, std::int64_t steps, double t, const char* name) {
  if (t == -1.0) return 1.0;
  TORCH_CHECK_VALUE(t >= 0.0 && t <= static_cast<double>(steps - 1), name, ": expected a time in [0, ", steps - 1, "] or -1 (clean), got ",
                    t);
  const auto floor = static_cast<std::int64_t>(t);
  const double rest = t - static_cast<double>(floor);
  if (rest == 0.0) return table[floor];
  // Where an end is clean data or noise alone its logarithm is infinite: there alpha_bar itself is interpolated.
  if (!(table[floor] < 1.0 && table[floor + 1] > 0.0)) return table[floor] * (1.0 - rest) + table[floor + 1] * rest;
  const double l = log_snr(table[floor]) * (1.0 - rest) + log_snr(table[floor + 1]) * rest;
  return 1.0 / (1.0 + std::exp(-l));
}

at::Tensor alpha_bar(const at::Tensor& alphas_cumprod, const at::Tensor& t) {
  const double* table = check_table(alphas_cumprod);
  const at::Tensor times = to_coefficients(t, "t");
  at::Tensor out = at::empty(times.sizes(), times.options());
  const auto* from = times.const_data_ptr<double>();
  auto* to = out.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < times.numel(); ++i) {
    if (i % kBlockOfRows == kBlockOfRows - 1) check_interrupt();
    to[i] = alpha_bar_at(table, alphas_cumprod.size(0), from[i], "t");
  }
  return out;
}

at::Tensor timestep(const at::Tensor& alphas_cumprod, const at::Tensor& noise_var, std::string_view rounding) {
  const double* table = check_table(alphas_cumprod);
  const std::int64_t steps = alphas_cumprod.size(0);
  TORCH_CHECK_VALUE(rounding == "none" || rounding == "ceil" || rounding == "nearest", "rounding: expected none, ceil or nearest, got ",
                    rounding);
  const at::Tensor variances = to_coefficients(noise_var, "noise_var");
  at::Tensor out = at::empty(variances.sizes(), variances.options());
  const auto* from = variances.const_data_ptr<double>();
  auto* to = out.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < variances.numel(); ++i) {
    if (i % kBlockOfRows == kBlockOfRows - 1) check_interrupt();
    TORCH_CHECK_VALUE(from[i] >= 0.0 && std::isfinite(from[i]), "noise_var: expected finite numbers >= 0, got ", from[i]);
    const double target = 1.0 / (1.0 + from[i]);
    // First step at least as noisy: the table falls.
    const double* at = std::lower_bound(table, table + steps, target, [](double entry, double value) { return entry > value; });
    const std::int64_t index = at - table;
    double t = 0.0;
    if (index == steps) {
      t = static_cast<double>(steps - 1);
    } else if (index > 0) {
      const double above = table[index - 1], below = table[index], before = log_snr(above), after = log_snr(below);
      const bool infinite = !(above < 1.0 && below > 0.0);  // as in alpha_bar_at
      const double rest = infinite ? (above - target) / (above - below) : (before + std::log(from[i])) / (before - after);
      t = static_cast<double>(index - 1) + rest;
      // Rounding errors must not push a step's own noise variance past it.
      if (std::abs(t - std::round(t)) < 1e-9) t = std::round(t);
    }
    if (rounding == "ceil") t = std::ceil(t);
    if (rounding == "nearest") t = std::round(t);
    to[i] = t;
  }
  return out;
}

}  // namespace semdiff
