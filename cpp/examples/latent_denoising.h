// SPDX-License-Identifier: Apache-2.0
// A diffusion model on latents, what SemanticLink does. The functions have the names of their Python counterparts, which say more about the
// formulas: semdiff.link.starting_state, semdiff.diffusion.matching and semdiff.diffusion.sampler.
#pragma once

#include "denoising.h"
#include "network.h"
#include "semdiff/sampler.h"
#include "semdiff/vae.h"

namespace example {

class LatentDenoising final : public Denoising {
 public:
  LatentDenoising(const std::string& folder, const Description& about)
      : about_(about),
        upsampler_(folder + "/upsampler.pt2", about.batch),
        denoiser_(folder + "/denoiser.pt2", about.batch),
        decoder_(folder + "/decoder.pt2", about.batch),
        sample_decoder_(folder + "/sample_decoder.pt2", about.batch) {}

  Tensor receive(const Arrived& arrived, std::int64_t steps, double realism, const Tensor& key) override {
    const Tensor base = semdiff::key_fold_in(key, 2);
    const Tensor coarse = upsampler_({arrived.features, arrived.snr_db, arrived.rate, arrived.noise_map});
    const auto [draw, mean, logvar] = semdiff::gaussian_upsample(coarse, 2, semdiff::key_fold_in(key, 1));
    const Tensor top_up = semdiff::key_split(base, 2)[0], fresh = semdiff::key_split(base, 2)[1];
    const State state = estimate_and_match(mean, logvar, arrived.noise_var, top_up);
    if (realism == 0) return decoder_({posterior_mean(state)});
    const Tensor crisp = sample_decoder_({sample(later(state, about_, fresh), steps)});
    if (realism == 1) return crisp;
    return (1 - realism) * decoder_({posterior_mean(state)}) + realism * crisp;
  }

 private:
  // The up-sampler's Gaussian as an estimate of z with its error's variance v, and the calibrated match: alpha_bar = 1 - v.
  State estimate_and_match(const Tensor& mean, const Tensor& logvar, const Tensor& noise_var, const Tensor& key) const {
    const Tensor channel = 1 / (1 + noise_var);
    const Tensor z = mean / column(channel.sqrt());
    const Tensor total = logvar.to(at::kDouble).exp().flatten(1).mean(1);
    const Tensor v = ((total - (1 - channel)) / channel).clamp(0.002, 0.95), variance = v / (1 - v);
    const Tensor t = semdiff::timestep(about_.alphas_cumprod, variance, "none"), a = semdiff::alpha_bar(about_.alphas_cumprod, t);
    const Tensor signal = at::minimum(a, 1 / (1 + variance));  // beyond the last step sqrt(a) would leave too much variance
    Tensor missing = 1 - a - signal * variance;                // before the first step; elsewhere rounding errors
    missing = at::where(missing > 1e-12, missing, at::zeros_like(missing));
    return {semdiff::diffuse(z, signal.sqrt() / (1 - v), missing.sqrt(), key), t};
  }

  Tensor posterior_mean(const State& state) {
    const Tensor output = denoiser_({state.x, state.t.to(at::kFloat)});
    return semdiff::ddim_step(state.x, output, state.t, at::full_like(state.t, -1), about_.alphas_cumprod, 0, about_.prediction, {}, {});
  }

  // DPM-Solver++(2M) between times that are uniform in ln SNR. A first step that is clean data has none: then to the one after it.
  Tensor sample(const State& state, std::int64_t steps) {
    const Tensor& table = about_.alphas_cumprod;
    const Tensor start = semdiff::alpha_bar(table, state.t).logit(), end = table[table[0].item<double>() < 1 ? 0 : 1].logit();
    Tensor x = state.x, now = state.t;
    std::optional<Tensor> previous_x0, t_previous;
    for (std::int64_t i = 1; i <= steps; ++i) {
      const double share = static_cast<double>(i) / static_cast<double>(steps);
      const Tensor noise_var = at::exp(-(start + (end - start) * share));
      const Tensor next = i < steps ? semdiff::timestep(about_.alphas_cumprod, noise_var, "none") : at::full_like(now, -1);
      const Tensor output = denoiser_({x, now.to(at::kFloat)});
      std::tie(x, previous_x0) =
          semdiff::dpmpp_2m_step(x, output, previous_x0, t_previous, now, next, about_.alphas_cumprod, about_.prediction, {});
      t_previous = now;
      now = next;
    }
    return x;
  }

  Description about_;
  Network upsampler_, denoiser_, decoder_, sample_decoder_;
};

}  // namespace example
