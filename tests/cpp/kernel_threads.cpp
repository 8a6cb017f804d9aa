// SPDX-License-Identifier: Apache-2.0
// Eight threads share tables and inputs, and each writes results of its own: for the thread sanitizer, and equal bits without it.
#include <thread>

#include "kernel_test.h"

namespace semdiff::kernels {

namespace {

constexpr std::int64_t kCount = 20000;
constexpr PhiloxKey kKey{42, 5};

template <typename Real>
std::vector<Real> results(const Table<Real>& table, const std::vector<Real>& x, const std::vector<Real>& y,
                          const std::vector<Real>& noise) {
  const auto n = static_cast<std::size_t>(kCount);
  std::vector<Real> out(4 * n);
  table.normal(out.data(), 0, kCount, kKey);
  table.diffuse(out.data() + n, x.data(), y.data(), noise.data(), 1, 1, kCount, kKey);
  table.reparameterize(out.data() + 2 * n, x.data(), y.data(), 1, kCount, kKey);
  for (std::size_t i = 0; i + static_cast<std::size_t>(kBlock) <= n; i += static_cast<std::size_t>(kBlock)) {
    out[3 * n + i] = static_cast<Real>(table.dot(x.data() + i, y.data() + i, kBlock));
  }
  return out;
}

}  // namespace

TEMPLATE_TEST_CASE("threads: eight at once compute what one does", "", float, double) {
  using Real = TestType;
  const auto x = normals<Real>(kCount, 1), y = normals<Real>(kCount + 1, 2),
             noise = normals<Real>(kCount + 1, 3);  // rows from the second on
  for (const Kernels* k : supported_kernels()) {
    const Table<Real>& table = table_of<Real>(*k);
    const std::vector<Real> expected = results(table, x, y, noise);
    std::vector<std::vector<Real>> got(8);
    std::vector<std::thread> threads;
    for (auto& own : got) threads.emplace_back([&own, &table, &x, &y, &noise] { own = results(table, x, y, noise); });
    for (std::thread& thread : threads) thread.join();
    for (const auto& own : got) CHECK(same_bits(own, expected));
  }
}

}  // namespace semdiff::kernels
