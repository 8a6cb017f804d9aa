// SPDX-License-Identifier: Apache-2.0
// What the operators' tests share. An operator on the CPU is held against its composite, which other devices use, run on the CPU too.
#pragma once

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <catch2/catch.hpp>

#include "../../cpp/ops/composite.h"
#include "semdiff/rng.h"

namespace semdiff {

inline at::Tensor key_of(std::uint64_t seed, std::uint64_t offset = 0) {
  at::Tensor key = at::empty({2}, at::TensorOptions().dtype(at::kUInt64));
  key.mutable_data_ptr<std::uint64_t>()[0] = seed;
  key.mutable_data_ptr<std::uint64_t>()[1] = offset;
  return key;
}

inline kernels::PhiloxKey words_of(std::uint64_t seed, std::uint64_t offset = 0) { return {seed, offset}; }

// A random input; complex types get two reals an element.
inline at::Tensor random(at::IntArrayRef size, std::uint64_t seed, at::ScalarType dtype = at::kFloat) {
  if (!c10::isComplexType(dtype)) return normal(size, key_of(seed), dtype, at::kCPU);
  std::vector<std::int64_t> parts = size.vec();
  parts.push_back(2);
  return at::view_as_complex(normal(parts, key_of(seed), c10::toRealValueType(dtype), at::kCPU));
}

inline at::Tensor doubles(std::initializer_list<double> values) {
  return at::tensor(std::vector<double>(values), at::TensorOptions().dtype(at::kDouble));
}

// Rounding of the type in which both are computed and stored; normals of float32 carry the rounding of ln u, at most 2.5e-4 where the
// radius is nearly zero and about 1e-6 elsewhere.
inline double tolerance(at::ScalarType dtype) {
  switch (c10::toRealValueType(dtype)) {
    case at::kDouble:
      return 1e-13;
    case at::kHalf:
      return 2e-3;
    case at::kBFloat16:
      return 1.6e-2;
    default:
      return 4e-6;
  }
}

inline void check_close(const at::Tensor& got, const at::Tensor& expected, double tol, const char* what = "") {
  INFO(what);
  REQUIRE(got.sizes() == expected.sizes());
  REQUIRE(got.scalar_type() == expected.scalar_type());
  if (got.numel() == 0) return;
  const auto wide = [](const at::Tensor& v) {
    return v.is_complex() ? at::view_as_real(v.resolve_conj()).to(at::kDouble) : v.to(at::kDouble);
  };
  const at::Tensor a = wide(got), b = wide(expected);
  const double error = ((a - b).abs() / (b.abs() + 1)).max().item<double>();
  CHECK(error <= tol);
}

constexpr at::ScalarType kRealTypes[] = {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16};

}  // namespace semdiff
