// SPDX-License-Identifier: Apache-2.0
#include "composite.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <algorithm>

namespace semdiff::composite {

namespace {

constexpr std::int64_t kMask = 0xffffffff;

at::Tensor high_word(const at::Tensor& product) { return product.bitwise_right_shift(32).bitwise_and(kMask); }
at::Tensor low_word(const at::Tensor& product) { return product.bitwise_and(kMask); }

// ln(u) and the angle in float64 where the device has it, so that float32 results differ from the kernels' by rounding alone.
at::Tensor box_muller(const at::Tensor& radius_word, const at::Tensor& angle_word, at::ScalarType real) {
  const at::Tensor u = (radius_word.to(real) + 0.5) * (1.0 / 4294967296.0);
  const at::Tensor radius = (u.log() * -2.0).clamp_min(0).sqrt();
  // Signed turns around zero: a float32 angle near 2 pi would lose bits.
  const at::Tensor turn = angle_word - angle_word.ge(std::int64_t{1} << 31).to(at::kLong) * (std::int64_t{1} << 32);
  const at::Tensor angle = turn.to(real) * (3.14159265358979323846 / 2147483648.0);
  return at::stack({radius * angle.cos(), radius * angle.sin()}, -1);
}

}  // namespace

at::Tensor computing(const at::Tensor& x) {
  return x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16 ? x.to(at::kFloat) : x;
}

at::Tensor normal(at::IntArrayRef size, kernels::PhiloxKey key, at::ScalarType dtype, at::Device device) {
  const at::ScalarType real = device.is_mps() ? at::kFloat : at::kDouble;
  const std::int64_t count = c10::multiply_integers(size);
  const auto longs = at::TensorOptions().dtype(at::kLong).device(device);
  // Philox on int64 tensors: a product of two 32-bit words wraps to the right 64 bits.
  const at::Tensor counter = at::arange((count + 3) / 4, longs) + static_cast<std::int64_t>(key.offset);
  at::Tensor c0 = low_word(counter), c1 = high_word(counter);
  at::Tensor c2 = at::zeros_like(c0), c3 = at::zeros_like(c0);
  auto k0 = static_cast<std::uint32_t>(key.seed), k1 = static_cast<std::uint32_t>(key.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const at::Tensor p0 = c0 * std::int64_t{0xD2511F53}, p1 = c2 * std::int64_t{0xCD9E8D57};
    const at::Tensor next0 = high_word(p1).bitwise_xor(c1).bitwise_xor(static_cast<std::int64_t>(k0));
    c2 = high_word(p0).bitwise_xor(c3).bitwise_xor(static_cast<std::int64_t>(k1));
    c0 = next0;
    c1 = low_word(p1);
    c3 = low_word(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const at::Tensor z = at::cat({box_muller(c0, c1, real), box_muller(c2, c3, real)}, -1);
  return z.reshape({-1}).narrow(0, 0, count).reshape(size).to(dtype);
}

at::Tensor normal_like(const at::Tensor& x, kernels::PhiloxKey key) {
  if (x.is_complex())
    return at::view_as_complex(normal(at::view_as_real(x).sizes(), key, c10::toRealValueType(x.scalar_type()), x.device()));
  return normal(x.sizes(), key, computing(x).scalar_type(), x.device());
}

at::Tensor broadcast_to(const at::Tensor& coefficients, const at::Tensor& x) {
  std::vector<std::int64_t> shape(coefficients.sizes().begin(), coefficients.sizes().end());
  shape.resize(static_cast<std::size_t>(std::max(x.dim(), coefficients.dim())), 1);
  while (static_cast<std::int64_t>(shape.size()) > x.dim()) shape.pop_back();
  const at::ScalarType real = c10::toRealValueType(computing(x).scalar_type());
  return coefficients.reshape(shape).to(x.device(), real);
}

}  // namespace semdiff::composite
