// SPDX-License-Identifier: Apache-2.0
// Scalar equalisers of y = h s + n, E|s|^2 = 1, E|n|^2 = N0: x = weight conj(h) y = gain s + noise, with real weights
// (Proakis and Salehi, "Digital Communications", 5th ed., 2008, ch. 13; biased and unbiased MMSE: Cioffi et al., 1995).
#pragma once

#include "math.h"

SEMDIFF_ISA_BEGIN

template <Equalizer method>
struct Tag {
  static constexpr Equalizer value = method;
};

template <typename F>
SEMDIFF_INLINE void with_method(Equalizer method, F f) {
  switch (method) {
    case Equalizer::inverse:
      return f(Tag<Equalizer::inverse>{});
    case Equalizer::mmse:
      return f(Tag<Equalizer::mmse>{});
    case Equalizer::matched:
      return f(Tag<Equalizer::matched>{});
  }
}

// A gain of zero has no inverse: weight 0 and infinite noise. A sum of zero (no channel, no noise) has weight 0 as well. The tests are
// for equality, so that NaN passes through.
template <Equalizer method, typename Real>
SEMDIFF_INLINE void weigh(Real power, Real n0, Real& weight, Real& noise, Real& gain) {
  if constexpr (method == Equalizer::inverse) {
    const bool dead = power == Real(0);
    const Real inverse = Real(1) / power;
    weight = dead ? Real(0) : inverse;
    noise = dead ? inverse : n0 * inverse;  // 1 / 0 is infinity
    gain = Real(1);
  } else if constexpr (method == Equalizer::mmse) {
    const Real sum = power + n0;
    const Real inverse = Real(1) / sum;
    weight = sum == Real(0) ? Real(0) : inverse;
    gain = power * weight;
    noise = gain * (n0 * weight);
  } else {
    weight = Real(1);
    gain = power;
    noise = power * n0;
  }
}

// Symbols handled together, real and imaginary parts apart. Apart also because GCC 12 makes fused multiply-adds of interleaved
// a b +- c d, for all that -ffp-contract=off forbids them.
constexpr std::int64_t kSymbols = kBlock / 2;

template <typename Real>
SEMDIFF_INLINE void split(Real* __restrict re, Real* __restrict im, const Real* __restrict x, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    re[i] = x[2 * i];
    im[i] = x[2 * i + 1];
  }
}

template <typename Real>
SEMDIFF_INLINE void join(Real* __restrict x, const Real* __restrict re, const Real* __restrict im, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    x[2 * i] = re[i];
    x[2 * i + 1] = im[i];
  }
}

// y -> x for one symbol.
template <typename Real>
SEMDIFF_INLINE void rotate_back(Real hr, Real hi, Real weight, Real yr, Real yi, Real& xr, Real& xi) {
  xr = (hr * yr + hi * yi) * weight;
  xi = (hr * yi - hi * yr) * weight;
}

// Counts are symbols; x, y and h hold two reals a symbol. A null x (and y) leaves the noise and the gain alone, null noise and gain x.
template <typename Real>
void equalize(Real* __restrict x, Real* __restrict noise, Real* __restrict gain, const Real* __restrict y, const Real* __restrict h,
              const Real* __restrict n0, EqualizerRows rows, Equalizer method, std::int64_t first, std::int64_t count) {
  alignas(64) Real yr[kSymbols], yi[kSymbols], hr[kSymbols], hi[kSymbols], xr[kSymbols], xi[kSymbols];
  with_method(method, [&](auto tag) {
    constexpr Equalizer m = decltype(tag)::value;
    for (std::int64_t done = 0; done < count; done += kSymbols) {
      const std::int64_t size = count - done < kSymbols ? count - done : kSymbols;
      if (x) split(yr, yi, y + 2 * done, size);
      if (!rows.h_by_sample) split(hr, hi, h + 2 * (first + done), size);
      for_rows(first + done, size, rows.symbols, [&](std::int64_t begin, std::int64_t end, std::int64_t sample) {
        if (rows.h_by_sample) {
          const Real r = h[2 * sample], j = h[2 * sample + 1];
          Real w, v, g;
          weigh<m>(r * r + j * j, n0[sample], w, v, g);
          for (std::int64_t i = begin; i < end; ++i) rotate_back(r, j, w, yr[i], yi[i], xr[i], xi[i]);
          return;
        }
        const auto each = [&](auto variance) {
          Real* __restrict v = noise + done;
          Real* __restrict g = gain + done;
          for (std::int64_t i = begin; i < end; ++i) {
            Real w;
            weigh<m>(hr[i] * hr[i] + hi[i] * hi[i], variance(i), w, v[i], g[i]);
            if (x) rotate_back(hr[i], hi[i], w, yr[i], yi[i], xr[i], xi[i]);
          }
        };
        if (rows.n0_by_sample) {
          each([c = n0[sample]](std::int64_t) { return c; });
        } else {
          each([c = n0 + first + done](std::int64_t i) { return c[i]; });
        }
      });
      if (x) join(x + 2 * done, xr, xi, size);
    }
  });
}

SEMDIFF_ISA_END
