// SPDX-License-Identifier: Apache-2.0
#include "semdiff/vae.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include "check.h"
#include "composite.h"
#include "stream.h"

namespace semdiff {

using kernels::kBlock;

namespace {

struct Shape {
  std::int64_t batch, channels, height, width, scale;  // of the features: channels = 2 * C * scale^2
  std::int64_t half() const { return channels / 2; }
  std::int64_t plane() const { return height * width; }
  std::int64_t parts_apart() const { return half() * plane(); }  // of the means and the log-variances
  std::int64_t out_channels() const { return half() / (scale * scale); }
  std::int64_t out_height() const { return height * scale; }
  std::int64_t out_width() const { return width * scale; }
  std::vector<std::int64_t> out() const { return {batch, out_channels(), out_height(), out_width()}; }
};

// Walks the pieces of output rows that make up [first, first + count) of the flattened output. Pixel shuffle sends channel
// c*scale^2 + i*scale + j at (y, x) to channel c at (y*scale + i, x*scale + j), so a row of the output interleaves `scale` feature rows,
// a plane apart. Calls piece(offset of the first of them, first column, columns, position in the block). Divisions only at the start:
// rows are short.
template <typename Piece>
void for_rows_of_output(const Shape& shape, std::int64_t first, std::int64_t count, const Piece& piece) {
  const std::int64_t width = shape.out_width(), plane = shape.plane();
  const std::int64_t row = first / width, channel = row / shape.out_height();
  std::int64_t column = first % width, y = row % shape.out_height(), i = y % shape.scale, c = channel % shape.out_channels();
  std::int64_t b = channel / shape.out_channels();
  y /= shape.scale;
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t columns = std::min(count - done, width - column);
    piece(((b * shape.channels + (c * shape.scale + i) * shape.scale) * plane) + y * shape.width, column, columns, done);
    done += columns;
    column = 0;
    if (++i < shape.scale) continue;
    i = 0;
    if (++y < shape.height) continue;
    y = 0;
    if (++c < shape.out_channels()) continue;
    c = 0;
    ++b;
  }
}

// Calls pairs(offset, position, count) for pairs of output columns that begin at the same place of two feature rows a plane apart (scale 2,
// the usual case), or one(offset, position) for a single column. Offsets are those of means; log-variances lie `parts_apart` further.
template <typename Pairs, typename One>
void interleave(const Shape& shape, std::int64_t first, std::int64_t count, const Pairs& pairs, const One& one) {
  const std::int64_t scale = shape.scale, plane = shape.plane();
  for_rows_of_output(shape, first, count, [&](std::int64_t offset, std::int64_t column, std::int64_t columns, std::int64_t at) {
    if (scale == 2 && column % 2 == 0 && columns % 2 == 0) return pairs(offset + column / 2, at, columns / 2);
    for (std::int64_t k = 0; k < columns; ++k) one(offset + (column + k) % scale * plane + (column + k) / scale, at + k);
  });
}

// Interleaved and taken apart again. What does not overlap is said, so that the compiler makes vectors of it.
template <typename Real, typename T>
void zip(Real* __restrict to, const T* __restrict even, const T* __restrict odd, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    to[2 * i] = static_cast<Real>(even[i]);
    to[2 * i + 1] = static_cast<Real>(odd[i]);
  }
}

template <typename T, typename Real>
void unzip(T* __restrict even, T* __restrict odd, const Real* __restrict from, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    even[i] = static_cast<T>(from[2 * i]);
    odd[i] = static_cast<T>(from[2 * i + 1]);
  }
}

Shape check_features(at::IntArrayRef sizes, std::int64_t scale) {
  TORCH_CHECK_VALUE(scale >= 1, "scale: expected at least 1, got ", scale);
  // By division, because scale^2 and what is made of it may not fit 64 bits.
  const std::int64_t channels = sizes.size() == 4 ? sizes[1] : 0, most = std::int64_t{1} << 31;
  TORCH_CHECK_VALUE(channels > 0 && channels % scale == 0 && channels / scale % scale == 0 && channels / scale / scale % 2 == 0 &&
                        scale < most && sizes[2] < most && sizes[3] < most,
                    "features: expected shape (B, 2*C*scale^2, h, w) with scale = ", scale, ", got ", sizes);
  return {sizes[0], sizes[1], sizes[2], sizes[3], scale};
}

