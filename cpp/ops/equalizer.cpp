// SPDX-License-Identifier: Apache-2.0
#include "semdiff/equalizer.h"

#include <ATen/ExpandUtils.h>
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <cmath>
#include <limits>

#include "check.h"
#include "composite.h"
#include "equalizer.h"
#include "stream.h"

namespace semdiff {

using kernels::Equalizer;
using kernels::kBlock;

namespace {

// Whether a tensor that broadcasts to y's shape has one number a sample, or one for all.
bool by_sample(const at::Tensor& c, const at::Tensor& y) {
  for (std::int64_t d = 1; d < y.dim(); ++d) {
    if (y.dim() - d <= c.dim() && c.size(c.dim() - y.dim() + d) != 1) return false;
  }
  return true;
}

// y's shape, or (B, 1, ..., 1).
std::vector<std::int64_t> terms_shape(const at::Tensor& y, bool few) {
  std::vector<std::int64_t> shape = y.sizes().vec();
  if (few) std::fill(shape.begin() + 1, shape.end(), 1);
  return shape;
}

void check_broadcasts(const at::Tensor& x, const char* name, const at::Tensor& y) {
  TORCH_CHECK_VALUE(at::is_expandable_to(x.sizes(), y.sizes()), name, ": expected a shape that broadcasts to y's ", y.sizes(), ", got ",
                    x.sizes());
}

}  // namespace

Method read_method(std::string_view name) {
  if (name == "zf") return {Equalizer::inverse, true};
  if (name == "mmse") return {Equalizer::mmse, false};
  if (name == "mmse_unbiased") return {Equalizer::inverse, false};
  if (name == "matched") return {Equalizer::matched, false};
  TORCH_CHECK_VALUE(false, "method: expected zf, mmse, mmse_unbiased or matched, got ", name);
}

std::tuple<at::Tensor, at::Tensor> sample_terms(const at::Tensor& h, const at::Tensor& n0, Equalizer method) {
  const at::Tensor from = at::view_as_real(h.to(at::kComplexDouble).contiguous());
  const at::Tensor variance = n0.to(at::kDouble).contiguous();
  const at::Tensor noise = at::empty_like(variance), gain = at::empty_like(variance);
  active_kernels().f64.equalize(nullptr, noise.mutable_data_ptr<double>(), gain.mutable_data_ptr<double>(), nullptr,
                                from.const_data_ptr<double>(), variance.const_data_ptr<double>(), {1, false, false}, method, 0, h.numel());
  return {noise, gain};
}

void refuse_dead(const at::Tensor& noise) {
  if (noise.numel() == 0) return;
  AT_DISPATCH_FLOATING_TYPES(noise.scalar_type(), "refuse_dead", [&] {
    const std::int64_t symbols = noise.numel() / noise.size(0);
    const auto* p = noise.const_data_ptr<scalar_t>();
    for (std::int64_t b = 0; b < noise.size(0); ++b) {
      bool dead = true;
      for (std::int64_t i = 0; dead && i < symbols; ++i) dead = p[b * symbols + i] == std::numeric_limits<scalar_t>::infinity();
      TORCH_CHECK_VALUE(!dead, "h: expected non-zero gains for zf, got only zeros in sample ", b, "; mmse is defined there");
    }
  });
}

namespace composite {

std::tuple<at::Tensor, at::Tensor, at::Tensor> equalize(const at::Tensor& y, const at::Tensor& h, const at::Tensor& noise_var,
                                                        Equalizer method) {
  const bool few = by_sample(h, y) && by_sample(noise_var, y), wide = few && !y.device().is_mps();
  const at::ScalarType real = wide ? at::kDouble : c10::toRealValueType(y.scalar_type());
  const auto powers = [&](at::ScalarType type) { return at::view_as_real(h.resolve_conj()).to(type).square().sum(-1); };
  const auto terms = [&](const at::Tensor& power, const at::Tensor& n0) -> std::tuple<at::Tensor, at::Tensor, at::Tensor> {
    const at::Tensor one = at::ones_like(power + n0);
    switch (method) {
      case Equalizer::inverse: {
        const at::Tensor dead = power == 0, inverse = power.reciprocal();
        return {at::where(dead, at::zeros_like(inverse), inverse), at::where(dead, inverse, n0 * inverse), one};
      }
      case Equalizer::mmse: {
        const at::Tensor sum = power + n0, weight = at::where(sum == 0, at::zeros_like(sum), sum.reciprocal());
        const at::Tensor gain = power * weight;
        return {weight, gain * (n0 * weight), gain};
      }
      default:
        return {one, power * n0, power * one};
    }
  };
  const at::ScalarType narrow = c10::toRealValueType(y.scalar_type());
  const at::Tensor weight = std::get<0>(terms(powers(narrow), noise_var.to(y.device(), narrow)));
  const auto [_, noise, gain] = terms(powers(real), noise_var.to(y.device(), real));
  const std::vector<std::int64_t> shape = terms_shape(y, few);
  return {h.conj() * y * weight, noise.expand(shape).contiguous(), gain.expand(shape).contiguous()};
}

}  // namespace composite

std::tuple<at::Tensor, at::Tensor, at::Tensor> equalize(const at::Tensor& y, const at::Tensor& h, const at::Tensor& noise_var,
                                                        std::string_view method) {
  const Method m = read_method(method);
  TORCH_CHECK_TYPE(y.scalar_type() == at::kComplexFloat || y.scalar_type() == at::kComplexDouble,
                   "y: expected a complex64 or complex128 tensor, got ", y.scalar_type());
  TORCH_CHECK_VALUE(y.dim() >= 1, "y: expected a batch of samples, shape (B, ...), got a tensor of no dimensions");
  TORCH_CHECK_TYPE(h.scalar_type() == y.scalar_type(), "h: expected the dtype of y, ", y.scalar_type(), ", got ", h.scalar_type());
  TORCH_CHECK_VALUE(h.device() == y.device(), "h: expected the device of y, ", y.device(), ", got ", h.device());
  check_variances(noise_var, "noise_var");
  check_broadcasts(h, "h", y);
  check_broadcasts(noise_var, "noise_var", y);
  if (!y.is_cpu()) {
    auto out = composite::equalize(y, h, noise_var, m.kernel);
    if (m.refuse_dead) refuse_dead(std::get<1>(out).to(at::kCPU));
    return out;
  }
  const bool n0_few = by_sample(noise_var, y), few = n0_few && by_sample(h, y);
  const at::Tensor from = y.resolve_conj().contiguous(), x = at::empty(y.sizes(), y.options());
  const at::Tensor gains = h.expand(terms_shape(y, few)).resolve_conj().contiguous();
  const at::Tensor variances = noise_var.to(at::kCPU).expand(terms_shape(y, n0_few)).contiguous();
  at::Tensor noise, gain;
  if (few) {
    std::tie(noise, gain) = sample_terms(gains, variances, m.kernel);
    if (m.refuse_dead) refuse_dead(noise);
  }
  AT_DISPATCH_FLOATING_TYPES(c10::toRealValueType(y.scalar_type()), "equalize", [&] {
    const at::Tensor n0 = variances.to(c10::CppTypeToScalarType<scalar_t>::value);
    if (!few) {
      noise = at::empty(y.sizes(), n0.options());
      gain = at::empty(y.sizes(), n0.options());
    }
    const auto real = [](const at::Tensor& c) { return at::view_as_real(c); };
    const auto *py = real(from).const_data_ptr<scalar_t>(), *ph = real(gains).const_data_ptr<scalar_t>();
    auto* px = real(x).mutable_data_ptr<scalar_t>();
    auto *pv = few ? nullptr : noise.mutable_data_ptr<scalar_t>(), *pg = few ? nullptr : gain.mutable_data_ptr<scalar_t>();
    const std::int64_t symbols = y.size(0) == 0 ? 0 : y.numel() / y.size(0);
    parallel_pieces(0, (y.numel() + kBlock - 1) / kBlock, kGrainBlocks, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t first = begin * kBlock, count = std::min(y.numel(), end * kBlock) - first;
      table_for<scalar_t>().equalize(px + 2 * first, pv ? pv + first : nullptr, pg ? pg + first : nullptr, py + 2 * first, ph,
                                     n0.const_data_ptr<scalar_t>(), {symbols, few, n0_few}, m.kernel, first, count);
    });
  });
  if (m.refuse_dead && !few) refuse_dead(noise);
  return {x, noise, gain};
}

}  // namespace semdiff
