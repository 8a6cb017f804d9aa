// SPDX-License-Identifier: Apache-2.0
// exp, log, sin and cos as branch-free polynomials in +, -, *, / alone. libm is not used: its results differ between CPUs (it picks
// FMA variants at run time) and it does not vectorise. With -ffp-contract=off these give the same bits on every instruction set.
#pragma once

#include "isa.h"

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
  static constexpr int log_terms = 5, trig_terms = 5, exp_terms = 7;
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

template <typename Real>
SEMDIFF_INLINE Real clamp(Real x, Real low, Real high) {
  // Written so that NaN passes through: a comparison with NaN is false.
  x = x < low ? low : x;
  return x > high ? high : x;
}

// sqrt compiles to one correctly rounded instruction; spelled as a builtin because <cmath> would bring in inline library code.
SEMDIFF_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
SEMDIFF_INLINE double square_root(double x) { return __builtin_sqrt(x); }

// e^x, relative error below 2 ulp; saturates at the ends of the normal range instead of reaching 0 or infinity.
template <typename Real>
SEMDIFF_INLINE Real exponential(Real x) {
  using F = Format<Real>;
  // ln 2 in two parts: the high one has trailing zeros, so n * high is exact.
  constexpr Real ln2_high = sizeof(Real) == 4 ? Real(0.693359375) : Real(6.93147180369123816490e-01);
  constexpr Real ln2_low = sizeof(Real) == 4 ? Real(-2.12194440e-4) : Real(1.90821492927058770002e-10);
  x = clamp(x, F::exp_min, F::exp_max);
  const Real shifted = x * Real(kLog2E) + F::round_magic;
  const Real n = shifted - F::round_magic;
  const Real r = (x - n * ln2_high) - n * ln2_low;  // |r| <= ln(2)/2
  Real p = Real(inverse_factorial(F::exp_terms));
#pragma GCC unroll 16
  for (int k = F::exp_terms - 1; k >= 0; --k) p = Real(inverse_factorial(k)) + p * r;
  // The low bits of `shifted` hold n as an integer, which makes the exponent field of 2^n. A product, not an addition to the exponent
  // field of p, so that NaN stays NaN whatever its payload.
  using UInt = typename F::UInt;
  const UInt power = (__builtin_bit_cast(UInt, shifted) + static_cast<UInt>(F::bias)) << F::mantissa;
  return p * __builtin_bit_cast(Real, power);
}

// ln(x) for normal positive x: x = 2^e m with m in [sqrt(1/2), sqrt(2)), then 2 artanh((m - 1)/(m + 1)) as an odd series.
template <typename Real>
SEMDIFF_INLINE Real logarithm(Real x) {
  using F = Format<Real>;
  using Int = typename F::Int;
  const Int bits = __builtin_bit_cast(Int, x);
  const Int e = (bits - F::sqrt_half) >> F::mantissa;
  const Real m = __builtin_bit_cast(Real, bits - (e << F::mantissa));
  const Real s = (m - Real(1)) / (m + Real(1));
  const Real s2 = s * s;
  Real p = Real(2.0 / (2 * F::log_terms + 1));
#pragma GCC unroll 16
  for (int k = F::log_terms - 1; k >= 1; --k) {
    p = Real(2.0 / (2 * k + 1)) + p * s2;
  }
  // s * (2 + ...) split as 2s + s*s2*p keeps the leading term exact.
  constexpr Real ln2_high = sizeof(Real) == 4 ? Real(0.693359375) : Real(6.93147180369123816490e-01);
  constexpr Real ln2_low = sizeof(Real) == 4 ? Real(-2.12194440e-4) : Real(1.90821492927058770002e-10);
  const Real ef = static_cast<Real>(e);
  return ef * ln2_high + (Real(2) * s + (s * s2 * p + ef * ln2_low));
}

// sin and cos of 2 pi turn / 2^32: the integer argument makes the range reduction exact.
template <typename Real>
SEMDIFF_INLINE void sincos_turn(std::uint32_t turn, Real& sine, Real& cosine) {
  using F = Format<Real>;
  using Int = typename F::Int;
  const std::uint32_t quadrant = (turn + 0x20000000u) >> 30;             // nearest multiple of a quarter turn
  const auto rest = static_cast<std::int32_t>(turn - (quadrant << 30));  // within +- an eighth of a turn
  const Real a = static_cast<Real>(rest) * Real(kPi / 2147483648.0);     // |a| <= pi/4
  const Real a2 = a * a;
  // Taylor series: sin a = a (1 - a^2/3! + ...), cos a = 1 - a^2/2! + ...
  constexpr int n = F::trig_terms;
  constexpr double sign = n % 2 == 0 ? 1.0 : -1.0;
  Real s = Real(sign * inverse_factorial(2 * n + 1)), c = Real(sign * inverse_factorial(2 * n));
#pragma GCC unroll 16
  for (int k = n - 1; k >= 0; --k) {
    const double term_sign = k % 2 == 0 ? 1.0 : -1.0;
    s = Real(term_sign * inverse_factorial(2 * k + 1)) + s * a2;
    c = Real(term_sign * inverse_factorial(2 * k)) + c * a2;
  }
  s = s * a;
  const bool swap = (quadrant & 1u) != 0;
  const Real s_abs = swap ? c : s;
  const Real c_abs = swap ? s : c;
  // quadrant 0: (s, c)  1: (c, -s)  2: (-s, -c)  3: (-c, s). Signs go in by the sign bit.
  const Int s_sign = static_cast<Int>(static_cast<typename F::UInt>(quadrant & 2u) << (8 * sizeof(Real) - 2));
  const Int c_sign = static_cast<Int>(static_cast<typename F::UInt>((quadrant + 1u) & 2u) << (8 * sizeof(Real) - 2));
  sine = __builtin_bit_cast(Real, __builtin_bit_cast(Int, s_abs) ^ s_sign);
  cosine = __builtin_bit_cast(Real, __builtin_bit_cast(Int, c_abs) ^ c_sign);
}

SEMDIFF_ISA_END