template <typename T>
void upsample(const Shape& shape, const at::Tensor& features, at::Tensor& sample, at::Tensor& mean, at::Tensor& logvar,
              kernels::PhiloxKey key) {
  using Real = RealOf<T>;
  constexpr bool direct = std::is_same_v<T, Real>;  // else through scratch, which the results are rounded from
  const auto& table = table_for<T>();
  const T* from = features.const_data_ptr<T>();
  const std::int64_t plane = shape.plane(), apart = shape.parts_apart();
  T *to_sample = sample.mutable_data_ptr<T>(), *to_mean = mean.mutable_data_ptr<T>(), *to_logvar = logvar.mutable_data_ptr<T>();
  const std::int64_t size = sample.numel();
  parallel_pieces(0, (size + kBlock - 1) / kBlock, kRandomGrainBlocks, [&](std::int64_t block_begin, std::int64_t block_end) {
    alignas(64) Real scratch[3][direct ? 1 : kBlock];
    for (std::int64_t first = block_begin * kBlock; first < std::min(size, block_end * kBlock); first += kBlock) {
      const std::int64_t count = std::min(kBlock, size - first);
      Real *s = scratch[0], *m = scratch[1], *l = scratch[2];
      if constexpr (direct) s = to_sample + first, m = to_mean + first, l = to_logvar + first;
      interleave(
          shape, first, count,
          [&](std::int64_t offset, std::int64_t at, std::int64_t pairs) {
            zip(m + at, from + offset, from + offset + plane, pairs);
            zip(l + at, from + apart + offset, from + apart + offset + plane, pairs);
          },
          [&](std::int64_t offset, std::int64_t at) {
            m[at] = static_cast<Real>(from[offset]);
            l[at] = static_cast<Real>(from[apart + offset]);
          });
      table.bounded_draw(s, l, m, first, count, key);
      if constexpr (!direct) {
        for (std::int64_t i = 0; i < count; ++i) to_sample[first + i] = static_cast<T>(s[i]);
        for (std::int64_t i = 0; i < count; ++i) to_mean[first + i] = static_cast<T>(m[i]);
        for (std::int64_t i = 0; i < count; ++i) to_logvar[first + i] = static_cast<T>(l[i]);
      }
    }
  });
}

}  // namespace

