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
    constexpr int vectors = kVectorBytes == 64 ? 4 : 8;  // as measured: with more of its numbers alive, eight of 64 bytes do not fit
    by_packs<Real, vectors>(end - begin, [&](auto like, std::int64_t at) {
      using X = decltype(like);
      const std::int64_t i = begin + at;
      const X m = load<X>(mu + i), l = load<X>(logvar + i);
      const X e = exponential_within(clamp(l, -most, most));
      const X inverse = Real(1) / e;
      const X d = m - a * load<X>(z + i);
      const X r = d - t * load<X>(reconstruction + i);
      const X spread = (t2 + d * d) * inverse;
      store(reconstruction + i, r * r);
      store(prior + i, half * (m * m + (e - Real(1)) - l));
      store(match + i, half * ((l - log_t2) + (spread - Real(1))));
      if (grad_mu) {
        store(grad_mu + i, scale * (Real(2) * r + w_prior * m + w_match * d * inverse));
        store(grad_logvar + i, scale * half * (w_prior * (e - Real(1)) + w_match * (Real(1) - spread)));
      }
    });
  });
  const auto sum = [count](const Real* v) { return lane_sum(count, [v](std::int64_t i) { return static_cast<double>(v[i]); }); };
  return {sum(reconstruction), sum(prior), sum(match)};
}

SEMDIFF_ISA_END
