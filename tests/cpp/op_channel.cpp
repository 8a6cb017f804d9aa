// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "op_test.h"
#include "semdiff/channel.h"

namespace semdiff {

namespace {

constexpr at::ScalarType kAllTypes[] = {at::kFloat, at::kDouble, at::kHalf, at::kBFloat16, at::kComplexFloat, at::kComplexDouble};

}  // namespace

TEST_CASE("normal: kernel and composite draw the same numbers") {
  for (const at::ScalarType dtype : kRealTypes) {
    for (const std::int64_t count : {0, 1, 3, 1025, 5000}) {
      check_close(normal({count}, key_of(5, 0xfffffff0), dtype, at::kCPU),
                  composite::normal({count}, words_of(5, 0xfffffff0), dtype, at::kCPU), tolerance(dtype), "normal");
    }
  }
}

TEST_CASE("diffuse: kernel and composite, for coefficients of every shape") {
  for (const at::ScalarType dtype : kAllTypes) {
    const at::Tensor x = random({3, 5, 7}, 1, dtype);
    for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{{}, {3}, {3, 1, 1}, {3, 5}, {3, 5, 7}}) {
      const at::Tensor signal = random(shape, 2, at::kDouble), noise = random(shape, 3, at::kDouble).abs();
      check_close(diffuse(x, signal, noise, key_of(4)), composite::diffuse(x, signal, noise, words_of(4)), tolerance(dtype), "with signal");
      check_close(diffuse(x, std::nullopt, noise, key_of(4)), composite::diffuse(x, std::nullopt, noise, words_of(4)), tolerance(dtype),
                  "without");
    }
  }
}

TEST_CASE("normalize_power: a sample with a NaN is NaN throughout, and no other is") {
  at::Tensor s = random({3, 1500}, 1, at::kFloat);
  s.select(0, 1).select(0, 7).fill_(std::numeric_limits<double>::quiet_NaN());
  for (const auto& [out, scale] : {normalize_power(s), composite::normalize_power(s)}) {
    CHECK(out.select(0, 1).isnan().all().item<bool>());
    CHECK(scale.isnan().sum().item<std::int64_t>() == 1);
    CHECK(out.isnan().sum().item<std::int64_t>() == 1500);
  }
}

TEST_CASE("normalize_power: kernel and composite, forward and backward, a sample of zeros and empty ones") {
  for (const at::ScalarType dtype : kAllTypes) {
    const double tol = tolerance(dtype);
    at::Tensor s = random({4, 1500}, 1, dtype) * 3;
    s.select(0, 1).zero_();
    const auto [out, scale] = normalize_power(s);
    const auto [expected, expected_scale] = composite::normalize_power(s);
    check_close(out, expected, tol, "out");
    check_close(scale, expected_scale, std::min(tol, 4e-6), "scale");
    CHECK(scale[1].item<double>() == 0.0);
    const at::Tensor grad = random({4, 1500}, 2, dtype), grad_scale = random({4}, 3, scale.scalar_type());
    check_close(normalize_power_backward(grad, grad_scale, out, scale), composite::normalize_power_backward(grad, grad_scale, out, scale),
                tol, "backward");
    check_close(normalize_power_backward(grad, std::nullopt, out, scale),
                composite::normalize_power_backward(grad, std::nullopt, out, scale), tol, "backward without the scale's");
    for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{{0, 3}, {2, 0}}) {
      const at::Tensor empty = at::empty(shape, at::TensorOptions().dtype(dtype));
      const auto [e, es] = normalize_power(empty);
      const auto [c, cs] = composite::normalize_power(empty);
      CHECK(e.sizes() == c.sizes());
      CHECK(es.sizes() == cs.sizes());
      CHECK(es.sum().item<double>() == cs.sum().item<double>());
    }
  }
}

TEST_CASE("measured_snr_db: kernel and composite, float64 both") {
  for (const at::ScalarType dtype : kAllTypes) {
    const at::Tensor s = random({3, 2500}, 1, dtype), y = s + random({3, 2500}, 2, dtype) * 0.1;
    check_close(measured_snr_db(s, y), composite::measured_snr_db(s, y), 1e-9);
    CHECK(measured_snr_db(s, y).scalar_type() == at::kDouble);
  }
}

TEST_CASE("pack and unpack invert each other, odd counts and empty batches too") {
  for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{{2, 6}, {2, 3, 3}, {1, 1}, {0, 5}, {3, 0}}) {
    const at::Tensor z = random(shape, 1, at::kDouble);
    const at::Tensor s = pack(z);
    const std::int64_t count = z.numel() / std::max<std::int64_t>(shape[0], 1);
    if (shape[0] > 0) CHECK(s.sizes() == at::IntArrayRef({shape[0], (count + 1) / 2}));
    check_close(at::_unsafe_view(s, s.sizes()).abs().square().sum() * 2, z.square().sum(), 1e-12, "energy");
    std::vector<c10::SymInt> to(shape.begin(), shape.end());
    check_close(unpack(s, to), z, 1e-15, "round trip");
  }
}

}  // namespace semdiff
