// SPDX-License-Identifier: Apache-2.0
// Backwards, in C++ because a Python one costs some microseconds at every call of the forward, even where nobody wants a gradient.
// Each backward is made of registered operators, so torch.compile traces through it.
#include "autograd.h"

#include <torch/csrc/autograd/autograd_not_implemented_fallback.h>
#include <torch/library.h>

#include "semdiff/channel.h"
#include "semdiff/loss.h"
#include "semdiff/sampler.h"
#include "semdiff/vae.h"

namespace {

using namespace semdiff::autograd;

// --- channel ------------------------------------------------------------------------------------------------------------------------

// An argument that may be absent is an optional here: Function::apply takes an undefined Tensor for one with a device.
struct Diffuse : Function<Diffuse> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const optional<Tensor>& signal, const Tensor& noise, const Tensor& key) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->save_for_backward({signal && signal->requires_grad() ? x : Tensor(), signal.value_or(Tensor()), noise, key});
    return SEMDIFF_CALL(diffuse, x, signal, noise, key);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &grad = grads[0], &x = saved[0], &signal = saved[1], &noise = saved[2], &key = saved[3];
    variable_list out(4);
    // signal * grad is the same operator without noise: one pass, float16 and bfloat16 in float32.
    if (ctx->needs_input_grad(0)) {
      out[0] = signal.defined() ? SEMDIFF_CALL(diffuse, grad, signal, at::zeros_like(noise), key) : grad;
    }
    // needs_input_grad counts defined tensors only.
    if (signal.defined() && ctx->needs_input_grad(1)) out[1] = row_inner(grad, x, signal);
    if (ctx->needs_input_grad(signal.defined() ? 2 : 1)) {
      out[2] = row_inner(grad, SEMDIFF_CALL(diffuse, at::zeros_like(grad), std::nullopt, at::ones_like(noise), key), noise);
    }
    return out;
  }
};

Tensor diffuse(const Tensor& x, const optional<Tensor>& signal, const Tensor& noise, const Tensor& key) {
  const Tensor a = signal.value_or(Tensor());
  refuse_tangent("diffuse", {&x, &a, &noise});
  if (wants_gradient({&x, &a, &noise})) return Diffuse::apply(x, signal, noise, key);
  at::AutoDispatchBelowADInplaceOrView below;
  return SEMDIFF_CALL(diffuse, x, signal, noise, key);
}

struct NormalizePower : Function<NormalizePower> {
  static variable_list forward(AutogradContext* ctx, const Tensor& s) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [normalized, scale] = SEMDIFF_CALL(normalize_power, s);
    ctx->save_for_backward({normalized, scale});
    ctx->set_materialize_grads(false);
    return {normalized, scale};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_double("normalize_power");
    const variable_list saved = ctx->get_saved_variables();
    return {SEMDIFF_CALL(normalize_power_backward, or_zeros(grads[0], saved[0]), maybe(grads[1]), saved[0], saved[1])};
  }
};

std::tuple<Tensor, Tensor> normalize_power(const Tensor& s) {
  refuse_tangent("normalize_power", {&s});
  if (wants_gradient({&s})) {
    const variable_list out = NormalizePower::apply(s);
    return {out[0], out[1]};
  }
  at::AutoDispatchBelowADInplaceOrView below;
  return SEMDIFF_CALL(normalize_power, s);
}

// --- sampler ------------------------------------------------------------------------------------------------------------------------

struct DdimStep : Function<DdimStep> {
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& output, const Tensor& t, const Tensor& s, const Tensor& table,
                        double eta, std::string_view prediction, optional<double> clip, const optional<Tensor>& key) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->save_for_backward({x, output, t, s, table});
    ctx->saved_data["eta"] = eta;
    ctx->saved_data["prediction"] = std::string(prediction);
    ctx->saved_data["clip"] = clip;
    return SEMDIFF_CALL(ddim_step, x, output, t, s, table, eta, prediction, clip, key);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_double("ddim_step");
    const variable_list v = ctx->get_saved_variables();
    auto [grad_x, grad_output] = SEMDIFF_CALL(ddim_step_backward, grads[0], v[0], v[1], v[2], v[3], v[4], ctx->saved_data["eta"].toDouble(),
                                              ctx->saved_data["prediction"].toStringView(), ctx->saved_data["clip"].toOptional<double>());
    variable_list out(9);
    out[0] = grad_x;
    out[1] = grad_output;
    return out;
  }
};

