// SPDX-License-Identifier: Apache-2.0
#include "semdiff/fading.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <cmath>

#include "check.h"
#include "composite.h"
#include "equalizer.h"
#include "semdiff/rng.h"
#include "stream.h"

namespace semdiff {

using kernels::FadingModel;
using kernels::kBlock;

namespace {

// A symbol costs four random numbers.
constexpr std::int64_t kSymbolGrainBlocks = kRandomGrainBlocks / 4;

// coherence 0 and coherence = symbols mean a gain for a whole sample; an empty sample takes any.
FadingModel read_model(const at::Tensor& s, double los, double scatter, std::int64_t coherence, const at::Tensor& key) {
  TORCH_CHECK_TYPE(s.scalar_type() == at::kComplexFloat || s.scalar_type() == at::kComplexDouble,
                   "s: expected a complex64 or complex128 tensor, got ", s.scalar_type());
  TORCH_CHECK_VALUE(s.dim() >= 1, "s: expected a batch of samples, shape (B, ...), got a tensor of no dimensions");
  TORCH_CHECK_VALUE(std::isfinite(los), "los: expected a finite number, got ", los);
  TORCH_CHECK_VALUE(std::isfinite(scatter) && scatter >= 0, "scatter: expected a finite number >= 0, got ", scatter);
  const std::int64_t symbols = c10::multiply_integers(s.sizes().slice(1));
  TORCH_CHECK_VALUE(coherence >= 0 && (coherence <= symbols || symbols == 0), "coherence: expected 0 (a whole sample) or a number in [1, ",
                    symbols, "], the symbols of a sample, got ", coherence);
  const at::Tensor keys = key_split(key, 2);
  // Of an empty sample it only tells a whole sample from less, 2 from 1.
  const std::int64_t run = symbols > 0 ? coherence : std::min<std::int64_t>(coherence, 2);
  return {los,
          scatter,
          std::max<std::int64_t>(symbols, 1),
          run == 0 ? std::max<std::int64_t>(symbols, 1) : run,
          read_key(keys.select(0, 0)),
          read_key(keys.select(0, 1))};
}

void check_one_or_by_sample(const at::Tensor& x, const char* name, const at::Tensor& s) {
  check_floating(x, name);
  TORCH_CHECK_VALUE(x.dim() == 0 || (x.dim() == 1 && x.size(0) == s.size(0)), name, ": expected shape () or (", s.size(0), ",), got ",
                    x.sizes());
}

// For each sample of s, on the host, in the precision of s.
at::Tensor rows(const at::Tensor& x, const at::Tensor& s, at::ScalarType type) {
  return x.to(at::kCPU, type).expand({s.size(0)}).contiguous();
}

// The noise's deviation in each real dimension. By std::sqrt, which rounds correctly: at::sqrt may be a library's, whose last bit depends
// on the CPU.
at::Tensor deviations(const at::Tensor& n0) {
  at::Tensor out = at::empty(n0.sizes(), n0.options());
  const auto* from = n0.const_data_ptr<double>();
  auto* to = out.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < n0.numel(); ++i) to[i] = std::sqrt(from[i]) * std::sqrt(0.5);
  return out;
}

bool whole(const FadingModel& m) { return m.coherence == m.symbols; }

std::vector<std::int64_t> gains_shape(const at::Tensor& s, bool whole) {
  std::vector<std::int64_t> shape = s.sizes().vec();
  if (whole) std::fill(shape.begin() + 1, shape.end(), 1);
  return shape;
}

// The gains that several symbols share: few numbers, drawn before the symbols; none where each symbol has its own.
at::Tensor shared_gains(const at::Tensor& s, const FadingModel& m) {
  if (m.coherence == 1 && !whole(m)) return {};
  const std::int64_t count = s.size(0) * ((m.symbols + m.coherence - 1) / m.coherence);
  at::Tensor gains = at::empty({count}, s.options());
  AT_DISPATCH_FLOATING_TYPES(c10::toRealValueType(s.scalar_type()), "fading_gains", [&] {
    auto* p = at::view_as_real(gains).mutable_data_ptr<scalar_t>();
    parallel_pieces(0, count, kRandomGrainBlocks * kBlock / 2, [&](std::int64_t begin, std::int64_t end) {
      table_for<scalar_t>().fading_gains(p + 2 * begin, m, begin, end - begin);
    });
  });
  return gains;
}

// body(first, count) over blocks of symbols.
template <typename Body>
void for_symbols(const at::Tensor& s, const Body& body) {
  parallel_pieces(0, (s.numel() + kBlock - 1) / kBlock, kSymbolGrainBlocks,
                  [&](std::int64_t begin, std::int64_t end) { body(begin * kBlock, std::min(s.numel(), end * kBlock) - begin * kBlock); });
}

// The real parts' pointers of a complex tensor; null for none.
template <typename Real>
const Real* reals(const at::Tensor& x) {
  return x.defined() ? at::view_as_real(x).const_data_ptr<Real>() : nullptr;
}

template <typename Real>
Real* mutable_reals(const at::Tensor& x) {
  return at::view_as_real(x).mutable_data_ptr<Real>();
}

}  // namespace

