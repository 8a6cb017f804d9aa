// SPDX-License-Identifier: Apache-2.0
#include "semdiff/mimo.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include "check.h"
#include "composite.h"
#include "stream.h"

namespace semdiff {

namespace {
constexpr std::int64_t kGrainMatrices = 1024;  // below this one thread is faster than two
}

namespace composite {

std::tuple<at::Tensor, at::Tensor, at::Tensor> svd_2x2(const at::Tensor& h) {
  const auto [u, s, vh] = at::linalg_svd(h, /*full_matrices=*/false);
  const at::Tensor first = vh.select(-1, 0), size = first.abs();
  const at::Tensor phase = at::where(size > 0, first / size, at::ones_like(first));
  return {(u * phase.unsqueeze(-2)).contiguous(), s, (vh * phase.conj().unsqueeze(-1)).contiguous()};
}

}  // namespace composite

std::tuple<at::Tensor, at::Tensor, at::Tensor> svd_2x2(const at::Tensor& h) {
  TORCH_CHECK_TYPE(h.scalar_type() == at::kComplexFloat || h.scalar_type() == at::kComplexDouble,
                   "h: expected a complex64 or complex128 tensor, got ", h.scalar_type());
  TORCH_CHECK_VALUE(h.dim() >= 2 && h.size(-1) == 2 && h.size(-2) == 2, "h: expected shape (..., 2, 2), got ", h.sizes());
  if (!h.is_cpu()) return composite::svd_2x2(h);
  const at::Tensor from = at::view_as_real(h.contiguous().resolve_conj());
  at::Tensor u = at::empty(h.sizes(), h.options()), vh = at::empty(h.sizes(), h.options());
  at::Tensor s = at::empty(h.sizes().slice(0, static_cast<std::size_t>(h.dim() - 1)), from.options());
  const at::Tensor u_real = at::view_as_real(u), vh_real = at::view_as_real(vh);
  AT_DISPATCH_FLOATING_TYPES(from.scalar_type(), "svd_2x2", [&] {
    const auto& table = table_for<scalar_t>();
    const auto* in = from.const_data_ptr<scalar_t>();
    auto* left = u_real.mutable_data_ptr<scalar_t>();
    auto* values = s.mutable_data_ptr<scalar_t>();
    auto* right = vh_real.mutable_data_ptr<scalar_t>();
    parallel_pieces(0, h.numel() / 4, kGrainMatrices, [&](std::int64_t begin, std::int64_t end) {
      table.svd_2x2(left + 8 * begin, values + 2 * begin, right + 8 * begin, in + 8 * begin, end - begin);
    });
  });
  return {u, s, vh};
}

}  // namespace semdiff