Tensor ddim_step(const Tensor& x, const Tensor& output, const Tensor& t, const Tensor& s, const Tensor& table, double eta,
                 std::string_view prediction, optional<double> clip, const optional<Tensor>& key) {
  refuse_tangent("ddim_step", {&x, &output, &t, &s, &table});
  refuse("ddim_step", {{"t", &t}, {"s", &s}, {"alphas_cumprod", &table}});
  if (wants_gradient({&x, &output})) return DdimStep::apply(x, output, t, s, table, eta, prediction, clip, key);
  at::AutoDispatchBelowADInplaceOrView below;
  return SEMDIFF_CALL(ddim_step, x, output, t, s, table, eta, prediction, clip, key);
}

struct Dpmpp2mStep : Function<Dpmpp2mStep> {
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& output, const optional<Tensor>& previous_x0,
                               const optional<Tensor>& t_previous, const Tensor& t, const Tensor& s, const Tensor& table,
                               std::string_view prediction, optional<double> clip) {
    at::AutoDispatchBelowADInplaceOrView below;
    ctx->save_for_backward({x, output, previous_x0.value_or(Tensor()), t_previous.value_or(Tensor()), t, s, table});
    ctx->saved_data["prediction"] = std::string(prediction);
    ctx->saved_data["clip"] = clip;
    ctx->set_materialize_grads(false);
    auto [x_s, x0] = SEMDIFF_CALL(dpmpp_2m_step, x, output, previous_x0, t_previous, t, s, table, prediction, clip);
    return {x_s, x0};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_double("dpmpp_2m_step");
    const variable_list v = ctx->get_saved_variables();
    variable_list out(9);
    if (!grads[0].defined() && !grads[1].defined()) return out;
    auto [grad_x, grad_output, grad_previous] =
        SEMDIFF_CALL(dpmpp_2m_step_backward, maybe(grads[0]), maybe(grads[1]), v[0], v[1], maybe(v[2]), maybe(v[3]), v[4], v[5], v[6],
                     ctx->saved_data["prediction"].toStringView(), ctx->saved_data["clip"].toOptional<double>());
    out[0] = grad_x;
    out[1] = grad_output;
    if (v[2].defined()) out[2] = grad_previous;
    return out;
  }
};

std::tuple<Tensor, Tensor> dpmpp_2m_step(const Tensor& x, const Tensor& output, const optional<Tensor>& previous_x0,
                                         const optional<Tensor>& t_previous, const Tensor& t, const Tensor& s, const Tensor& table,
                                         std::string_view prediction, optional<double> clip) {
  const Tensor previous = previous_x0.value_or(Tensor()), before = t_previous.value_or(Tensor());
  refuse_tangent("dpmpp_2m_step", {&x, &output, &previous, &before, &t, &s, &table});
  refuse("dpmpp_2m_step", {{"t_previous", &before}, {"t", &t}, {"s", &s}, {"alphas_cumprod", &table}});
  if (wants_gradient({&x, &output, &previous})) {
    const variable_list out = Dpmpp2mStep::apply(x, output, previous_x0, t_previous, t, s, table, prediction, clip);
    return {out[0], out[1]};
  }
  at::AutoDispatchBelowADInplaceOrView below;
  return SEMDIFF_CALL(dpmpp_2m_step, x, output, previous_x0, t_previous, t, s, table, prediction, clip);
}

// --- vae ----------------------------------------------------------------------------------------------------------------------------

struct Reparameterize : Function<Reparameterize> {
  static Tensor forward(AutogradContext* ctx, const Tensor& mu, const Tensor& logvar, const Tensor& key) {
    at::AutoDispatchBelowADInplaceOrView below;
    const Tensor sample = SEMDIFF_CALL(reparameterize, mu, logvar, key);
    ctx->save_for_backward({sample, mu});
    return sample;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_double("reparameterize");
    const variable_list saved = ctx->get_saved_variables();
    return {grads[0], ctx->needs_input_grad(1) ? SEMDIFF_CALL(reparameterize_backward, grads[0], saved[0], saved[1]) : Tensor(), Tensor()};
  }
};

Tensor reparameterize(const Tensor& mu, const Tensor& logvar, const Tensor& key) {
  refuse_tangent("reparameterize", {&mu, &logvar});
  if (wants_gradient({&mu, &logvar})) return Reparameterize::apply(mu, logvar, key);
  at::AutoDispatchBelowADInplaceOrView below;
  return SEMDIFF_CALL(reparameterize, mu, logvar, key);
}

