// SPDX-License-Identifier: Apache-2.0
// The up-sampler's loss against its formulas in long double and libm, and its safety at extreme log-variances.
#include <cmath>

#include "kernel_test.h"

namespace semdiff::kernels {

namespace {

struct Terms {
  long double reconstruction, prior, match;
};

Terms expected(long double mu, long double logvar, long double z, long double alpha_bar, long double n) {
  const long double a = std::sqrt(alpha_bar), t2 = 1 - alpha_bar, x_t = a * z + std::sqrt(t2) * n, d = mu - a * z;
  return {(mu - x_t) * (mu - x_t), (mu * mu + std::exp(logvar) - 1 - logvar) / 2,
          (logvar - std::log(t2) + (t2 + d * d) / std::exp(logvar) - 1) / 2};
}

}  // namespace

TEMPLATE_TEST_CASE("the loss is its formula, and its gradients are finite differences of it", "", float, double) {
  using Real = TestType;
  constexpr std::int64_t count = 997;
  const auto mu = normals<Real>(count, 1), logvar = normals<Real>(count, 2), z = normals<Real>(count, 3);
  const auto n = normals<Real>(count, 9);
  const std::vector<double> alpha_bar{0.3, 0.9};  // rows of 500
  std::vector<Real> g_mu(count), g_logvar(count);
  const LossSums sums = table_of<Real>(best_kernels())
                            .upsampler_loss(g_mu.data(), g_logvar.data(), mu.data(), logvar.data(), z.data(), alpha_bar.data(), 500,
                                            {0.4, 0.7, 1.0}, 0, count, {9, 0});
  const long double tolerance = sizeof(Real) == 4 ? 3e-6L : 1e-13L;
  Terms total{};
  const auto at = [](const std::vector<Real>& v, std::int64_t i) { return static_cast<long double>(v[static_cast<std::size_t>(i)]); };
  for (std::int64_t i = 0; i < count; ++i) {
    const long double a = alpha_bar[i < 500 ? 0 : 1];
    const Terms e = expected(at(mu, i), at(logvar, i), at(z, i), a, at(n, i));
    total.reconstruction += e.reconstruction;
    total.prior += e.prior;
    total.match += e.match;
    const auto loss = [&](long double m, long double l) {
      const Terms t = expected(m, l, at(z, i), a, at(n, i));
      return t.reconstruction + 0.4L * t.prior + 0.7L * t.match;
    };
    const long double h = 1e-6L, m = at(mu, i), l = at(logvar, i);
    const long double d_mu = (loss(m + h, l) - loss(m - h, l)) / (2 * h), d_logvar = (loss(m, l + h) - loss(m, l - h)) / (2 * h);
    CAPTURE(i);
    CHECK(std::abs(at(g_mu, i) - d_mu) <= (tolerance + 1e-9L) * (1 + std::abs(d_mu)) * 4);
    CHECK(std::abs(at(g_logvar, i) - d_logvar) <= (tolerance + 1e-9L) * (1 + std::abs(d_logvar)) * 4);
  }
  CHECK(std::abs(static_cast<long double>(sums.reconstruction) - total.reconstruction) < tolerance * total.reconstruction);
  CHECK(std::abs(static_cast<long double>(sums.prior) - total.prior) < tolerance * total.prior);
  CHECK(std::abs(static_cast<long double>(sums.match) - total.match) < tolerance * total.match);
}

TEMPLATE_TEST_CASE("log-variances of +-1000 give finite terms, and gradients that push back", "", float, double) {
  using Real = TestType;
  for (const Kernels* k : supported_kernels()) {
    for (const Real extreme : {Real(-1000), Real(1000)}) {
      const std::vector<Real> mu(8, Real(0.5)), logvar(8, extreme), z(8, Real(1));
      const double alpha_bar = 0.5;
      std::vector<Real> g_mu(8), g_logvar(8);
      const LossSums s = table_of<Real>(*k).upsampler_loss(g_mu.data(), g_logvar.data(), mu.data(), logvar.data(), z.data(), &alpha_bar, 8,
                                                           {0.1, 0.1, 0.125}, 0, 8, {1, 0});
      CHECK(std::isfinite(s.reconstruction));
      CHECK(std::isfinite(s.prior));
      CHECK(std::isfinite(s.match));
      for (std::size_t i = 0; i < 8; ++i) {
        CHECK(std::isfinite(g_mu[i]));
        CHECK(std::isfinite(g_logvar[i]));
        CHECK(g_logvar[i] * extreme > 0);  // descent moves it towards zero
      }
    }
  }
}

}  // namespace semdiff::kernels
