// SPDX-License-Identifier: Apache-2.0
// Every instruction set gives the same bits, for every kernel, at lengths around vector widths and blocks.
#include <algorithm>
#include <functional>
#include <limits>
#include <string>

#include "kernel_test.h"

namespace semdiff::kernels {

namespace {

constexpr std::int64_t kLengths[] = {0, 1, 3, 4, 15, 16, 17, 31, 33, 64, 1000, 1023, 1024, 1025, 3072};
constexpr std::int64_t kMost = 3072;
constexpr PhiloxKey kKey{42, 5};

// run(table, count, out) fills out; all tables must fill it alike.
template <typename Real>
void check_equal(std::int64_t most, const std::function<void(const Table<Real>&, std::int64_t, std::vector<Real>&)>& run) {
  for (const std::int64_t count : kLengths) {
    if (count > most) continue;
    std::vector<Real> expected;
    run(table_of<Real>(baseline_kernels()), count, expected);
    for (const Kernels* k : supported_kernels()) {
      std::vector<Real> got;
      run(table_of<Real>(*k), count, got);
      if (!same_bits(got, expected)) FAIL(k->name << " differs from the baseline at " << count << " elements");
    }
  }
  SUCCEED();
}

template <typename Real>
std::vector<Real> filled(std::int64_t count) {
  return std::vector<Real>(static_cast<std::size_t>(count));
}

std::vector<StepCoefficients> coefficients(bool noise) {
  std::vector<StepCoefficients> rows;
  for (int i = 0; i <= kMost; ++i) {
    const double u = 0.001 * i;
    rows.push_back({1.1 + u, -0.4 - u, 0.7, 0.3 + u, -0.1 * u, noise && i % 3 != 0 ? 0.05 + u : 0.0});
  }
  return rows;
}

}  // namespace

TEST_CASE("the tables: a baseline, each named once, the best one supported") {
  const auto list = supported_kernels();
  REQUIRE(!list.empty());
  CHECK(&best_kernels() == list.front());
  CHECK(baseline_kernels().supported());
  std::string names;
  for (const Kernels* k : list) names += std::string(k->name) + " ";
  WARN("this CPU runs: " << names);
}

TEMPLATE_TEST_CASE("equal bits: normal", "", float, double) {
  using Real = TestType;
  for (const std::int64_t first : {0, 1, 1022}) {
    check_equal<Real>(kMost, [&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
      out = filled<Real>(n);
      t.normal(out.data(), first, n, kKey);
    });
  }
}

TEMPLATE_TEST_CASE("equal bits: normal, where the counter's low word wraps", "", float, double) {
  using Real = TestType;
  for (const std::uint64_t before : {std::uint64_t{1}, std::uint64_t{17}, std::uint64_t{255}, std::uint64_t{256}, std::uint64_t{300}}) {
    const PhiloxKey late{42, (std::uint64_t{7} << 32) - before};
    check_equal<Real>(kMost, [&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
      out = filled<Real>(n);
      t.normal(out.data(), 0, n, late);
    });
  }
}

TEMPLATE_TEST_CASE("equal bits: diffuse", "", float, double) {
  using Real = TestType;
  const auto x = normals<Real>(kMost, 1), signal = normals<Real>(kMost + 1, 2);
  auto noise = normals<Real>(kMost + 1, 3);
  for (std::size_t i = 0; i < noise.size(); i += 3) noise[i] = 0;
  for (const std::int64_t row_length : {1, 2, 7, 1000, 100000}) {
    for (const bool with_signal : {false, true}) {
      check_equal<Real>(kMost, [&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
        out = filled<Real>(n);
        t.diffuse(out.data(), x.data(), with_signal ? signal.data() : nullptr, noise.data(), row_length, 1, n, kKey);
      });
    }
  }
}

TEMPLATE_TEST_CASE("equal bits: the sums of a block, and scale_add", "", float, double) {
  using Real = TestType;
  const auto x = normals<Real>(kMost, 1), y = normals<Real>(kMost, 2);
  for (const std::int64_t n : kLengths) {
    if (n > kBlock) continue;
    const auto& base = table_of<Real>(baseline_kernels());
    for (const Kernels* k : supported_kernels()) {
      CHECK(table_of<Real>(*k).dot(x.data(), y.data(), n) == base.dot(x.data(), y.data(), n));
      CHECK(table_of<Real>(*k).squared_distance(x.data(), y.data(), n) == base.squared_distance(x.data(), y.data(), n));
    }
    long double sum = 0;
    for (std::int64_t i = 0; i < n; ++i)
      sum += static_cast<long double>(x[static_cast<std::size_t>(i)]) * static_cast<long double>(y[static_cast<std::size_t>(i)]);
    CHECK(base.dot(x.data(), y.data(), n) == Approx(static_cast<double>(sum)).margin(1e-12));
  }
  for (const bool two : {false, true}) {
    check_equal<Real>(kMost, [&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
      out = filled<Real>(n);
      t.scale_add(out.data(), x.data(), Real(0.7), two ? y.data() : nullptr, Real(-1.3), n);
    });
  }
}

TEMPLATE_TEST_CASE("equal bits: solver step and its backward", "", float, double) {
  using Real = TestType;
  const auto x = normals<Real>(kMost, 1), output = normals<Real>(kMost, 2), previous = normals<Real>(kMost, 3);
  const auto rows = coefficients(true);
  for (const double clip : {0.8, std::numeric_limits<double>::infinity()}) {
    for (const std::int64_t row_length : {1, 50, 100000}) {
      for (const bool with_x0 : {false, true}) {
        for (const bool with_previous : {false, true}) {
          check_equal<Real>(kMost, [&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
            out = filled<Real>(2 * n);
            t.step(out.data(), with_x0 ? out.data() + n : nullptr, x.data(), output.data(), with_previous ? previous.data() : nullptr,
                   rows.data(), row_length, clip, 1, n, kKey);
          });
          check_equal<Real>(kMost, [&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
            out = filled<Real>(3 * n);
            t.step_backward(out.data(), out.data() + n, with_previous ? out.data() + 2 * n : nullptr, with_x0 ? previous.data() : nullptr,
                            x.data(), x.data(), output.data(), rows.data(), row_length, clip, 1, n);
          });
        }
      }
    }
  }
}

TEMPLATE_TEST_CASE("equal bits: the draws and their backwards", "", float, double) {
  using Real = TestType;
  const auto mu = normals<Real>(kMost, 1), sample = normals<Real>(kMost, 3), grad = normals<Real>(kMost, 4);
  auto logvar = normals<Real>(kMost, 2);
  for (Real& l : logvar) l *= 40;  // both ends of every clamp
  check_equal<Real>(kMost, [&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
    out = filled<Real>(n);
    t.reparameterize(out.data(), mu.data(), logvar.data(), 3, n, kKey);
  });
  check_equal<Real>(kMost, [&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
    out = filled<Real>(n);
    t.reparameterize_backward(out.data(), grad.data(), sample.data(), mu.data(), n);
  });
  check_equal<Real>(kMost, [&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
    out = filled<Real>(2 * n);
    std::copy(logvar.begin(), logvar.begin() + n, out.begin() + n);
    t.bounded_draw(out.data(), out.data() + n, mu.data(), 3, n, kKey);
  });
  for (const bool extra : {false, true}) {
    check_equal<Real>(kMost, [&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
      out = filled<Real>(2 * n);
      t.bounded_draw_backward(out.data(), out.data() + n, grad.data(), extra ? mu.data() : nullptr, extra ? sample.data() : nullptr,
                              sample.data(), mu.data(), grad.data(), n);
    });
  }
}

TEMPLATE_TEST_CASE("equal bits: upsampler_loss", "", float, double) {
  using Real = TestType;
  const auto mu = normals<Real>(kMost, 1), z = normals<Real>(kMost, 3);
  auto logvar = normals<Real>(kMost, 2);
  for (Real& l : logvar) l *= 40;
  std::vector<double> alpha_bar;
  for (std::int64_t i = 0; i <= kMost; ++i) alpha_bar.push_back(0.001 + 0.0003 * static_cast<double>(i));
  for (const std::int64_t row_length : {1, 50, 100000}) {
    for (const bool gradients : {false, true}) {
      check_equal<Real>(kBlock, [&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
        out = filled<Real>(2 * n);
        const LossSums s = t.upsampler_loss(gradients ? out.data() : nullptr, gradients ? out.data() + n : nullptr, mu.data(),
                                            logvar.data(), z.data(), alpha_bar.data(), row_length, {0.1, 0.2, 0.01}, 1, n, kKey);
        for (const double v : {s.reconstruction, s.prior, s.match}) {
          out.push_back(static_cast<Real>(v));
          out.push_back(static_cast<Real>(v - static_cast<double>(static_cast<Real>(v))));  // the double's other digits
        }
      });
    }
  }
}

}  // namespace semdiff::kernels