struct GaussianUpsample : Function<GaussianUpsample> {
  static variable_list forward(AutogradContext* ctx, const Tensor& features, std::int64_t scale, const Tensor& key) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [sample, mean, logvar] = SEMDIFF_CALL(gaussian_upsample, features, scale, key);
    ctx->save_for_backward({sample, mean, logvar});
    ctx->saved_data["scale"] = scale;
    ctx->set_materialize_grads(false);
    return {sample, mean, logvar};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_double("gaussian_upsample");
    const variable_list v = ctx->get_saved_variables();
    return {SEMDIFF_CALL(gaussian_upsample_backward, or_zeros(grads[0], v[0]), maybe(grads[1]), maybe(grads[2]), v[0], v[1], v[2],
                         ctx->saved_data["scale"].toInt()),
            Tensor(), Tensor()};
  }
};

std::tuple<Tensor, Tensor, Tensor> gaussian_upsample(const Tensor& features, std::int64_t scale, const Tensor& key) {
  refuse_tangent("gaussian_upsample", {&features});
  if (wants_gradient({&features})) {
    const variable_list out = GaussianUpsample::apply(features, scale, key);
    return {out[0], out[1], out[2]};
  }
  at::AutoDispatchBelowADInplaceOrView below;
  return SEMDIFF_CALL(gaussian_upsample, features, scale, key);
}

// --- loss ---------------------------------------------------------------------------------------------------------------------------

// A tensor whose value can be read here: not one that stands for a traced or fake value.
bool is_plain_cpu(const Tensor& t) {
  return t.is_cpu() && !t.key_set().has_any(c10::DispatchKeySet({c10::DispatchKey::Python, c10::DispatchKey::Functionalize}));
}

struct UpsamplerLoss : Function<UpsamplerLoss> {
  static variable_list forward(AutogradContext* ctx, const Tensor& mu, const Tensor& logvar, const Tensor& z, const Tensor& alpha_bar,
                               double lambda_prior, double lambda_match, const Tensor& key) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [total, reconstruction, prior, match, grad_mu, grad_logvar] =
        SEMDIFF_CALL(upsampler_loss_with_gradients, mu, logvar, z, alpha_bar, lambda_prior, lambda_match, key);
    ctx->save_for_backward({grad_mu, grad_logvar});
    // The terms are for reading: they carry no gradient, and asking for one is an error rather than a zero.
    ctx->mark_non_differentiable({reconstruction, prior, match, grad_mu, grad_logvar});
    return {total, reconstruction, prior, match, grad_mu, grad_logvar};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    refuse_double("upsampler_loss");
    const variable_list saved = ctx->get_saved_variables();
    variable_list out(7);
    // The gradients were made with the loss. backward() on the loss itself arrives with exactly 1: then there is no second pass.
    const bool one = is_plain_cpu(grads[0]) && grads[0].item<double>() == 1.0;
    out[0] = one ? saved[0] : saved[0] * grads[0];
    out[1] = one ? saved[1] : saved[1] * grads[0];
    return out;
  }
};

using LossResult = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

LossResult upsampler_loss_with_gradients(const Tensor& mu, const Tensor& logvar, const Tensor& z, const Tensor& alpha_bar,
                                         double lambda_prior, double lambda_match, const Tensor& key) {
  refuse_tangent("upsampler_loss", {&mu, &logvar, &z, &alpha_bar});
  refuse("upsampler_loss", {{"z", &z}, {"alpha_bar", &alpha_bar}});
  if (wants_gradient({&mu, &logvar})) {
    const variable_list v = UpsamplerLoss::apply(mu, logvar, z, alpha_bar, lambda_prior, lambda_match, key);
    return {v[0], v[1], v[2], v[3], v[4], v[5]};
  }
  at::AutoDispatchBelowADInplaceOrView below;
  return SEMDIFF_CALL(upsampler_loss_with_gradients, mu, logvar, z, alpha_bar, lambda_prior, lambda_match, key);
}

}  // namespace

TORCH_LIBRARY_IMPL(semdiff, Autograd, m) {
  m.impl("diffuse", &diffuse);
  m.impl("normalize_power", &normalize_power);
  m.impl("ddim_step", &ddim_step);
  m.impl("dpmpp_2m_step", &dpmpp_2m_step);
  m.impl("reparameterize", &reparameterize);
  m.impl("gaussian_upsample", &gaussian_upsample);
  m.impl("upsampler_loss_with_gradients", &upsampler_loss_with_gradients);
  // Explicitly not differentiable: asking for a gradient raises.
  for (const char* name : {"alpha_bar", "timestep", "measured_snr_db", "upsampler_loss", "normalize_power_backward", "ddim_step_backward",
                           "dpmpp_2m_step_backward", "reparameterize_backward", "gaussian_upsample_backward", "svd_2x2"}) {
    m.impl(name, torch::autograd::autogradNotImplementedFallback());
  }
}
