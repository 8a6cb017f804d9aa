// SPDX-License-Identifier: Apache-2.0
// A few vectors side by side, taken through each operation together. The polynomials of math.h are long chains of dependent instructions;
// a loop over single vectors leaves the CPU waiting for one chain after another, because its scheduler does not see far enough ahead.
// Four chains at once keep it busy. GCC's vector extensions, so that one source serves every instruction set; the arithmetic is that of
// plain numbers, and so are the bits.
#pragma once

#include "isa.h"

SEMDIFF_ISA_BEGIN

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kPackVectors = 4;

#define SEMDIFF_EACH_VECTOR _Pragma("GCC unroll 4") for (int n = 0; n < kPackVectors; ++n)

// kPackVectors vectors of `Lanes` numbers. A plain number becomes one by repetition.
template <typename T, int Lanes>
struct Pack {
  typedef T Vector __attribute__((vector_size(Lanes * sizeof(T))));  // NOLINT: an alias cannot carry the attribute
  Vector v[kPackVectors];

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

template <typename E, int Lanes>
struct Shape<Pack<E, Lanes>> {
  using Element = E;
  template <typename T>
  using Of = Pack<T, Lanes>;
  static constexpr int size = kPackVectors * Lanes;
};

template <typename X>
using ElementOf = typename Shape<X>::Element;
template <typename X, typename T>
using Alike = typename Shape<X>::template Of<T>;

// The pack whose vectors fill a register with Real.
template <typename Real>
using PackOf = Pack<Real, kVectorBytes / static_cast<int>(sizeof(Real))>;

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
template <typename E, int Lanes>
SEMDIFF_INLINE void read(const E* from, Pack<E, Lanes>& x) {
  SEMDIFF_EACH_VECTOR __builtin_memcpy(&x.v[n], from + n * Lanes, sizeof(x.v[n]));
}

template <typename E, int Lanes>
SEMDIFF_INLINE void store(E* to, const Pack<E, Lanes>& x) {
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

template <typename T, typename E, int Lanes>
SEMDIFF_INLINE Pack<T, Lanes> bits_as(Pack<E, Lanes> x) {
  Pack<T, Lanes> out;
  SEMDIFF_EACH_VECTOR out.v[n] = __builtin_bit_cast(typename Pack<T, Lanes>::Vector, x.v[n]);
  return out;
}

// Numbers converted to another type, as static_cast does.
template <typename T, typename X>
SEMDIFF_INLINE T convert(X x) {
  return static_cast<T>(x);
}

template <typename T, typename E, int Lanes>
SEMDIFF_INLINE Pack<T, Lanes> convert(Pack<E, Lanes> x) {
  Pack<T, Lanes> out;
  SEMDIFF_EACH_VECTOR out.v[n] = __builtin_convertvector(x.v[n], typename Pack<T, Lanes>::Vector);
  return out;
}

// x < bound ? bound : x and x > bound ? bound : x, where NaN passes through: a comparison with NaN is false.
template <typename Real>
SEMDIFF_INLINE Real at_least(Real x, Real bound) {
  return x < bound ? bound : x;
}

template <typename Real>
SEMDIFF_INLINE Real at_most(Real x, Real bound) {
  return x > bound ? bound : x;
}

template <typename E, int Lanes>
SEMDIFF_INLINE Pack<E, Lanes> at_least(Pack<E, Lanes> x, E bound) {
  const Pack<E, Lanes> b = bound;
  SEMDIFF_EACH_VECTOR x.v[n] = x.v[n] < b.v[n] ? b.v[n] : x.v[n];
  return x;
}

template <typename E, int Lanes>
SEMDIFF_INLINE Pack<E, Lanes> at_most(Pack<E, Lanes> x, E bound) {
  const Pack<E, Lanes> b = bound;
  SEMDIFF_EACH_VECTOR x.v[n] = x.v[n] > b.v[n] ? b.v[n] : x.v[n];
  return x;
}

// Exchanges a and b where the lowest bit of `which`, an integer as wide as they are, is set.
template <typename UInt, typename Real>
SEMDIFF_INLINE void swap_if_odd(UInt which, Real& a, Real& b) {
  const bool odd = (which & 1u) != 0;
  const Real first = odd ? b : a;
  b = odd ? a : b;
  a = first;
}

template <typename UInt, typename E, int Lanes>
SEMDIFF_INLINE void swap_if_odd(Pack<UInt, Lanes> which, Pack<E, Lanes>& a, Pack<E, Lanes>& b) {
  SEMDIFF_EACH_VECTOR {
    const auto odd = (which.v[n] & UInt{1}) != UInt{0};
    const auto first = odd ? b.v[n] : a.v[n];
    b.v[n] = odd ? a.v[n] : b.v[n];
    a.v[n] = first;
  }
}

// f(X{}, i) for i from 0 to count in steps of X's size: packs of Real while they last, then single numbers.
template <typename Real, typename F>
SEMDIFF_INLINE void by_packs(std::int64_t count, F f) {
  using X = PackOf<Real>;
  std::int64_t i = 0;
  for (; i + Shape<X>::size <= count; i += Shape<X>::size) f(X{}, i);
  for (; i < count; ++i) f(Real{}, i);
}

SEMDIFF_ISA_END
