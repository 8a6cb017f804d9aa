// SPDX-License-Identifier: Apache-2.0
// Compiled once for each instruction set; see isa.h.
#include "channel.h"
#include "equalizer.h"
#include "fading.h"
#include "loss.h"
#include "mimo.h"
#include "rng.h"
#include "sampler.h"
#include "vae.h"

#define SEMDIFF_STRING_(x) #x
#define SEMDIFF_STRING(x) SEMDIFF_STRING_(x)

namespace semdiff::kernels::SEMDIFF_ISA {

namespace {

template <typename Real>
constexpr Table<Real> make_table() {
  // clang-format off: an operator a line
  return {
      normal<Real>,
      diffuse<Real>,
      dot<Real>,
      squared_distance<Real>,
      scale_add<Real>,
      step<Real>,
      step_backward<Real>,
      reparameterize<Real>,
      reparameterize_backward<Real>,
      svd_2x2<Real>,
      bounded_draw<Real>,
      bounded_draw_backward<Real>,
      upsampler_loss<Real>,
      fading_gains<Real>,
      fading<Real>,
      equalize<Real>,
      fading_equalized<Real>,
  };
  // clang-format on
}

// Names the CPU features that the compiler was allowed to use here; run before any kernel of this table.
bool cpu_supports() {
#if defined(__x86_64__) && defined(SEMDIFF_ISA_CPU)
  __builtin_cpu_init();
  return __builtin_cpu_supports(SEMDIFF_ISA_CPU) != 0;
#else
  return true;
#endif
}

std::uint64_t derive(PhiloxKey key, std::uint32_t domain, std::uint64_t index) { return derive_seed(key, domain, index); }

void philox_words(const std::uint32_t counter[4], const std::uint32_t key[2], std::uint32_t words[4]) {
  const PhiloxWords w = philox({counter[0], counter[1], counter[2], counter[3]}, key[0], key[1]);
  words[0] = w.w0;
  words[1] = w.w1;
  words[2] = w.w2;
  words[3] = w.w3;
}

}  // namespace

extern const Kernels table;
const Kernels table{SEMDIFF_STRING(SEMDIFF_ISA), cpu_supports, derive, philox_words, make_table<float>(), make_table<double>()};

}  // namespace semdiff::kernels::SEMDIFF_ISA
