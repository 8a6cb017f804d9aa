// SPDX-License-Identifier: Apache-2.0
// What the equaliser and the fused channel share.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <tuple>

#include "../kernels/kernels.h"

namespace semdiff {

struct Method {
  kernels::Equalizer kernel;
  bool refuse_dead;  // zf divides: a sample whose every gain is zero is an error
};

Method read_method(std::string_view name);

// (noise, gain) for one h and one noise variance a sample, float64; h: complex (B,), n0: (B,).
std::tuple<at::Tensor, at::Tensor> sample_terms(const at::Tensor& h, const at::Tensor& n0, kernels::Equalizer method);

// ValueError where the noise of every symbol of a sample is infinite.
void refuse_dead(const at::Tensor& noise);

}  // namespace semdiff
