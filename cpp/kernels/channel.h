// SPDX-License-Identifier: Apache-2.0
// The Gaussian channel and the forward diffusion step are one kernel: out = signal * x + noise * n.
#pragma once

#include "rng.h"

SEMDIFF_ISA_BEGIN

template <typename Real>
void diffuse(Real* __restrict out, const Real* __restrict x, const Real* __restrict signal, const Real* __restrict noise,
             std::int64_t row_length, std::int64_t first, std::int64_t count, PhiloxKey key) {
  alignas(64) Real n[kBlock];
  for (std::int64_t done = 0; done < count; done += kBlock) {
    const std::int64_t size = count - done < kBlock ? count - done : kBlock;
    const Real* __restrict xb = x + done;
    Real* __restrict ob = out + done;
    if (row_length == 1) {  // coefficients of their own for every element
      const Real* __restrict a = signal ? signal + first + done : nullptr;
      const Real* __restrict b = noise + first + done;
      normal(n, first + done, size, key);
      if (a) {
        for (std::int64_t i = 0; i < size; ++i) ob[i] = a[i] * xb[i] + b[i] * n[i];
      } else {
        for (std::int64_t i = 0; i < size; ++i) ob[i] = xb[i] + b[i] * n[i];
      }
      continue;
    }
    bool drawn = false;  // a row without noise costs no random numbers
    for_rows(first + done, size, row_length, [&](std::int64_t begin, std::int64_t end, std::int64_t row) {
      const Real a = signal ? signal[row] : Real(1), b = noise[row];
      if (b == Real(0)) {
        for (std::int64_t i = begin; i < end; ++i) ob[i] = a * xb[i];
        return;
      }
      if (!drawn) normal(n, first + done, size, key);
      drawn = true;
      for (std::int64_t i = begin; i < end; ++i) ob[i] = a * xb[i] + b * n[i];
    });
  }
}

// Sixteen double sums side by side: wide enough for every vector unit, and the same order on all of them.
constexpr std::int64_t kLanes = 16;

SEMDIFF_INLINE double add_lanes(const double* lanes) {
  double sum = 0;
  for (std::int64_t j = 0; j < kLanes; ++j) sum += lanes[j];
  return sum;
}

template <typename F>
SEMDIFF_INLINE double lane_sum(std::int64_t count, F term) {
  double lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (std::int64_t j = 0; j < kLanes; ++j) lanes[j] += term(i + j);
  }
  for (std::int64_t j = 0; i + j < count; ++j) lanes[j] += term(i + j);
  return add_lanes(lanes);
}

template <typename Real>
double dot(const Real* __restrict a, const Real* __restrict b, std::int64_t count) {
  return lane_sum(count, [&](std::int64_t i) { return static_cast<double>(a[i]) * static_cast<double>(b[i]); });
}

template <typename Real>
double squared_distance(const Real* __restrict a, const Real* __restrict b, std::int64_t count) {
  return lane_sum(count, [&](std::int64_t i) {
    const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    return d * d;
  });
}

template <typename Real>
void scale_add(Real* __restrict out, const Real* __restrict x, Real x_scale, const Real* __restrict y, Real y_scale, std::int64_t count) {
  if (y) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = x_scale * x[i] + y_scale * y[i];
  } else {
    for (std::int64_t i = 0; i < count; ++i) out[i] = x_scale * x[i];
  }
}

SEMDIFF_ISA_END
