// SPDX-License-Identifier: Apache-2.0
// Fading and equalisers: equal bits on every instruction set, the counter layout, and the fused kernel against its two steps.
#include <algorithm>
#include <functional>
#include <string>

#include "kernel_test.h"

namespace semdiff::kernels {

namespace {

constexpr std::int64_t kLengths[] = {0, 1, 2, 3, 7, 16, 31, 33, 500, 511, 512, 513, 1024, 1500};
constexpr std::int64_t kMost = 1500;
constexpr Equalizer kMethods[] = {Equalizer::inverse, Equalizer::mmse, Equalizer::matched};

FadingModel model(std::int64_t symbols, std::int64_t coherence) { return {0.3, 0.9, symbols, coherence, {42, 5}, {43, 0xfffffff0}}; }

template <typename Real>
std::vector<Real> zeros(std::int64_t count) {
  return std::vector<Real>(static_cast<std::size_t>(count));
}

template <typename Real>
std::vector<Real> positive(std::int64_t count, std::uint64_t seed) {
  auto out = normals<Real>(count, seed);
  for (Real& v : out) v = v * v;
  return out;
}

// run(table, count, out) fills out; all tables must fill it alike.
template <typename Real>
void check_equal(const std::function<void(const Table<Real>&, std::int64_t, std::vector<Real>&)>& run) {
  for (const std::int64_t count : kLengths) {
    std::vector<Real> expected;
    run(table_of<Real>(baseline_kernels()), count, expected);
    for (const Kernels* k : supported_kernels()) {
      std::vector<Real> got;
      run(table_of<Real>(*k), count, got);
      if (!same_bits(got, expected)) FAIL(k->name << " differs from the baseline at " << count << " symbols");
    }
  }
  SUCCEED();
}

template <typename Real>
std::vector<Real> gains_of(const FadingModel& m, std::int64_t samples) {
  const std::int64_t count = samples * ((m.symbols + m.coherence - 1) / m.coherence);
  auto out = zeros<Real>(2 * count);
  table_of<Real>(baseline_kernels()).fading_gains(out.data(), m, 0, count);
  return out;
}

constexpr std::int64_t kSymbols[] = {1, 7, 300, 100000};

}  // namespace

TEMPLATE_TEST_CASE("fading: the gains are a draw of their key, at any cut", "", float, double) {
  using Real = TestType;
  const FadingModel m = model(10, 1);
  const auto z = normals<Real>(2 * kMost, 42, 0, 5), gains = gains_of<Real>(m, kMost / 10);
  for (std::size_t i = 0; i < gains.size(); ++i) {
    CHECK(gains[i] == (i % 2 == 0 ? Real(0.3) : Real(0)) + static_cast<Real>(0.9 * 0.70710678118654752440) * z[i]);
  }
  check_equal<Real>([&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
    out = zeros<Real>(2 * n);
    const std::int64_t cut = n / 3;
    t.fading_gains(out.data(), m, 0, cut);
    t.fading_gains(out.data() + 2 * cut, m, cut, n - cut);
    if (!std::equal(out.begin(), out.end(), gains.begin())) FAIL("a cut changes the gains");
  });
}

TEMPLATE_TEST_CASE("fading: equal bits, and y = h s + n of the two draws", "", float, double) {
  using Real = TestType;
  const auto s = normals<Real>(2 * kMost, 1), noise = positive<Real>(kMost + 1, 2);
  for (const std::int64_t symbols : kSymbols) {
    for (const std::int64_t coherence : {std::int64_t{1}, std::int64_t{3}, symbols}) {
      if (coherence > symbols) continue;
      const FadingModel m = model(symbols, coherence);
      const auto gains = gains_of<Real>(m, kMost / symbols + 1);
      for (const bool drawn_inside : {false, true}) {
        if (drawn_inside && coherence != 1) continue;
        const Real* given = drawn_inside ? nullptr : gains.data();
        for (const std::int64_t first : {0, 1}) {
          check_equal<Real>([&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
            const std::int64_t count = std::max<std::int64_t>(n - first, 0);
            out = zeros<Real>(4 * count);
            t.fading(out.data(), out.data() + 2 * count, s.data() + 2 * first, given, noise.data(), m, first, count);
          });
        }
        auto y = zeros<Real>(2 * kMost), h = zeros<Real>(2 * kMost);
        table_of<Real>(best_kernels()).fading(y.data(), h.data(), s.data(), given, noise.data(), m, 0, kMost);
        const auto n = normals<Real>(2 * kMost, 43, 0, 0xfffffff0);
        for (std::int64_t i = 0; i < kMost; ++i) {
          const auto k = static_cast<std::size_t>(2 * i), sample = static_cast<std::size_t>(i / symbols);
          const std::int64_t per_sample = (symbols + coherence - 1) / coherence;
          const auto j = static_cast<std::size_t>(2 * (i / symbols * per_sample + i % symbols / coherence));
          const Real hr = gains[j], hi = gains[j + 1], b = noise[sample];
          if (h[k] != hr || h[k + 1] != hi) FAIL("gain of symbol " << i);
          if (y[k] != (hr * s[k] - hi * s[k + 1]) + b * n[k]) FAIL("real part of symbol " << i);
          if (y[k + 1] != (hr * s[k + 1] + hi * s[k]) + b * n[k + 1]) FAIL("imaginary part of symbol " << i);
        }
        SUCCEED();
      }
    }
  }
}

TEMPLATE_TEST_CASE("equalize: equal bits, for rows of every kind", "", float, double) {
  using Real = TestType;
  const auto y = normals<Real>(2 * kMost, 1);
  auto h = normals<Real>(2 * kMost + 2, 2), n0 = positive<Real>(kMost + 1, 3);
  for (std::size_t i = 0; i < h.size(); i += 14) h[i] = h[i + 1] = 0;
  for (std::size_t i = 0; i < n0.size(); i += 21) n0[i] = 0;
  for (const std::int64_t symbols : kSymbols) {
    for (const Equalizer method : kMethods) {
      for (const auto& [h_few, n0_few] : {std::pair{true, true}, {false, true}, {false, false}}) {
        check_equal<Real>([&, h_few = h_few, n0_few = n0_few](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
          out = zeros<Real>(4 * n);
          t.equalize(out.data(), h_few ? nullptr : out.data() + 2 * n, h_few ? nullptr : out.data() + 3 * n, y.data(), h.data(), n0.data(),
                     {symbols, h_few, n0_few}, method, 0, n);
        });
      }
    }
  }
}

TEMPLATE_TEST_CASE("fading_equalized: equal bits, and those of the two steps", "", float, double) {
  using Real = TestType;
  const auto s = normals<Real>(2 * kMost, 1), noise = positive<Real>(kMost + 1, 2), n0 = positive<Real>(kMost + 1, 3);
  for (const std::int64_t symbols : kSymbols) {
    for (const std::int64_t coherence : {std::int64_t{1}, std::int64_t{3}}) {
      if (coherence > symbols) continue;
      const FadingModel m = model(symbols, coherence);
      const auto gains = gains_of<Real>(m, kMost / symbols + 1);
      const Real* given = coherence == 1 ? nullptr : gains.data();
      for (const Equalizer method : kMethods) {
        check_equal<Real>([&](const Table<Real>& t, std::int64_t n, std::vector<Real>& out) {
          out = zeros<Real>(4 * n);
          t.fading_equalized(out.data(), out.data() + 2 * n, out.data() + 3 * n, s.data(), given, noise.data(), n0.data(), m, method, 0, n);
          auto y = zeros<Real>(2 * n), h = zeros<Real>(2 * n), steps = zeros<Real>(4 * n);
          t.fading(y.data(), h.data(), s.data(), given, noise.data(), m, 0, n);
          t.equalize(steps.data(), steps.data() + 2 * n, steps.data() + 3 * n, y.data(), h.data(), n0.data(), {symbols, false, true},
                     method, 0, n);
          if (!same_bits(out, steps)) FAIL("the fused kernel differs from its steps at " << n << " symbols");
        });
      }
    }
  }
}

}  // namespace semdiff::kernels
