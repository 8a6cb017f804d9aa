// SPDX-License-Identifier: Apache-2.0
// What the backwards share.
#pragma once

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/custom_function.h>

// The operator below autograd, or (in a backward) anywhere: found once, called through the dispatcher.
#define SEMDIFF_CALL(NAME, ...)                                                                                                          \
  ([]() -> const auto& {                                                                                                                 \
    static const auto handle = c10::Dispatcher::singleton().findSchemaOrThrow("semdiff::" #NAME, "").typed<decltype(::semdiff::NAME)>(); \
    return handle;                                                                                                                       \
  }())                                                                                                                                   \
      .call(__VA_ARGS__)

namespace semdiff::autograd {

using at::Tensor;
using std::optional;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

inline bool wants_gradient(std::initializer_list<const Tensor*> tensors) {
  if (!at::GradMode::is_enabled()) return false;
  for (const Tensor* t : tensors) {
    if (t->defined() && t->requires_grad()) return true;
  }
  return false;
}

// An argument without a gradient must not get a silent zero.
inline void refuse(const char* op, std::initializer_list<std::pair<const char*, const Tensor*>> arguments) {
  for (const auto& [name, tensor] : arguments) {
    TORCH_CHECK_VALUE(!(at::GradMode::is_enabled() && tensor->defined() && tensor->requires_grad()), name, ": ", op,
                      " has no gradient for it; expected a tensor that does not require one, detach it first");
  }
}

// Forward mode: a tangent must not get a silent zero. An undefined tensor has none.
inline void refuse_tangent(const char* op, std::initializer_list<const Tensor*> tensors) {
  for (const Tensor* t : tensors) {
    TORCH_CHECK_VALUE(!t->defined() || !t->_fw_grad(/*level=*/0).defined(), op,
                      ": expected tensors without a forward-mode tangent, got one with: it has no forward-mode derivative; use reverse "
                      "mode (torch.autograd.grad, torch.func.vjp, torch.autograd.functional.jacobian)");
  }
}

inline void refuse_double(const char* op) {
  TORCH_CHECK(!at::GradMode::is_enabled(), op, " has no second derivative: call backward without create_graph");
}

inline optional<Tensor> maybe(const Tensor& t) { return t.defined() ? optional<Tensor>(t) : std::nullopt; }

// Undefined gradients of an output become zeros where a kernel needs one.
inline Tensor or_zeros(const Tensor& grad, const Tensor& like) { return grad.defined() ? grad : at::zeros_like(like); }

// The real inner product of a and b over the elements that share one coefficient, float16 and bfloat16 in float32.
inline Tensor row_inner(const Tensor& a, const Tensor& b, const Tensor& coefficients) {
  const auto wide = [](const Tensor& v) { return v.scalar_type() == at::kHalf || v.scalar_type() == at::kBFloat16 ? v.to(at::kFloat) : v; };
  const Tensor product = a.is_complex() ? at::real(a * b.conj()) : wide(a) * wide(b);
  std::vector<c10::SymInt> shape = coefficients.sym_sizes().vec();
  while (!shape.empty() && shape.back() == 1) shape.pop_back();
  // Written out, because -1 is ambiguous for an empty batch.
  const c10::SymInt rows = coefficients.sym_numel();
  shape.push_back(rows == 0 ? c10::SymInt(0) : product.sym_numel() / rows);
  const Tensor sums = product.reshape_symint(shape).sum(-1).reshape_symint(coefficients.sym_sizes());
  return sums.to(coefficients.device(), coefficients.scalar_type());
}

}  // namespace semdiff::autograd
