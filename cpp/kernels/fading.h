// SPDX-License-Identifier: Apache-2.0
// Flat fading: y = h s + n, h = los + scatter CN(0, 1), one h for `coherence` neighbouring symbols of a sample. The gains are numbered
// sample by sample; gain j is the reals 2j and 2j + 1 of their draw, and the noise of symbol i the reals 2i and 2i + 1 of another's.
#pragma once

#include "equalizer.h"
#include "rng.h"

SEMDIFF_ISA_BEGIN

constexpr std::int64_t kSymbols = kBlock / 2;  // symbols handled together
constexpr std::int64_t kPlane = kSymbols + 2 * kPhiloxStep;

// What a block of symbols draws, in symbol order: real and imaginary parts apart, so that arithmetic needs no shuffles.
template <typename Real>
struct Planes {
  alignas(64) Real re[kPlane];
  alignas(64) Real im[kPlane];

  // Complex numbers [first, first + count) of a draw; returns where the first one is, because a counter holds two.
  SEMDIFF_INLINE std::int64_t draw(std::int64_t first, std::int64_t count, PhiloxKey key) {
    constexpr std::int64_t most = kPlane / 2;
    alignas(64) std::uint32_t w[4][most];
    alignas(64) Real z[4][most];
    const std::int64_t begin = first / 2;
    const auto groups = static_cast<std::int32_t>((first + count + 1) / 2 - begin);
    philox_block(w[0], most, key.seed, key.offset + static_cast<std::uint64_t>(begin), groups);
    for (std::int32_t i = 0; i < groups; ++i) box_muller(w[0][i], w[1][i], z[0][i], z[1][i]);
    for (std::int32_t i = 0; i < groups; ++i) box_muller(w[2][i], w[3][i], z[2][i], z[3][i]);
    for (std::int32_t i = 0; i < groups; ++i) {
      re[2 * i] = z[0][i];
      re[2 * i + 1] = z[2][i];
    }
    for (std::int32_t i = 0; i < groups; ++i) {
      im[2 * i] = z[1][i];
      im[2 * i + 1] = z[3][i];
    }
    return first % 2;
  }
};

template <typename Real>
struct Gain {
  Real los, scatter;  // scatter in each real dimension
  SEMDIFF_INLINE explicit Gain(const FadingModel& model)
      : los(static_cast<Real>(model.los)), scatter(static_cast<Real>(model.scatter * 0.70710678118654752440)) {}
  SEMDIFF_INLINE Real re(Real z) const { return los + scatter * z; }
  SEMDIFF_INLINE Real im(Real z) const { return scatter * z; }
};

// Gains [first, first + count), two reals each.
template <typename Real>
void fading_gains(Real* __restrict h, FadingModel model, std::int64_t first, std::int64_t count) {
  const Gain<Real> gain(model);
  normal(h, 2 * first, 2 * count, model.gain_key);
  for (std::int64_t i = 0; i < count; ++i) {
    h[2 * i] = gain.re(h[2 * i]);
    h[2 * i + 1] = gain.im(h[2 * i + 1]);
  }
}

// Calls f(begin, end, sample, gain) for each run of [0, count) that shares a sample and a gain.
template <typename F>
SEMDIFF_INLINE void for_gains(std::int64_t first, std::int64_t count, const FadingModel& model, F f) {
  const std::int64_t gains = (model.symbols + model.coherence - 1) / model.coherence;
  for_rows(first, count, model.symbols, [&](std::int64_t begin, std::int64_t end, std::int64_t sample) {
    const std::int64_t start = first - sample * model.symbols;  // where symbol `begin` = 0 lies in its sample
    for_rows(start + begin, end - begin, model.coherence, [&](std::int64_t from, std::int64_t to, std::int64_t gain) {
      f(begin + from, begin + to, sample, sample * gains + gain);
    });
  });
}

template <typename Real>
SEMDIFF_INLINE void fade(Real hr, Real hi, Real sr, Real si, Real b, Real nr, Real ni, Real& yr, Real& yi) {
  yr = (hr * sr - hi * si) + b * nr;
  yi = (hr * si + hi * sr) + b * ni;
}

// Runs body.run(begin, end, sample, hr, hi) (one gain) or body.each(begin, end, sample, hr, hi) (pointers to a gain for each symbol).
template <typename Real, typename Run, typename Each>
SEMDIFF_INLINE void for_faded(const Real* __restrict gains, const FadingModel& model, std::int64_t first, std::int64_t count, Run run,
                              Each each) {
  Planes<Real> h, n;
  const Gain<Real> gain(model);
  for (std::int64_t done = 0; done < count; done += kSymbols) {
    const std::int64_t size = count - done < kSymbols ? count - done : kSymbols;
    const std::int64_t at = n.draw(first + done, size, model.noise_key);
    const Real* __restrict nr = n.re + at;
    const Real* __restrict ni = n.im + at;
    if (gains) {
      for_gains(first + done, size, model, [&](std::int64_t begin, std::int64_t end, std::int64_t sample, std::int64_t j) {
        run(done, begin, end, sample, gains[2 * j], gains[2 * j + 1], nr, ni);
      });
      continue;
    }
    h.draw(first + done, size, model.gain_key);  // the same parity as n
    Real* __restrict hr = h.re + at;
    Real* __restrict hi = h.im + at;
    for (std::int64_t i = 0; i < size; ++i) hr[i] = gain.re(hr[i]);
    for (std::int64_t i = 0; i < size; ++i) hi[i] = gain.im(hi[i]);
    for_rows(first + done, size, model.symbols, [&](std::int64_t begin, std::int64_t end, std::int64_t sample) {
      each(done, begin, end, sample, hr, hi, nr, ni);
    });
  }
}

