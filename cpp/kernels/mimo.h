// SPDX-License-Identifier: Apache-2.0
// The singular value decomposition of complex 2x2 matrices in closed form, many side by side.
#pragma once

#include "math.h"

SEMDIFF_ISA_BEGIN

constexpr std::int64_t kMatrices = 64;  // matrices handled together: 26 numbers of each, 13 KB of doubles

template <typename Real>
struct Complex {
  Real re, im;
};

template <typename Real>
SEMDIFF_INLINE Complex<Real> operator+(Complex<Real> x, Complex<Real> y) {
  return {x.re + y.re, x.im + y.im};
}

template <typename Real>
SEMDIFF_INLINE Complex<Real> operator-(Complex<Real> x, Complex<Real> y) {
  return {x.re - y.re, x.im - y.im};
}

template <typename Real>
SEMDIFF_INLINE Complex<Real> operator*(Complex<Real> x, Complex<Real> y) {
  return {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
}

template <typename Real>
SEMDIFF_INLINE Complex<Real> operator*(Real x, Complex<Real> y) {
  return {x * y.re, x * y.im};
}

template <typename Real>
SEMDIFF_INLINE Complex<Real> conjugate(Complex<Real> x) {
  return {x.re, -x.im};
}

template <typename Real>
SEMDIFF_INLINE Complex<Real> choose(bool first, Complex<Real> x, Complex<Real> y) {
  return {first ? x.re : y.re, first ? x.im : y.im};
}

template <typename Real>
SEMDIFF_INLINE Real magnitude(Real x) {
  return x < Real(0) ? -x : x;
}

template <typename Real>
SEMDIFF_INLINE Real larger(Real x, Real y) {
  return x > y ? x : y;
}

template <typename Real>
SEMDIFF_INLINE Real energy(Complex<Real> x) {
  return x.re * x.re + x.im * x.im;
}

// z = modulus * phase with |phase| = 1 to rounding, however small z is; the phase of 0 is 1.
template <typename Real>
SEMDIFF_INLINE Real polar(Complex<Real> z, Complex<Real>& phase) {
  const Real most = larger(magnitude(z.re), magnitude(z.im));
  const bool zero = most == Real(0);
  const Real divisor = zero ? Real(1) : most;
  const Complex<Real> unit{zero ? Real(1) : z.re / divisor, z.im / divisor};  // its larger part is +-1
  const Real root = square_root(energy(unit));
  phase = {unit.re / root, unit.im / root};
  return most * root;
}

// H = [a b; c d] = U diag(s) V^H. Three steps, each unitary to rounding, so that U and V are:
//   the column with more energy goes first (f below is then the largest entry, which bounds every ratio) and Q rotates it to (f, 0);
//   phases make the triangle [f g; 0 h] real and non-negative;
//   the triangle's decomposition is Demmel and Kahan's ("Accurate singular values of bidiagonal matrices", 1990; LAPACK's lasv2), whose
//   singular values and vectors are good to a few units in the last place.
// The first column of V^H is made real and non-negative, which settles the phases that a decomposition leaves open.
template <typename Real>
SEMDIFF_INLINE void svd_2x2_one(Complex<Real> a, Complex<Real> b, Complex<Real> c, Complex<Real> d, Complex<Real> u[4], Real s[2],
                                Complex<Real> vh[4]) {
  using F = Format<Real>;
  using UInt = typename F::UInt;
  // Scaled by a power of two to entries about 1, so that squares neither overflow nor vanish.
  constexpr UInt last = 2 * static_cast<UInt>(F::bias) - 1;
  const Real most = larger(larger(larger(magnitude(a.re), magnitude(a.im)), larger(magnitude(b.re), magnitude(b.im))),
                           larger(larger(magnitude(c.re), magnitude(c.im)), larger(magnitude(d.re), magnitude(d.im))));
  const Real bounded = clamp(most, __builtin_bit_cast(Real, UInt(1) << F::mantissa), __builtin_bit_cast(Real, last << F::mantissa));
  const UInt exponent = __builtin_bit_cast(UInt, bounded) >> F::mantissa;
  const Real down = __builtin_bit_cast(Real, (last + 1 - exponent) << F::mantissa);
  const Real up = __builtin_bit_cast(Real, exponent << F::mantissa);
  a = down * a;
  b = down * b;
  c = down * c;
  d = down * d;

  const Real left = energy(a) + energy(c), right = energy(b) + energy(d);
  const bool swap = right > left;
  const Real f2 = swap ? right : left;
  const bool zero = f2 == Real(0);
  const Real f = square_root(f2), divisor = zero ? Real(1) : f;
  // Q = [x -y*; y x*], its first column the direction of H's larger one.
  Complex<Real> x = choose(swap, b, a), y = choose(swap, d, c);
  x = {zero ? Real(1) : x.re / divisor, x.im / divisor};
  y = {y.re / divisor, y.im / divisor};
  const Complex<Real> other_top = choose(swap, a, b), other_bottom = choose(swap, c, d);
  Complex<Real> g_phase, h_phase;
  const Real g = polar(conjugate(x) * other_top + conjugate(y) * other_bottom, g_phase);
  const Real h_rounded = polar(x * other_bottom - y * other_top, h_phase);
  const Real h = h_rounded > f ? f : h_rounded;

  // With l = 1 - h/f and m = g/f: s1 = f grow, s2 = h / grow, grow = (sqrt((2 - l)^2 + m^2) + sqrt(l^2 + m^2)) / 2 >= 1.
  const Real l = (f - h) / divisor, m = g / divisor, two_l = Real(2) - l;
  const Real sum = square_root(two_l * two_l + m * m);
  const Real difference = l == Real(0) ? m : square_root(l * l + m * m);  // m^2 may vanish; l never is that small
  const Real half = Real(0.5) * (sum + difference);
  const Real grow = half < Real(1) ? Real(1) : half;
  const Real span = difference + l;  // 0 for a multiple of a unitary matrix: then any rotation will do, and this takes none
  const Real tangent = (m / (sum + two_l) + m / (span == Real(0) ? Real(1) : span)) * (Real(1) + grow);  // twice the right angle's
  const Real hypotenuse = square_root(tangent * tangent + Real(4));
  const Real cos_right = Real(2) / hypotenuse, sin_right = tangent / hypotenuse;
  const Real cos_left = (cos_right + sin_right * m) / grow, sin_left = h / divisor * sin_right / grow;
  s[0] = f * grow * up;
  s[1] = h / grow * up;

  const Complex<Real> one{Real(1), Real(0)};
  const Complex<Real> first = choose(swap, g_phase, one), second = choose(swap, h_phase, h_phase * conjugate(g_phase));
  const Real sign = swap ? Real(1) : Real(-1);
  const Complex<Real> qx = first * x, qy = first * y;
  const Complex<Real> rx = second * Complex<Real>{-y.re, y.im}, ry = second * conjugate(x);
  u[0] = cos_left * qx + sin_left * rx;
  u[2] = cos_left * qy + sin_left * ry;
  u[1] = sign * (cos_left * rx - sin_left * qx);
  u[3] = sign * (cos_left * ry - sin_left * qy);

  const Complex<Real> turn = choose(swap, conjugate(g_phase), g_phase);
  const Real v0 = swap ? sin_right : cos_right, v1 = swap ? cos_right : sin_right;
  vh[0] = {v0, Real(0)};
  vh[1] = v1 * turn;
  vh[2] = {v1, Real(0)};
  vh[3] = -v0 * turn;
}

// Matrices lie one after another, row by row, real and imaginary parts in turn; each part of a block gets an array of its own.
template <typename Real>
void svd_2x2(Real* __restrict u, Real* __restrict s, Real* __restrict vh, const Real* __restrict h, std::int64_t count) {
  alignas(64) Real in[8][kMatrices], left[8][kMatrices], values[2][kMatrices], right[8][kMatrices];
  for (std::int64_t done = 0; done < count; done += kMatrices) {
    const std::int64_t size = count - done < kMatrices ? count - done : kMatrices;
    for (std::int64_t i = 0; i < size; ++i) {
      for (int k = 0; k < 8; ++k) in[k][i] = h[8 * (done + i) + k];
    }
    for (std::int64_t i = 0; i < size; ++i) {
      Complex<Real> ui[4], vi[4];
      Real si[2];
      svd_2x2_one<Real>({in[0][i], in[1][i]}, {in[2][i], in[3][i]}, {in[4][i], in[5][i]}, {in[6][i], in[7][i]}, ui, si, vi);
      for (int k = 0; k < 4; ++k) {
        left[2 * k][i] = ui[k].re;
        left[2 * k + 1][i] = ui[k].im;
        right[2 * k][i] = vi[k].re;
        right[2 * k + 1][i] = vi[k].im;
      }
      values[0][i] = si[0];
      values[1][i] = si[1];
    }
    for (std::int64_t i = 0; i < size; ++i) {
      for (int k = 0; k < 8; ++k) u[8 * (done + i) + k] = left[k][i];
      for (int k = 0; k < 2; ++k) s[2 * (done + i) + k] = values[k][i];
      for (int k = 0; k < 8; ++k) vh[8 * (done + i) + k] = right[k][i];
    }
  }
}

SEMDIFF_ISA_END