namespace composite {

at::Tensor reparameterize(const at::Tensor& mu, const at::Tensor& logvar, kernels::PhiloxKey key) {
  return (computing(mu) + (computing(logvar) * 0.5).exp() * normal_like(mu, key)).to(mu.scalar_type());
}

at::Tensor reparameterize_backward(const at::Tensor& grad, const at::Tensor& sample, const at::Tensor& mu) {
  return (computing(grad) * (computing(sample) - computing(mu)) * 0.5).to(grad.scalar_type());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> gaussian_upsample(const at::Tensor& features, std::int64_t scale, kernels::PhiloxKey key) {
  const std::vector<at::Tensor> parts = at::pixel_shuffle(computing(features), scale).chunk(2, 1);
  const at::Tensor logvar = (parts[1] / kernels::kLogvarBound).tanh() * kernels::kLogvarBound;
  const at::Tensor sample = parts[0] + (logvar * 0.5).exp() * normal_like(parts[0], key);
  // Each in its own storage, as the kernel's.
  return {sample.to(features.scalar_type()), parts[0].contiguous().to(features.scalar_type()), logvar.to(features.scalar_type())};
}

at::Tensor gaussian_upsample_backward(const at::Tensor& grad_sample, const std::optional<at::Tensor>& grad_mean,
                                      const std::optional<at::Tensor>& grad_logvar, const at::Tensor& sample, const at::Tensor& mean,
                                      const at::Tensor& logvar, std::int64_t scale) {
  at::Tensor g_mean = computing(grad_sample), g_raw = g_mean * (computing(sample) - computing(mean)) * 0.5;
  if (grad_mean) g_mean = g_mean + computing(*grad_mean);
  if (grad_logvar) g_raw = g_raw + computing(*grad_logvar);
  const at::Tensor slope = 1 - (computing(logvar) / kernels::kLogvarBound).square();
  // pixel_unshuffle, written out because at::pixel_unshuffle returns an empty tensor in the shape it came.
  const at::Tensor shuffled = at::cat({g_mean, g_raw * slope}, 1);
  const std::int64_t b = shuffled.size(0), c = shuffled.size(1), h = shuffled.size(2) / scale, w = shuffled.size(3) / scale;
  const at::Tensor parts = shuffled.reshape({b, c, h, scale, w, scale}).permute({0, 1, 3, 5, 2, 4});
  return parts.reshape({b, c * scale * scale, h, w}).to(sample.scalar_type());
}

}  // namespace composite

at::Tensor reparameterize(const at::Tensor& mu, const at::Tensor& logvar, const at::Tensor& key) {
  check_floating(mu, "mu");
  check_same(mu, "mu", logvar, "logvar");
  const kernels::PhiloxKey k = read_key(key);
  if (!mu.is_cpu()) return composite::reparameterize(mu, logvar, k);
  const at::Tensor m = mu.contiguous(), l = logvar.contiguous();
  at::Tensor out = empty_on_cpu(mu.sizes(), mu.scalar_type());
  SEMDIFF_DISPATCH(mu.scalar_type(), "reparameterize", [&] {
    const auto& table = table_for<scalar_t>();
    stream<scalar_t, 2, 1>(m.numel(), kRandomGrainBlocks, {m.const_data_ptr<scalar_t>(), l.const_data_ptr<scalar_t>()},
                           {out.mutable_data_ptr<scalar_t>()}, [&](std::int64_t first, std::int64_t count, const auto& in, const auto& o) {
                             table.reparameterize(o[0], in[0], in[1], first, count, k);
                           });
  });
  return out;
}

at::Tensor reparameterize_backward(const at::Tensor& grad, const at::Tensor& sample, const at::Tensor& mu) {
  check_floating(grad, "grad");
  check_same(grad, "grad", sample, "sample");
  check_same(grad, "grad", mu, "mu");
  if (!grad.is_cpu()) return composite::reparameterize_backward(grad, sample, mu);
  const at::Tensor g = grad.contiguous(), s = sample.contiguous(), m = mu.contiguous();
  at::Tensor out = at::empty(grad.sizes(), grad.options());
  SEMDIFF_DISPATCH(grad.scalar_type(), "reparameterize_backward", [&] {
    const auto& table = table_for<scalar_t>();
    stream<scalar_t, 3, 1>(g.numel(), kGrainBlocks,
                           {g.const_data_ptr<scalar_t>(), s.const_data_ptr<scalar_t>(), m.const_data_ptr<scalar_t>()},
                           {out.mutable_data_ptr<scalar_t>()}, [&](std::int64_t, std::int64_t count, const auto& in, const auto& o) {
                             table.reparameterize_backward(o[0], in[0], in[1], in[2], count);
                           });
  });
  return out;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> gaussian_upsample(const at::Tensor& features, std::int64_t scale, const at::Tensor& key) {
  check_floating(features, "features");
  const Shape shape = check_features(features.sizes(), scale);
  const kernels::PhiloxKey k = read_key(key);
  if (!features.is_cpu()) return composite::gaussian_upsample(features, scale, k);
  const at::Tensor f = features.contiguous();
  const auto output = [&] { return empty_on_cpu(shape.out(), features.scalar_type()); };
  at::Tensor sample = output(), mean = output(), logvar = output();
  SEMDIFF_DISPATCH(features.scalar_type(), "gaussian_upsample", [&] { upsample<scalar_t>(shape, f, sample, mean, logvar, k); });
  return {sample, mean, logvar};
}

at::Tensor gaussian_upsample_backward(const at::Tensor& grad_sample, const std::optional<at::Tensor>& grad_mean,
                                      const std::optional<at::Tensor>& grad_logvar, const at::Tensor& sample, const at::Tensor& mean,
                                      const at::Tensor& logvar, std::int64_t scale) {
  check_floating(sample, "sample");
  check_same(sample, "sample", grad_sample, "grad_sample");
  check_same(sample, "sample", mean, "mean");
  check_same(sample, "sample", logvar, "logvar");
  if (grad_mean) check_same(sample, "sample", *grad_mean, "grad_mean");
  if (grad_logvar) check_same(sample, "sample", *grad_logvar, "grad_logvar");
  TORCH_CHECK_VALUE(scale >= 1 && scale <= std::int64_t{1} << 20, "scale: expected a number in [1, 2^20], got ", scale);
  TORCH_CHECK_VALUE(
      sample.dim() == 4 && sample.size(1) <= std::int64_t{1} << 20 && sample.size(2) % scale == 0 && sample.size(3) % scale == 0,
      "sample: expected shape (B, C, h*scale, w*scale) with scale = ", scale, ", got ", sample.sizes());
  const Shape shape{sample.size(0), 2 * sample.size(1) * scale * scale, sample.size(2) / scale, sample.size(3) / scale, scale};
  if (!sample.is_cpu()) return composite::gaussian_upsample_backward(grad_sample, grad_mean, grad_logvar, sample, mean, logvar, scale);
  const at::Tensor gs = grad_sample.contiguous(), s = sample.contiguous(), m = mean.contiguous(), l = logvar.contiguous();
  const at::Tensor gm = grad_mean ? grad_mean->contiguous() : at::Tensor(), gl = grad_logvar ? grad_logvar->contiguous() : at::Tensor();
  at::Tensor out = at::empty({shape.batch, shape.channels, shape.height, shape.width}, sample.options());
  SEMDIFF_DISPATCH(sample.scalar_type(), "gaussian_upsample_backward", [&] {
    using Real = RealOf<scalar_t>;
    const auto& table = table_for<scalar_t>();
    auto* to = out.mutable_data_ptr<scalar_t>();
    const std::int64_t plane = shape.plane(), apart = shape.parts_apart();
    const auto data = [](const at::Tensor& v) { return v.defined() ? v.const_data_ptr<scalar_t>() : nullptr; };
    stream<scalar_t, 6, 0>(sample.numel(), kGrainBlocks, {data(gs), data(gm), data(gl), data(s), data(m), data(l)}, {},
                           [&](std::int64_t begin, std::int64_t total, const auto& in, const auto&) {
                             alignas(64) Real to_mean[kBlock], to_raw[kBlock];
                             for (std::int64_t done = 0; done < total; done += kBlock) {
                               const std::int64_t count = std::min(kBlock, total - done);
                               const auto skip = [done](const Real* p) { return p ? p + done : nullptr; };
                               table.bounded_draw_backward(to_mean, to_raw, skip(in[0]), skip(in[1]), skip(in[2]), skip(in[3]), skip(in[4]),
                                                           skip(in[5]), count);
                               interleave(
                                   shape, begin + done, count,
                                   [&](std::int64_t offset, std::int64_t at, std::int64_t pairs) {
                                     unzip(to + offset, to + offset + plane, to_mean + at, pairs);
                                     unzip(to + apart + offset, to + apart + offset + plane, to_raw + at, pairs);
                                   },
                                   [&](std::int64_t offset, std::int64_t at) {
                                     to[offset] = static_cast<scalar_t>(to_mean[at]);
                                     to[apart + offset] = static_cast<scalar_t>(to_raw[at]);
                                   });
                             }
                           });
  });
  return out;
}

}  // namespace semdiff