namespace composite {

std::tuple<at::Tensor, at::Tensor> fading(const at::Tensor& s, const at::Tensor& noise, const FadingModel& m, bool whole) {
  const std::int64_t samples = s.size(0), gains = (m.symbols + m.coherence - 1) / m.coherence;
  const at::ScalarType real = c10::toRealValueType(s.scalar_type());
  const at::Tensor z = composite::normal({samples * gains, 2}, m.gain_key, real, s.device()) * (m.scatter * std::sqrt(0.5));
  const at::Tensor drawn = (at::view_as_complex(z) + m.los).reshape({samples, gains});
  at::Tensor h;
  if (whole) {
    h = drawn.reshape(gains_shape(s, true));
  } else if (s.numel() == 0) {
    h = at::empty(s.sizes(), s.options());
  } else {
    const at::Tensor index = at::arange(m.symbols, at::TensorOptions().dtype(at::kLong).device(s.device())).floor_divide(m.coherence);
    h = drawn.index_select(1, index).reshape(s.sizes());
  }
  return {h * s + broadcast_to(noise, s) * normal_like(s, m.noise_key), h};
}

}  // namespace composite

std::tuple<at::Tensor, at::Tensor> fading(const at::Tensor& s, double los, double scatter, const at::Tensor& noise, std::int64_t coherence,
                                          const at::Tensor& key) {
  const FadingModel m = read_model(s, los, scatter, coherence, key);
  check_one_or_by_sample(noise, "noise", s);
  if (!s.is_cpu()) return composite::fading(s, noise, m, whole(m));
  const at::Tensor from = s.resolve_conj().contiguous(), gains = shared_gains(s, m), y = at::empty(s.sizes(), s.options());
  const at::Tensor h = whole(m) ? gains.reshape(gains_shape(s, true)) : at::empty(s.sizes(), s.options());
  AT_DISPATCH_FLOATING_TYPES(c10::toRealValueType(s.scalar_type()), "fading", [&] {
    const at::Tensor b = rows(noise, s, c10::CppTypeToScalarType<scalar_t>::value);
    const auto *ps = reals<scalar_t>(from), *pg = reals<scalar_t>(gains), *pb = b.const_data_ptr<scalar_t>();
    auto *py = mutable_reals<scalar_t>(y), *ph = whole(m) ? nullptr : mutable_reals<scalar_t>(h);
    for_symbols(s, [&](std::int64_t first, std::int64_t count) {
      table_for<scalar_t>().fading(py + 2 * first, ph ? ph + 2 * first : nullptr, ps + 2 * first, pg, pb, m, first, count);
    });
  });
  return {y, h};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> fading_equalized(const at::Tensor& s, double los, double scatter,
                                                                const at::Tensor& noise_var, std::int64_t coherence,
                                                                std::string_view method, const at::Tensor& key) {
  const Method method_of = read_method(method);
  const FadingModel m = read_model(s, los, scatter, coherence, key);
  check_one_or_by_sample(noise_var, "noise_var", s);
  check_variances(noise_var, "noise_var");
  const at::Tensor n0 = rows(noise_var, s, at::kDouble);
  if (!s.is_cpu()) {
    const auto [y, h] = composite::fading(s, n0.sqrt() * std::sqrt(0.5), m, whole(m));
    auto out = composite::equalize(y, h, n0.reshape(gains_shape(s, true)), method_of.kernel);
    if (method_of.refuse_dead) refuse_dead(std::get<1>(out).to(at::kCPU));
    return out;
  }
  const at::Tensor from = s.resolve_conj().contiguous(), gains = shared_gains(s, m), x = at::empty(s.sizes(), s.options());
  at::Tensor variance, gain;
  if (whole(m)) {
    const std::vector<std::int64_t> shape = gains_shape(s, true);
    std::tie(variance, gain) = sample_terms(gains.reshape(shape), n0.reshape(shape), method_of.kernel);
    if (method_of.refuse_dead) refuse_dead(variance);
  }
  AT_DISPATCH_FLOATING_TYPES(c10::toRealValueType(s.scalar_type()), "fading_equalized", [&] {
    const auto real = c10::CppTypeToScalarType<scalar_t>::value;
    const at::Tensor b = deviations(n0).to(real), c = n0.to(real);
    if (!whole(m)) {
      variance = at::empty(s.sizes(), b.options());
      gain = at::empty(s.sizes(), b.options());
    }
    const auto *ps = reals<scalar_t>(from), *pg = reals<scalar_t>(gains);
    auto *px = mutable_reals<scalar_t>(x), *pv = whole(m) ? nullptr : variance.mutable_data_ptr<scalar_t>();
    auto* pa = whole(m) ? nullptr : gain.mutable_data_ptr<scalar_t>();
    for_symbols(s, [&](std::int64_t first, std::int64_t count) {
      table_for<scalar_t>().fading_equalized(px + 2 * first, pv ? pv + first : nullptr, pa ? pa + first : nullptr, ps + 2 * first, pg,
                                             b.const_data_ptr<scalar_t>(), c.const_data_ptr<scalar_t>(), m, method_of.kernel, first, count);
    });
  });
  if (method_of.refuse_dead && !whole(m)) refuse_dead(variance);
  return {x, variance, gain};
}

}  // namespace semdiff
