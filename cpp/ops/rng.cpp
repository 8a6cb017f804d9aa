// SPDX-License-Identifier: Apache-2.0
#include "semdiff/rng.h"

#include <ATen/ops/empty.h>

#include "check.h"
#include "composite.h"
#include "stream.h"

namespace semdiff {

namespace {

// Philox counters are told apart by this word; normals use 0.
constexpr std::uint32_t kSplitDomain = 1, kFoldInDomain = 2;

constexpr std::int64_t kMostKeys = std::int64_t{1} << 24;     // of one split: 256 MiB
constexpr std::int64_t kMostNumbers = std::int64_t{1} << 56;  // beyond any memory, and safe to multiply

}  // namespace

at::Tensor normal(at::IntArrayRef size, const at::Tensor& key, at::ScalarType dtype, at::Device device) {
  const kernels::PhiloxKey k = read_key(key);
  TORCH_CHECK_TYPE(is_real(dtype), "dtype: expected a floating-point type",
                   at::isFloatingType(dtype) ? " of 16 bits or more, got " : ", got ", dtype);
  std::int64_t elements = 1;
  for (const std::int64_t n : size) {
    TORCH_CHECK_VALUE(n >= 0, "size: expected non-negative numbers, got ", size);
    TORCH_CHECK_VALUE(!__builtin_mul_overflow(elements, n, &elements) && elements <= kMostNumbers,
                      "size: expected at most 2^56 elements, got ", size);
  }
  if (!device.is_cpu()) return composite::normal(size, k, dtype, device);
  at::Tensor out = empty_on_cpu(size, dtype);
  SEMDIFF_DISPATCH(dtype, "normal", [&] {
    const auto& table = table_for<scalar_t>();
    stream<scalar_t, 0, 1>(
        out.numel(), kRandomGrainBlocks, {}, {out.mutable_data_ptr<scalar_t>()},
        [&](std::int64_t first, std::int64_t count, const auto&, const auto& o) { table.normal(o[0], first, count, k); });
  });
  return out;
}

at::Tensor key_split(const at::Tensor& key, std::int64_t n) {
  const kernels::PhiloxKey k = read_key(key);
  TORCH_CHECK_VALUE(n >= 1, "n: expected at least 1, got ", n);
  TORCH_CHECK_VALUE(n <= kMostKeys, "n: expected at most ", kMostKeys, ", got ", n);
  at::Tensor keys = at::empty({n, 2}, at::TensorOptions().dtype(at::kUInt64));
  auto* words = keys.mutable_data_ptr<std::uint64_t>();
  for (std::int64_t i = 0; i < n; ++i) {
    if (i % kBlockOfRows == kBlockOfRows - 1) check_interrupt();
    words[2 * i] = active_kernels().derive_seed(k, kSplitDomain, static_cast<std::uint64_t>(i));
    words[2 * i + 1] = 0;
  }
  return keys;
}

at::Tensor key_fold_in(const at::Tensor& key, std::int64_t index) {
  const kernels::PhiloxKey k = read_key(key);
  TORCH_CHECK_VALUE(index >= 0, "index: expected a non-negative number, got ", index);
  at::Tensor child = empty_on_cpu({2}, at::kUInt64);
  auto* words = child.mutable_data_ptr<std::uint64_t>();
  words[0] = active_kernels().derive_seed(k, kFoldInDomain, static_cast<std::uint64_t>(index));
  words[1] = 0;
  return child;
}

}  // namespace semdiff
