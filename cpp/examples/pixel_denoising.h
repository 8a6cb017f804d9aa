// SPDX-License-Identifier: Apache-2.0
// A diffusion model on pixels, what PixelLink does. The functions have the names of their Python counterparts, which say more about the
// formulas: semdiff.link.pixel_starting_state and semdiff.diffusion.sampler.
#pragma once

#include "denoising.h"
#include "network.h"
#include "semdiff/sampler.h"
#include "semdiff/vae.h"

namespace example {

class PixelDenoising final : public Denoising {
 public:
  PixelDenoising(const std::string& folder, const Description& about)
      : about_(about),
        upsampler_(folder + "/upsampler.pt2", about.batch),
        denoiser_(folder + "/denoiser.pt2", about.batch),
        decoder_(folder + "/decoder.pt2", about.batch) {}

  Tensor receive(const Arrived& arrived, std::int64_t steps, double realism, const Tensor& key) override {
    const Tensor coarse = upsampler_({arrived.features, arrived.snr_db, arrived.rate, arrived.noise_map});
    const auto [draw, mean, logvar] = semdiff::gaussian_upsample(coarse, 2, semdiff::key_fold_in(key, 1));
    const auto [estimate, error] = mean_estimate(without_padding(mean), without_padding(logvar));
    if (realism == 0) return images(estimate);
    const Tensor perceptual = decoder_({arrived.features, arrived.snr_db, arrived.rate});
    const State state = perceptual_state(perceptual, estimate, error, semdiff::key_fold_in(key, 2));
    const Tensor crisp = images(sample(state, steps, arrived));
    return realism == 1 ? crisp : (1 - realism) * images(estimate) + realism * crisp;
  }

 private:
  static constexpr double kSmallestError = 1e-3, kLargestError = 4;

  Tensor without_padding(Tensor x) const {
    for (const int axis : {2, 3}) {
      const std::int64_t size = about_.image_shape[static_cast<std::size_t>(axis - 1)];
      x = x.narrow(axis, (x.size(axis) - size) / 2, size);
    }
    return x;
  }

  Tensor images(const Tensor& x) const { return (x * about_.pixel_std + about_.pixel_mean).clamp(0, 1); }

  // The Gaussian of x_t at t = 0 as an estimate of the image, and that estimate's error variance, float64 (B,).
  std::tuple<Tensor, Tensor> mean_estimate(const Tensor& mean, const Tensor& logvar) const {
    const double a = about_.alphas_cumprod[0].item<double>();
    const Tensor variance = logvar.to(at::kDouble).exp().flatten(1).mean(1);
    return {mean / std::sqrt(a), ((variance - (1 - a)) / a).clamp(kSmallestError, kLargestError)};
  }

  // The perceptual estimate with fresh noise, at the time that belongs to its error and that noise.
  State perceptual_state(const Tensor& perceptual, const Tensor& estimate, const Tensor& error, const Tensor& key) const {
    const Tensor p = perceptual.clamp(-about_.pixel_mean / about_.pixel_std, (1 - about_.pixel_mean) / about_.pixel_std);
    const Tensor apart = (p - estimate).to(at::kDouble).square().flatten(1).mean(1);
    const Tensor t = semdiff::timestep(about_.alphas_cumprod, (error + apart).clamp(kSmallestError, kLargestError), "none");
    return later({p * column(semdiff::alpha_bar(about_.alphas_cumprod, t).sqrt()), t}, about_, key);
  }

  // DDIM between times that are uniform in the noise's standard deviation.
  Tensor sample(const State& state, std::int64_t steps, const Arrived& arrived) {
    const Tensor a = semdiff::alpha_bar(about_.alphas_cumprod, state.t), first = (1 - a) / a;
    Tensor x = state.x, now = state.t;
    for (std::int64_t i = 1; i <= steps; ++i) {
      const double left = 1 - static_cast<double>(i) / static_cast<double>(steps);
      const Tensor next = i < steps ? semdiff::timestep(about_.alphas_cumprod, left * left * first, "none") : at::full_like(now, -1);
      const Tensor alpha_bar = semdiff::alpha_bar(about_.alphas_cumprod, now), log_noise_var = ((1 - alpha_bar) / alpha_bar).log();
      const Tensor output = denoiser_({x, log_noise_var.to(at::kFloat), arrived.snr_db, arrived.rate});
      x = semdiff::ddim_step(x, output, now, next, about_.alphas_cumprod, 0, about_.prediction, {}, {});
      now = next;
    }
    return x;
  }

  Description about_;
  Network upsampler_, denoiser_, decoder_;
};

}  // namespace example
