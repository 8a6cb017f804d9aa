// SPDX-License-Identifier: Apache-2.0
// C++ callers get the same messages as Python's: the argument, what was expected, what came.
#include <limits>

#include "op_test.h"
#include "semdiff/channel.h"
#include "semdiff/equalizer.h"
#include "semdiff/fading.h"
#include "semdiff/interrupt.h"
#include "semdiff/loss.h"
#include "semdiff/mimo.h"
#include "semdiff/sampler.h"
#include "semdiff/schedule.h"
#include "semdiff/vae.h"

namespace semdiff {

namespace {

template <typename Error, typename F>
void check_throws(F call, const std::string& text) {
  try {
    call();
  } catch (const Error& error) {
    INFO(error.what());
    CHECK(std::string(error.what_without_backtrace()).find(text) != std::string::npos);
    return;
  }
  FAIL("expected an error with: " << text);
}

}  // namespace

TEST_CASE("wrong arguments: the type of the error and its text") {
  const at::Tensor x = at::ones({2, 3}), key = key_of(1), table = alphas_cumprod("linear", 10, 0.0001, 0.02),
                   one = doubles({1}).reshape({});
  const auto step = [&](double t, double s) { return ddim_step(x, x, one * t, one * s, table, 0.0, "eps", std::nullopt, std::nullopt); };
  check_throws<c10::TypeError>([&] { diffuse(x, std::nullopt, one, x); }, "key: expected a uint64 tensor of shape (2,)");
  check_throws<c10::ValueError>([&] { diffuse(x, std::nullopt, at::ones({3}), key); },
                                "noise: expected shape () or one that begins like x's [2, 3]");
  check_throws<c10::ValueError>([&] { diffuse(x, at::ones({2}), one, key); }, "signal: expected the shape of noise");
  const at::Tensor c = at::ones({2, 3}, at::kComplexFloat);
  check_throws<c10::TypeError>([&] { fading(x, 0, 1, one, 0, key); }, "s: expected a complex64 or complex128 tensor, got Float");
  check_throws<c10::ValueError>([&] { fading(c, 0, 1, at::ones({3}), 0, key); }, "noise: expected shape () or (2,), got [3]");
  check_throws<c10::ValueError>([&] { fading(c, 0, 1, one, 4, key); },
                                "coherence: expected 0 (a whole sample) or a number in [1, 3], the symbols of a sample, got 4");
  check_throws<c10::ValueError>([&] { fading(c, 0, -1, one, 0, key); }, "scatter: expected a finite number >= 0, got -1");
  check_throws<c10::ValueError>([&] { fading_equalized(c, 0, 1, one * -1, 1, "mmse", key); },
                                "noise_var: expected finite numbers >= 0, got -1");
  check_throws<c10::ValueError>([&] { equalize(c, c, one, "ml"); }, "method: expected zf, mmse, mmse_unbiased or matched, got ml");
  check_throws<c10::ValueError>([&] { equalize(c, c * 0, one, "zf"); }, "h: expected non-zero gains for zf, got only zeros in sample 0");
  check_throws<c10::TypeError>([&] { reparameterize(x, x.to(at::kDouble), key); }, "logvar: expected the dtype of mu, Float, got Double");
  check_throws<c10::ValueError>([&] { gaussian_upsample(x, 2, key); },
                                "features: expected shape (B, 2*C*scale^2, h, w) with scale = 2, got [2, 3]");
  check_throws<c10::TypeError>([&] { svd_2x2(at::ones({2, 2})); }, "h: expected a complex64 or complex128 tensor, got Float");
  check_throws<c10::ValueError>([&] { upsampler_loss(x, x, x, one, 0, 0, key); }, "alpha_bar: expected numbers in (0, 1), got 1");
  check_throws<c10::ValueError>([&] { step(10, 0); }, "t: expected a time in [0, 9] or -1 (clean), got 10");
  check_throws<c10::ValueError>([&] { step(3, 4); }, "s: expected a time not after t = 3, got 4");
  check_throws<c10::ValueError>([&] { step(3, -0.5); }, "s: expected a time in [0, 9] or -1 (clean), got -0.5");
  check_throws<c10::ValueError>([&] { equalize(c, c, one * -1, "mmse"); }, "noise_var: expected finite numbers >= 0, got -1");
  check_throws<c10::ValueError>([&] { alphas_cumprod("cosine", 1000001, 0, 0); }, "T: expected at most 1000000, got 1000001");
  check_throws<c10::ValueError>([&] { timestep(table, one * -1, "none"); }, "noise_var: expected finite numbers >= 0, got -1");
  check_throws<c10::ValueError>([&] { timestep(table, one, "floor"); }, "rounding: expected none, ceil or nearest, got floor");
}

TEST_CASE("sizes are looked at before anything is computed with them, gradients as inputs are") {
  const at::Tensor x = at::ones({2, 3}), short_one = at::ones({1}), key = key_of(1);
  const at::Tensor t = doubles({3}).reshape({}), s = doubles({1}).reshape({});
  const at::Tensor table = alphas_cumprod("linear", 10, 0.0001, 0.02), empty = at::ones({1, 1, 0, 0});
  for (const std::int64_t scale : {std::int64_t{1} << 16, std::int64_t{1} << 32, std::int64_t{1} << 62}) {
    check_throws<c10::ValueError>([&] { gaussian_upsample(at::ones({1, 8, 2, 2}), scale, key); }, "features: expected shape");
    if (scale > std::int64_t{1} << 20) {
      check_throws<c10::ValueError>([&] { gaussian_upsample_backward(empty, std::nullopt, std::nullopt, empty, empty, empty, scale); },
                                    "scale: expected a number in [1, 2^20]");
    }
  }
  check_throws<c10::ValueError>([&] { ddim_step_backward(short_one, x, x, t, s, table, 0, "eps", std::nullopt); },
                                "grad: expected the shape of x, [2, 3], got [1]");
  check_throws<c10::ValueError>(
      [&] { dpmpp_2m_step_backward(std::nullopt, short_one, x, x, std::nullopt, std::nullopt, t, s, table, "eps", std::nullopt); },
      "grad_x0: expected the shape of x, [2, 3], got [1]");
  check_throws<c10::ValueError>([&] { normalize_power_backward(x, std::nullopt, x, short_one); }, "scale: expected shape (2,), got [1]");
  check_throws<c10::ValueError>([&] { normalize_power_backward(x, short_one, x, at::ones({2})); },
                                "grad_scale: expected shape (2,), got [1]");
  check_throws<c10::ValueError>([&] { normal({2, std::int64_t{1} << 62}, key, at::kFloat, at::kCPU); },
                                "size: expected at most 2^56 elements");
  check_throws<c10::ValueError>([&] { key_split(key, std::int64_t{1} << 62); }, "n: expected at most 16777216");
  check_throws<c10::TypeError>([&] { reparameterize(x.to(at::kFloat8_e5m2), x, key); }, "mu: expected a floating-point tensor of 16 bits");
}

TEST_CASE("channels and equalisers name what they refuse") {
  const at::Tensor x = at::ones({2, 3}), key = key_of(1), one = doubles({1}).reshape({}), c = at::ones({2, 3}, at::kComplexFloat);
  const at::Tensor number = at::ones({}, at::kComplexFloat), wide = c.to(at::kComplexDouble);
  const double infinity = std::numeric_limits<double>::infinity();
  check_throws<c10::ValueError>([&] { diffuse(x, std::nullopt, one, key.slice(0, 0, 1)); }, "key: expected shape (2,), got [1]");
  check_throws<c10::TypeError>([&] { diffuse(at::ones({2}, at::kInt), std::nullopt, one, key); },
                               "x: expected a floating-point, complex64 or complex128 tensor, got Int");
  check_throws<c10::TypeError>([&] { normalize_power(at::ones({2}, at::kInt)); }, "s: expected a floating-point, complex64");
  check_throws<c10::ValueError>([&] { normalize_power(at::ones({})); }, "s: expected a batch of samples, shape (B, ...)");
  check_throws<c10::ValueError>([&] { measured_snr_db(x, at::ones({2, 2})); }, "y: expected the shape of s, [2, 3], got [2, 2]");
  check_throws<c10::TypeError>([&] { pack(at::ones({2}, at::kInt)); }, "z: expected a floating-point tensor, got Int");
  check_throws<c10::TypeError>([&] { unpack(x, {2, 6}); }, "s: expected a complex tensor, got Float");
  check_throws<c10::TypeError>([&] { unpack(c.to(at::kComplexHalf), {2, 6}); }, "s: expected a complex tensor of 64 bits or more");
  check_throws<c10::ValueError>([&] { unpack(c, {2, 7}); }, "shape: expected a shape (B, ...) that packs to [2, 3], got [2, 7]");
  check_throws<c10::ValueError>([&] { unpack(c, {2, std::int64_t{1} << 40, std::int64_t{1} << 40}); }, "shape: expected a shape (B, ...)");
  check_throws<c10::ValueError>([&] { fading(number, 0, 1, one, 0, key); }, "s: expected a batch of samples, shape (B, ...)");
  check_throws<c10::ValueError>([&] { fading(c, infinity, 1, one, 0, key); }, "los: expected a finite number, got inf");
  check_throws<c10::TypeError>([&] { equalize(x, x, one, "zf"); }, "y: expected a complex64 or complex128 tensor, got Float");
  check_throws<c10::ValueError>([&] { equalize(number, number, one, "zf"); }, "y: expected a batch of samples, shape (B, ...)");
  check_throws<c10::TypeError>([&] { equalize(c, wide, one, "zf"); }, "h: expected the dtype of y, ComplexFloat, got ComplexDouble");
  check_throws<c10::ValueError>([&] { equalize(c, at::ones({2, 2}, at::kComplexFloat), one, "zf"); },
                                "h: expected a shape that broadcasts to y's [2, 3], got [2, 2]");
  check_throws<c10::ValueError>([&] { svd_2x2(c); }, "h: expected shape (..., 2, 2), got [2, 3]");
}

TEST_CASE("random numbers and schedules name what they refuse") {
  const at::Tensor key = key_of(1), table = alphas_cumprod("linear", 10, 0.0001, 0.02), one = doubles({1}).reshape({});
  check_throws<c10::TypeError>([&] { normal({2}, key, at::kInt, at::kCPU); }, "dtype: expected a floating-point type, got Int");
  check_throws<c10::ValueError>([&] { normal({-1}, key, at::kFloat, at::kCPU); }, "size: expected non-negative numbers, got [-1]");
  check_throws<c10::ValueError>([&] { key_split(key, 0); }, "n: expected at least 1, got 0");
  check_throws<c10::ValueError>([&] { key_fold_in(key, -1); }, "index: expected a non-negative number, got -1");
  check_throws<c10::ValueError>([&] { alphas_cumprod("linear", 0, 0.1, 0.2); }, "T: expected at least 1, got 0");
  check_throws<c10::ValueError>([&] { alphas_cumprod("square", 10, 0.1, 0.2); },
                                "kind: expected scaled_linear, linear or cosine, got square");
  check_throws<c10::ValueError>([&] { alphas_cumprod("linear", 10, 0.3, 0.2); },
                                "beta_start, beta_end: expected 0 < beta_start <= beta_end < 1, got 0.3, 0.2");
  check_throws<c10::TypeError>([&] { alpha_bar(table.to(at::kFloat), one); }, "alphas_cumprod: expected float64, got Float");
  check_throws<c10::ValueError>([&] { alpha_bar(table.reshape({2, 5}), one); },
                                "alphas_cumprod: expected a contiguous CPU tensor of shape (T,), got [2, 5]");
}

TEST_CASE("solver steps name what they refuse") {
  const at::Tensor x = at::ones({2, 3}), key = key_of(1), table = alphas_cumprod("linear", 10, 0.0001, 0.02);
  const at::Tensor t = doubles({3}).reshape({}), s = doubles({1}).reshape({}), clean = doubles({-1}).reshape({}),
                   rising = doubles({0.1, 0.9});
  const at::Tensor noise_alone = doubles({0.5, 0.0});
  const auto ddim = [&](const at::Tensor& now, const at::Tensor& after, const at::Tensor& alphas, double eta, const char* prediction,
                        std::optional<double> clip) { ddim_step(x, x, now, after, alphas, eta, prediction, clip, std::nullopt); };
  const auto second = [&](const std::optional<at::Tensor>& before, const std::optional<at::Tensor>& when) {
    dpmpp_2m_step(x, x, before, when, t, s, table, "eps", std::nullopt);
  };
  check_throws<c10::ValueError>([&] { ddim(t, s, table, 0, "noise", {}); }, "prediction: expected eps, x0 or v, got noise");
  check_throws<c10::ValueError>([&] { ddim(t, s, table, 0, "eps", -1.0); }, "clip: expected a positive bound or None, got -1");
  check_throws<c10::ValueError>([&] { ddim(t, s, table, 2, "eps", {}); }, "eta: expected a number in [0, 1], got 2");
  check_throws<c10::ValueError>([&] { ddim(t, s, table, 0.5, "eps", {}); }, "key: expected one when eta > 0, got None");
  check_throws<c10::ValueError>([&] { ddim(t, doubles({1, 1}), table, 0, "eps", {}); }, "s: expected the shape of t, [], got [2]");
  check_throws<c10::ValueError>([&] { ddim(doubles({3, 3, 3}), doubles({1, 1, 1}), table, 0, "eps", {}); },
                                "t: expected shape () or (B,) with B = 2, got [3]");
  check_throws<c10::ValueError>([&] { ddim(clean, clean, table, 0, "eps", {}); }, "t: expected a time in [0, 9], got -1");
  check_throws<c10::TypeError>([&] { ddim(t, s, table.to(at::kFloat), 0, "eps", {}); },
                               "alphas_cumprod: expected a float64 CPU tensor of shape (T,), got Float");
  check_throws<c10::ValueError>([&] { ddim(s, s * 0, rising, 0, "eps", {}); },
                                "alphas_cumprod: expected falling numbers in [0, 1], got 0.1 at 0 and 0.9 at 1");
  check_throws<c10::ValueError>([&] { ddim(s, s * 0, noise_alone, 0, "eps", {}); }, "t: expected a time with signal left (alpha_bar > 0)");
  check_throws<c10::ValueError>([&] { second(x, std::nullopt); }, "t_previous: expected together with previous_x0, or neither");
  check_throws<c10::ValueError>([&] { second(at::ones({1}), t); }, "previous_x0: expected the shape of x, [2, 3], got [1]");
  check_throws<c10::ValueError>(
      [&] { dpmpp_2m_step_backward(std::nullopt, std::nullopt, x, x, std::nullopt, std::nullopt, t, s, table, "eps", std::nullopt); },
      "grad_x_s: expected it or grad_x0");
}

TEST_CASE("the up-sampler and its loss name what they refuse") {
  const at::Tensor x = at::ones({2, 3}), key = key_of(1), half = doubles({0.5}).reshape({}), features = at::ones({1, 8, 2, 2});
  const double infinity = std::numeric_limits<double>::infinity();
  const auto loss = [&](const at::Tensor& mu, double prior, double match, const at::Tensor& alpha_bar) {
    upsampler_loss(mu, mu, mu, alpha_bar, prior, match, key);
  };
  check_throws<c10::ValueError>([&] { loss(at::ones({0, 3}), 0, 0, half); }, "mu: expected at least one element, got shape [0, 3]");
  check_throws<c10::ValueError>([&] { loss(x, -1, 0, half); }, "lambda_prior: expected a finite number >= 0, got -1");
  check_throws<c10::ValueError>([&] { loss(x, 0, infinity, half); }, "lambda_match: expected a finite number >= 0, got inf");
  check_throws<c10::ValueError>([&] { loss(x, 0, 0, doubles({0.5, 0.5, 0.5})); },
                                "alpha_bar: expected shape () or one that begins like mu's");
  check_throws<c10::TypeError>([&] { loss(at::ones({2}, at::kInt), 0, 0, half); }, "mu: expected a floating-point tensor, got Int");
  check_throws<c10::ValueError>([&] { gaussian_upsample(features, 0, key); }, "scale: expected at least 1, got 0");
  check_throws<c10::ValueError>([&] { gaussian_upsample_backward(x, std::nullopt, std::nullopt, x, x, x, 1); },
                                "sample: expected shape (B, C, h*scale, w*scale) with scale = 1, got [2, 3]");
  check_throws<c10::ValueError>([&] { reparameterize(x, at::ones({3}), key); }, "logvar: expected the shape of mu, [2, 3], got [3]");
}

TEST_CASE("what looks for interrupts between pieces may end a computation") {
  static int looks = 0;
  struct Stopped {};
  const at::Tensor x = at::ones({(std::int64_t{8} << 20) * 3 + 1});
  looks = 0;
  set_interrupt_check([] { ++looks; });
  const at::Tensor whole = reparameterize(x, x, key_of(1));
  CHECK(looks == 3);
  set_interrupt_check([] { throw Stopped{}; });
  CHECK_THROWS_AS(reparameterize(x, x, key_of(1)), Stopped);
  set_interrupt_check(nullptr);
  CHECK(at::equal(whole, reparameterize(x, x, key_of(1))));
}

}  // namespace semdiff
