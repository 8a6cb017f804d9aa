// SPDX-License-Identifier: Apache-2.0
// The receiver: what semdiff.link.SemanticLink.receive does, with the networks as machine code. The functions have the names of their
// Python counterparts (semdiff.transmission.symbols, semdiff.link.reception, semdiff.diffusion.matching, semdiff.diffusion.sampler), which
// say more about the formulas.
#pragma once

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <array>
#include <bit>
#include <cstring>

#include "description.h"
#include "semdiff/channel.h"
#include "semdiff/equalizer.h"
#include "semdiff/rng.h"
#include "semdiff/sampler.h"
#include "semdiff/schedule.h"
#include "semdiff/vae.h"

namespace example {

using at::Tensor;

// A package that takes `batch` samples at a time, as a function of any whole number of those.
class Network {
 public:
  Network(const std::string& path, std::int64_t batch) : batch_(batch), loader_(present(path)) {}

  Tensor operator()(const std::vector<Tensor>& inputs) {
    std::vector<Tensor> outputs;
    for (std::int64_t first = 0; first < inputs[0].size(0); first += batch_) {
      std::vector<Tensor> some;
      for (const Tensor& input : inputs) some.push_back(input.narrow(0, first, batch_).contiguous());
      outputs.push_back(loader_.run(some)[0]);
    }
    return outputs.size() == 1 ? outputs[0] : at::cat(outputs);
  }

 private:
  std::int64_t batch_;
  torch::inductor::AOTIModelPackageLoader loader_;
};

struct Received {
  Tensor y, h;            // complex64 (B, uses), (B, 1 or uses): y = h s + n
  Tensor noise_var;       // E|n|^2, float64 (B, 1)
  std::int64_t channels;  // symbol channels that were sent
};

struct Arrived {
  Tensor features, noise_var, noise_map;  // (B, C, h, w), float64 (B,), (B, C, h, w)
};

struct State {
  Tensor x, t;  // (B, C, h, w), float64 (B,)
};

inline Tensor complexes(const std::string& path) {
  static_assert(std::endian::native == std::endian::little);
  const std::string bytes = read_file(path);
  if (bytes.empty() || bytes.size() % 8 != 0) {
    throw BadInput(path + ": expected complex64 samples of 8 bytes, got " + std::to_string(bytes.size()) + " bytes");
  }
  const Tensor parts = at::empty({static_cast<std::int64_t>(bytes.size() / 8), 2}, at::kFloat);
  std::memcpy(parts.mutable_data_ptr(), bytes.data(), bytes.size());
  if (!parts.isfinite().all().item<bool>()) throw BadInput(path + ": expected finite numbers, got NaN or infinity");
  return at::view_as_complex(parts);
}

inline Tensor key_of(std::uint64_t seed) {
  const Tensor key = at::zeros({2}, at::kUInt64);
  key.mutable_data_ptr<std::uint64_t>()[0] = seed;
  return key;
}

class Receiver {
 public:
  explicit Receiver(const std::string& folder)
      : about_(folder),
        upsampler_(folder + "/upsampler.pt2", about_.batch),
        denoiser_(folder + "/denoiser.pt2", about_.batch),
        decoder_(folder + "/decoder.pt2", about_.batch),
        sample_decoder_(folder + "/sample_decoder.pt2", about_.batch) {}

  const Description& about() const { return about_; }

  // Files of symbols and gains (none if the name is empty) at a rate (0 is the largest). BadInput where their lengths do not fit.
  Received read(const std::string& symbols, const std::string& gains, std::int64_t channels, double noise_var) const {
    const auto& rates = about_.rates;
    if (channels == 0) channels = *std::max_element(rates.begin(), rates.end());
    if (std::find(rates.begin(), rates.end(), channels) == rates.end()) {
      std::string offers;
      for (const std::int64_t rate : rates) offers += (offers.empty() ? "" : ", ") + std::to_string(rate);
      throw BadInput("--rate: expected one of " + offers + ", got " + std::to_string(channels));
    }
    const std::int64_t uses = (channels * about_.symbol_shape[1] * about_.symbol_shape[2] + 1) / 2, group = uses * about_.batch;
    const Tensor y = complexes(symbols);
    if (y.numel() % group != 0) {
      throw BadInput(symbols + ": expected a multiple of " + std::to_string(group) + " symbols, got " + std::to_string(y.numel()));
    }
    const std::int64_t batch = y.numel() / uses;
    const Tensor h = gains.empty() ? at::ones({batch}, at::kComplexFloat) : complexes(gains);
    if (h.numel() != batch && h.numel() != y.numel()) {
      throw BadInput(gains + ": expected " + std::to_string(batch) + " gains or " + std::to_string(y.numel()) + ", got " +
                     std::to_string(h.numel()));
    }
    return {y.view({batch, uses}), h.view({batch, -1}), at::full({batch, 1}, noise_var, at::kDouble), channels};
  }

