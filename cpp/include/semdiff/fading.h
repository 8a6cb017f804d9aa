// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <tuple>

namespace semdiff {

// (y, h) with y = h s + n, h = los + scatter CN(0, 1), one h for `coherence` neighbouring symbols of a sample; 0 means a whole sample.
// s: complex (B, ...). noise: n's deviation in each real dimension, () or (B,). h: (B, 1, ...) for whole samples, else of s's shape.
// The gains, numbered sample by sample, are complex numbers of the first key of key_split(key, 2); n is drawn with the second, as diffuse
// does with a key.
std::tuple<at::Tensor, at::Tensor> fading(const at::Tensor& s, double los, double scatter, const at::Tensor& noise, std::int64_t coherence,
                                          const at::Tensor& key);

// equalize(fading(s, ..., sqrt(noise_var / 2), ...), noise_var, method) in one pass, the same bits. noise_var: () or (B,).
std::tuple<at::Tensor, at::Tensor, at::Tensor> fading_equalized(const at::Tensor& s, double los, double scatter,
                                                                const at::Tensor& noise_var, std::int64_t coherence,
                                                                std::string_view method, const at::Tensor& key);

}  // namespace semdiff
