// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kernel_test.h"

namespace semdiff::kernels {

namespace {

using Words = std::array<std::uint32_t, 4>;

Words philox(const Kernels& k, Words counter, std::array<std::uint32_t, 2> key) {
  Words out{};
  k.philox(counter.data(), key.data(), out.data());
  return out;
}

// A normal from its definition, in long double and libm: element i of the draw (seed, offset).
long double expected_normal(std::uint64_t seed, std::uint64_t offset, std::uint64_t i) {
  const std::uint64_t c = offset + i / 4;
  const Words w = philox(baseline_kernels(), {static_cast<std::uint32_t>(c), static_cast<std::uint32_t>(c >> 32), 0, 0},
                         {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  const std::size_t pair = i % 4 / 2 * 2;
  const long double u = (static_cast<long double>(w[pair]) + 0.5L) / 4294967296.0L;
  const long double angle = 2 * 3.14159265358979323846264338328L * static_cast<long double>(w[pair + 1]) / 4294967296.0L;
  return std::sqrt(-2 * std::log(u)) * (i % 2 == 0 ? std::cos(angle) : std::sin(angle));
}

}  // namespace

TEST_CASE("philox4x32-10 gives Random123's known answers") {
  // kat_vectors of Random123 1.14, the lines of philox4x32 with 10 rounds.
  for (const Kernels* k : supported_kernels()) {
    CAPTURE(k->name);
    CHECK(philox(*k, {0, 0, 0, 0}, {0, 0}) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
    CHECK(philox(*k, {0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}) ==
          Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
    CHECK(philox(*k, {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
          Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
  }
}

TEST_CASE("normals are Box-Muller of the Philox words, counters carrying past 32 and wrapping past 64 bits") {
  const std::uint64_t seed = 0x123456789abcdef0;
  for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{0xfffffffe}, std::numeric_limits<std::uint64_t>::max() - 1}) {
    const auto f = normals<float>(64, seed, 0, offset);
    const auto d = normals<double>(64, seed, 0, offset);
    for (std::size_t i = 0; i < d.size(); ++i) {
      const long double z = expected_normal(seed, offset, i);
      CAPTURE(offset, i);
      CHECK(std::abs(static_cast<long double>(d[i]) - z) < 4e-15L);
      CHECK(std::abs(static_cast<long double>(f[i]) - z) < 2e-6L);
    }
  }
}

TEMPLATE_TEST_CASE("any part of a draw is that part of the whole draw", "", float, double) {
  const auto whole = normals<TestType>(5000, 7);
  for (const Kernels* k : supported_kernels()) {
    for (const std::int64_t first : {0, 1, 2, 3, 4, 5, 1023, 1024, 1025, 2047}) {
      for (const std::int64_t count : {0, 1, 2, 3, 4, 5, 1023, 1024, 1025, 2900}) {
        // A guard on both sides: nothing but the elements asked for may be written.
        std::vector<TestType> out(static_cast<std::size_t>(count) + 2, TestType(99));
        table_of<TestType>(*k).normal(out.data() + 1, first, count, {7, 0});
        const bool equal = std::equal(out.begin() + 1, out.end() - 1, whole.begin() + first);
        if (!equal || out.front() != TestType(99) || out.back() != TestType(99)) FAIL(k->name << " first " << first << " count " << count);
      }
    }
  }
  SUCCEED();
}

TEST_CASE("an offset of one counter is four elements") {
  const auto whole = normals<float>(4096, 3);
  const auto later = normals<float>(4092, 3, 0, 1);
  CHECK(std::equal(later.begin(), later.end(), whole.begin() + 4));
}

TEST_CASE("the extreme words give finite normals") {
  // No seed is known whose words are all ones, so the formula's ends are checked where it can be reached: kernel_math.cpp does the rest.
  const auto draw = normals<float>(1 << 20, 11);
  const auto [low, high] = std::minmax_element(draw.begin(), draw.end());
  CHECK(std::isfinite(*low));
  CHECK(*low > -6.77f);
  CHECK(*high < 6.77f);
}

TEST_CASE("derived seeds differ between domains, indices and parents") {
  for (const Kernels* k : supported_kernels()) {
    std::vector<std::uint64_t> seeds;
    for (const std::uint64_t seed : {0ull, 1ull, ~0ull}) {
      for (const std::uint64_t offset : {0ull, 1ull}) {
        for (const std::uint32_t domain : {1u, 2u}) {
          for (std::uint64_t index = 0; index < 100; ++index) {
            seeds.push_back(k->derive_seed({seed, offset}, domain, index));
            CHECK(seeds.back() == baseline_kernels().derive_seed({seed, offset}, domain, index));
          }
        }
      }
    }
    std::sort(seeds.begin(), seeds.end());
    CHECK(std::adjacent_find(seeds.begin(), seeds.end()) == seeds.end());
  }
}

}  // namespace semdiff::kernels
