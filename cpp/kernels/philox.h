// SPDX-License-Identifier: Apache-2.0
// Philox4x32-10, a counter-based generator: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include "isa.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

SEMDIFF_ISA_BEGIN

struct PhiloxWords {
  std::uint32_t w0, w1, w2, w3;
};

constexpr std::uint32_t kPhiloxM0 = 0xD2511F53u, kPhiloxM1 = 0xCD9E8D57u;  // multipliers
constexpr std::uint32_t kPhiloxW0 = 0x9E3779B9u, kPhiloxW1 = 0xBB67AE85u;  // Weyl increments of the key

SEMDIFF_INLINE PhiloxWords philox(PhiloxWords c, std::uint32_t k0, std::uint32_t k1) {
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{kPhiloxM0} * c.w0;
    const std::uint64_t p1 = std::uint64_t{kPhiloxM1} * c.w2;
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c.w1 ^ k0, static_cast<std::uint32_t>(p1), static_cast<std::uint32_t>(p0 >> 32) ^ c.w3 ^ k1,
         static_cast<std::uint32_t>(p0)};
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  return c;
}

// The compiler's own vector code for the 32x32 -> 64-bit products costs 1.7-2.6 times as much as these two instruction sets'
// even-lane multiply on 64-bit lanes, whose upper halves may hold anything. Integers only, so the words are the same either way.
#if defined(__AVX512F__)
struct WideWords {
  static constexpr int lanes = 8;
  __m512i v;
  static WideWords set(std::uint64_t x) { return {_mm512_set1_epi64(static_cast<long long>(x))}; }
  static WideWords count(std::uint64_t x) { return {_mm512_add_epi64(set(x).v, _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0))}; }
  static WideWords multiply(WideWords a, WideWords b) { return {_mm512_mul_epu32(a.v, b.v)}; }
  static WideWords high(WideWords a) { return {_mm512_srli_epi64(a.v, 32)}; }
  static WideWords exclusive_or(WideWords a, WideWords b, WideWords c) { return {_mm512_ternarylogic_epi64(a.v, b.v, c.v, 0x96)}; }
  void store(std::uint32_t* to) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi64_epi32(v)); }
};
#elif defined(__AVX2__)
struct WideWords {
  static constexpr int lanes = 4;
  __m256i v;
  static WideWords set(std::uint64_t x) { return {_mm256_set1_epi64x(static_cast<long long>(x))}; }
  static WideWords count(std::uint64_t x) { return {_mm256_add_epi64(set(x).v, _mm256_set_epi64x(3, 2, 1, 0))}; }
  static WideWords multiply(WideWords a, WideWords b) { return {_mm256_mul_epu32(a.v, b.v)}; }
  static WideWords high(WideWords a) { return {_mm256_srli_epi64(a.v, 32)}; }
  static WideWords exclusive_or(WideWords a, WideWords b, WideWords c) { return {_mm256_xor_si256(_mm256_xor_si256(a.v, b.v), c.v)}; }
  void store(std::uint32_t* to) const {
    const __m256i low_halves = _mm256_permutevar8x32_epi32(v, _mm256_set_epi32(7, 5, 3, 1, 6, 4, 2, 0));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_castsi256_si128(low_halves));
  }
};
#endif

// Words of counters [counter, counter + count) into w[0..3][count]. Rows are `stride` apart and may be written up to the next multiple
// of kPhiloxStep past count.
constexpr std::int32_t kPhiloxStep = 32;

SEMDIFF_INLINE void philox_block(std::uint32_t* __restrict w, std::int64_t stride, std::uint64_t seed, std::uint64_t counter,
                                 std::int32_t count) {
  auto k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
#if defined(__AVX2__)
  using W = WideWords;
  constexpr int unroll = 4;  // independent chains that hide the multiplier's latency
  const W m0 = W::set(kPhiloxM0), m1 = W::set(kPhiloxM1);
  W key0[10], key1[10];
  for (int round = 0; round < 10; ++round, k0 += kPhiloxW0, k1 += kPhiloxW1) {
    key0[round] = W::set(k0);
    key1[round] = W::set(k1);
  }
  for (std::int32_t i = 0; i < count; i += unroll * W::lanes) {
    W c0[unroll], c1[unroll], c2[unroll], c3[unroll];
    for (int n = 0; n < unroll; ++n) {
      c0[n] = W::count(counter + static_cast<std::uint64_t>(i + n * W::lanes));
      c1[n] = W::high(c0[n]);
      c2[n] = W::set(0);
      c3[n] = W::set(0);
    }
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      for (int n = 0; n < unroll; ++n) {
        const W p0 = W::multiply(m0, c0[n]), p1 = W::multiply(m1, c2[n]);
        c0[n] = W::exclusive_or(W::high(p1), c1[n], key0[round]);
        c2[n] = W::exclusive_or(W::high(p0), c3[n], key1[round]);
        c1[n] = p1;
        c3[n] = p0;
      }
    }
    for (int n = 0; n < unroll; ++n) {
      std::uint32_t* to = w + i + n * W::lanes;
      c0[n].store(to);
      c1[n].store(to + stride);
      c2[n].store(to + 2 * stride);
      c3[n].store(to + 3 * stride);
    }
  }
#else
  for (std::int32_t i = 0; i < count; ++i) {
    const std::uint64_t c = counter + static_cast<std::uint64_t>(i);
    const PhiloxWords words = philox({static_cast<std::uint32_t>(c), static_cast<std::uint32_t>(c >> 32), 0u, 0u}, k0, k1);
    w[i] = words.w0;
    w[i + stride] = words.w1;
    w[i + 2 * stride] = words.w2;
    w[i + 3 * stride] = words.w3;
  }
#endif
}

SEMDIFF_ISA_END
