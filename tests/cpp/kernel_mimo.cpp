// SPDX-License-Identifier: Apache-2.0
// The closed form against what a decomposition must be, in extended precision, on random matrices and on every kind that breaks a formula.
#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>

#include "kernel_test.h"

namespace semdiff::kernels {

namespace {

using Wide = std::complex<long double>;

struct Worst {
  long double residual = 0, left = 0, right = 0;  // each in units of the type's epsilon
};

// U diag(s) V^H - H relative to H's largest entry; U^H U - I; V^H V - I. Order, sign and phase convention are checked on the way.
template <typename Real>
Worst errors(const std::vector<Real>& u, const std::vector<Real>& s, const std::vector<Real>& vh, const std::vector<Real>& h) {
  Worst worst;
  const long double eps = std::numeric_limits<Real>::epsilon();
  for (std::size_t i = 0; 8 * i < h.size(); ++i) {
    const auto at = [&](const std::vector<Real>& m, std::size_t row, std::size_t column) {
      return Wide(m[8 * i + 4 * row + 2 * column], m[8 * i + 4 * row + 2 * column + 1]);
    };
    REQUIRE(s[2 * i] >= s[2 * i + 1]);
    REQUIRE(s[2 * i + 1] >= 0);
    long double most = 0;
    for (std::size_t k = 0; k < 8; ++k) most = std::max(most, std::abs(static_cast<long double>(h[8 * i + k])));
    for (std::size_t r = 0; r < 2; ++r) {
      REQUIRE(at(vh, r, 0).imag() == 0);
      REQUIRE(at(vh, r, 0).real() >= 0);
      for (std::size_t c = 0; c < 2; ++c) {
        Wide product = 0, left = r == c ? -1 : 0, right = left;
        for (std::size_t k = 0; k < 2; ++k) {
          product += at(u, r, k) * static_cast<long double>(s[2 * i + k]) * at(vh, k, c);
          left += std::conj(at(u, k, r)) * at(u, k, c);
          right += at(vh, r, k) * std::conj(at(vh, c, k));
        }
        // Where s is subnormal it is stored to the nearest multiple of the smallest number, and no better.
        const long double error = std::abs(product - at(h, r, c)) - std::numeric_limits<Real>::denorm_min();
        if (most > 0) worst.residual = std::max(worst.residual, error / most / eps);
        worst.left = std::max(worst.left, std::abs(left) / eps);
        worst.right = std::max(worst.right, std::abs(right) / eps);
      }
    }
  }
  return worst;
}

template <typename Real>
void decompose(const Kernels& k, const std::vector<Real>& h, std::vector<Real>& u, std::vector<Real>& s, std::vector<Real>& vh) {
  u.assign(h.size(), 0);
  s.assign(h.size() / 4, 0);
  vh.assign(h.size(), 0);
  table_of<Real>(k).svd_2x2(u.data(), s.data(), vh.data(), h.data(), static_cast<std::int64_t>(h.size() / 8));
}

// Every entry 0, 1, -i or tiny, and each at three scales: zero, rank one, multiples of unitary matrices, triangles, huge ratios.
template <typename Real>
std::vector<Real> special() {
  using Limits = std::numeric_limits<Real>;
  const Real values[][2] = {{0, 0}, {1, 0}, {0, -1}, {Real(3), Real(-4)}, {Limits::epsilon(), 0}, {0, std::sqrt(Limits::min())}};
  std::vector<Real> out;
  for (const Real scale : {Real(1), Limits::max() / 16, Limits::min() * 4}) {
    for (std::size_t code = 0; code < 6 * 6 * 6 * 6; ++code) {
      for (std::size_t k = 0, rest = code; k < 4; ++k, rest /= 6) {
        out.push_back(values[rest % 6][0] * scale);
        out.push_back(values[rest % 6][1] * scale);
      }
    }
  }
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("svd_2x2: random matrices", "", float, double) {
  using Real = TestType;
  std::vector<Real> h = normals<Real>(8 * 20000, 1), u, s, vh;
  // Entries of very different sizes too: times e^(8 n).
  const std::vector<Real> size = normals<Real>(8 * 20000, 2);
  for (std::size_t i = h.size() / 2; i < h.size(); ++i) h[i] *= std::exp(8 * size[i]);
  decompose(best_kernels(), h, u, s, vh);
  const Worst worst = errors(u, s, vh, h);
  INFO("residual " << worst.residual << ", U " << worst.left << ", V " << worst.right << " epsilons");
  CHECK(worst.residual < 10);
  CHECK(worst.left < 10);
  CHECK(worst.right < 10);
}

TEMPLATE_TEST_CASE("svd_2x2: zero, rank one, repeated singular values and entries from the smallest to the largest", "", float, double) {
  using Real = TestType;
  const std::vector<Real> h = special<Real>();
  std::vector<Real> u, s, vh;
  decompose(best_kernels(), h, u, s, vh);
  const Worst worst = errors(u, s, vh, h);
  INFO("residual " << worst.residual << ", U " << worst.left << ", V " << worst.right << " epsilons");
  CHECK(worst.residual < 10);
  CHECK(worst.left < 10);
  CHECK(worst.right < 10);
}

TEMPLATE_TEST_CASE("svd_2x2: diagonal matrices keep all digits of the small value, and NaN stays NaN", "", float, double) {
  using Real = TestType;
  using Limits = std::numeric_limits<Real>;
  const Real small = Limits::min() * 1000, nan = Limits::quiet_NaN(), infinity = Limits::infinity();
  const std::vector<Real> h{0, 2, 0, 0, 0, 0, small, 0, 1, 1, 1, 1, nan, 1, 1, 1, 1, 1, 1, 1, 1, infinity, 1, 1};
  std::vector<Real> u, s, vh;
  decompose(best_kernels(), h, u, s, vh);
  CHECK(s[0] == 2);
  CHECK(s[1] == small);
  for (std::size_t i = 2; i < 6; ++i) CHECK(std::isnan(s[i]));
}

TEMPLATE_TEST_CASE("equal bits: svd_2x2, at every length and from every start", "", float, double) {
  using Real = TestType;
  const std::vector<Real> all = special<Real>();
  std::vector<Real> u, s, vh, u2, s2, vh2;
  decompose(baseline_kernels(), all, u, s, vh);
  for (const Kernels* k : supported_kernels()) {
    decompose(*k, all, u2, s2, vh2);
    CHECK(same_bits(u, u2));
    CHECK(same_bits(s, s2));
    CHECK(same_bits(vh, vh2));
    for (const std::size_t count : {0, 1, 3, 8, 63, 64, 65, 200}) {
      const std::vector<Real> part(all.begin() + 8 * 131, all.begin() + static_cast<std::ptrdiff_t>(8 * (131 + count)));
      decompose(*k, part, u2, s2, vh2);
      CHECK(std::equal(s2.begin(), s2.end(), s.begin() + 2 * 131));
      CHECK(std::equal(u2.begin(), u2.end(), u.begin() + 8 * 131));
    }
  }
}

}  // namespace semdiff::kernels