// gains: those of for_gains, or null where each symbol has its own, drawn here. h, one gain a symbol, may be null.
template <typename Real>
void fading(Real* __restrict y, Real* __restrict h, const Real* __restrict s, const Real* __restrict gains, const Real* __restrict noise,
            FadingModel model, std::int64_t first, std::int64_t count) {
  const auto write = [&](std::int64_t done, std::int64_t begin, std::int64_t end, std::int64_t sample, auto hr, auto hi, const Real* nr,
                         const Real* ni) {
    const Real b = noise[sample];
    const Real* __restrict sb = s + 2 * done;
    Real* __restrict yb = y + 2 * done;
    for (std::int64_t i = begin; i < end; ++i) {
      fade(hr(i), hi(i), sb[2 * i], sb[2 * i + 1], b, nr[i], ni[i], yb[2 * i], yb[2 * i + 1]);
    }
    if (!h) return;
    Real* __restrict hb = h + 2 * done;
    for (std::int64_t i = begin; i < end; ++i) {
      hb[2 * i] = hr(i);
      hb[2 * i + 1] = hi(i);
    }
  };
  for_faded(
      gains, model, first, count,
      [&](std::int64_t done, std::int64_t begin, std::int64_t end, std::int64_t sample, Real hr, Real hi, const Real* nr, const Real* ni) {
        write(done, begin, end, sample, [hr](std::int64_t) { return hr; }, [hi](std::int64_t) { return hi; }, nr, ni);
      },
      [&](std::int64_t done, std::int64_t begin, std::int64_t end, std::int64_t sample, const Real* hr, const Real* hi, const Real* nr,
          const Real* ni) {
        write(done, begin, end, sample, [hr](std::int64_t i) { return hr[i]; }, [hi](std::int64_t i) { return hi[i]; }, nr, ni);
      });
}

// fading, then equalize, without y and h in memory; the same arithmetic in the same order, so the same bits. variance and gain may be null.
template <typename Real>
void fading_equalized(Real* __restrict x, Real* __restrict variance, Real* __restrict gain, const Real* __restrict s,
                      const Real* __restrict gains, const Real* __restrict noise, const Real* __restrict n0, FadingModel model,
                      Equalizer method, std::int64_t first, std::int64_t count) {
  with_method(method, [&](auto tag) {
    constexpr Equalizer m = decltype(tag)::value;
    for_faded(
        gains, model, first, count,
        [&](std::int64_t done, std::int64_t begin, std::int64_t end, std::int64_t sample, Real hr, Real hi, const Real* nr,
            const Real* ni) {
          Real w, v, g;
          weigh<m>(hr * hr + hi * hi, n0[sample], w, v, g);
          const Real b = noise[sample];
          const Real* __restrict sb = s + 2 * done;
          Real* __restrict xb = x + 2 * done;
          for (std::int64_t i = begin; i < end; ++i) {
            Real yr, yi;
            fade(hr, hi, sb[2 * i], sb[2 * i + 1], b, nr[i], ni[i], yr, yi);
            rotate_back(hr, hi, w, yr, yi, xb[2 * i], xb[2 * i + 1]);
          }
          for (std::int64_t i = begin; variance && i < end; ++i) variance[done + i] = v;
          for (std::int64_t i = begin; gain && i < end; ++i) gain[done + i] = g;
        },
        [&](std::int64_t done, std::int64_t begin, std::int64_t end, std::int64_t sample, const Real* __restrict hr,
            const Real* __restrict hi, const Real* __restrict nr, const Real* __restrict ni) {
          const Real b = noise[sample], c = n0[sample];
          const Real* __restrict sb = s + 2 * done;
          Real* __restrict xb = x + 2 * done;
          Real* __restrict vb = variance + done;
          Real* __restrict gb = gain + done;
          for (std::int64_t i = begin; i < end; ++i) {
            Real yr, yi, w;
            fade(hr[i], hi[i], sb[2 * i], sb[2 * i + 1], b, nr[i], ni[i], yr, yi);
            weigh<m>(hr[i] * hr[i] + hi[i] * hi[i], c, w, vb[i], gb[i]);
            rotate_back(hr[i], hi[i], w, yr, yi, xb[2 * i], xb[2 * i + 1]);
          }
        });
  });
}

SEMDIFF_ISA_END
