// SPDX-License-Identifier: Apache-2.0
// exp, log, sin and cos as branch-free polynomials in +, -, *, / alone. libm is not used: its results differ between CPUs (it picks
// FMA variants at run time) and it does not vectorise. With -ffp-contract=off these give the same bits on every instruction set.
#pragma once

#include "pack.h"

SEMDIFF_ISA_BEGIN

template <typename Real>
struct Format;

template <>
struct Format<float> {
  using Int = std::int32_t;
  using UInt = std::uint32_t;
  static constexpr int mantissa = 23;
  static constexpr Int bias = 127;
  static constexpr Int half = 0x3f000000;            // bits of 0.5
  static constexpr Int sqrt_half = 0x3f3504f3;       // bits of sqrt(1/2)
  static constexpr float round_magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer
  static constexpr float exp_min = -87.0f, exp_max = 88.0f;
  static constexpr int log_terms = 4, trig_terms = 4, exp_terms = 7;
};

template <>
struct Format<double> {
  using Int = std::int64_t;
  using UInt = std::uint64_t;
  static constexpr int mantissa = 52;
  static constexpr Int bias = 1023;
  static constexpr Int half = 0x3fe0000000000000;
  static constexpr Int sqrt_half = 0x3fe6a09e667f3bcd;
  static constexpr double round_magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr double exp_min = -708.0, exp_max = 709.0;
  static constexpr int log_terms = 11, trig_terms = 9, exp_terms = 13;
};

constexpr double kLn2 = 0.693147180559945309417232121458;
constexpr double kLog2E = 1.44269504088896340735992468100;
constexpr double kPi = 3.14159265358979323846264338328;

constexpr double inverse_factorial(int n) {
  double product = 1;
  for (int k = 2; k <= n; ++k) product *= k;
  return 1.0 / product;
}

template <typename X>
SEMDIFF_INLINE X clamp(X x, ElementOf<X> low, ElementOf<X> high) {
  return at_most(at_least(x, low), high);
}

// e^x, relative error below 2 ulp, for x between exp_min and exp_max, or NaN.
template <typename X>
SEMDIFF_INLINE X exponential_within(X x) {
  using Real = ElementOf<X>;
  using F = Format<Real>;
  // ln 2 in two parts: the high one has trailing zeros, so n * high is exact.
  constexpr Real ln2_high = sizeof(Real) == 4 ? Real(0.693359375) : Real(6.93147180369123816490e-01);
  constexpr Real ln2_low = sizeof(Real) == 4 ? Real(-2.12194440e-4) : Real(1.90821492927058770002e-10);
  const X shifted = x * Real(kLog2E) + F::round_magic;
  const X n = shifted - F::round_magic;
  const X r = (x - n * ln2_high) - n * ln2_low;  // |r| <= ln(2)/2
  X p = Real(inverse_factorial(F::exp_terms));
#pragma GCC unroll 16
  for (int k = F::exp_terms - 1; k >= 0; --k) p = Real(inverse_factorial(k)) + p * r;
  // The low bits of `shifted` hold n as an integer, which makes the exponent field of 2^n. A product, not an addition to the exponent
  // field of p, so that NaN stays NaN whatever its payload.
  using UInt = typename F::UInt;
  return p * bits_as<Real>((bits_as<UInt>(shifted) + static_cast<UInt>(F::bias)) << F::mantissa);
}

// The same for any x; saturates at the ends of the normal range instead of reaching 0 or infinity.
template <typename X>
SEMDIFF_INLINE X exponential(X x) {
  using F = Format<ElementOf<X>>;
  return exponential_within(clamp(x, F::exp_min, F::exp_max));
}

// ln(x) for normal positive x: x = 2^e m with m in [sqrt(1/2), sqrt(2)), then 2 artanh((m - 1)/(m + 1)) as an odd series.
template <typename X>
SEMDIFF_INLINE X logarithm(X x) {
  using Real = ElementOf<X>;
  using F = Format<Real>;
  using Int = typename F::Int;
  const auto bits = bits_as<Int>(x);
  const auto e = (bits - F::sqrt_half) >> F::mantissa;
  const X m = bits_as<Real>(bits - (e << F::mantissa));
  const X s = (m - Real(1)) / (m + Real(1));
  const X s2 = s * s;
  X p = Real(2.0 / (2 * F::log_terms + 1));
#pragma GCC unroll 16
  for (int k = F::log_terms - 1; k >= 1; --k) {
    p = Real(2.0 / (2 * k + 1)) + p * s2;
  }
  // s * (2 + ...) split as 2s + s*s2*p keeps the leading term exact.
  constexpr Real ln2_high = sizeof(Real) == 4 ? Real(0.693359375) : Real(6.93147180369123816490e-01);
  constexpr Real ln2_low = sizeof(Real) == 4 ? Real(-2.12194440e-4) : Real(1.90821492927058770002e-10);
  const X ef = convert<Real>(e);
  return ef * ln2_high + (Real(2) * s + (s * s2 * p + ef * ln2_low));
}

// sin and cos of 2 pi turn / 2^32, `turn` a std::uint32_t or a pack of them: the integer argument makes the range reduction exact.
template <typename X>
SEMDIFF_INLINE void sincos_turn(Alike<X, std::uint32_t> turn, X& sine, X& cosine) {
  using Real = ElementOf<X>;
  using F = Format<Real>;
  using UInt = typename F::UInt;
  constexpr UInt top = UInt{1} << (8 * sizeof(Real) - 1);                   // the sign bit
  const auto quarter = turn + 0x20000000u;                                  // its two upper bits: the nearest multiple of a quarter turn
  const auto rest = bits_as<std::int32_t>(turn - (quarter & 0xc0000000u));  // within +- an eighth of a turn
  const X a = convert<Real>(rest) * Real(kPi / 2147483648.0);               // |a| <= pi/4
  const X a2 = a * a;
  // Taylor series: sin a = a (1 - a^2/3! + ...), cos a = 1 - a^2/2! + ...
  constexpr int n = F::trig_terms;
  constexpr double sign = n % 2 == 0 ? 1.0 : -1.0;
  X s = Real(sign * inverse_factorial(2 * n + 1)), c = Real(sign * inverse_factorial(2 * n));
#pragma GCC unroll 16
  for (int k = n - 1; k >= 0; --k) {
    const double term_sign = k % 2 == 0 ? 1.0 : -1.0;
    s = Real(term_sign * inverse_factorial(2 * k + 1)) + s * a2;
    c = Real(term_sign * inverse_factorial(2 * k)) + c * a2;
  }
  s = s * a;
  // quadrant 0: (s, c)  1: (c, -s)  2: (-s, -c)  3: (-c, s). Signs go in by the sign bit, which is the upper bit of the quadrant.
  const auto quadrant = convert<UInt>(quarter) << (8 * sizeof(Real) - 32);
  swap_if_negative(bits_as<typename F::Int>(quadrant << 1), s, c);
  sine = bits_as<Real>(bits_as<UInt>(s) ^ (quadrant & top));
  cosine = bits_as<Real>(bits_as<UInt>(c) ^ ((quadrant + (top >> 1)) & top));
}

SEMDIFF_ISA_END
