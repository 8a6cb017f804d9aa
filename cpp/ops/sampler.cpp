// SPDX-License-Identifier: Apache-2.0
#include "semdiff/sampler.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "composite.h"
#include "semdiff/schedule.h"
#include "stream.h"

namespace semdiff {

using kernels::StepCoefficients;

namespace {

enum class Prediction { eps, x0, v };

Prediction parse_prediction(std::string_view name) {
  if (name == "eps") return Prediction::eps;
  if (name == "x0") return Prediction::x0;
  TORCH_CHECK_VALUE(name == "v", "prediction: expected eps, x0 or v, got ", name);
  return Prediction::v;
}

double parse_clip(std::optional<double> clip) {
  TORCH_CHECK_VALUE(!clip || *clip > 0, "clip: expected a positive bound or None, got ", *clip);
  return clip.value_or(std::numeric_limits<double>::infinity());
}

// alpha_bar at t and at s, one pair a row.
struct Span {
  double a, b;
  bool operator==(const Span&) const = default;
};

std::vector<Span> spans(const at::Tensor& x, const at::Tensor& t, const char* t_name, const at::Tensor& s, const char* s_name,
                        const at::Tensor& alphas_cumprod, std::int64_t& row_length) {
  TORCH_CHECK_VALUE(t.sizes() == s.sizes(), s_name, ": expected the shape of ", t_name, ", ", t.sizes(), ", got ", s.sizes());
  TORCH_CHECK_VALUE(t.dim() == 0 || (t.dim() == 1 && x.dim() >= 1 && t.size(0) == x.size(0)), t_name,
                    ": expected shape () or (B,) with B = ", x.dim() >= 1 ? x.size(0) : 1, ", got ", t.sizes());
  row_length =
      t.dim() == 0 ? std::max<std::int64_t>(x.numel(), 1) : std::max<std::int64_t>(x.numel() / std::max<std::int64_t>(t.size(0), 1), 1);
  TORCH_CHECK_TYPE(alphas_cumprod.scalar_type() == at::kDouble && alphas_cumprod.dim() == 1 && alphas_cumprod.is_cpu(),
                   "alphas_cumprod: expected a float64 CPU tensor of shape (T,), got ", alphas_cumprod.scalar_type(), " ",
                   alphas_cumprod.sizes());
  const at::Tensor from = to_coefficients(t, t_name), to = to_coefficients(s, s_name), table = alphas_cumprod.contiguous();
  const std::int64_t steps = table.size(0);
  const double *ts = from.const_data_ptr<double>(), *ss = to.const_data_ptr<double>(), *values = table.const_data_ptr<double>();
  std::vector<Span> rows(static_cast<std::size_t>(from.numel()));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (static_cast<std::int64_t>(i) % kBlockOfRows == kBlockOfRows - 1) check_interrupt();
    const double ti = ts[i], si = ss[i];
    if (i > 0 && ti == ts[i - 1] && si == ss[i - 1]) {  // one time for the batch is usual
      rows[i] = rows[i - 1];
      continue;
    }
    TORCH_CHECK_VALUE(ti >= 0, t_name, ": expected a time in [0, ", steps - 1, "], got ", ti);
    TORCH_CHECK_VALUE(si <= ti, s_name, ": expected a time not after ", t_name, " = ", ti, ", got ", si);
    const Span span{alpha_bar_at(values, steps, ti, t_name), alpha_bar_at(values, steps, si, s_name)};
    TORCH_CHECK_VALUE(span.a >= 0 && span.a <= span.b && span.b <= 1, "alphas_cumprod: expected falling numbers in [0, 1], got ", span.b,
                      " at ", si, " and ", span.a, " at ", ti);
    rows[i] = span;
  }
  return rows;
}

// x0 from x and the network's output; 1 - a is the noise variance at t. Noise alone (a = 0) has no x0 = (x - sigma eps) / alpha.
StepCoefficients x0_coefficients(Prediction prediction, double a) {
  StepCoefficients c{};
  const double alpha = std::sqrt(a), sigma = std::sqrt(1.0 - a);
  switch (prediction) {
    case Prediction::eps:
      TORCH_CHECK_VALUE(a > 0,
                        "t: expected a time with signal left (alpha_bar > 0) for eps; x0 and v are defined without, got alpha_bar 0");
      c.from_x = 1.0 / alpha;
      c.from_output = -sigma / alpha;
      break;
    case Prediction::x0:
      c.from_output = 1.0;
      break;
    case Prediction::v:
      c.from_x = alpha;
      c.from_output = -sigma;
      break;
  }
  return c;
}

std::vector<StepCoefficients> ddim_coefficients(const std::vector<Span>& spans, Prediction prediction, double eta) {
  std::vector<StepCoefficients> rows;
  rows.reserve(spans.size());
  for (std::size_t i = 0; i < spans.size(); ++i) {
    if (i > 0 && spans[i] == spans[i - 1]) {
      rows.push_back(rows.back());
      continue;
    }
    const auto [a, b] = spans[i];
    StepCoefficients c = x0_coefficients(prediction, a);
    // eps = (x - sqrt(a) x0) / sqrt(1 - a);  x_s = sqrt(b) x0 + sqrt(1 - b - sigma^2) eps + sigma n
    if (a == b) {  // s = t: nothing to do, exactly
      c.keep = 1.0;
    } else {
      c.noise = eta * std::sqrt((1.0 - b) / (1.0 - a)) * std::sqrt(1.0 - a / b);
      c.keep = std::sqrt(std::max(0.0, 1.0 - b - c.noise * c.noise)) / std::sqrt(1.0 - a);
      c.denoise = std::sqrt(b) - std::sqrt(a) * c.keep;
    }
    rows.push_back(c);
  }
  return rows;
}

double lambda(double a) { return 0.5 * std::log(a / (1.0 - a)); }

std::vector<StepCoefficients> dpmpp_2m_coefficients(const std::vector<Span>& spans, const std::vector<double>& previous,
                                                    Prediction prediction) {
  std::vector<StepCoefficients> rows;
  rows.reserve(spans.size());
  for (std::size_t i = 0; i < spans.size(); ++i) {
    if (i > 0 && spans[i] == spans[i - 1] && (previous.empty() || previous[i] == previous[i - 1])) {
      rows.push_back(rows.back());
      continue;
    }
    const auto [a, b] = spans[i];
    StepCoefficients c = x0_coefficients(prediction, a);
    if (a == b) {
      c.keep = 1.0;
    } else {
      // With lambda = ln(alpha / sigma) and h its increase: x_s = (sigma_s / sigma_t) x + alpha_s (1 - e^-h) D.
      c.keep = std::sqrt((1.0 - b) / (1.0 - a));
      c.denoise = std::sqrt(b) - c.keep * std::sqrt(a);
      // D = x0 + (x0 - previous_x0) h / (2 h_previous); to clean data h is infinite, and first order is exact enough and safe.
      if (!previous.empty() && b < 1.0 && previous[i] < a) {
        const double weight = c.denoise * (lambda(b) - lambda(a)) / (2.0 * (lambda(a) - lambda(previous[i])));
        c.denoise += weight;
        c.previous = -weight;
      }
    }
    rows.push_back(c);
  }
  return rows;
}

}  // namespace

