// SPDX-License-Identifier: Apache-2.0
#include "op_test.h"
#include "semdiff/channel.h"
#include "semdiff/equalizer.h"
#include "semdiff/fading.h"

namespace semdiff {

namespace {

using kernels::Equalizer;

constexpr at::ScalarType kComplexTypes[] = {at::kComplexFloat, at::kComplexDouble};
constexpr std::pair<const char*, Equalizer> kMethods[] = {
    {"zf", Equalizer::inverse}, {"mmse", Equalizer::mmse}, {"mmse_unbiased", Equalizer::inverse}, {"matched", Equalizer::matched}};

kernels::FadingModel model(const at::Tensor& s, std::int64_t coherence, std::uint64_t seed) {
  const at::Tensor keys = key_split(key_of(seed), 2);
  const auto* w = keys.const_data_ptr<std::uint64_t>();
  const std::int64_t symbols = s.numel() / s.size(0);
  return {0.3, 0.9, symbols, coherence ? coherence : symbols, {w[0], w[1]}, {w[2], w[3]}};
}

void check_all(const std::tuple<at::Tensor, at::Tensor, at::Tensor>& got, const std::tuple<at::Tensor, at::Tensor, at::Tensor>& expected,
               double tol) {
  check_close(std::get<0>(got), std::get<0>(expected), tol, "x");
  check_close(std::get<1>(got), std::get<1>(expected), tol, "noise");
  check_close(std::get<2>(got), std::get<2>(expected), tol, "gain");
}

}  // namespace

namespace {

// Of the noise in each real dimension, each root correctly rounded.
at::Tensor deviations(const at::Tensor& n0) {
  at::Tensor out = n0.clone();
  for (std::int64_t i = 0; i < out.numel(); ++i) {
    double& value = out.mutable_data_ptr<double>()[i];
    value = std::sqrt(value) * std::sqrt(0.5);
  }
  return out;
}

}  // namespace

TEST_CASE("fading: kernel and composite, for every coherence") {
  for (const at::ScalarType dtype : kComplexTypes) {
    const at::Tensor s = random({3, 5, 407}, 1, dtype), noise = doubles({0.1, 0.5, 0});
    for (const std::int64_t coherence : {0, 1, 2, 7, 1000, 2035}) {
      const auto [y, h] = fading(s, 0.3, 0.9, noise, coherence, key_of(4));
      const kernels::FadingModel m = model(s, coherence, 4);
      const auto [expected, expected_h] = composite::fading(s, noise, m, m.coherence == m.symbols);
      check_close(y, expected, 2 * tolerance(dtype), "y");
      check_close(h, expected_h, tolerance(dtype), "h");
    }
  }
}

TEST_CASE("equalize: kernel and composite, for shapes that broadcast") {
  for (const at::ScalarType dtype : kComplexTypes) {
    const at::Tensor y = random({3, 4, 500}, 1, dtype);
    for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{{}, {3, 1, 1}, {1, 4, 500}, {3, 4, 500}}) {
      for (const std::vector<std::int64_t>& few : std::vector<std::vector<std::int64_t>>{{}, {3, 1, 1}, {500}, {3, 4, 500}}) {
        // Away from zero, where rounding of 1 / P would be all there is.
        const at::Tensor draw = random(shape, 2, dtype), h = draw + draw / draw.abs(), n0 = random(few, 3, at::kDouble).abs() + 0.1;
        for (const auto& [name, method] : kMethods) {
          check_all(equalize(y, h, n0, name), composite::equalize(y, h, n0, method), tolerance(dtype));
        }
      }
    }
  }
}

TEST_CASE("fading_equalized is equalize of fading, bit for bit") {
  for (const at::ScalarType dtype : kComplexTypes) {
    const at::Tensor s = random({3, 1100}, 1, dtype), n0 = doubles({0.1, 0.5, 1.5});
    for (const std::int64_t coherence : {0, 1, 7, 1100}) {
      const auto [y, h] = fading(s, 0.3, 0.9, deviations(n0), coherence, key_of(4));
      for (const auto& [name, method] : kMethods) {
        const auto fused = fading_equalized(s, 0.3, 0.9, n0, coherence, name, key_of(4));
        const auto steps = equalize(y, h, n0.reshape({3, 1}), name);
        CHECK(std::get<0>(fused).equal(std::get<0>(steps)));
        CHECK(std::get<1>(fused).equal(std::get<1>(steps)));
        CHECK(std::get<2>(fused).equal(std::get<2>(steps)));
      }
    }
  }
}

TEST_CASE("fading without scatter is the Gaussian channel") {
  const at::Tensor s = random({2, 300}, 1, at::kComplexFloat), noise = doubles({0.1, 0.2});
  const auto [y, h] = fading(s, 1.0, 0.0, noise, 0, key_of(9));
  CHECK(y.equal(diffuse(s, std::nullopt, noise, key_split(key_of(9), 2).select(0, 1))));
}

TEST_CASE("fading and equalisers: empty batches and samples") {
  for (const std::vector<std::int64_t>& shape : std::vector<std::vector<std::int64_t>>{{0, 3}, {2, 0}}) {
    const at::Tensor s = at::empty(shape, at::TensorOptions().dtype(at::kComplexFloat)), one = doubles({0.5}).reshape({});
    for (const std::int64_t coherence : {0, 1}) {
      const auto [y, h] = fading(s, 0, 1, one, coherence, key_of(1));
      CHECK(y.sizes() == s.sizes());
      CHECK(std::get<0>(fading_equalized(s, 0, 1, one, coherence, "zf", key_of(1))).sizes() == s.sizes());
      CHECK(std::get<0>(equalize(y, h, one, "zf")).sizes() == s.sizes());
    }
  }
}

}  // namespace semdiff
