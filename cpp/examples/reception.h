// SPDX-License-Identifier: Apache-2.0
// Received symbols, and what the networks see of them. semdiff.transmission.symbols says more about the formulas.
#pragma once

#include <array>
#include <bit>
#include <cstring>

#include "description.h"
#include "semdiff/channel.h"
#include "semdiff/equalizer.h"

namespace example {

using at::Tensor;

struct Received {
  Tensor y, h;            // complex64 (B, uses), (B, 1 or uses): y = h s + n
  Tensor noise_var;       // E|n|^2, float64 (B, 1)
  std::int64_t channels;  // symbol channels that were sent
};

struct Arrived {
  Tensor features, noise_var, noise_map;  // (B, C, h, w), float64 (B,), (B, C, h, w)
  Tensor snr_db, rate;                    // of the features in dB, and the share of the symbol channels that was sent, float32 (B,)
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

// Files of symbols and gains (none if the name is empty) at a rate (0 is the largest). BadInput where their lengths do not fit.
inline Received read_symbols(const Description& about, const std::string& symbols, const std::string& gains, std::int64_t channels,
                             double noise_var) {
  const auto& rates = about.rates;
  if (channels == 0) channels = *std::max_element(rates.begin(), rates.end());
  if (std::find(rates.begin(), rates.end(), channels) == rates.end()) {
    std::string offers;
    for (const std::int64_t rate : rates) offers += (offers.empty() ? "" : ", ") + std::to_string(rate);
    throw BadInput("--rate: expected one of " + offers + ", got " + std::to_string(channels));
  }
  const std::int64_t uses = (channels * about.symbol_shape[1] * about.symbol_shape[2] + 1) / 2, group = uses * about.batch;
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

// Equalised symbols as features, and how far each is to be relied on. Noise beyond the training's is scaled down to the most of it.
inline Arrived arrive(const Description& about, const Received& received) {
  constexpr double kSmallest = 1e-30, kLargestLogRatio = 6;
  const std::array<std::int64_t, 4> kept = {received.y.size(0), received.channels, about.symbol_shape[1], about.symbol_shape[2]};
  const auto [x, noise_var, gain] = semdiff::equalize(received.y, received.h, received.noise_var, "mmse");
  const Tensor lost = at::where(gain > 0, noise_var / gain, at::ones_like(gain)).clamp_min(kSmallest);
  const Tensor average = gain.mean(1, false, at::kDouble).clamp_min(kSmallest);
  const Tensor together = lost.mean(1, false, at::kDouble) / average;
  const Tensor ratio = (lost / gain.clamp_min(kSmallest) / together.unsqueeze(1)).log().clamp(-kLargestLogRatio, kLargestLogRatio);
  const Tensor features = semdiff::unpack(x / average.to(at::kFloat).unsqueeze(1), c10::fromIntArrayRefSlow(kept));
  const Tensor pairs = ratio.to(at::kFloat).expand(x.sizes()).repeat_interleave(2, 1);  // an odd count's last one is padding
  const Tensor noise_map = pairs.narrow(1, 0, kept[1] * kept[2] * kept[3]).reshape(kept);
  const std::array<std::int64_t, 6> rest = {0, 0, 0, 0, 0, about.symbol_shape[0] - received.channels};
  const Tensor factor = (about.most_noise / together).clamp_max(1).sqrt().to(at::kFloat).view({-1, 1, 1, 1});
  const Tensor clamped = together.clamp(about.least_noise, about.most_noise), snr_db = (-10 * at::log10(clamped)).to(at::kFloat);
  const Tensor rate = at::full_like(snr_db, static_cast<double>(received.channels) / static_cast<double>(about.symbol_shape[0]));
  return {at::constant_pad_nd(features * factor, rest), clamped, at::constant_pad_nd(noise_map, rest), snr_db, rate};
}

}  // namespace example
