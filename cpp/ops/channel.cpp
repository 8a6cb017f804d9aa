// SPDX-License-Identifier: Apache-2.0
#include "semdiff/channel.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <cmath>
#include <vector>

#include "check.h"
#include "composite.h"
#include "stream.h"

namespace semdiff {

using kernels::kBlock;

namespace {

// Complex tensors are handled as reals with a last dimension of 2.
at::Tensor as_real(const at::Tensor& x) { return x.is_complex() ? at::view_as_real(x.resolve_conj()) : x; }

// sum over each sample of kernel(a, b), blocks added in index order.
template <typename T, typename Kernel>
std::vector<double> sums_by_sample(const at::Tensor& a, const at::Tensor& b, Kernel kernel) {
  using Real = RealOf<T>;
  const std::int64_t samples = a.size(0), length = samples == 0 ? 0 : a.numel() / samples;
  const std::int64_t blocks = (length + kBlock - 1) / kBlock;
  std::vector<double> partial(static_cast<std::size_t>(samples * blocks)), sums(static_cast<std::size_t>(samples), 0.0);
  const T* pa = a.const_data_ptr<T>();
  const T* pb = b.const_data_ptr<T>();
  parallel_pieces(0, samples * blocks, kGrainBlocks, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t k = begin; k < end; ++k) {
      const std::int64_t first = k / blocks * length + k % blocks * kBlock;
      const std::int64_t count = std::min(kBlock, length - k % blocks * kBlock);
      if constexpr (std::is_same_v<T, Real>) {
        partial[static_cast<std::size_t>(k)] = kernel(pa + first, pb + first, count);
      } else {
        alignas(64) Real x[kBlock], y[kBlock];
        for (std::int64_t i = 0; i < count; ++i) x[i] = static_cast<Real>(pa[first + i]);
        for (std::int64_t i = 0; i < count; ++i) y[i] = static_cast<Real>(pb[first + i]);
        partial[static_cast<std::size_t>(k)] = kernel(x, y, count);
      }
    }
  });
  for (std::int64_t k = 0; k < samples * blocks; ++k) sums[static_cast<std::size_t>(k / blocks)] += partial[static_cast<std::size_t>(k)];
  return sums;
}

// out = x_scale[sample] * x + y_scale[sample] * y
template <typename T>
void scale_add_by_sample(at::Tensor& out, const at::Tensor& x, const std::vector<double>& x_scale, const at::Tensor* y,
                         const std::vector<double>& y_scale) {
  using Real = RealOf<T>;
  const auto& table = table_for<T>();
  const std::int64_t samples = x.size(0), length = samples == 0 ? 0 : x.numel() / samples;
  stream<T, 2, 1>(x.numel(), kGrainBlocks, {x.const_data_ptr<T>(), y ? y->const_data_ptr<T>() : nullptr}, {out.mutable_data_ptr<T>()},
                  [&](std::int64_t first, std::int64_t count, const auto& in, const auto& o) {
                    for (std::int64_t done = 0; done < count;) {
                      const std::int64_t sample = (first + done) / length;
                      const std::int64_t run = std::min(count - done, (sample + 1) * length - first - done);
                      const auto s = static_cast<std::size_t>(sample);
                      table.scale_add(o[0] + done, in[0] + done, static_cast<Real>(x_scale[s]), in[1] ? in[1] + done : nullptr,
                                      y ? static_cast<Real>(y_scale[s]) : Real(0), run);
                      done += run;
                    }
                  });
}

}  // namespace

namespace composite {

at::Tensor diffuse(const at::Tensor& x, const std::optional<at::Tensor>& signal, const at::Tensor& noise, kernels::PhiloxKey key) {
  const at::Tensor scaled = signal ? computing(x) * broadcast_to(*signal, x) : computing(x);
  return (scaled + broadcast_to(noise, x) * normal_like(x, key)).to(x.scalar_type());
}

namespace {

// One number a sample, (B,), shaped to multiply x.
at::Tensor per_sample(const at::Tensor& values, const at::Tensor& x) {
  std::vector<std::int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
  shape[0] = values.size(0);
  return values.reshape(shape);
}

at::Tensor sum_by_sample(const at::Tensor& x) { return x.reshape({x.size(0), x.size(0) == 0 ? 0 : x.numel() / x.size(0)}).sum(1); }

at::Tensor or_one(const at::Tensor& scale) { return at::where(scale == 0, at::ones_like(scale), scale); }

// At least one, so that an empty sample divides nothing by zero.
double symbol_count(const at::Tensor& s) {
  return s.size(0) == 0 ? 1.0 : static_cast<double>(std::max<std::int64_t>(s.numel() / s.size(0), 1));
}

}  // namespace

std::tuple<at::Tensor, at::Tensor> normalize_power(const at::Tensor& s) {
  const at::Tensor scale = (sum_by_sample(computing(as_real(s)).square()) / symbol_count(s)).sqrt();
  return {(computing(s) / per_sample(or_one(scale), s)).to(s.scalar_type()), scale};
}

at::Tensor normalize_power_backward(const at::Tensor& grad, const std::optional<at::Tensor>& grad_scale, const at::Tensor& normalized,
                                    const at::Tensor& scale) {
  const at::Tensor g = computing(as_real(grad)), n = computing(as_real(normalized)), divisor = or_one(scale);
  at::Tensor along = -sum_by_sample(g * n) / divisor;
  if (grad_scale) along = along + *grad_scale;
  const at::Tensor real = g / per_sample(divisor, g) + n * per_sample(along / symbol_count(grad), g);
  return grad.is_complex() ? at::view_as_complex(real.contiguous()) : real.to(grad.scalar_type());
}

at::Tensor measured_snr_db(const at::Tensor& s, const at::Tensor& y) {
  const auto wide = [](const at::Tensor& v) { return as_real(v).to(v.device().is_mps() ? at::kFloat : at::kDouble); };
  const at::Tensor a = wide(s);
  return (sum_by_sample(a.square()) / sum_by_sample((wide(y) - a).square())).log10() * 10.0;
}

}  // namespace composite

