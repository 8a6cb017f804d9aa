// SPDX-License-Identifier: Apache-2.0
#include "op_test.h"
#include "semdiff/loss.h"
#include "semdiff/vae.h"

namespace semdiff {

TEST_CASE("reparameterize and its backward: kernel and composite") {
  for (const at::ScalarType dtype : kRealTypes) {
    for (const std::int64_t size : {0, 1, 1030}) {
      const at::Tensor mu = random({3, size}, 1, dtype), logvar = random({3, size}, 2, dtype), grad = random({3, size}, 3, dtype);
      const at::Tensor sample = reparameterize(mu, logvar, key_of(4));
      check_close(sample, composite::reparameterize(mu, logvar, words_of(4)), tolerance(dtype) * 2, "sample");
      check_close(reparameterize_backward(grad, sample, mu), composite::reparameterize_backward(grad, sample, mu), tolerance(dtype),
                  "gradient");
    }
  }
}

TEST_CASE("gaussian_upsample and its backward: kernel and composite, at every scale and odd sizes") {
  for (const at::ScalarType dtype : kRealTypes) {
    const double tol = tolerance(dtype) * 4;
    for (const std::int64_t scale : {1, 2, 3, 4}) {
      for (const auto& [c, h, w] :
           {std::tuple(1, 1, 1), std::tuple(3, 5, 7), std::tuple(4, 8, 8), std::tuple(2, 3, 400), std::tuple(1, 0, 4)}) {
        const at::Tensor features = random({2, 2 * c * scale * scale, h, w}, 1, dtype) * 4;
        const auto [sample, mean, logvar] = gaussian_upsample(features, scale, key_of(2));
        const auto [es, em, el] = composite::gaussian_upsample(features, scale, words_of(2));
        check_close(sample, es, tol * 20, "sample");  // a log-variance of up to 10 multiplies a normal's rounding by e^5
        check_close(mean, em, 0, "mean");
        check_close(logvar, el, tol, "logvar");
        const auto draw = [&](std::uint64_t seed) { return random(sample.sizes(), seed, dtype); };
        const at::Tensor gs = draw(3), gm = draw(4), gl = draw(5);
        check_close(gaussian_upsample_backward(gs, gm, gl, sample, mean, logvar, scale),
                    composite::gaussian_upsample_backward(gs, gm, gl, sample, mean, logvar, scale), tol, "gradient");
        check_close(gaussian_upsample_backward(gs, std::nullopt, std::nullopt, sample, mean, logvar, scale),
                    composite::gaussian_upsample_backward(gs, std::nullopt, std::nullopt, sample, mean, logvar, scale), tol,
                    "of the sample");
      }
    }
  }
}

TEST_CASE("upsampler_loss and its gradients: kernel and composite") {
  for (const at::ScalarType dtype : kRealTypes) {
    const double tol = tolerance(dtype) * 4;
    const at::Tensor mu = random({3, 2, 700}, 1, dtype), logvar = random({3, 2, 700}, 2, dtype), z = random({3, 2, 700}, 3, dtype);
    for (const at::Tensor& a : {doubles({0.2, 0.5, 0.99}), doubles({0.3}).reshape({})}) {
      const auto [total, reconstruction, prior, match, g_mu, g_logvar] =
          upsampler_loss_with_gradients(mu, logvar, z, a, 0.1, 0.2, key_of(4));
      const composite::LossResult e = composite::upsampler_loss(mu, logvar, z, a, 0.1, 0.2, words_of(4), true);
      // Terms are float32 for halves: computed in float32 from the same inputs.
      const double terms = dtype == at::kDouble ? 1e-13 : 2e-6;
      check_close(total, e.total, terms, "total");
      check_close(reconstruction, e.reconstruction, terms, "reconstruction");
      check_close(prior, e.prior, terms, "prior");
      check_close(match, e.match, terms, "match");
      const double n = static_cast<double>(mu.numel());
      // Times the number of elements, so that the tolerance is one of numbers of order 1.
      if (dtype != at::kHalf) {  // float16 cannot hold gradients divided by n at full precision
        check_close(g_mu * n, e.grad_mu * n, tol, "gradient of mu");
        check_close(g_logvar * n, e.grad_logvar * n, tol, "gradient of logvar");
      }
      const auto [t2, r2, p2, m2] = upsampler_loss(mu, logvar, z, a, 0.1, 0.2, key_of(4));
      CHECK(at::equal(t2, total));
      CHECK(at::equal(m2, match));
    }
  }
}

}  // namespace semdiff