  // Images (B, C, H, W) in [0, 1]. realism r: (1 - r) * posterior mean + r * sample.
  Tensor receive(const Received& received, std::int64_t steps, double realism, std::uint64_t seed) {
    const Arrived arrived = arrive(received);
    const Tensor key = key_of(seed), base = semdiff::key_fold_in(key, 2);
    const Tensor snr_db = (-10 * at::log10(arrived.noise_var)).to(at::kFloat);
    const Tensor rate = at::full_like(snr_db, static_cast<double>(received.channels) / static_cast<double>(about_.symbol_shape[0]));
    const Tensor coarse = upsampler_({arrived.features, snr_db, rate, arrived.noise_map});
    const auto [draw, mean, logvar] = semdiff::gaussian_upsample(coarse, 2, semdiff::key_fold_in(key, 1));
    const Tensor top_up = semdiff::key_split(base, 2)[0], fresh = semdiff::key_split(base, 2)[1];
    const State state = estimate_and_match(mean, logvar, arrived.noise_var, top_up);
    if (realism == 0) return decoder_({posterior_mean(state)});
    const Tensor crisp = sample_decoder_({sample(about_.renoise > 0 ? later(state, fresh) : state, steps)});
    if (realism == 1) return crisp;
    return (1 - realism) * decoder_({posterior_mean(state)}) + realism * crisp;
  }

 private:
  // Equalised symbols as features, and how far each is to be relied on.
  Arrived arrive(const Received& received) const {
    constexpr double kSmallest = 1e-30, kLargestLogRatio = 6;
    const std::array<std::int64_t, 4> kept = {received.y.size(0), received.channels, about_.symbol_shape[1], about_.symbol_shape[2]};
    const auto [x, noise_var, gain] = semdiff::equalize(received.y, received.h, received.noise_var, "mmse");
    const Tensor lost = at::where(gain > 0, noise_var / gain, at::ones_like(gain)).clamp_min(kSmallest);
    const Tensor average = gain.mean(1, false, at::kDouble).clamp_min(kSmallest);
    const Tensor together = lost.mean(1, false, at::kDouble) / average;
    const Tensor ratio = (lost / gain.clamp_min(kSmallest) / together.unsqueeze(1)).log().clamp(-kLargestLogRatio, kLargestLogRatio);
    const Tensor features = semdiff::unpack(x / average.to(at::kFloat).unsqueeze(1), c10::fromIntArrayRefSlow(kept));
    const Tensor pairs = ratio.to(at::kFloat).expand(x.sizes()).repeat_interleave(2, 1);  // an odd count's last one is padding
    const Tensor noise_map = pairs.narrow(1, 0, kept[1] * kept[2] * kept[3]).reshape(kept);
    const std::array<std::int64_t, 6> rest = {0, 0, 0, 0, 0, about_.symbol_shape[0] - received.channels};
    return {at::constant_pad_nd(features, rest), together, at::constant_pad_nd(noise_map, rest)};
  }

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

  // The state at the later time whose noise variance is (1 + renoise) times as large.
  State later(const State& state, const Tensor& key) const {
    const Tensor a = semdiff::alpha_bar(about_.alphas_cumprod, state.t);
    const Tensor t = semdiff::timestep(about_.alphas_cumprod, (1 + about_.renoise) * (1 - a) / a, "none");
    const Tensor ratio = semdiff::alpha_bar(about_.alphas_cumprod, t) / a;
    return {semdiff::diffuse(state.x, ratio.sqrt(), (1 - ratio).sqrt(), key), t};
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

  // One number a sample, to go with (B, C, h, w).
  static Tensor column(const Tensor& numbers) { return numbers.to(at::kFloat).view({-1, 1, 1, 1}); }

  Description about_;
  Network upsampler_, denoiser_, decoder_, sample_decoder_;
};

}  // namespace example
