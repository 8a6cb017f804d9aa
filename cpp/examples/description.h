// SPDX-License-Identifier: Apache-2.0
// What semdiff export says about its packages.
#pragma once

#include <ATen/ATen.h>
#include <ATen/Version.h>

#include <charconv>
#include <string>
#include <vector>

#include "files.h"
#include "semdiff/build_info.h"

namespace example {

// Reads the one document that semdiff export writes, an object of texts, numbers and lists of numbers: no parser of JSON at large.
class Document {
 public:
  explicit Document(const std::string& path) : path_(path), text_(read_file(path)) {}

  std::string word(const std::string& name) const {
    const std::size_t begin = after(name) + 1;
    return text_.substr(begin, text_.find('"', begin) - begin);
  }

  std::vector<double> numbers(const std::string& name) const {
    std::vector<double> found;
    const char *at = text_.data() + after(name), *end = text_.data() + text_.size();
    const bool list = *at == '[';
    do {
      at += *at == '[' || *at == ',' || *at == ' ';
      at += *at == ' ';
      const auto [next, error] = std::from_chars(at, end, found.emplace_back());
      if (error != std::errc{}) throw BadInput(path_ + ": expected numbers for " + name);
      at = next;
    } while (list && at < end && *at == ',');
    return found;
  }

  std::vector<std::int64_t> integers(const std::string& name) const {
    const std::vector<double> found = numbers(name);
    return {found.begin(), found.end()};
  }

 private:
  std::size_t after(const std::string& name) const {
    const std::string key = '"' + name + "\": ";
    const std::size_t place = text_.find(key);
    if (place == std::string::npos) throw BadInput(path_ + ": expected what semdiff export writes, and there is no " + name);
    return place + key.size();
  }

  std::string path_, text_;
};

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
    const std::string made = from.word("torch"), here = semdiff::build_info().torch;
    if (minor(made) != minor(here)) throw BadInput(folder + ": expected packages for torch " + here + ", got some for torch " + made);
    if (link != "SemanticLink" && link != "PixelLink") throw BadInput(folder + ": expected a SemanticLink or a PixelLink, got " + link);
    const std::string cpu = from.word("cpu");
    if (level(cpu) > level(at::get_cpu_capability())) {
      throw BadInput(folder + ": expected packages for CPUs like this one (" + at::get_cpu_capability() + "), got some for " + cpu);
    }
  }

  // 2.13 of 2.13.0+cpu
  static std::string minor(const std::string& version) { return version.substr(0, version.find('.', version.find('.') + 1)); }
  static int level(const std::string& cpu) { return cpu == "AVX512" ? 2 : cpu == "AVX2" ? 1 : 0; }
};

}  // namespace example
