// SPDX-License-Identifier: Apache-2.0
#include "semdiff/loss.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <cmath>
#include <vector>

#include "check.h"
#include "composite.h"
#include "stream.h"

namespace semdiff {

using composite::LossResult;
using kernels::kBlock;
using kernels::LossSums;

namespace composite {

LossResult upsampler_loss(const at::Tensor& mu, const at::Tensor& logvar, const at::Tensor& z, const at::Tensor& alpha_bar,
                          double lambda_prior, double lambda_match, kernels::PhiloxKey key, bool gradients) {
  const at::Tensor m = computing(mu), l = computing(logvar);
  const at::Tensor a = broadcast_to(alpha_bar.sqrt(), mu), t2 = broadcast_to(1 - alpha_bar, mu);
  const at::Tensor e = l.clamp(-kernels::kLogvarClamp, kernels::kLogvarClamp).exp(), inverse = 1 / e;
  const at::Tensor d = m - a * computing(z), r = d - t2.sqrt() * normal_like(mu, key), spread = (t2 + d * d) * inverse;
  LossResult out;
  out.reconstruction = (r * r).mean();
  out.prior = (0.5 * (m * m + (e - 1) - l)).mean();
  out.match = (0.5 * ((l - t2.log()) + (spread - 1))).mean();
  out.total = out.reconstruction + lambda_prior * out.prior + lambda_match * out.match;
  if (gradients) {
    const double scale = 1.0 / static_cast<double>(mu.numel());
    out.grad_mu = ((2 * r + lambda_prior * m + lambda_match * d * inverse) * scale).to(mu.scalar_type());
    out.grad_logvar = ((lambda_prior * (e - 1) + lambda_match * (1 - spread)) * (0.5 * scale)).to(mu.scalar_type());
  }
  return out;
}

}  // namespace composite

namespace {

LossResult run(const at::Tensor& mu, const at::Tensor& logvar, const at::Tensor& z, const at::Tensor& alpha_bar, double lambda_prior,
               double lambda_match, const at::Tensor& key, bool gradients) {
  check_floating(mu, "mu");
  check_same(mu, "mu", logvar, "logvar");
  check_same(mu, "mu", z, "z");
  TORCH_CHECK_VALUE(mu.numel() > 0, "mu: expected at least one element, got shape ", mu.sizes());
  TORCH_CHECK_VALUE(lambda_prior >= 0 && std::isfinite(lambda_prior), "lambda_prior: expected a finite number >= 0, got ", lambda_prior);
  TORCH_CHECK_VALUE(lambda_match >= 0 && std::isfinite(lambda_match), "lambda_match: expected a finite number >= 0, got ", lambda_match);
  const kernels::PhiloxKey k = read_key(key);
  const at::Tensor rows = to_coefficients(alpha_bar, "alpha_bar");
  const std::int64_t row_length = check_rows(rows, "alpha_bar", mu, "mu");
  for (std::int64_t i = 0; i < rows.numel(); ++i) {
    const double value = rows.const_data_ptr<double>()[i];
    TORCH_CHECK_VALUE(value > 0.0 && value < 1.0, "alpha_bar: expected numbers in (0, 1), got ", value);
  }
  if (!mu.is_cpu()) return composite::upsampler_loss(mu, logvar, z, rows, lambda_prior, lambda_match, k, gradients);

  const at::Tensor m = mu.contiguous(), l = logvar.contiguous(), target = z.contiguous();
  LossResult out;
  if (gradients) {
    out.grad_mu = empty_on_cpu(mu.sizes(), mu.scalar_type());
    out.grad_logvar = empty_on_cpu(mu.sizes(), mu.scalar_type());
  }
  const std::int64_t size = mu.numel();
  const kernels::LossWeights weights{lambda_prior, lambda_match, 1.0 / static_cast<double>(size)};
  std::vector<LossSums> partial(static_cast<std::size_t>((size + kBlock - 1) / kBlock));
  SEMDIFF_DISPATCH(mu.scalar_type(), "upsampler_loss", [&] {
    using Real = RealOf<scalar_t>;
    const auto& table = table_for<scalar_t>();
    stream<scalar_t, 3, 2>(
        size, kRandomGrainBlocks, {m.const_data_ptr<scalar_t>(), l.const_data_ptr<scalar_t>(), target.const_data_ptr<scalar_t>()},
        {gradients ? out.grad_mu.mutable_data_ptr<scalar_t>() : nullptr,
         gradients ? out.grad_logvar.mutable_data_ptr<scalar_t>() : nullptr},
        [&](std::int64_t begin, std::int64_t total, const auto& in, const auto& o) {
          for (std::int64_t done = 0; done < total; done += kBlock) {
            const auto skip = [done](Real* p) { return p ? p + done : nullptr; };
            partial[static_cast<std::size_t>((begin + done) / kBlock)] =
                table.upsampler_loss(skip(o[0]), skip(o[1]), in[0] + done, in[1] + done, in[2] + done, rows.const_data_ptr<double>(),
                                     row_length, weights, begin + done, std::min(kBlock, total - done), k);
          }
        });
  });
  LossSums sums{};
  for (const LossSums& p : partial) {  // in index order: the same for any number of threads
    sums.reconstruction += p.reconstruction;
    sums.prior += p.prior;
    sums.match += p.match;
  }
  const auto mean = [&](double sum) {
    const bool wide = mu.scalar_type() == at::kDouble;
    at::Tensor value = empty_on_cpu({}, wide ? at::kDouble : at::kFloat);
    if (wide) {
      *value.mutable_data_ptr<double>() = sum * weights.scale;
    } else {
      *value.mutable_data_ptr<float>() = static_cast<float>(sum * weights.scale);
    }
    return value;
  };
  out.total = mean(sums.reconstruction + lambda_prior * sums.prior + lambda_match * sums.match);
  out.reconstruction = mean(sums.reconstruction);
  out.prior = mean(sums.prior);
  out.match = mean(sums.match);
  return out;
}

}  // namespace

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor> upsampler_loss(const at::Tensor& mu, const at::Tensor& logvar,
                                                                          const at::Tensor& z, const at::Tensor& alpha_bar,
                                                                          double lambda_prior, double lambda_match, const at::Tensor& key) {
  const LossResult r = run(mu, logvar, z, alpha_bar, lambda_prior, lambda_match, key, false);
  return {r.total, r.reconstruction, r.prior, r.match};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor> upsampler_loss_with_gradients(
    const at::Tensor& mu, const at::Tensor& logvar, const at::Tensor& z, const at::Tensor& alpha_bar, double lambda_prior,
    double lambda_match, const at::Tensor& key) {
  const LossResult r = run(mu, logvar, z, alpha_bar, lambda_prior, lambda_match, key, true);
  return {r.total, r.reconstruction, r.prior, r.match, r.grad_mu, r.grad_logvar};
}

}  // namespace semdiff