at::Tensor diffuse(const at::Tensor& x, const std::optional<at::Tensor>& signal, const at::Tensor& noise, const at::Tensor& key) {
  check_floating_or_complex(x, "x");
  const kernels::PhiloxKey k = read_key(key);
  check_floating(noise, "noise");
  const std::int64_t row_length = check_rows(noise, "noise", x, "x") * (x.is_complex() ? 2 : 1);
  if (signal) {
    check_floating(*signal, "signal");
    TORCH_CHECK_VALUE(signal->sizes() == noise.sizes(), "signal: expected the shape of noise, ", noise.sizes(), ", got ", signal->sizes());
  }
  if (!x.is_cpu()) return composite::diffuse(x, signal, noise, k);
  const at::Tensor from = x.resolve_conj().contiguous();
  at::Tensor out = empty_on_cpu(x.sizes(), x.scalar_type());
  SEMDIFF_DISPATCH(c10::toRealValueType(x.scalar_type()), "diffuse", [&] {
    using Real = RealOf<scalar_t>;
    const auto& table = table_for<scalar_t>();
    const Coefficients<Real> b(noise);
    const auto a = signal ? std::optional<Coefficients<Real>>(*signal) : std::nullopt;
    // A complex symbol is two reals. Its coefficient serves both, so per-symbol rows have two elements, never one.
    stream<scalar_t, 1, 1>(
        x.numel() * (x.is_complex() ? 2 : 1), kRandomGrainBlocks, {static_cast<const scalar_t*>(from.const_data_ptr())},
        {static_cast<scalar_t*>(out.mutable_data_ptr())},
        [&, pa = a ? a->data() : nullptr, pb = b.data()](std::int64_t first, std::int64_t count, const auto& in, const auto& o) {
          table.diffuse(o[0], in[0], pa, pb, row_length, first, count, k);
        });
  });
  return out;
}

std::tuple<at::Tensor, at::Tensor> normalize_power(const at::Tensor& s) {
  check_floating_or_complex(s, "s");
  check_samples(s, "s");
  const std::int64_t samples = s.size(0), symbols = samples == 0 ? 0 : s.numel() / samples;
  if (!s.is_cpu()) return composite::normalize_power(s);
  const at::Tensor from = as_real(s.contiguous());
  at::Tensor out = at::empty(s.sizes(), s.options());
  at::Tensor to = as_real(out);
  at::Tensor scale;
  SEMDIFF_DISPATCH(from.scalar_type(), "normalize_power", [&] {
    using Real = RealOf<scalar_t>;
    const std::vector<double> energy = sums_by_sample<scalar_t>(from, from, table_for<scalar_t>().dot);
    scale = at::empty({samples}, from.options().dtype(c10::CppTypeToScalarType<Real>::value));
    auto* p = scale.mutable_data_ptr<Real>();
    std::vector<double> inverse(energy.size());
    for (std::size_t i = 0; i < energy.size(); ++i) {
      const double root = std::sqrt(energy[i] / static_cast<double>(std::max<std::int64_t>(symbols, 1)));
      p[i] = static_cast<Real>(root);
      inverse[i] = root == 0 ? 1.0 : 1.0 / root;  // NaN passes through
    }
    scale_add_by_sample<scalar_t>(to, from, inverse, nullptr, {});
  });
  return {out, scale};
}

