// SPDX-License-Identifier: Apache-2.0
// The receiver: what a link's `receive` does in Python, with the networks as machine code.
#pragma once

#include "latent_denoising.h"
#include "pixel_denoising.h"

namespace example {

class Receiver {
 public:
  explicit Receiver(const std::string& folder) : about_(folder) {
    if (about_.link == "PixelLink") {
      denoising_ = std::make_unique<PixelDenoising>(folder, about_);
    } else {
      denoising_ = std::make_unique<LatentDenoising>(folder, about_);
    }
  }

  const Description& about() const { return about_; }

  // Images (B, C, H, W) in [0, 1]. realism r: (1 - r) * mean + r * sample.
  Tensor receive(const Received& received, std::int64_t steps, double realism, std::uint64_t seed) {
    return denoising_->receive(arrive(about_, received), steps, realism, key_of(seed));
  }

 private:
  Description about_;
  std::unique_ptr<Denoising> denoising_;
};

}  // namespace example
