// SPDX-License-Identifier: Apache-2.0
// The interface of the kernel layer: tables of plain functions over pointers and sizes, one table for each instruction set that was
// built. Every table gives the same bits. Pointers address element `first` of a flattened tensor; `first` itself only tells which random
// numbers and which row an element has. A row is a run of row_length elements that share their coefficients.
#pragma once

#include <cstddef>
#include <cstdint>

namespace semdiff::kernels {

// Elements handled together: scratch of this many floats stays in the first-level cache, and every reduction sums blocks of this size
// in index order, so its result is the same for any number of threads. A multiple of 4: blocks start on whole Philox counters.
constexpr std::int64_t kBlock = 1024;

// Where gaussian_upsample's log-variance saturates: raw -> kLogvarBound * tanh(raw / kLogvarBound).
constexpr double kLogvarBound = 10.0;

// upsampler_loss takes exp of log-variances clamped to +-kLogvarClamp, so that float32 gradients stay finite.
constexpr double kLogvarClamp = 80.0;

struct PhiloxKey {
  std::uint64_t seed;
  std::uint64_t offset;
};

// One row's coefficients of a solver step: x0 = clip(from_x * x + from_output * output), then
// x_s = keep * x + denoise * x0 + previous * previous_x0 + noise * n.
struct StepCoefficients {
  double from_x, from_output, keep, denoise, previous, noise;
};

// Sums over one block of the three terms of upsampler_loss.
struct LossSums {
  double reconstruction, prior, match;
};

struct LossWeights {
  double prior, match, scale;  // gradients are scaled by `scale` (1 / number of elements)
};

// Flat fading over samples of `symbols` symbols: h = los + scatter CN(0, 1), constant over `coherence` symbols.
struct FadingModel {
  double los, scatter;
  std::int64_t symbols, coherence;
  PhiloxKey gain_key, noise_key;
};

enum class Equalizer { inverse, mmse, matched };

// Which of an equaliser's inputs have one number a sample (of `symbols` symbols) instead of one a symbol.
struct EqualizerRows {
  std::int64_t symbols;
  bool h_by_sample, n0_by_sample;  // the first only with the second
};

template <typename Real>
struct Table {
  void (*normal)(Real* out, std::int64_t first, std::int64_t count, PhiloxKey key);
  // out = signal[row] * x + noise[row] * n; a null signal means 1.
  void (*diffuse)(Real* out, const Real* x, const Real* signal, const Real* noise, std::int64_t row_length, std::int64_t first,
                  std::int64_t count, PhiloxKey key);
  double (*dot)(const Real* a, const Real* b, std::int64_t count);                                             // count <= kBlock
  double (*squared_distance)(const Real* a, const Real* b, std::int64_t count);                                // count <= kBlock
  void (*scale_add)(Real* out, const Real* x, Real x_scale, const Real* y, Real y_scale, std::int64_t count);  // null y: x alone
  void (*step)(Real* x_s, Real* x0, const Real* x, const Real* output, const Real* previous_x0, const StepCoefficients* rows,
               std::int64_t row_length, double clip, std::int64_t first, std::int64_t count, PhiloxKey key);
  void (*step_backward)(Real* grad_x, Real* grad_output, Real* grad_previous, const Real* grad_x_s, const Real* grad_x0, const Real* x,
                        const Real* output, const StepCoefficients* rows, std::int64_t row_length, double clip, std::int64_t first,
                        std::int64_t count);
  void (*reparameterize)(Real* out, const Real* mu, const Real* logvar, std::int64_t first, std::int64_t count, PhiloxKey key);
  void (*reparameterize_backward)(Real* grad_logvar, const Real* grad, const Real* sample, const Real* mu, std::int64_t count);
  // Complex 2x2 matrices, 8 reals each: h = u diag(s) vh.
  void (*svd_2x2)(Real* u, Real* s, Real* vh, const Real* h, std::int64_t count);
  // logvar holds the raw head on entry and the bounded one on return.
  void (*bounded_draw)(Real* sample, Real* logvar, const Real* mean, std::int64_t first, std::int64_t count, PhiloxKey key);
  void (*bounded_draw_backward)(Real* grad_mean, Real* grad_raw, const Real* grad_sample, const Real* grad_mean_out,
                                const Real* grad_logvar, const Real* sample, const Real* mean, const Real* logvar, std::int64_t count);
  // grad_mu and grad_logvar may both be null; count <= kBlock.
  LossSums (*upsampler_loss)(Real* grad_mu, Real* grad_logvar, const Real* mu, const Real* logvar, const Real* z, const double* alpha_bar,
                             std::int64_t row_length, LossWeights weights, std::int64_t first, std::int64_t count, PhiloxKey key);
  // Channels count symbols: a complex number is two reals, and pointers to data address symbol `first`. Gains, noise (a deviation in each
  // real dimension) and n0 address the first of all; equalize's h and n0 too.
  void (*fading_gains)(Real* h, FadingModel model, std::int64_t first, std::int64_t count);
  void (*fading)(Real* y, Real* h, const Real* s, const Real* gains, const Real* noise, FadingModel model, std::int64_t first,
                 std::int64_t count);
  void (*equalize)(Real* x, Real* noise, Real* gain, const Real* y, const Real* h, const Real* n0, EqualizerRows rows, Equalizer method,
                   std::int64_t first, std::int64_t count);
  void (*fading_equalized)(Real* x, Real* variance, Real* gain, const Real* s, const Real* gains, const Real* noise, const Real* n0,
                           FadingModel model, Equalizer method, std::int64_t first, std::int64_t count);
};

struct Kernels {
  const char* name;
  bool (*supported)();
  std::uint64_t (*derive_seed)(PhiloxKey key, std::uint32_t domain, std::uint64_t index);
  void (*philox)(const std::uint32_t counter[4], const std::uint32_t key[2], std::uint32_t words[4]);
  Table<float> f32;
  Table<double> f64;
};

// Every table in this build, best first.
struct KernelList {
  const Kernels* const* begin;
  std::size_t size;
};
KernelList all_kernels();

// The best table that this CPU can run.
const Kernels& best_kernels();

}  // namespace semdiff::kernels