at::Tensor normalize_power_backward(const at::Tensor& grad, const std::optional<at::Tensor>& grad_scale, const at::Tensor& normalized,
                                    const at::Tensor& scale) {
  check_floating_or_complex(normalized, "normalized");
  check_samples(normalized, "normalized");
  check_same(normalized, "normalized", grad, "grad");
  check_by_sample(scale, "scale", normalized);
  if (grad_scale) check_by_sample(*grad_scale, "grad_scale", normalized);
  if (!grad.is_cpu()) return composite::normalize_power_backward(grad, grad_scale, normalized, scale);
  const std::int64_t samples = grad.size(0), symbols = samples == 0 ? 0 : grad.numel() / samples;
  const at::Tensor g = as_real(grad.contiguous()), n = as_real(normalized.contiguous());
  at::Tensor out = at::empty(grad.sizes(), grad.options());
  at::Tensor to = as_real(out);
  // s' = s / r with r = sqrt(sum |s|^2 / n): ds = (g - s' <g, s'> / n) / r + g_r s' / n, <,> the real inner product.
  SEMDIFF_DISPATCH(g.scalar_type(), "normalize_power_backward", [&] {
    const std::vector<double> inner = sums_by_sample<scalar_t>(g, n, table_for<scalar_t>().dot);
    const at::Tensor r = to_coefficients(scale, "scale");
    const at::Tensor gr = grad_scale ? to_coefficients(*grad_scale, "grad_scale") : r;
    std::vector<double> across(inner.size()), along(inner.size());
    for (std::size_t i = 0; i < inner.size(); ++i) {
      const double root = r.const_data_ptr<double>()[i], inverse = root == 0 ? 1.0 : 1.0 / root;
      across[i] = inverse;
      along[i] = ((grad_scale ? gr.const_data_ptr<double>()[i] : 0.0) - inner[i] * inverse) / static_cast<double>(symbols);
    }
    scale_add_by_sample<scalar_t>(to, g, across, &n, along);
  });
  return out;
}

at::Tensor measured_snr_db(const at::Tensor& s, const at::Tensor& y) {
  check_floating_or_complex(s, "s");
  check_samples(s, "s");
  check_same(s, "s", y, "y");
  if (!s.is_cpu()) return composite::measured_snr_db(s, y);
  const std::int64_t samples = s.size(0);
  const at::Tensor a = as_real(s.contiguous()), b = as_real(y.contiguous());
  at::Tensor out = at::empty({samples}, at::TensorOptions().dtype(at::kDouble));
  SEMDIFF_DISPATCH(a.scalar_type(), "measured_snr_db", [&] {
    const auto& table = table_for<scalar_t>();
    const std::vector<double> signal = sums_by_sample<scalar_t>(a, a, table.dot);
    const std::vector<double> noise = sums_by_sample<scalar_t>(a, b, table.squared_distance);
    for (std::size_t i = 0; i < signal.size(); ++i) out.mutable_data_ptr<double>()[i] = 10.0 * std::log10(signal[i] / noise[i]);
  });
  return out;
}

// pack and unpack are made of ATen calls that know symbolic sizes, so they are differentiable and traceable as they stand.

at::Tensor pack(const at::Tensor& z) {
  check_floating(z, "z");
  check_samples(z, "z");
  const at::Tensor real = composite::computing(z), flat = real.dim() == 1 ? real.unsqueeze(1) : real.flatten(1);
  const at::Tensor even = flat.sym_size(1) % 2 == 0 ? flat : at::constant_pad_nd(flat, {0, 1});
  return at::view_as_complex(even.unflatten(1, {-1, 2}).contiguous()) * std::sqrt(0.5);
}

at::Tensor unpack(const at::Tensor& s, c10::SymIntArrayRef shape) {
  TORCH_CHECK_TYPE(s.scalar_type() == at::kComplexFloat || s.scalar_type() == at::kComplexDouble, "s: expected a complex tensor",
                   s.is_complex() ? " of 64 bits or more, got " : ", got ", s.scalar_type());
  c10::SymInt length = 1;
  for (const c10::SymInt& n : shape.slice(shape.empty() ? 0 : 1)) {
    // A product of 64 bits or more would wrap around.
    std::int64_t product = 0;
    const auto a = length.maybe_as_int(), b = n.maybe_as_int();
    TORCH_CHECK_VALUE(!(a && b) || (*b >= 0 && !__builtin_mul_overflow(*a, *b, &product) && product <= std::int64_t{1} << 60),
                      "shape: expected a shape (B, ...) that packs to ", s.sym_sizes(), ", got ", shape);
    length *= n;
  }
  TORCH_CHECK_VALUE(s.dim() == 2 && !shape.empty() && s.sym_size(0) == shape[0] && s.sym_size(1) == (length + 1) / 2,
                    "shape: expected a shape (B, ...) that packs to ", s.sym_sizes(), ", got ", shape);
  const at::Tensor flat = at::view_as_real(s * std::sqrt(2.0)).flatten(1);
  return flat.narrow_symint(1, 0, length).reshape_symint(shape);
}

}  // namespace semdiff
