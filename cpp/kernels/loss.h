// SPDX-License-Identifier: Apache-2.0
// The up-sampler's loss, its three terms and both gradients in one pass. With a = sqrt(alpha_bar), T^2 = 1 - alpha_bar, e = exp(logvar):
//   reconstruction  (mu - x_t)^2,                                   x_t = a z + T n
//   prior           KL(N(mu, e) || N(0, 1))       = (mu^2 + e - 1 - logvar) / 2
//   match           KL(N(a z, T^2) || N(mu, e))   = (logvar - ln T^2 + (T^2 + (mu - a z)^2) / e - 1) / 2
// Everything is written in the log-variance: no log(exp(x)), and e is clamped so that nothing overflows.
#pragma once

#include "channel.h"

SEMDIFF_ISA_BEGIN

template <typename Real>
LossSums upsampler_loss(Real* __restrict grad_mu, Real* __restrict grad_logvar, const Real* __restrict mu, const Real* __restrict logvar,
                        const Real* __restrict z, const double* alpha_bar, std::int64_t row_length, LossWeights weights, std::int64_t first,
                        std::int64_t count, PhiloxKey key) {
  constexpr Real most = Real(kLogvarClamp);
  alignas(64) Real reconstruction[kBlock], prior[kBlock], match[kBlock];  // holds the random numbers first
  normal(reconstruction, first, count, key);
  const Real w_prior = static_cast<Real>(weights.prior), w_match = static_cast<Real>(weights.match);
  const Real scale = static_cast<Real>(weights.scale), half = Real(0.5);
  for_rows(first, count, row_length, [&](std::int64_t begin, std::int64_t end, std::int64_t row) {
    const double variance = 1.0 - alpha_bar[row];
    const Real a = static_cast<Real>(square_root(alpha_bar[row])), t2 = static_cast<Real>(variance);
    const Real t = static_cast<Real>(square_root(variance)), log_t2 = static_cast<Real>(logarithm(variance));
    const auto terms = [&](std::int64_t i, Real& g_mu, Real& g_logvar) {
      const Real e = exponential(clamp(logvar[i], -most, most));
      const Real inverse = Real(1) / e;
      const Real d = mu[i] - a * z[i];
      const Real r = d - t * reconstruction[i];
      const Real spread = (t2 + d * d) * inverse;
      reconstruction[i] = r * r;
      prior[i] = half * (mu[i] * mu[i] + (e - Real(1)) - logvar[i]);
      match[i] = half * ((logvar[i] - log_t2) + (spread - Real(1)));
      g_mu = scale * (Real(2) * r + w_prior * mu[i] + w_match * d * inverse);
      g_logvar = scale * half * (w_prior * (e - Real(1)) + w_match * (Real(1) - spread));
    };
    if (grad_mu) {
      for (std::int64_t i = begin; i < end; ++i) terms(i, grad_mu[i], grad_logvar[i]);
    } else {
      Real unused_mu, unused_logvar;
      for (std::int64_t i = begin; i < end; ++i) terms(i, unused_mu, unused_logvar);
    }
  });
  const auto sum = [count](const Real* v) { return lane_sum(count, [v](std::int64_t i) { return static_cast<double>(v[i]); }); };
  return {sum(reconstruction), sum(prior), sum(match)};
}

SEMDIFF_ISA_END
