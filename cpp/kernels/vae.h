// SPDX-License-Identifier: Apache-2.0
// The reparameterised draw (Kingma and Welling, "Auto-encoding variational Bayes", 2013) and its bounded form that ends the up-sampler.
#pragma once

#include "rng.h"

SEMDIFF_ISA_BEGIN

template <typename Real>
void reparameterize(Real* __restrict out, const Real* __restrict mu, const Real* __restrict logvar, std::int64_t first, std::int64_t count,
                    PhiloxKey key) {
  alignas(64) Real n[kBlock];
  for (std::int64_t done = 0; done < count; done += kBlock) {
    const std::int64_t size = count - done < kBlock ? count - done : kBlock;
    normal(n, first + done, size, key);
    const Real* __restrict m = mu + done;
    const Real* __restrict l = logvar + done;
    Real* __restrict o = out + done;
    by_packs<Real>(size, [&](auto like, std::int64_t i) {
      using X = decltype(like);
      store(o + i, load<X>(m + i) + exponential(Real(0.5) * load<X>(l + i)) * load<X>(n + i));
    });
  }
}

// d sample / d logvar = (sample - mu) / 2: the random numbers are not needed again.
template <typename Real>
void reparameterize_backward(Real* __restrict grad_logvar, const Real* __restrict grad, const Real* __restrict sample,
                             const Real* __restrict mu, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) grad_logvar[i] = Real(0.5) * grad[i] * (sample[i] - mu[i]);
}

template <typename Real>
void bounded_draw(Real* __restrict sample, Real* __restrict logvar, const Real* __restrict mean, std::int64_t first, std::int64_t count,
                  PhiloxKey key) {
  constexpr Real bound = Real(kLogvarBound);
  alignas(64) Real n[kBlock];
  for (std::int64_t done = 0; done < count; done += kBlock) {
    const std::int64_t size = count - done < kBlock ? count - done : kBlock;
    normal(n, first + done, size, key);
    const Real* __restrict m = mean + done;
    Real* __restrict l = logvar + done;
    Real* __restrict o = sample + done;
    by_packs<Real>(size, [&](auto like, std::int64_t i) {
      using X = decltype(like);
      // tanh(y) = 1 - 2 / (e^(2y) + 1)
      const X bounded = bound - Real(2) * bound / (exponential(load<X>(l + i) * (Real(2) / bound)) + Real(1));
      store(l + i, bounded);
      store(o + i, load<X>(m + i) + exponential_within(Real(0.5) * bounded) * load<X>(n + i));
    });
  }
}

template <typename Real>
void bounded_draw_backward(Real* __restrict grad_mean, Real* __restrict grad_raw, const Real* __restrict grad_sample,
                           const Real* __restrict grad_mean_out, const Real* __restrict grad_logvar, const Real* __restrict sample,
                           const Real* __restrict mean, const Real* __restrict logvar, std::int64_t count) {
  constexpr Real inv = Real(1.0 / kLogvarBound);
  for (std::int64_t i = 0; i < count; ++i) {
    const Real slope = Real(1) - (logvar[i] * inv) * (logvar[i] * inv);
    grad_mean[i] = grad_sample[i];
    grad_raw[i] = Real(0.5) * grad_sample[i] * (sample[i] - mean[i]) * slope;
  }
  if (grad_mean_out) {
    for (std::int64_t i = 0; i < count; ++i) grad_mean[i] += grad_mean_out[i];
  }
  if (grad_logvar) {
    for (std::int64_t i = 0; i < count; ++i) grad_raw[i] += grad_logvar[i] * (Real(1) - (logvar[i] * inv) * (logvar[i] * inv));
  }
}

SEMDIFF_ISA_END
