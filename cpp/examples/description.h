// SPDX-License-Identifier: Apache-2.0
// What semdiff export says about its packages.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Version.h>

#include <algorithm>
#include <string>
#include <vector>

#include "document.h"
#include "semdiff/build_info.h"

namespace example {

struct Description {
  std::vector<std::int64_t> image_shape, symbol_shape, rates;  // (C, H, W); (channels, h, w) at the full rate; symbol channels on offer
  std::int64_t batch;                                          // pictures that the networks take at a time
  std::string link;                                            // SemanticLink: a diffusion model on latents; PixelLink: one on pixels
  std::string prediction;                                      // eps, x0 or v
  double renoise;                                              // fresh noise at the start of a sample
  double pixel_mean, pixel_std;                                // of the data set; 0 and 1 where latents are denoised
  double least_noise, most_noise;                              // noise variances of features in the training; 0 and 1e308 for any
  at::Tensor alphas_cumprod;                                   // float64 (T,)

  explicit Description(const std::string& folder) : Description(Document(folder + "/receiver.json"), folder) {}

 private:
  Description(const Document& from, const std::string& folder)
      : image_shape(from.integers("image_shape")),
        symbol_shape(from.integers("symbol_shape")),
        rates(from.integers("rates")),
        batch(from.integers("batch").front()),
        link(from.word("link")),
        prediction(from.word("prediction")),
        renoise(from.numbers("renoise").front()),
        pixel_mean(from.numbers("pixel_mean").front()),
        pixel_std(from.numbers("pixel_std").front()),
        least_noise(from.numbers("noise_var_range").front()),
        most_noise(from.numbers("noise_var_range").back()),
        alphas_cumprod(at::tensor(from.numbers("alphas_cumprod"), at::kDouble)) {
    check_numbers(folder);
    const std::string made = from.word("torch"), here = semdiff::build_info().torch;
    if (minor(made) != minor(here)) throw BadInput(folder + ": expected packages for torch " + here + ", got some for torch " + made);
    if (link != "SemanticLink" && link != "PixelLink") throw BadInput(folder + ": expected a SemanticLink or a PixelLink, got " + link);
    const std::string cpu = from.word("cpu");
    if (level(cpu) > level(at::get_cpu_capability())) {
      throw BadInput(folder + ": expected packages for CPUs like this one (" + at::get_cpu_capability() + "), got some for " + cpu);
    }
  }

  // What sizes are computed of: products of four of these numbers are no overflow.
  void check_numbers(const std::string& folder) const {
    const auto sizes = [&](const std::vector<std::int64_t>& found, std::size_t count, const char* name) {
      const bool fit = std::all_of(found.begin(), found.end(), [](std::int64_t n) { return n >= 1 && n < 1 << 15; });
      if (fit && (count == 0 || found.size() == count)) return;
      const std::string many = count == 0 ? "" : ", " + std::to_string(count) + " of them";
      throw BadInput(folder + "/receiver.json: " + name + ": expected numbers from 1 to 32767" + many);
    };
    sizes(image_shape, 3, "image_shape");
    sizes(symbol_shape, 3, "symbol_shape");
    sizes(rates, 0, "rates");
    sizes({batch}, 1, "batch");
    for (const std::int64_t rate : rates) {
      if (rate > symbol_shape[0]) throw BadInput(folder + "/receiver.json: rates: expected at most the symbols' channels");
    }
  }

  // 2.13 of 2.13.0+cpu
  static std::string minor(const std::string& version) { return version.substr(0, version.find('.', version.find('.') + 1)); }
  static int level(const std::string& cpu) { return cpu == "AVX512" ? 2 : cpu == "AVX2" ? 1 : 0; }
};

}  // namespace example
