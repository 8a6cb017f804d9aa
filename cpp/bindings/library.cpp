// SPDX-License-Identifier: Apache-2.0
// Every operator's schema on one screen. Backwards are in autograd.cpp, fakes in python/semdiff/_ops.py.
#include <torch/library.h>

#include "semdiff/channel.h"
#include "semdiff/equalizer.h"
#include "semdiff/fading.h"
#include "semdiff/loss.h"
#include "semdiff/mimo.h"
#include "semdiff/rng.h"
#include "semdiff/sampler.h"
#include "semdiff/schedule.h"
#include "semdiff/vae.h"

// Argument lists that several operators share.
#define STEP "Tensor x, Tensor output, Tensor t, Tensor s, Tensor alphas_cumprod, float eta, str prediction, float? clip"
#define STEP_2M                                                                                                                   \
  "Tensor x, Tensor output, Tensor? previous_x0, Tensor? t_previous, Tensor t, Tensor s, Tensor alphas_cumprod, str prediction, " \
  "float? clip"
#define LOSS "Tensor mu, Tensor logvar, Tensor z, Tensor alpha_bar, float lambda_prior, float lambda_match, Tensor key"

TORCH_LIBRARY(semdiff, m) {
  m.set_python_module("semdiff._ops");
  m.def("normal(SymInt[] size, Tensor key, ScalarType dtype, Device device) -> Tensor");
  m.def("key_split(Tensor key, int n) -> Tensor");
  m.def("key_fold_in(Tensor key, int index) -> Tensor");
  m.def("alphas_cumprod(str kind, int steps, float beta_start, float beta_end) -> Tensor");
  m.def("alpha_bar(Tensor alphas_cumprod, Tensor t) -> Tensor");
  m.def("timestep(Tensor alphas_cumprod, Tensor noise_var, str rounding) -> Tensor");
  m.def("diffuse(Tensor x, Tensor? signal, Tensor noise, Tensor key) -> Tensor");
  m.def("normalize_power(Tensor s) -> (Tensor, Tensor)");
  m.def("normalize_power_backward(Tensor grad, Tensor? grad_scale, Tensor normalized, Tensor scale) -> Tensor");
  m.def("measured_snr_db(Tensor s, Tensor y) -> Tensor");
  m.def("fading(Tensor s, float los, float scatter, Tensor noise, int coherence, Tensor key) -> (Tensor, Tensor)");
  m.def(
      "fading_equalized(Tensor s, float los, float scatter, Tensor noise_var, int coherence, str method, Tensor key) -> "
      "(Tensor, Tensor, Tensor)");
  m.def("equalize(Tensor y, Tensor h, Tensor noise_var, str method) -> (Tensor, Tensor, Tensor)");
  m.def("pack(Tensor z) -> Tensor");
  m.def("unpack(Tensor s, SymInt[] shape) -> Tensor");
  m.def("ddim_step(" STEP ", Tensor? key) -> Tensor");
  m.def("ddim_step_backward(Tensor grad, " STEP ") -> (Tensor, Tensor)");
  m.def("dpmpp_2m_step(" STEP_2M ") -> (Tensor, Tensor)");
  m.def("dpmpp_2m_step_backward(Tensor? grad_x_s, Tensor? grad_x0, " STEP_2M ") -> (Tensor, Tensor, Tensor)");
  m.def("svd_2x2(Tensor h) -> (Tensor, Tensor, Tensor)");
  m.def("reparameterize(Tensor mu, Tensor logvar, Tensor key) -> Tensor");
  m.def("reparameterize_backward(Tensor grad, Tensor sample, Tensor mu) -> Tensor");
  m.def("gaussian_upsample(Tensor features, int scale, Tensor key) -> (Tensor, Tensor, Tensor)");
  m.def(
      "gaussian_upsample_backward(Tensor grad_sample, Tensor? grad_mean, Tensor? grad_logvar, Tensor sample, Tensor mean, Tensor logvar, "
      "int scale) -> Tensor");
  m.def("upsampler_loss(" LOSS ") -> (Tensor, Tensor, Tensor, Tensor)");
  m.def("upsampler_loss_with_gradients(" LOSS ") -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)");
}

namespace {

// Each function chooses kernel or composite by its tensors' device, so one implementation serves every key.
void register_device(torch::Library& m) {
  // Times and variances may be anywhere; the table and the result are on the host.
  m.impl("alpha_bar", &semdiff::alpha_bar);
  m.impl("timestep", &semdiff::timestep);
  m.impl("diffuse", &semdiff::diffuse);
  m.impl("normalize_power", &semdiff::normalize_power);
  m.impl("normalize_power_backward", &semdiff::normalize_power_backward);
  m.impl("measured_snr_db", &semdiff::measured_snr_db);
  m.impl("fading", &semdiff::fading);
  m.impl("fading_equalized", &semdiff::fading_equalized);
  m.impl("equalize", &semdiff::equalize);
  m.impl("ddim_step", &semdiff::ddim_step);
  m.impl("ddim_step_backward", &semdiff::ddim_step_backward);
  m.impl("dpmpp_2m_step", &semdiff::dpmpp_2m_step);
  m.impl("dpmpp_2m_step_backward", &semdiff::dpmpp_2m_step_backward);
  m.impl("svd_2x2", &semdiff::svd_2x2);
  m.impl("reparameterize", &semdiff::reparameterize);
  m.impl("reparameterize_backward", &semdiff::reparameterize_backward);
  m.impl("gaussian_upsample", &semdiff::gaussian_upsample);
  m.impl("gaussian_upsample_backward", &semdiff::gaussian_upsample_backward);
  m.impl("upsampler_loss", &semdiff::upsampler_loss);
  m.impl("upsampler_loss_with_gradients", &semdiff::upsampler_loss_with_gradients);
}

}  // namespace

TORCH_LIBRARY_IMPL(semdiff, CPU, m) {
  register_device(m);
  // These take only host tensors (keys, tables) or none, whatever device their results are for.
  m.impl("normal", &semdiff::normal);
  m.impl("key_split", &semdiff::key_split);
  m.impl("key_fold_in", &semdiff::key_fold_in);
}

TORCH_LIBRARY_IMPL(semdiff, CUDA, m) { register_device(m); }
TORCH_LIBRARY_IMPL(semdiff, MPS, m) { register_device(m); }

TORCH_LIBRARY_IMPL(semdiff, CompositeExplicitAutograd, m) { m.impl("alphas_cumprod", &semdiff::alphas_cumprod); }

TORCH_LIBRARY_IMPL(semdiff, CompositeImplicitAutograd, m) {
  m.impl("pack", &semdiff::pack);
  m.impl("unpack", &semdiff::unpack);
}
