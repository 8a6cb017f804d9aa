// SPDX-License-Identifier: Apache-2.0
// Flat fading: y = h s + n, h = los + scatter CN(0, 1), one h for `coherence` neighbouring symbols of a sample. The gains are numbered
// sample by sample; gain j is the reals 2j and 2j + 1 of their draw, and the noise of symbol i the reals 2i and 2i + 1 of another's.
#pragma once

#include "equalizer.h"
#include "rng.h"

SEMDIFF_ISA_BEGIN

constexpr std::int64_t kPlane = kSymbols + 2 * kPhiloxStep;

// What a block of symbols draws, in symbol order.
template <typename Real>
struct Planes {
  alignas(64) Real re[kPlane];
  alignas(64) Real im[kPlane];

  // Complex numbers [first, first + count) of a draw; returns where the first one is, because a counter holds two.
  SEMDIFF_SHARED std::int64_t draw(std::int64_t first, std::int64_t count, PhiloxKey key) {
    constexpr std::int64_t most = kPlane / 2;
    alignas(64) std::uint32_t w[4][most];
    alignas(64) Real z[4][most];
    const std::int64_t begin = first / 2;
    const auto groups = static_cast<std::int32_t>((first + count + 1) / 2 - begin);
    philox_block(w[0], most, key.seed, key.offset + static_cast<std::uint64_t>(begin), groups);
    box_muller(z[0], z[1], w[0], w[1], groups);
    box_muller(z[2], z[3], w[2], w[3], groups);
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
    for_rows(start + begin, end - begin, model.coherence,
             [&](std::int64_t from, std::int64_t to, std::int64_t gain) { f(begin + from, begin + to, sample, sample * gains + gain); });
  });
}

template <typename Real>
SEMDIFF_INLINE void fade(Real hr, Real hi, Real sr, Real si, Real b, Real nr, Real ni, Real& yr, Real& yi) {
  yr = (hr * sr - hi * si) + b * nr;
  yi = (hr * si + hi * sr) + b * ni;
}

// Blocks of symbols: run(begin, end, sample, hr, hi, block) for those that share a gain, or each(begin, end, sample, block), with block.h,
// where each has its own. They fill block.re and block.im.
template <typename Real>
struct FadingBlock {
  std::int64_t done;  // symbols before this block
  const Real *sr, *si, *hr, *hi, *nr, *ni;
  Real *re, *im;
};

template <typename Real, typename Run, typename Each>
SEMDIFF_INLINE void for_faded(Real* __restrict out, const Real* __restrict s, const Real* __restrict gains, const FadingModel& model,
                              std::int64_t first, std::int64_t count, Run run, Each each) {
  Planes<Real> h, n;
  alignas(64) Real sr[kSymbols], si[kSymbols], re[kSymbols], im[kSymbols];
  const Gain<Real> gain(model);
  for (std::int64_t done = 0; done < count; done += kSymbols) {
    const std::int64_t size = count - done < kSymbols ? count - done : kSymbols;
    split(sr, si, s + 2 * done, size);
    const std::int64_t at = n.draw(first + done, size, model.noise_key);
    const FadingBlock<Real> block{done, sr, si, h.re + at, h.im + at, n.re + at, n.im + at, re, im};
    if (gains) {
      for_gains(first + done, size, model, [&](std::int64_t begin, std::int64_t end, std::int64_t sample, std::int64_t j) {
        run(begin, end, sample, gains[2 * j], gains[2 * j + 1], block);
      });
    } else {
      h.draw(first + done, size, model.gain_key);  // the same parity as n
      for (std::int64_t i = at; i < at + size; ++i) h.re[i] = gain.re(h.re[i]);
      for (std::int64_t i = at; i < at + size; ++i) h.im[i] = gain.im(h.im[i]);
      for_rows(first + done, size, model.symbols,
               [&](std::int64_t begin, std::int64_t end, std::int64_t sample) { each(begin, end, sample, block); });
    }
    join(out + 2 * done, re, im, size);
  }
}