namespace composite {

namespace {

at::Tensor row_values(const std::vector<StepCoefficients>& rows, double StepCoefficients::* field, const at::Tensor& x) {
  at::Tensor values = at::empty({static_cast<std::int64_t>(rows.size())}, at::TensorOptions().dtype(at::kDouble));
  for (std::size_t i = 0; i < rows.size(); ++i) values.mutable_data_ptr<double>()[i] = rows[i].*field;
  return broadcast_to(rows.size() == 1 ? values.reshape({}) : values, x);
}

}  // namespace

std::tuple<at::Tensor, at::Tensor> step(const std::vector<StepCoefficients>& rows, double clip, const at::Tensor& x,
                                        const at::Tensor& output, const at::Tensor& previous, std::optional<kernels::PhiloxKey> key) {
  const auto of = [&](double StepCoefficients::* field) { return row_values(rows, field, x); };
  const at::Tensor xc = computing(x);
  const at::Tensor x0 = at::clamp(of(&StepCoefficients::from_x) * xc + of(&StepCoefficients::from_output) * computing(output), -clip, clip);
  at::Tensor x_s = of(&StepCoefficients::keep) * xc + of(&StepCoefficients::denoise) * x0;
  if (previous.defined()) x_s = x_s + of(&StepCoefficients::previous) * computing(previous);
  if (key) x_s = x_s + of(&StepCoefficients::noise) * normal_like(x, *key);
  return {x_s.to(x.scalar_type()), x0.to(x.scalar_type())};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> step_backward(const std::vector<StepCoefficients>& rows, double clip,
                                                             const at::Tensor& grad_x_s, const at::Tensor& grad_x0, const at::Tensor& x,
                                                             const at::Tensor& output, bool want_previous) {
  const auto of = [&](double StepCoefficients::* field) { return row_values(rows, field, x); };
  const at::Tensor raw = of(&StepCoefficients::from_x) * computing(x) + of(&StepCoefficients::from_output) * computing(output);
  const at::Tensor g_s = grad_x_s.defined() ? computing(grad_x_s) : at::zeros_like(raw);
  at::Tensor g = of(&StepCoefficients::denoise) * g_s;
  if (grad_x0.defined()) g = g + computing(grad_x0);
  g = g * (raw.abs() <= clip);
  return {(of(&StepCoefficients::keep) * g_s + of(&StepCoefficients::from_x) * g).to(x.scalar_type()),
          (of(&StepCoefficients::from_output) * g).to(x.scalar_type()),
          want_previous ? (of(&StepCoefficients::previous) * g_s).to(x.scalar_type()) : at::empty({0}, x.options())};
}

}  // namespace composite

namespace {

// x_s and, where wanted, x0.
std::tuple<at::Tensor, at::Tensor> apply(const std::vector<StepCoefficients>& rows, std::int64_t row_length, double clip,
                                         const at::Tensor& x, const at::Tensor& output, const at::Tensor& previous, bool want_x0,
                                         std::optional<kernels::PhiloxKey> key) {
  if (!x.is_cpu()) {
    auto [x_s, x0] = composite::step(rows, clip, x, output, previous, key);
    return {x_s, want_x0 ? x0 : at::Tensor()};
  }
  const at::Tensor xc = x.contiguous(), oc = output.contiguous(), pc = previous.defined() ? previous.contiguous() : previous;
  at::Tensor x_s = empty_on_cpu(x.sizes(), x.scalar_type()), x0;
  if (want_x0) x0 = empty_on_cpu(x.sizes(), x.scalar_type());
  SEMDIFF_DISPATCH(x.scalar_type(), "solver step", [&] {
    const auto& table = table_for<scalar_t>();
    stream<scalar_t, 3, 2>(
        x.numel(), key ? kRandomGrainBlocks : kGrainBlocks,
        {xc.const_data_ptr<scalar_t>(), oc.const_data_ptr<scalar_t>(), pc.defined() ? pc.const_data_ptr<scalar_t>() : nullptr},
        {x_s.mutable_data_ptr<scalar_t>(), want_x0 ? x0.mutable_data_ptr<scalar_t>() : nullptr},
        [&](std::int64_t first, std::int64_t count, const auto& in, const auto& out) {
          table.step(out[0], out[1], in[0], in[1], in[2], rows.data(), row_length, clip, first, count, key.value_or(kernels::PhiloxKey{}));
        });
  });
  return {x_s, x0};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> apply_backward(const std::vector<StepCoefficients>& rows, std::int64_t row_length,
                                                              double clip, const at::Tensor& grad_x_s, const at::Tensor& grad_x0,
                                                              const at::Tensor& x, const at::Tensor& output, bool want_previous) {
  if (!x.is_cpu()) return composite::step_backward(rows, clip, grad_x_s, grad_x0, x, output, want_previous);
  const at::Tensor xc = x.contiguous(), oc = output.contiguous();
  const at::Tensor gs = grad_x_s.defined() ? grad_x_s.contiguous() : grad_x_s, g0 = grad_x0.defined() ? grad_x0.contiguous() : grad_x0;
  at::Tensor grad_x = empty_on_cpu(x.sizes(), x.scalar_type()), grad_output = empty_on_cpu(x.sizes(), x.scalar_type());
  at::Tensor grad_previous = want_previous ? empty_on_cpu(x.sizes(), x.scalar_type()) : empty_on_cpu({0}, x.scalar_type());
  SEMDIFF_DISPATCH(x.scalar_type(), "solver step backward", [&] {
    const auto& table = table_for<scalar_t>();
    const auto data = [](const at::Tensor& v) { return v.defined() ? v.const_data_ptr<scalar_t>() : nullptr; };
    stream<scalar_t, 4, 3>(x.numel(), kGrainBlocks, {data(gs), data(g0), data(xc), data(oc)},
                           {grad_x.mutable_data_ptr<scalar_t>(), grad_output.mutable_data_ptr<scalar_t>(),
                            want_previous ? grad_previous.mutable_data_ptr<scalar_t>() : nullptr},
                           [&](std::int64_t first, std::int64_t count, const auto& in, const auto& out) {
                             table.step_backward(out[0], out[1], out[2], in[0], in[1], in[2], in[3], rows.data(), row_length, clip, first,
                                                 count);
                           });
  });
  return {grad_x, grad_output, grad_previous};
}

std::vector<StepCoefficients> ddim_rows(const at::Tensor& x, const at::Tensor& output, const at::Tensor& t, const at::Tensor& s,
                                        const at::Tensor& alphas_cumprod, double eta, std::string_view prediction,
                                        std::int64_t& row_length) {
  check_floating(x, "x");
  check_same(x, "x", output, "output");
  TORCH_CHECK_VALUE(eta >= 0.0 && eta <= 1.0, "eta: expected a number in [0, 1], got ", eta);
  return ddim_coefficients(spans(x, t, "t", s, "s", alphas_cumprod, row_length), parse_prediction(prediction), eta);
}

std::vector<StepCoefficients> dpmpp_2m_rows(const at::Tensor& x, const at::Tensor& output, const std::optional<at::Tensor>& previous_x0,
                                            const std::optional<at::Tensor>& t_previous, const at::Tensor& t, const at::Tensor& s,
                                            const at::Tensor& alphas_cumprod, std::string_view prediction, std::int64_t& row_length) {
  check_floating(x, "x");
  check_same(x, "x", output, "output");
  TORCH_CHECK_VALUE(previous_x0.has_value() == t_previous.has_value(), "t_previous: expected together with previous_x0, or neither");
  std::vector<double> previous;
  if (previous_x0) {
    check_same(x, "x", *previous_x0, "previous_x0");
    std::int64_t same = 0;
    for (const Span& span : spans(x, *t_previous, "t_previous", t, "t", alphas_cumprod, same)) previous.push_back(span.a);
  }
  return dpmpp_2m_coefficients(spans(x, t, "t", s, "s", alphas_cumprod, row_length), previous, parse_prediction(prediction));
}

}  // namespace

at::Tensor ddim_step(const at::Tensor& x, const at::Tensor& output, const at::Tensor& t, const at::Tensor& s,
                     const at::Tensor& alphas_cumprod, double eta, std::string_view prediction, std::optional<double> clip,
                     const std::optional<at::Tensor>& key) {
  std::int64_t row_length = 1;
  const auto rows = ddim_rows(x, output, t, s, alphas_cumprod, eta, prediction, row_length);
  TORCH_CHECK_VALUE(eta == 0.0 || key.has_value(), "key: expected one when eta > 0, got None");
  std::optional<kernels::PhiloxKey> k;
  if (eta > 0.0) k = read_key(*key);
  return std::get<0>(apply(rows, row_length, parse_clip(clip), x, output, {}, false, k));
}

std::tuple<at::Tensor, at::Tensor> ddim_step_backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& output,
                                                      const at::Tensor& t, const at::Tensor& s, const at::Tensor& alphas_cumprod,
                                                      double eta, std::string_view prediction, std::optional<double> clip) {
  std::int64_t row_length = 1;
  const auto rows = ddim_rows(x, output, t, s, alphas_cumprod, eta, prediction, row_length);
  check_same(x, "x", grad, "grad");
  auto [grad_x, grad_output, unused] = apply_backward(rows, row_length, parse_clip(clip), grad, {}, x, output, false);
  return {grad_x, grad_output};
}

std::tuple<at::Tensor, at::Tensor> dpmpp_2m_step(const at::Tensor& x, const at::Tensor& output,
                                                 const std::optional<at::Tensor>& previous_x0, const std::optional<at::Tensor>& t_previous,
                                                 const at::Tensor& t, const at::Tensor& s, const at::Tensor& alphas_cumprod,
                                                 std::string_view prediction, std::optional<double> clip) {
  std::int64_t row_length = 1;
  const auto rows = dpmpp_2m_rows(x, output, previous_x0, t_previous, t, s, alphas_cumprod, prediction, row_length);
  return apply(rows, row_length, parse_clip(clip), x, output, previous_x0.value_or(at::Tensor()), true, {});
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> dpmpp_2m_step_backward(
    const std::optional<at::Tensor>& grad_x_s, const std::optional<at::Tensor>& grad_x0, const at::Tensor& x, const at::Tensor& output,
    const std::optional<at::Tensor>& previous_x0, const std::optional<at::Tensor>& t_previous, const at::Tensor& t, const at::Tensor& s,
    const at::Tensor& alphas_cumprod, std::string_view prediction, std::optional<double> clip) {
  std::int64_t row_length = 1;
  const auto rows = dpmpp_2m_rows(x, output, previous_x0, t_previous, t, s, alphas_cumprod, prediction, row_length);
  TORCH_CHECK_VALUE(grad_x_s.has_value() || grad_x0.has_value(), "grad_x_s: expected it or grad_x0");
  if (grad_x_s) check_same(x, "x", *grad_x_s, "grad_x_s");
  if (grad_x0) check_same(x, "x", *grad_x0, "grad_x0");
  return apply_backward(rows, row_length, parse_clip(clip), grad_x_s.value_or(at::Tensor()), grad_x0.value_or(at::Tensor()), x, output,
                        previous_x0.has_value());
}

}  // namespace semdiff
