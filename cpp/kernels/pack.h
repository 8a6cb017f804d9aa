// SPDX-License-Identifier: Apache-2.0
// A few vectors side by side, taken through each operation together. The polynomials of math.h are long chains of dependent instructions;
// a loop over single vectors leaves the CPU waiting for one chain after another, because its scheduler does not see far enough ahead.
// Four chains at once keep it busy, eight where one chain is all there is. GCC's vector extensions, so that one source serves every
// instruction set; the arithmetic is that of plain numbers, and so are the bits.
#pragma once

#include "isa.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

SEMDIFF_ISA_BEGIN

// SEMDIFF_PORTABLE_BYTES asks for vectors of so many bytes without intrinsics: the tests' stand-in for a wide CPU on any other.
#if defined(SEMDIFF_PORTABLE_BYTES)
constexpr int kVectorBytes = SEMDIFF_PORTABLE_BYTES;
#elif defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

#define SEMDIFF_EACH_VECTOR _Pragma("GCC unroll 8") for (int n = 0; n < Vectors; ++n)

// `Vectors` vectors of `Lanes` numbers. A plain number becomes one by repetition.
template <typename T, int Lanes, int Vectors>
struct Pack {
  typedef T Vector __attribute__((vector_size(Lanes * sizeof(T))));  // NOLINT: an alias cannot carry the attribute
  Vector v[Vectors];

  Pack() = default;
  SEMDIFF_INLINE Pack(T x) {  // NOLINT: implicit, as from a number to itself
    SEMDIFF_EACH_VECTOR v[n] = x - Vector{};
  }

#define SEMDIFF_PACK_OPERATOR(OP)                          \
  friend SEMDIFF_INLINE Pack operator OP(Pack a, Pack b) { \
    SEMDIFF_EACH_VECTOR a.v[n] = a.v[n] OP b.v[n];         \
    return a;                                              \
  }
  SEMDIFF_PACK_OPERATOR(+)
  SEMDIFF_PACK_OPERATOR(-)
  SEMDIFF_PACK_OPERATOR(*)
  SEMDIFF_PACK_OPERATOR(/)
  SEMDIFF_PACK_OPERATOR(&)
  SEMDIFF_PACK_OPERATOR(^)
  SEMDIFF_PACK_OPERATOR(|)
#undef SEMDIFF_PACK_OPERATOR

  friend SEMDIFF_INLINE Pack operator<<(Pack a, int bits) {
    SEMDIFF_EACH_VECTOR a.v[n] = a.v[n] << bits;
    return a;
  }
  friend SEMDIFF_INLINE Pack operator>>(Pack a, int bits) {
    SEMDIFF_EACH_VECTOR a.v[n] = a.v[n] >> bits;
    return a;
  }
};

// What the math needs of a number type or a pack of it: the type of one number, and the same shape of another type.
template <typename X>
struct Shape {
  using Element = X;
  template <typename T>
  using Of = T;
  static constexpr int size = 1;
};

template <typename E, int Lanes, int Vectors>
struct Shape<Pack<E, Lanes, Vectors>> {
  using Element = E;
  template <typename T>
  using Of = Pack<T, Lanes, Vectors>;
  static constexpr int size = Vectors * Lanes;
};

template <typename X>
using ElementOf = typename Shape<X>::Element;
template <typename X, typename T>
using Alike = typename Shape<X>::template Of<T>;

// The pack whose vectors fill a register with Real.
template <typename Real, int Vectors = 4>
using PackOf = Pack<Real, kVectorBytes / static_cast<int>(sizeof(Real)), Vectors>;

// Numbers from and to memory, at any address.
template <typename Real>
SEMDIFF_INLINE void read(const Real* from, Real& x) {
  x = *from;
}

template <typename Real>
SEMDIFF_INLINE void store(Real* to, Real x) {
  *to = x;
}

// Vector by vector: a copy of the whole goes through the stack in other pieces than it is read in.
template <typename E, int Lanes, int Vectors>
SEMDIFF_INLINE void read(const E* from, Pack<E, Lanes, Vectors>& x) {
  SEMDIFF_EACH_VECTOR __builtin_memcpy(&x.v[n], from + n * Lanes, sizeof(x.v[n]));
}

template <typename E, int Lanes, int Vectors>
SEMDIFF_INLINE void store(E* to, const Pack<E, Lanes, Vectors>& x) {
  SEMDIFF_EACH_VECTOR __builtin_memcpy(to + n * Lanes, &x.v[n], sizeof(x.v[n]));
}

template <typename X>
SEMDIFF_INLINE X load(const ElementOf<X>* from) {
  X x;
  read(from, x);
  return x;
}

// The same bits read as another type of the same size.
template <typename T, typename X>
SEMDIFF_INLINE T bits_as(X x) {
  return __builtin_bit_cast(T, x);
}

template <typename T, typename E, int Lanes, int Vectors>
SEMDIFF_INLINE Pack<T, Lanes, Vectors> bits_as(Pack<E, Lanes, Vectors> x) {
  Pack<T, Lanes, Vectors> out;
  SEMDIFF_EACH_VECTOR out.v[n] = __builtin_bit_cast(typename Pack<T, Lanes, Vectors>::Vector, x.v[n]);
  return out;
}

// Numbers converted to another type, as static_cast does.
template <typename T, typename X>
SEMDIFF_INLINE T convert(X x) {
  return static_cast<T>(x);
}

template <typename T, typename E, int Lanes, int Vectors>
SEMDIFF_INLINE Pack<T, Lanes, Vectors> convert(Pack<E, Lanes, Vectors> x) {
  Pack<T, Lanes, Vectors> out;
  SEMDIFF_EACH_VECTOR out.v[n] = __builtin_convertvector(x.v[n], typename Pack<T, Lanes, Vectors>::Vector);
  return out;
}