// gains: those of for_gains, or null where each symbol has its own, drawn here. h, one gain a symbol, may be null.
template <typename Real>
void fading(Real* __restrict y, Real* __restrict h, const Real* __restrict s, const Real* __restrict gains, const Real* __restrict noise,
            FadingModel model, std::int64_t first, std::int64_t count) {
  using Block = FadingBlock<Real>;
  for_faded(
      y, s, gains, model, first, count,
      [&](std::int64_t begin, std::int64_t end, std::int64_t sample, Real hr, Real hi, const Block& k) {
        const Real b = noise[sample];
        for (std::int64_t i = begin; i < end; ++i) fade(hr, hi, k.sr[i], k.si[i], b, k.nr[i], k.ni[i], k.re[i], k.im[i]);
        for (std::int64_t i = begin; h && i < end; ++i) {
          h[2 * (k.done + i)] = hr;
          h[2 * (k.done + i) + 1] = hi;
        }
      },
      [&](std::int64_t begin, std::int64_t end, std::int64_t sample, const Block& k) {
        const Real b = noise[sample];
        for (std::int64_t i = begin; i < end; ++i) fade(k.hr[i], k.hi[i], k.sr[i], k.si[i], b, k.nr[i], k.ni[i], k.re[i], k.im[i]);
        if (h) join(h + 2 * (k.done + begin), k.hr + begin, k.hi + begin, end - begin);
      });
}

// fading, then equalize, without y and h in memory; the same arithmetic in the same order, so the same bits. variance and gain may be null
// where gains are given.
template <typename Real>
void fading_equalized(Real* __restrict x, Real* __restrict variance, Real* __restrict gain, const Real* __restrict s,
                      const Real* __restrict gains, const Real* __restrict noise, const Real* __restrict n0, FadingModel model,
                      Equalizer method, std::int64_t first, std::int64_t count) {
  using Block = FadingBlock<Real>;
  with_method(method, [&](auto tag) {
    constexpr Equalizer m = decltype(tag)::value;
    for_faded(
        x, s, gains, model, first, count,
        [&](std::int64_t begin, std::int64_t end, std::int64_t sample, Real hr, Real hi, const Block& k) {
          Real w, v, g;
          weigh<m>(hr * hr + hi * hi, n0[sample], w, v, g);
          const Real b = noise[sample];
          for (std::int64_t i = begin; i < end; ++i) {
            Real yr, yi;
            fade(hr, hi, k.sr[i], k.si[i], b, k.nr[i], k.ni[i], yr, yi);
            rotate_back(hr, hi, w, yr, yi, k.re[i], k.im[i]);
          }
          for (std::int64_t i = begin; variance && i < end; ++i) variance[k.done + i] = v;
          for (std::int64_t i = begin; gain && i < end; ++i) gain[k.done + i] = g;
        },
        [&](std::int64_t begin, std::int64_t end, std::int64_t sample, const Block& k) {
          const Real b = noise[sample], c = n0[sample];
          Real* __restrict v = variance + k.done;
          Real* __restrict g = gain + k.done;
          const Real* __restrict hr = k.hr, * __restrict hi = k.hi, * __restrict nr = k.nr, * __restrict ni = k.ni;
          const Real* __restrict sr = k.sr, * __restrict si = k.si;
          Real* __restrict re = k.re, * __restrict im = k.im;
          for (std::int64_t i = begin; i < end; ++i) {
            Real yr, yi, w;
            fade(hr[i], hi[i], sr[i], si[i], b, nr[i], ni[i], yr, yi);
            weigh<m>(hr[i] * hr[i] + hi[i] * hi[i], c, w, v[i], g[i]);
            rotate_back(hr[i], hi[i], w, yr, yi, re[i], im[i]);
          }
        });
  });
}

SEMDIFF_ISA_END
