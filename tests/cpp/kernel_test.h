// SPDX-License-Identifier: Apache-2.0
// What the kernels' tests share: the tables this CPU can run, one for any CPU, and random inputs from the baseline table.
#pragma once

#include <catch2/catch.hpp>
#include <cstring>
#include <string_view>
#include <vector>

#include "kernels.h"

namespace semdiff::kernels {

#if defined(SEMDIFF_PORTABLE)
namespace portable {
extern const Kernels table;  // of packs of 64 bytes, for any CPU
}
#endif

template <typename Real>
const Table<Real>& table_of(const Kernels& k) {
  if constexpr (sizeof(Real) == 8) {
    return k.f64;
  } else {
    return k.f32;
  }
}

// The baseline, which every build has: the one the others are held against.
inline const Kernels& baseline_kernels() {
  const KernelList list = all_kernels();
  for (std::size_t i = 0; i < list.size; ++i) {
    if (std::string_view(list.begin[i]->name) == "baseline") return *list.begin[i];
  }
  FAIL("no baseline table");
  return *list.begin[0];
}

inline std::vector<const Kernels*> supported_kernels() {
  std::vector<const Kernels*> out;
  const KernelList list = all_kernels();
  for (std::size_t i = 0; i < list.size; ++i) {
    if (list.begin[i]->supported()) out.push_back(list.begin[i]);
  }
#if defined(SEMDIFF_PORTABLE)
  out.push_back(&portable::table);
#endif
  return out;
}

template <typename Real>
std::vector<Real> normals(std::int64_t count, std::uint64_t seed, std::int64_t first = 0, std::uint64_t offset = 0) {
  std::vector<Real> out(static_cast<std::size_t>(count));
  table_of<Real>(baseline_kernels()).normal(out.data(), first, count, {seed, offset});
  return out;
}

template <typename Real>
bool same_bits(const std::vector<Real>& a, const std::vector<Real>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(Real)) == 0);
}

}  // namespace semdiff::kernels
