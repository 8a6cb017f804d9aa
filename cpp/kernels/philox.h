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

// Several counters at once, one struct for each instruction set: the compiler's own vector code for the 32x32 -> 64-bit products costs
// twice as much. Integers only, so the words are the same either way. set(): `lanes` counters from `counter` on; a counter's low word may
// not wrap among them.
#if defined(__AVX512F__)
// Each word in a 64-bit lane, whose upper half may hold anything: products stay where they are made.
struct PhiloxVector {
  using Words = __m512i;
  static constexpr int lanes = 8;
  Words c0, c1, c2, c3;

  static Words repeat(std::uint32_t x) { return _mm512_set1_epi64(x); }
  void set(std::uint64_t counter) {
    c0 = _mm512_add_epi64(_mm512_set1_epi64(static_cast<long long>(counter)), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
    c1 = high(c0);
    c2 = c3 = _mm512_setzero_si512();
  }
  static Words high(Words x) { return _mm512_srli_epi64(x, 32); }
  void round(Words m0, Words m1, Words k0, Words k1) {
    const Words p0 = _mm512_mul_epu32(m0, c0), p1 = _mm512_mul_epu32(m1, c2);
    c0 = _mm512_ternarylogic_epi64(high(p1), c1, k0, 0x96);  // exclusive or of three
    c2 = _mm512_ternarylogic_epi64(high(p0), c3, k1, 0x96);
    c1 = p1;
    c3 = p0;
  }
  static void put(std::uint32_t* to, Words x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi64_epi32(x)); }
};
#elif defined(__AVX2__)
// Words side by side: half the registers of 64-bit lanes, of which AVX2 has too few for that.
struct PhiloxVector {
  using Words = __m256i;
  static constexpr int lanes = 8;
  Words c0, c1, c2, c3;

  static Words repeat(std::uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
  void set(std::uint64_t counter) {
    c0 = _mm256_add_epi32(repeat(static_cast<std::uint32_t>(counter)), _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0));
    c1 = repeat(static_cast<std::uint32_t>(counter >> 32));
    c2 = c3 = _mm256_setzero_si256();
  }
  static Words high_product(Words x, Words m) {
    const Words even = _mm256_mul_epu32(x, m), odd = _mm256_mul_epu32(_mm256_srli_epi64(x, 32), m);
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
  }
  void round(Words m0, Words m1, Words k0, Words k1) {
    const Words high0 = high_product(c0, m0), high1 = high_product(c2, m1);
    const Words low0 = _mm256_mullo_epi32(c0, m0), low1 = _mm256_mullo_epi32(c2, m1);
    c0 = _mm256_xor_si256(_mm256_xor_si256(high1, c1), k0);
    c2 = _mm256_xor_si256(_mm256_xor_si256(high0, c3), k1);
    c1 = low1;
    c3 = low0;
  }
  static void put(std::uint32_t* to, Words x) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), x); }
};
#endif

// Words of counters [counter, counter + count) into w[0..3][count], on to the next multiple of kPhiloxStep past count. Rows are `stride`
// apart.
constexpr std::int32_t kPhiloxStep = 64;

SEMDIFF_SHARED void philox_block(std::uint32_t* __restrict w, std::int64_t stride, std::uint64_t seed, std::uint64_t counter,
                                 std::int32_t count) {
  count = (count + kPhiloxStep - 1) / kPhiloxStep * kPhiloxStep;
  auto k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  std::int32_t i = 0;
#if defined(__AVX2__)
  using Vector = PhiloxVector;
  constexpr int chains = 4;  // independent ones, which hide the multiplier's latency
  const auto m0 = Vector::repeat(kPhiloxM0), m1 = Vector::repeat(kPhiloxM1);
  Vector::Words key0[10], key1[10];
  for (std::uint32_t round = 0; round < 10; ++round) {
    key0[round] = Vector::repeat(k0 + round * kPhiloxW0);
    key1[round] = Vector::repeat(k1 + round * kPhiloxW1);
  }
  const bool wraps = static_cast<std::uint32_t>(counter) > 0xffffffffu - static_cast<std::uint32_t>(count);
  for (; !wraps && i < count; i += chains * Vector::lanes) {
    Vector c[chains];
    for (int n = 0; n < chains; ++n) c[n].set(counter + static_cast<std::uint64_t>(i + n * Vector::lanes));
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      for (int n = 0; n < chains; ++n) c[n].round(m0, m1, key0[round], key1[round]);
    }
    for (int n = 0; n < chains; ++n) {
      std::uint32_t* to = w + i + n * Vector::lanes;
      Vector::put(to, c[n].c0);
      Vector::put(to + stride, c[n].c1);
      Vector::put(to + 2 * stride, c[n].c2);
      Vector::put(to + 3 * stride, c[n].c3);
    }
  }
#endif
  for (; i < count; ++i) {
    const std::uint64_t c = counter + static_cast<std::uint64_t>(i);
    const PhiloxWords words = philox({static_cast<std::uint32_t>(c), static_cast<std::uint32_t>(c >> 32), 0u, 0u}, k0, k1);
    w[i] = words.w0;
    w[i + stride] = words.w1;
    w[i + 2 * stride] = words.w2;
    w[i + 3 * stride] = words.w3;
  }
}

SEMDIFF_ISA_END
