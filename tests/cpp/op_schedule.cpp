// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <cmath>

#include "op_test.h"
#include "semdiff/schedule.h"

namespace semdiff {

TEST_CASE("the scaled-linear schedule of 1000 steps has the published values") {
  const at::Tensor table = alphas_cumprod("scaled_linear", 1000, 0.00085, 0.012);
  const auto at_step = [&](std::int64_t i) { return table[i].item<double>(); };
  CHECK(at_step(0) == Approx(0.99915).margin(5e-9));
  CHECK(at_step(88) == Approx(0.90885219).margin(5e-9));
  CHECK(at_step(354) == Approx(0.49981740).margin(5e-9));
  CHECK(at_step(999) == Approx(0.00466010).margin(5e-9));
}

TEST_CASE("SNR to time: the first step at least as noisy, over 17 SNRs") {
  const at::Tensor table = alphas_cumprod("scaled_linear", 1000, 0.00085, 0.012);
  constexpr std::array<std::pair<double, double>, 17> known{{{-10, 687},
                                                             {-5, 529},
                                                             {-3, 459},
                                                             {-1, 389},
                                                             {0, 354},
                                                             {1, 320},
                                                             {3, 255},
                                                             {5, 197},
                                                             {6, 170},
                                                             {7, 146},
                                                             {9, 105},
                                                             {10, 88},
                                                             {11, 73},
                                                             {12, 61},
                                                             {13, 50},
                                                             {15, 33},
                                                             {20, 11}}};
  for (const auto& [db, t] : known) CHECK(timestep(table, doubles({std::pow(10.0, -db / 10)}), "ceil").item<double>() == t);
}

TEST_CASE("every step's own noise variance leads back to it, in all roundings") {
  for (const auto& [kind, steps] : {std::pair("scaled_linear", 1000), std::pair("linear", 1000), std::pair("cosine", 1000),
                                    std::pair("linear", 1), std::pair("cosine", 7)}) {
    const at::Tensor table = alphas_cumprod(kind, steps, 0.0001, 0.02);
    const at::Tensor times = at::arange(steps, at::TensorOptions().dtype(at::kDouble));
    const at::Tensor a = alpha_bar(table, times);
    CHECK(at::equal(a, table));
    for (const char* rounding : {"none", "ceil", "nearest"}) CHECK(at::equal(timestep(table, (1 - a) / a, rounding), times));
  }
}

TEST_CASE("the ends saturate, and -1 is clean data") {
  const at::Tensor table = alphas_cumprod("linear", 1000, 0.0001, 0.02);
  CHECK(timestep(table, doubles({0.0}), "none").item<double>() == 0);
  CHECK(timestep(table, doubles({1e300}), "none").item<double>() == 999);
  CHECK(alpha_bar(table, doubles({-1.0})).item<double>() == 1);
}

}  // namespace semdiff
