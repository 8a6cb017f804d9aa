// SPDX-License-Identifier: Apache-2.0
// One solver step and its backward. DDIM, DDPM and DPM-Solver++(2M) differ only in the coefficients (ops/sampler.cpp derives them).
#pragma once

#include "rng.h"

SEMDIFF_ISA_BEGIN

template <typename Real>
void step(Real* __restrict x_s, Real* __restrict x0, const Real* __restrict x, const Real* __restrict output,
          const Real* __restrict previous_x0, const StepCoefficients* rows, std::int64_t row_length, double clip, std::int64_t first,
          std::int64_t count, PhiloxKey key) {
  alignas(64) Real n[kBlock];
  const Real high = static_cast<Real>(clip), low = -high;
  for (std::int64_t done = 0; done < count; done += kBlock) {
    const std::int64_t size = count - done < kBlock ? count - done : kBlock;
    bool drawn = false;
    for_rows(first + done, size, row_length, [&](std::int64_t begin, std::int64_t end, std::int64_t row) {
      const StepCoefficients& c = rows[row];
      const auto from_x = static_cast<Real>(c.from_x), from_output = static_cast<Real>(c.from_output);
      const auto keep = static_cast<Real>(c.keep), denoise = static_cast<Real>(c.denoise);
      const auto previous = static_cast<Real>(c.previous), noise = static_cast<Real>(c.noise);
      const Real* __restrict xb = x + done;
      const Real* __restrict eb = output + done;
      Real* __restrict sb = x_s + done;
      if (x0) {
        Real* __restrict zb = x0 + done;
        if (previous_x0) {
          const Real* __restrict pb = previous_x0 + done;
          for (std::int64_t i = begin; i < end; ++i) {
            zb[i] = clamp(from_x * xb[i] + from_output * eb[i], low, high);
            sb[i] = keep * xb[i] + denoise * zb[i] + previous * pb[i];
          }
        } else {
          for (std::int64_t i = begin; i < end; ++i) {
            zb[i] = clamp(from_x * xb[i] + from_output * eb[i], low, high);
            sb[i] = keep * xb[i] + denoise * zb[i];
          }
        }
      } else {
        for (std::int64_t i = begin; i < end; ++i) {
          sb[i] = keep * xb[i] + denoise * clamp(from_x * xb[i] + from_output * eb[i], low, high);
        }
      }
      if (noise != Real(0)) {
        if (!drawn) normal(n, first + done, size, key);
        drawn = true;
        for (std::int64_t i = begin; i < end; ++i) sb[i] += noise * n[i];
      }
    });
  }
}

// Where x0 was clipped its gradient stops. grad_x_s or grad_x0 may be null (zero), as may grad_previous (not wanted).
template <typename Real>
void step_backward(Real* __restrict grad_x, Real* __restrict grad_output, Real* __restrict grad_previous, const Real* __restrict grad_x_s,
                   const Real* __restrict grad_x0, const Real* __restrict x, const Real* __restrict output, const StepCoefficients* rows,
                   std::int64_t row_length, double clip, std::int64_t first, std::int64_t count) {
  const Real high = static_cast<Real>(clip), low = -high;
  for_rows(first, count, row_length, [&](std::int64_t begin, std::int64_t end, std::int64_t row) {
    const StepCoefficients& c = rows[row];
    const auto from_x = static_cast<Real>(c.from_x), from_output = static_cast<Real>(c.from_output);
    const auto keep = static_cast<Real>(c.keep), denoise = static_cast<Real>(c.denoise), previous = static_cast<Real>(c.previous);
    const auto one = [&](std::int64_t i, Real g_s, Real g_0) {
      const Real raw = from_x * x[i] + from_output * output[i];
      const Real g = raw >= low && raw <= high ? denoise * g_s + g_0 : Real(0);
      grad_x[i] = keep * g_s + from_x * g;
      grad_output[i] = from_output * g;
    };
    if (grad_x_s && grad_x0) {
      for (std::int64_t i = begin; i < end; ++i) one(i, grad_x_s[i], grad_x0[i]);
    } else if (grad_x_s) {
      for (std::int64_t i = begin; i < end; ++i) one(i, grad_x_s[i], Real(0));
    } else {
      for (std::int64_t i = begin; i < end; ++i) one(i, Real(0), grad_x0[i]);
    }
    if (grad_previous) {
      for (std::int64_t i = begin; i < end; ++i) grad_previous[i] = grad_x_s ? previous * grad_x_s[i] : Real(0);
    }
  });
}

SEMDIFF_ISA_END
