// SPDX-License-Identifier: Apache-2.0
// The polynomials against libm in long double. This file compiles math.h once more, in a namespace of its own.
#define SEMDIFF_ISA test_of_math
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "rng.h"

namespace m = semdiff::kernels::test_of_math;

namespace {

template <typename Real>
long double ulps(Real got, long double expected) {
  const auto rounded = static_cast<Real>(std::abs(expected));
  const long double ulp =
      static_cast<long double>(std::nextafter(rounded, std::numeric_limits<Real>::max())) - static_cast<long double>(rounded);
  return std::abs(static_cast<long double>(got) - expected) / ulp;
}

// The worst of f over n points of [low, high], evenly spaced.
template <typename Real, typename Error>
long double worst(Real low, Real high, int n, Error error) {
  long double most = 0;
  for (int i = 0; i <= n; ++i) {
    const long double e = error(static_cast<Real>(low + (high - low) * (static_cast<Real>(i) / static_cast<Real>(n))));
    if (!(e <= most)) most = e;
  }
  return most;
}

template <typename Real>
bool same(Real a, Real b) {
  return std::memcmp(&a, &b, sizeof(Real)) == 0;
}

}  // namespace

TEMPLATE_TEST_CASE("exponential: below 2 ulp over its range", "", float, double) {
  using F = m::Format<TestType>;
  const auto error = [](TestType x) { return ulps(m::exponential(x), std::exp(static_cast<long double>(x))); };
  CHECK(worst<TestType>(F::exp_min, F::exp_max, 400000, error) < 2);
  CHECK(worst<TestType>(TestType(-1), TestType(1), 400000, error) < 2);
  CHECK(m::exponential(TestType(0)) == TestType(1));
}

TEMPLATE_TEST_CASE("exponential: saturates, and NaN stays NaN whatever its payload", "", float, double) {
  using F = m::Format<TestType>;
  const TestType inf = std::numeric_limits<TestType>::infinity();
  CHECK(m::exponential(inf) == m::exponential(F::exp_max));
  CHECK(std::isfinite(m::exponential(inf)));
  CHECK(m::exponential(-inf) == m::exponential(F::exp_min));
  CHECK(m::exponential(-inf) >= std::numeric_limits<TestType>::min());
  using UInt = typename F::UInt;
  const UInt quiet = sizeof(TestType) == 4 ? UInt(0x7fc00000u) : static_cast<UInt>(0x7ff8000000000000ull);
  const UInt sign = UInt(1) << (8 * sizeof(TestType) - 1);
  for (const UInt payload : {UInt(0), UInt(1), UInt(255), UInt(0x2aaaaa), UInt(0x3fffff)}) {
    CHECK(std::isnan(m::exponential(__builtin_bit_cast(TestType, quiet | payload))));
    CHECK(std::isnan(m::exponential(__builtin_bit_cast(TestType, sign | quiet | payload))));
  }
}

TEMPLATE_TEST_CASE("logarithm: below 2 ulp, or 2 epsilon near 1, over the uniforms and the normal range", "", float, double) {
  const auto error = [](TestType x) {
    const long double expected = std::log(static_cast<long double>(x));
    const long double epsilon = std::numeric_limits<TestType>::epsilon();
    return std::min(ulps(m::logarithm(x), expected), std::abs(static_cast<long double>(m::logarithm(x)) - expected) / epsilon);
  };
  CHECK(worst<TestType>(TestType(1e-6), TestType(1), 400000, error) < 2);
  CHECK(worst<TestType>(TestType(0.5), TestType(2), 400000, error) < 2);
  for (int e = std::numeric_limits<TestType>::min_exponent; e < std::numeric_limits<TestType>::max_exponent; ++e) {
    for (const TestType f : {TestType(0.5), TestType(0.7), TestType(0.70710678), TestType(0.71), TestType(0.99)}) {
      if (error(std::ldexp(f, e)) >= 2) FAIL("ln of " << f << " * 2^" << e);
    }
  }
  CHECK(m::logarithm(TestType(1)) == TestType(0));
}

