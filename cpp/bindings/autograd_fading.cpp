// SPDX-License-Identifier: Apache-2.0
// Backwards of the fading channel and the equalisers.
#include <torch/library.h>

#include "autograd.h"
#include "semdiff/channel.h"
#include "semdiff/equalizer.h"
#include "semdiff/fading.h"
#include "semdiff/rng.h"

namespace {

using namespace semdiff::autograd;

// A gradient of x's shape summed to that of an argument that was broadcast, in the argument's type and place.
Tensor sum_to(const Tensor& grad, const Tensor& like) { return at::sum_to(grad, like.sym_sizes()).to(like.device(), like.scalar_type()); }

struct Fading : Function<Fading> {
  static variable_list forward(AutogradContext* ctx, const Tensor& s, double los, double scatter, const Tensor& noise,
                               std::int64_t coherence, const Tensor& key) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [y, h] = SEMDIFF_CALL(fading, s, los, scatter, noise, coherence, key);
    ctx->save_for_backward({h, noise, key});
    ctx->mark_non_differentiable({h});
    return {y, h};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &grad = grads[0], &h = saved[0], &noise = saved[1], &key = saved[2];
    variable_list out(6);
    if (ctx->needs_input_grad(0)) out[0] = grad * h.conj();
    if (ctx->needs_input_grad(1)) {  // counts tensors only
      const Tensor n =
          SEMDIFF_CALL(diffuse, at::zeros_like(grad), std::nullopt, at::ones_like(noise), SEMDIFF_CALL(key_split, key, 2).select(0, 1));
      out[3] = row_inner(grad, n, noise);
    }
    return out;
  }
};

std::tuple<Tensor, Tensor> fading(const Tensor& s, double los, double scatter, const Tensor& noise, std::int64_t coherence,
                                  const Tensor& key) {
  refuse_tangent("fading", {&s, &noise});
  if (wants_gradient({&s, &noise})) {
    const variable_list out = Fading::apply(s, los, scatter, noise, coherence, key);
    return {out[0], out[1]};
  }
  at::AutoDispatchBelowADInplaceOrView below;
  return SEMDIFF_CALL(fading, s, los, scatter, noise, coherence, key);
}

// x = gain s + noise: gains are real and know nothing of s.
struct FadingEqualized : Function<FadingEqualized> {
  static variable_list forward(AutogradContext* ctx, const Tensor& s, double los, double scatter, const Tensor& noise_var,
                               std::int64_t coherence, std::string_view method, const Tensor& key) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [x, variance, gain] = SEMDIFF_CALL(fading_equalized, s, los, scatter, noise_var, coherence, method, key);
    ctx->save_for_backward({gain});
    ctx->mark_non_differentiable({variance, gain});
    return {x, variance, gain};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    variable_list out(7);
    out[0] = grads[0] * ctx->get_saved_variables()[0].to(c10::toRealValueType(grads[0].scalar_type()));
    return out;
  }
};

using Terms = std::tuple<Tensor, Tensor, Tensor>;

Terms fading_equalized(const Tensor& s, double los, double scatter, const Tensor& noise_var, std::int64_t coherence,
                       std::string_view method, const Tensor& key) {
  refuse_tangent("fading_equalized", {&s, &noise_var});
  refuse("fading_equalized", {{"noise_var", &noise_var}});
  if (wants_gradient({&s})) {
    const variable_list out = FadingEqualized::apply(s, los, scatter, noise_var, coherence, method, key);
    return {out[0], out[1], out[2]};
  }
  at::AutoDispatchBelowADInplaceOrView below;
  return SEMDIFF_CALL(fading_equalized, s, los, scatter, noise_var, coherence, method, key);
}

// With P = |h|^2, N = noise_var: x = w conj(h) y, noise v, gain g, where w, v and g are functions of P and N.
struct Equalize : Function<Equalize> {
  static variable_list forward(AutogradContext* ctx, const Tensor& y, const Tensor& h, const Tensor& noise_var, std::string_view method) {
    at::AutoDispatchBelowADInplaceOrView below;
    auto [x, noise, gain] = SEMDIFF_CALL(equalize, y, h, noise_var, method);
    ctx->save_for_backward({y, h, noise_var});
    ctx->saved_data["method"] = std::string(method);
    ctx->set_materialize_grads(false);
    if (!h.requires_grad() && !noise_var.requires_grad()) ctx->mark_non_differentiable({noise, gain});
    return {x, noise, gain};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &y = saved[0], &h = saved[1];
    const auto real = c10::toRealValueType(y.scalar_type());
    const Tensor n = saved[2].to(y.device(), real), p = at::real(h * h.conj());
    const auto inverse = [](const Tensor& d) { return at::where(d == 0, at::zeros_like(d), d.reciprocal()); };
    // w, and the derivatives by P and by N of w, v and g; undefined is zero.
    Tensor w, w_p, w_n, v_p, v_n, g_p, g_n;
    const auto method = ctx->saved_data["method"].toStringRef();
    if (method == "mmse") {
      w = inverse(p + n);
      w_p = w_n = -w * w;
      const Tensor difference = (n - p) * w * w * w;
      v_p = n * difference;
      v_n = -p * difference;
      g_p = n * w * w;
      g_n = -p * w * w;
    } else if (method == "matched") {
      w = at::ones_like(p);
      v_p = n;
      v_n = p;
      g_p = at::ones_like(p);
    } else {
      w = inverse(p);
      w_p = -w * w;
      v_p = -n * w * w;
      v_n = w;
    }
    const Tensor gx = grads[0].defined() ? at::real(grads[0].conj() * (h.conj() * y)) : Tensor();
    variable_list out(4);
    // factor * (sum of gradient * derivative), summed to the argument's shape. A term for each sample counts once, one for each symbol
    // as often: so results of different shapes are summed apart.
    const auto chain = [&](const Tensor& to, const Tensor& factor, const Tensor& dw, const Tensor& dv, const Tensor& dg) {
      Tensor sum = at::zeros_like(to);
      const Tensor* pairs[][2] = {{&gx, &dw}, {&grads[1], &dv}, {&grads[2], &dg}};
      for (const auto& [grad, derivative] : pairs) {
        if (grad->defined() && derivative->defined()) sum = sum + sum_to(factor * (grad->to(real) * *derivative), to);
      }
      return sum;
    };
    if (ctx->needs_input_grad(0) && grads[0].defined()) out[0] = w * h * grads[0];
    if (ctx->needs_input_grad(1)) {
      out[1] = chain(h, 2 * h, w_p, v_p, g_p);
      if (grads[0].defined()) out[1] = out[1] + sum_to(w * y * grads[0].conj(), h);
    }
    if (ctx->needs_input_grad(2)) out[2] = chain(saved[2], at::ones_like(p), w_n, v_n, g_n);
    return out;
  }
};

Terms equalize(const Tensor& y, const Tensor& h, const Tensor& noise_var, std::string_view method) {
  refuse_tangent("equalize", {&y, &h, &noise_var});
  if (wants_gradient({&y, &h, &noise_var})) {
    const variable_list out = Equalize::apply(y, h, noise_var, method);
    return {out[0], out[1], out[2]};
  }
  at::AutoDispatchBelowADInplaceOrView below;
  return SEMDIFF_CALL(equalize, y, h, noise_var, method);
}

}  // namespace

TORCH_LIBRARY_IMPL(semdiff, Autograd, m) {
  m.impl("fading", &fading);
  m.impl("fading_equalized", &fading_equalized);
  m.impl("equalize", &equalize);
}
