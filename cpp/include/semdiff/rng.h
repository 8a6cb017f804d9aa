// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace semdiff {

// A key is a uint64 CPU tensor of shape (2,): (seed, offset).

// Standard normals: element i of the flattened result is lane i%4 of Philox counter offset + i/4. float16 and bfloat16 are rounded float32.
at::Tensor normal(at::IntArrayRef size, const at::Tensor& key, at::ScalarType dtype, at::Device device);

// n independent keys, shape (n, 2).
at::Tensor key_split(const at::Tensor& key, std::int64_t n);

// The key of a numbered child; never one of key_split's.
at::Tensor key_fold_in(const at::Tensor& key, std::int64_t index);

}  // namespace semdiff