TEMPLATE_TEST_CASE("sincos_turn: exact quarter turns, error below 1 epsilon elsewhere, and the right quadrant", "", float, double) {
  const auto both = [](std::uint32_t turn) {
    TestType s = 0, c = 0;
    m::sincos_turn(turn, s, c);
    return std::pair(s, c);
  };
  using P = std::pair<TestType, TestType>;
  CHECK(both(0) == P(0, 1));
  CHECK(both(0x40000000u) == P(1, 0));
  CHECK(both(0x80000000u) == P(0, -1));
  CHECK(both(0xc0000000u) == P(-1, 0));
  long double most = 0;
  std::uint32_t turn = 0;
  for (int i = 0; i < 400000; ++i, turn += 2654435769u) {  // the golden ratio: spreads over the whole circle
    const long double angle = 2 * 3.14159265358979323846264338328L * static_cast<long double>(turn) / 4294967296.0L;
    const auto [s, c] = both(turn);
    most =
        std::max({most, std::abs(static_cast<long double>(s) - std::sin(angle)), std::abs(static_cast<long double>(c) - std::cos(angle))});
  }
  CHECK(most < static_cast<long double>(std::numeric_limits<TestType>::epsilon()));
}

TEMPLATE_TEST_CASE("box_muller: the smallest and the largest words", "", float, double) {
  constexpr std::int32_t size = m::kPhiloxStep;
  std::uint32_t radius[size] = {0u, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu};
  std::uint32_t angle[size] = {0u, 0u, 1u, 0x20000000u, 0x7fffffffu, 0xffffffffu};
  TestType a[size], b[size];
  m::box_muller(a, b, radius, angle, 6);
  CHECK(a[0] == Approx(6.764).epsilon(1e-3));
  CHECK(b[0] == TestType(0));
  for (int i = 1; i < 6; ++i) {  // u rounds to 1 in float: a radius of zero, not the root of a negative number
    CHECK(std::abs(a[i]) < TestType(1e-4));
    CHECK(std::abs(b[i]) < TestType(1e-4));
  }
}

TEMPLATE_TEST_CASE("packs: the bits of single numbers, ends of the range and NaN included", "", (m::PackOf<float, 1>), (m::PackOf<float>),
                   (m::PackOf<float, 8>), (m::PackOf<double, 1>), (m::PackOf<double>), (m::PackOf<double, 8>)) {
  using X = TestType;
  using Real = m::ElementOf<X>;
  using Words = m::Alike<X, std::uint32_t>;
  constexpr int size = m::Shape<X>::size;
  constexpr auto infinity = std::numeric_limits<Real>::infinity();
  std::uint32_t words[size];
  Real x[size], exponential[size], log_uniform[size], sine[size], cosine[size], root[size], s, c;
  for (std::uint32_t round = 0; round < 10000; ++round) {
    for (int i = 0; i < size; ++i) {
      words[i] = 2654435769u * (round * std::uint32_t{size} + static_cast<std::uint32_t>(i));
      x[i] = Real(200) * (static_cast<Real>(words[i]) / Real(4294967296.0) - Real(0.5));
    }
    x[0] = round % 3 == 0 ? infinity : round % 3 == 1 ? -infinity : std::numeric_limits<Real>::quiet_NaN();
    m::store(exponential, m::exponential(m::load<X>(x)));
    m::store(log_uniform, m::log_uniform<X>(m::load<Words>(words)));
    m::store(root, m::square_root(m::load<X>(x) * m::load<X>(x)));
    X packed_sine, packed_cosine;
    m::sincos_turn(m::load<Words>(words), packed_sine, packed_cosine);
    m::store(sine, packed_sine);
    m::store(cosine, packed_cosine);
    for (int i = 0; i < size; ++i) {
      m::sincos_turn(words[i], s, c);
      const bool equal = same(exponential[i], m::exponential(x[i])) && same(log_uniform[i], m::log_uniform<Real>(words[i])) &&
                         same(sine[i], s) && same(cosine[i], c) && same(root[i], m::square_root(x[i] * x[i]));
      if (!equal) FAIL("at " << x[i] << " and " << words[i]);
    }
  }
  SUCCEED();
}
