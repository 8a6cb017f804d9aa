// SPDX-License-Identifier: Apache-2.0
#include "check.h"

#include <ATen/Dispatch.h>
#include <ATen/ops/empty.h>

#include <cmath>

namespace semdiff {

at::Tensor to_coefficients(const at::Tensor& x, const char* name) {
  check_floating(x, name);
  if (x.is_cpu() && x.scalar_type() == at::kDouble && x.is_contiguous()) return x;  // the usual case, without a call
  return x.to(at::kCPU, at::kDouble).contiguous();
}

void check_variances(const at::Tensor& x, const char* name) {
  check_floating(x, name);
  const at::Tensor here = x.to(at::kCPU).contiguous();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, here.scalar_type(), "check_variances", [&] {
    const auto* p = here.const_data_ptr<scalar_t>();
    for (std::int64_t i = 0; i < here.numel(); ++i) {
      const auto value = static_cast<double>(p[i]);
      TORCH_CHECK_VALUE(std::isfinite(value) && value >= 0, name, ": expected finite numbers >= 0, got ", value);
    }
  });
}

std::int64_t check_rows(const at::Tensor& coefficients, const char* name, const at::Tensor& x, const char* x_name) {
  std::int64_t dims = coefficients.dim();
  while (dims > 0 && coefficients.size(dims - 1) == 1) --dims;
  TORCH_CHECK_VALUE(dims <= x.dim() &&
                        coefficients.sizes().slice(0, static_cast<std::size_t>(dims)) == x.sizes().slice(0, static_cast<std::size_t>(dims)),
                    name, ": expected shape () or one that begins like ", x_name, "'s ", x.sizes(), ", for example (B,), got ",
                    coefficients.sizes());
  std::int64_t row_length = 1;
  for (std::int64_t d = dims; d < x.dim(); ++d) row_length *= x.size(d);
  return row_length;
}

kernels::PhiloxKey read_key(const at::Tensor& key) {
  TORCH_CHECK_TYPE(key.scalar_type() == at::kUInt64, "key: expected a uint64 tensor of shape (2,), such as Key(seed).tensor, got ",
                   key.scalar_type());
  TORCH_CHECK_VALUE(key.dim() == 1 && key.size(0) == 2, "key: expected shape (2,), got ", key.sizes());
  TORCH_CHECK_VALUE(key.is_cpu(), "key: expected a CPU tensor (it is read on the host), got one on ", key.device());
  const at::Tensor here = key.contiguous();
  const auto* words = here.const_data_ptr<std::uint64_t>();
  return {words[0], words[1]};
}

}  // namespace semdiff
