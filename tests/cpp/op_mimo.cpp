// SPDX-License-Identifier: Apache-2.0
#include "op_test.h"
#include "semdiff/mimo.h"

namespace semdiff {

TEST_CASE("svd_2x2: kernel and composite, which share the convention for phases") {
  for (const at::ScalarType dtype : {at::kComplexFloat, at::kComplexDouble}) {
    const double tol = dtype == at::kComplexFloat ? 2e-6 : 1e-14;
    for (const std::int64_t size : {0, 1, 700}) {
      // The first column is the larger one: singular values are apart, so vectors are unique to rounding.
      const at::Tensor h = random({3, size, 2, 2}, 1, dtype) * at::tensor(std::vector<double>{4, 0.5}).to(c10::toRealValueType(dtype));
      const auto [u, s, vh] = svd_2x2(h);
      const auto [cu, cs, cv] = composite::svd_2x2(h);
      check_close(s, cs, tol, "s");
      check_close(at::matmul(u * s.unsqueeze(-2), vh), h, tol, "u s vh");
      check_close(at::matmul(cu * cs.unsqueeze(-2), cv), h, tol, "the composite's u s vh");
      if (size != 0) {
        const at::Tensor apart = (s.select(-1, 0) > 2 * s.select(-1, 1)).unsqueeze(-1).unsqueeze(-1);
        CHECK(apart.to(at::kDouble).mean().item<double>() > 0.8);
        check_close(at::where(apart, u, cu), cu, 20 * tol, "u");
        check_close(at::where(apart, vh, cv), cv, 20 * tol, "vh");
      }
    }
  }
}

}  // namespace semdiff
