// SPDX-License-Identifier: Apache-2.0
// Counter-based normal numbers: Philox and Box-Muller. Element i of a draw uses counter offset + i/4, lane i%4, so it depends on
// (seed, offset, i) alone.
#pragma once

#include "math.h"
#include "philox.h"

SEMDIFF_ISA_BEGIN

// word / 2^32, rounded once.
template <typename X>
SEMDIFF_INLINE X fraction(Alike<X, std::uint32_t> word) {
  using Real = ElementOf<X>;
  if constexpr (sizeof(Real) == 4 && Shape<X>::size > 1 && kVectorBytes < 64) {
    // AVX2 converts signed integers only. Each half of the word becomes the low bits of a float, and one addition rounds their sum.
    const X high = bits_as<Real>((word >> 16) | 0x43000000u);     // 2^7 + the upper half / 2^16
    const X low = bits_as<Real>((word & 0xffffu) | 0x3b000000u);  // 2^-9 + the lower half / 2^32
    return (high - Real(128.001953125)) + low;
  } else {
    return convert<Real>(word) * Real(1.0 / 4294967296.0);
  }
}

// Words to the Box-Muller radius' logarithm. u = (w + 1/2) / 2^32 lies in (0, 1]; its smallest value caps |z| at 6.76.
template <typename X>
SEMDIFF_INLINE X log_uniform(Alike<X, std::uint32_t> word) {
  return logarithm(fraction<X>(word) + ElementOf<X>(0.5 / 4294967296.0));
}

// Pairs of words to pairs of normals, `count` of each, rounded up to kPhiloxStep at most. In two loops: each holds one long chain of
// instructions, and the root, which is slow and needs none of the other units, is taken beside the second. The logarithm is one chain
// alone, so twice as many vectors go through it together.
template <typename Real>
SEMDIFF_SHARED void box_muller(Real* __restrict z0, Real* __restrict z1, const std::uint32_t* __restrict w_radius,
                               const std::uint32_t* __restrict w_angle, std::int32_t count) {
  using X = PackOf<Real>;
  using Words = Alike<X, std::uint32_t>;
  constexpr int vectors = sizeof(Real) == 4 && kVectorBytes < 64 ? 8 : 4;
  using Wide = PackOf<Real, vectors>;
  static_assert(kPhiloxStep % Shape<Wide>::size == 0);
  for (std::int32_t i = 0; i < count; i += Shape<Wide>::size) {
    store(z0 + i, log_uniform<Wide>(load<Alike<Wide, std::uint32_t>>(w_radius + i)));
  }
  for (std::int32_t i = 0; i < count; i += Shape<X>::size) {
    const X radius = square_root(X(Real(-2)) * load<X>(z0 + i));
    X sine, cosine;
    sincos_turn(load<Words>(w_angle + i), sine, cosine);
    store(z0 + i, radius * cosine);
    store(z1 + i, radius * sine);
  }
}

// Whole counters [counter, counter + groups) to 4*groups normals, groups <= kBlock/4: integers, then floats, then the interleave that
// puts lane l of counter c at 4c + l.
template <typename Real>
SEMDIFF_SHARED void normal_groups(Real* __restrict out, std::uint64_t seed, std::uint64_t counter, std::int32_t groups) {
  constexpr std::int32_t most = kBlock / 4;
  static_assert(most % kPhiloxStep == 0 && kPhiloxStep % Shape<PackOf<Real>>::size == 0);
  alignas(64) std::uint32_t w[4][most];
  alignas(64) Real z[4][most];
  philox_block(w[0], most, seed, counter, groups);
  box_muller(z[0], z[1], w[0], w[1], groups);
  box_muller(z[2], z[3], w[2], w[3], groups);
  for (std::int32_t i = 0; i < groups; ++i) {
    out[4 * i] = z[0][i];
    out[4 * i + 1] = z[1][i];
    out[4 * i + 2] = z[2][i];
    out[4 * i + 3] = z[3][i];
  }
}

// Elements [first, first + count) of the draw named by key.
template <typename Real>
SEMDIFF_SHARED void normal(Real* __restrict out, std::int64_t first, std::int64_t count, PhiloxKey key) {
  const auto whole = [&](std::int64_t element) { return key.offset + static_cast<std::uint64_t>(element) / 4; };
  const auto edge = [&](std::int64_t from, std::int64_t to) {  // part of one counter
    Real group[4];
    normal_groups(group, key.seed, whole(from), 1);
    for (std::int64_t i = from; i < to; ++i) out[i - first] = group[i % 4];
  };
  const std::int64_t last = first + count;
  std::int64_t i = first;
  if (i % 4 != 0) {
    const std::int64_t stop = (i / 4 + 1) * 4 < last ? (i / 4 + 1) * 4 : last;
    edge(i, stop);
    i = stop;
  }
  while (last - i >= 4) {
    const auto groups = static_cast<std::int32_t>((last - i < kBlock ? last - i : kBlock) / 4);
    normal_groups(out + (i - first), key.seed, whole(i), groups);
    i += 4 * groups;
  }
  if (i < last) edge(i, last);
}

// A new seed derived from key, a domain (so that split and fold_in never meet) and an index; two Philox calls, because the counter has
// 128 bits and offset, domain and index need more.
SEMDIFF_INLINE std::uint64_t derive_seed(PhiloxKey key, std::uint32_t domain, std::uint64_t index) {
  const auto once = [domain](std::uint64_t seed, std::uint64_t counter) {
    const PhiloxWords w = philox({static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32), domain, 0u},
                                 static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
    return std::uint64_t{w.w0} | (std::uint64_t{w.w1} << 32);
  };
  return once(once(key.seed, key.offset), index);
}

SEMDIFF_ISA_END
