// SPDX-License-Identifier: Apache-2.0
// The steps against coefficients written out here from the papers' formulas, run through the composite.
#include <cmath>
#include <limits>

#include "op_test.h"
#include "semdiff/sampler.h"
#include "semdiff/schedule.h"

namespace semdiff {

namespace {

using kernels::StepCoefficients;

const at::Tensor& table() {
  static const at::Tensor t = alphas_cumprod("scaled_linear", 1000, 0.00085, 0.012);
  return t;
}

StepCoefficients x0_row(std::string_view prediction, double a) {
  if (prediction == "eps") return {1 / std::sqrt(a), -std::sqrt((1 - a) / a), 0, 0, 0, 0};
  if (prediction == "x0") return {0, 1, 0, 0, 0, 0};
  return {std::sqrt(a), -std::sqrt(1 - a), 0, 0, 0, 0};
}

StepCoefficients ddim_row(std::string_view prediction, double a, double b, double eta) {
  StepCoefficients c = x0_row(prediction, a);
  const double sigma = eta * std::sqrt((1 - b) / (1 - a) * (1 - a / b)), direction = std::sqrt(1 - b - sigma * sigma);
  c.keep = direction / std::sqrt(1 - a);
  c.denoise = std::sqrt(b) - direction * std::sqrt(a) / std::sqrt(1 - a);
  c.noise = sigma;
  return c;
}

StepCoefficients dpmpp_row(std::string_view prediction, double p, double a, double b) {
  StepCoefficients c = x0_row(prediction, a);
  const auto lambda = [](double v) { return std::log(std::sqrt(v) / std::sqrt(1 - v)); };
  const double h = lambda(b) - lambda(a), r = (lambda(a) - lambda(p)) / h, d = -std::sqrt(b) * std::expm1(-h);
  c.keep = std::sqrt((1 - b) / (1 - a));
  c.denoise = d * (1 + 1 / (2 * r));
  c.previous = -d / (2 * r);
  return c;
}

}  // namespace

TEST_CASE("ddim_step and its backward: the formula, each prediction, clipped or not, per sample or for all") {
  const double inf = std::numeric_limits<double>::infinity();
  for (const at::ScalarType dtype : kRealTypes) {
    const at::Tensor x = random({2, 3, 400}, 1, dtype), output = random({2, 3, 400}, 2, dtype), grad = random({2, 3, 400}, 3, dtype);
    for (const char* prediction : {"eps", "x0", "v"}) {
      for (const double eta : {0.0, 0.5, 1.0}) {
        for (const std::optional<double> clip : {std::optional<double>(), std::optional<double>(0.9)}) {
          for (const bool per_sample : {false, true}) {
            const at::Tensor t = per_sample ? doubles({500, 120.25}) : doubles({500}).reshape({}), s = t * 0.5;
            const at::Tensor a = alpha_bar(table(), t).reshape({-1}), b = alpha_bar(table(), s).reshape({-1});
            std::vector<StepCoefficients> rows;
            for (std::int64_t i = 0; i < a.size(0); ++i)
              rows.push_back(ddim_row(prediction, a[i].item<double>(), b[i].item<double>(), eta));
            // Coefficients above 1 multiply the inputs' rounding.
            const double tol = tolerance(dtype) * 4, bound = clip.value_or(inf);
            const auto key = eta > 0 ? std::optional<kernels::PhiloxKey>(words_of(4)) : std::nullopt;
            check_close(ddim_step(x, output, t, s, table(), eta, prediction, clip, key_of(4)),
                        std::get<0>(composite::step(rows, bound, x, output, {}, key)), tol, "step");
            const auto [gx, go] = ddim_step_backward(grad, x, output, t, s, table(), eta, prediction, clip);
            const auto [ex, eo, unused] = composite::step_backward(rows, bound, grad, {}, x, output, false);
            if (dtype == at::kDouble || !clip) {  // elsewhere rounding may move an element across the bound
              check_close(gx, ex, tol, "gradient of x");
              check_close(go, eo, tol, "gradient of output");
            }
          }
        }
      }
    }
  }
}

TEST_CASE("dpmpp_2m_step and its backward: the formula") {
  for (const at::ScalarType dtype : kRealTypes) {
    const auto draw = [dtype](std::uint64_t seed) { return random({2, 1200}, seed, dtype); };
    const at::Tensor x = draw(1), output = draw(2), previous = draw(3), g_s = draw(4), g_0 = draw(5);
    const at::Tensor p = doubles({700, 300}), t = doubles({500.5, 120}), s = doubles({300, 60});
    for (const char* prediction : {"eps", "x0", "v"}) {
      std::vector<StepCoefficients> rows;
      for (std::int64_t i = 0; i < 2; ++i) {
        const auto at_time = [i](const at::Tensor& times) { return alpha_bar(table(), times)[i].item<double>(); };
        rows.push_back(dpmpp_row(prediction, at_time(p), at_time(t), at_time(s)));
      }
      const double tol = tolerance(dtype) * 4, inf = std::numeric_limits<double>::infinity();
      const auto [x_s, x0] = dpmpp_2m_step(x, output, previous, p, t, s, table(), prediction, std::nullopt);
      const auto [e_s, e_0] = composite::step(rows, inf, x, output, previous, {});
      check_close(x_s, e_s, tol, "x_s");
      check_close(x0, e_0, tol, "x0");
      for (const bool with_s : {false, true}) {
        for (const bool with_0 : {false, true}) {
          if (!with_s && !with_0) continue;
          const auto optional = [](bool has, const at::Tensor& v) { return has ? std::optional<at::Tensor>(v) : std::nullopt; };
          const auto [gx, go, gp] =
              dpmpp_2m_step_backward(optional(with_s, g_s), optional(with_0, g_0), x, output, previous, p, t, s, table(), prediction, {});
          const auto [ex, eo, ep] =
              composite::step_backward(rows, inf, with_s ? g_s : at::Tensor(), with_0 ? g_0 : at::Tensor(), x, output, true);
          check_close(gx, ex, tol, "gradient of x");
          check_close(go, eo, tol, "gradient of output");
          check_close(gp, ep, tol, "gradient of previous_x0");
        }
      }
    }
  }
}

}  // namespace semdiff
