// SPDX-License-Identifier: Apache-2.0
// What both kinds of receivers have: the state of a diffusion, and more noise for it.
#pragma once

#include <memory>
#include <string>

#include "description.h"
#include "reception.h"
#include "semdiff/rng.h"
#include "semdiff/schedule.h"

namespace example {

using at::Tensor;

struct State {
  Tensor x, t;  // (B, C, h, w), float64 (B,)
};

inline Tensor key_of(std::uint64_t seed) {
  const Tensor key = at::zeros({2}, at::kUInt64);
  key.mutable_data_ptr<std::uint64_t>()[0] = seed;
  return key;
}

// One number a sample, to go with (B, C, h, w).
inline Tensor column(const Tensor& numbers) { return numbers.to(at::kFloat).view({-1, 1, 1, 1}); }

// The state at the later time whose noise variance is (1 + renoise) times as large: semdiff.link.starting_state.later.
inline State later(const State& state, const Description& about, const Tensor& key) {
  if (about.renoise <= 0) return state;
  const Tensor a = semdiff::alpha_bar(about.alphas_cumprod, state.t);
  const Tensor t = semdiff::timestep(about.alphas_cumprod, (1 + about.renoise) * (1 - a) / a, "none");
  const Tensor ratio = semdiff::alpha_bar(about.alphas_cumprod, t) / a;
  return {semdiff::diffuse(state.x, ratio.sqrt(), (1 - ratio).sqrt(), key), t};
}

// The networks of a link behind the equaliser.
class Denoising {
 public:
  virtual ~Denoising() = default;

  // Images (B, C, H, W) in [0, 1]: (1 - realism) * mean + realism * sample.
  virtual Tensor receive(const Arrived& arrived, std::int64_t steps, double realism, const Tensor& key) = 0;
};

}  // namespace example