// sqrt compiles to one correctly rounded instruction; spelled as a builtin because <cmath> would bring in inline library code.
SEMDIFF_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
SEMDIFF_INLINE double square_root(double x) { return __builtin_sqrt(x); }

// One instruction each, which GCC does not make of the selections and loops that they stand for: a > b ? a : b, a < b ? a : b, and the
// correctly rounded root.
#if defined(SEMDIFF_PORTABLE_BYTES)
#elif defined(__AVX512F__)
#define SEMDIFF_VECTOR_CALL(NAME) _mm512_##NAME
using FloatVector = __m512;
using DoubleVector = __m512d;
#elif defined(__AVX__)
#define SEMDIFF_VECTOR_CALL(NAME) _mm256_##NAME
using FloatVector = __m256;
using DoubleVector = __m256d;
#elif defined(__SSE2__)
#define SEMDIFF_VECTOR_CALL(NAME) _mm_##NAME
using FloatVector = __m128;
using DoubleVector = __m128d;
#endif

#if defined(SEMDIFF_VECTOR_CALL)
SEMDIFF_INLINE FloatVector vector_max(FloatVector a, FloatVector b) { return SEMDIFF_VECTOR_CALL(max_ps)(a, b); }
SEMDIFF_INLINE DoubleVector vector_max(DoubleVector a, DoubleVector b) { return SEMDIFF_VECTOR_CALL(max_pd)(a, b); }
SEMDIFF_INLINE FloatVector vector_min(FloatVector a, FloatVector b) { return SEMDIFF_VECTOR_CALL(min_ps)(a, b); }
SEMDIFF_INLINE DoubleVector vector_min(DoubleVector a, DoubleVector b) { return SEMDIFF_VECTOR_CALL(min_pd)(a, b); }
SEMDIFF_INLINE FloatVector vector_sqrt(FloatVector a) { return SEMDIFF_VECTOR_CALL(sqrt_ps)(a); }
SEMDIFF_INLINE DoubleVector vector_sqrt(DoubleVector a) { return SEMDIFF_VECTOR_CALL(sqrt_pd)(a); }
#undef SEMDIFF_VECTOR_CALL
#else
template <typename Vector>
SEMDIFF_INLINE Vector vector_max(Vector a, Vector b) {
  return a > b ? a : b;
}

template <typename Vector>
SEMDIFF_INLINE Vector vector_min(Vector a, Vector b) {
  return a < b ? a : b;
}

SEMDIFF_INLINE auto vector_sqrt(auto a) {
  for (std::size_t i = 0; i < sizeof(a) / sizeof(a[0]); ++i) a[i] = square_root(a[i]);
  return a;
}
#endif

template <typename E, int Lanes, int Vectors>
SEMDIFF_INLINE Pack<E, Lanes, Vectors> square_root(Pack<E, Lanes, Vectors> x) {
  SEMDIFF_EACH_VECTOR x.v[n] = vector_sqrt(x.v[n]);
  return x;
}

// x < bound ? bound : x and x > bound ? bound : x, where NaN passes through: a comparison with NaN is false, and then the second of two
// vectors is taken.
template <typename Real>
SEMDIFF_INLINE Real at_least(Real x, Real bound) {
  return x < bound ? bound : x;
}

template <typename Real>
SEMDIFF_INLINE Real at_most(Real x, Real bound) {
  return x > bound ? bound : x;
}

template <typename E, int Lanes, int Vectors>
SEMDIFF_INLINE Pack<E, Lanes, Vectors> at_least(Pack<E, Lanes, Vectors> x, E bound) {
  const Pack<E, Lanes, Vectors> b = bound;
  SEMDIFF_EACH_VECTOR x.v[n] = vector_max(b.v[n], x.v[n]);
  return x;
}

template <typename E, int Lanes, int Vectors>
SEMDIFF_INLINE Pack<E, Lanes, Vectors> at_most(Pack<E, Lanes, Vectors> x, E bound) {
  const Pack<E, Lanes, Vectors> b = bound;
  SEMDIFF_EACH_VECTOR x.v[n] = vector_min(b.v[n], x.v[n]);
  return x;
}

// Exchanges a and b where `which`, an integer as wide as they are, is negative: AVX2 selects by the sign bit.
template <typename Int, typename Real>
SEMDIFF_INLINE void swap_if_negative(Int which, Real& a, Real& b) {
  const Real first = which < 0 ? b : a;
  b = which < 0 ? a : b;
  a = first;
}

template <typename Int, typename E, int Lanes, int Vectors>
SEMDIFF_INLINE void swap_if_negative(Pack<Int, Lanes, Vectors> which, Pack<E, Lanes, Vectors>& a, Pack<E, Lanes, Vectors>& b) {
  SEMDIFF_EACH_VECTOR {
    const auto first = which.v[n] < Int{0} ? b.v[n] : a.v[n];
    b.v[n] = which.v[n] < Int{0} ? a.v[n] : b.v[n];
    a.v[n] = first;
  }
}

// f(X{}, i) for i from 0 to count in steps of X's size: packs of Real while they last, then single vectors and single numbers.
template <typename Real, int Vectors = 8, typename F>
SEMDIFF_INLINE void by_packs(std::int64_t count, F f) {
  using X = PackOf<Real, Vectors>;
  using Y = PackOf<Real, 1>;
  std::int64_t i = 0;
  for (; i + Shape<X>::size <= count; i += Shape<X>::size) f(X{}, i);
  for (; i + Shape<Y>::size <= count; i += Shape<Y>::size) f(Y{}, i);
  for (; i < count; ++i) f(Real{}, i);
}

SEMDIFF_ISA_END
