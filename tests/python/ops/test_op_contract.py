# SPDX-License-Identifier: Apache-2.0
"""What every operator of the C++ core keeps: one row each in op_table.py, one test here for each promise.

Tolerances are relative to the largest number of the reference: 1e-12 in float64; 1e-5 in float32 (a normal of radius near zero carries
up to 2.5e-4 from ln u, none is drawn here); one epsilon in float16 and bfloat16 (half of it is the rounding of the result, so the
arithmetic is float32's), two for gradients, where a stored result is rounded as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck
from torch.library import opcheck
from torch.profiler import ProfilerActivity, profile

import semdiff
from tests.python.op_table import BIG, KEY, OPS, SMALL, TABLE, Args, Op, draw

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2**-10, torch.bfloat16: 2**-7}
each_op = pytest.mark.parametrize("op", OPS, ids=str)
each_op_and_dtype = pytest.mark.parametrize(
    ("op", "dtype"), [(op, d) for op in OPS if op.reference for d in op.dtypes], ids=lambda v: str(v).removeprefix("torch.")
)
differentiable = pytest.mark.parametrize("op", [op for op in OPS if op.gradients], ids=str)
torch_imports = pytest.mark.filterwarnings("ignore:`torch.jit")  # what forward mode imports
shaped = pytest.mark.parametrize("op", [op for op in OPS if op.shaped], ids=str)


def outputs(op: Op, args: Args) -> tuple[Tensor, ...]:
    out = op.call(*args)
    return (out,) if isinstance(out, Tensor) else tuple(out)


def wide(value: Any) -> Any:
    if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
        return value
    return value.detach().to(torch.complex128 if value.is_complex() else torch.float64)


def expected(op: Op, args: Args) -> tuple[Tensor, ...]:
    assert op.reference is not None
    out = op.reference(*args)
    return (out,) if isinstance(out, Tensor) else tuple(out)


def assert_close(got: Tensor, want: Tensor, tolerance: float) -> None:
    assert got.shape == want.shape
    if got.numel() == 0:
        return
    error = (wide(got) - want).abs().max().item()
    assert error <= tolerance * max(want.abs().max().item(), 1e-30)


def requiring_gradients(op: Op, args: Args) -> Args:
    return tuple(a.detach().clone().requires_grad_() if i in op.gradients else a for i, a in enumerate(args))


def gradients(op: Op, args: Args, out: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """With a random gradient at every output that carries one."""
    chosen = [o for i, o in enumerate(out) if op.outputs is None or i in op.outputs]
    seeds = [
        (torch.view_as_complex(draw((*o.shape, 2), 20 + i)) if o.is_complex() else draw(o.shape, 20 + i)).to(o.dtype)
        for i, o in enumerate(chosen)
    ]
    return torch.autograd.grad(chosen, [args[i] for i in op.gradients], seeds)


def assert_bits(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> None:
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype
        assert torch.equal(x, y)


# torch 2.14 looks at .grad of tensors that it made itself, and only keeps the warning of it from being shown.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@each_op
def test_registration(op: Op) -> None:
    opcheck(op.call, requiring_gradients(op, op.make(SMALL, torch.float32)))


@each_op_and_dtype
def test_forward_is_the_reference(op: Op, dtype: torch.dtype) -> None:
    """Only for rows with a reference: the others are a gradient, or have a test of their noun."""
    args = op.make(SMALL, dtype)
    for got, want in zip(outputs(op, args), expected(op, tuple(wide(a) for a in args)), strict=False):
        # A float64 result of a narrower input (an SNR in dB) is float32's at worst; a float32 one of a half (a loss) is float32's.
        assert_close(got, want, max(TOLERANCE[got.real.dtype], TOLERANCE[torch.float32] if dtype != torch.float64 else 0))


@pytest.mark.parametrize(
    ("op", "dtype"), [(op, d) for op in OPS if op.gradients for d in op.dtypes], ids=lambda v: str(v).removeprefix("torch.")
)
def test_gradients_are_the_references(op: Op, dtype: torch.dtype) -> None:
    args = requiring_gradients(op, op.make(SMALL, dtype))
    got = gradients(op, args, outputs(op, args))
    exact = requiring_gradients(op, tuple(wide(a) for a in args))
    want = gradients(op, exact, expected(op, exact)[: len(outputs(op, args))])
    for g, w, i in zip(got, want, op.gradients, strict=True):
        assert g.dtype == args[i].dtype
        assert_close(g, w, 2 * TOLERANCE[dtype])


@differentiable
def test_gradients_are_finite_differences(op: Op) -> None:
    args = requiring_gradients(op, op.make((2, 4, 2, 2), torch.float64))

    def call(*inputs: Tensor) -> tuple[Tensor, ...]:
        given = list(args)
        for position, value in zip(op.gradients, inputs, strict=True):
            given[position] = value
        out = outputs(op, tuple(given))
        return out if op.outputs is None else tuple(out[i] for i in op.outputs)

    assert gradcheck(call, [args[i] for i in op.gradients], eps=1e-6, atol=1e-6, rtol=1e-5)


@differentiable
def test_one_gradient_may_be_wanted_alone(op: Op) -> None:
    args = op.make(SMALL, torch.float64)
    all_args = requiring_gradients(op, args)
    want = gradients(op, all_args, outputs(op, all_args))
    for position, w in zip(op.gradients, want, strict=True):
        alone = Op(op.name, op.make, None, (position,), op.outputs)
        given = requiring_gradients(alone, args)
        assert torch.allclose(gradients(alone, given, outputs(alone, given))[0], w, rtol=1e-12, atol=1e-14)


def _compiled(op: Op, backend: str) -> None:
    torch.compiler.reset()
    args = requiring_gradients(op, op.make(SMALL, torch.float32))
    got = torch.compile(lambda *a: op.call(*a), fullgraph=True, backend=backend)(*args)
    got = (got,) if isinstance(got, Tensor) else tuple(got)
    want = outputs(op, args)
    assert_bits(tuple(g.detach() for g in got), tuple(w.detach() for w in want))
    if op.gradients:
        for g, w in zip(gradients(op, args, got), gradients(op, args, want), strict=True):
            assert_close(g, wide(w), 1e-6)


@each_op
def test_compiles_whole(op: Op) -> None:
    _compiled(op, "aot_eager")


@pytest.mark.filterwarnings("ignore:`torch.jit")  # inductor's own imports
@pytest.mark.slow
@pytest.mark.parametrize("op", [op for op in OPS if op.name in ("reparameterize", "upsampler_loss_with_gradients")], ids=str)
def test_compiles_with_inductor(op: Op) -> None:
    _compiled(op, "inductor")


@pytest.mark.slow
@shaped
def test_compiles_for_any_batch(op: Op) -> None:
    torch.compiler.reset()
    compiled = torch.compile(lambda *a: op.call(*a), fullgraph=True, backend="aot_eager", dynamic=True)
    for batch in (2, 3, 5):
        args = requiring_gradients(op, op.make((batch, *SMALL[1:]), torch.float32))
        got = compiled(*args)
        got = (got,) if isinstance(got, Tensor) else tuple(got)
        assert_bits(tuple(g.detach() for g in got), tuple(w.detach() for w in outputs(op, args)))
        if op.gradients:
            gradients(op, args, got)


@shaped
def test_meta_tensors_have_the_right_shapes(op: Op) -> None:
    args = op.make(SMALL, torch.float32)
    if op.name == "normal":
        meta: Args = (*args[:-1], torch.device("meta"))
    else:
        meta = tuple(a.to("meta") if isinstance(a, Tensor) and a is not KEY else a for a in args)
    for fake, real in zip(outputs(op, meta), outputs(op, args), strict=True):
        assert (fake.shape, fake.dtype, fake.stride()) == (real.shape, real.dtype, real.stride())


@pytest.mark.parametrize("shape", [(0, 4, 6, 10), (2, 4, 0, 10)], ids=str)
@shaped
def test_empty_tensors(op: Op, shape: tuple[int, ...]) -> None:
    args = requiring_gradients(op, op.make(shape, torch.float32))
    if op.name.startswith("upsampler_loss"):
        with pytest.raises(ValueError, match="mu: expected at least one element"):
            op.call(*args)
        return
    out = outputs(op, args)
    full = op.make(SMALL, torch.float32)
    assert [o.dim() for o in out] == [o.dim() for o in outputs(op, full)]
    if op.gradients:
        for g, i in zip(gradients(op, args, out), op.gradients, strict=True):
            assert g.shape == args[i].shape
            assert not g.isnan().any()


def _layouts(x: Tensor) -> Iterator[Tensor]:
    """The same numbers at other strides."""
    if x.dim() >= 2:
        yield x.transpose(-1, -2).contiguous().transpose(-1, -2)
        yield torch.stack([x, x], -1)[..., 0]
    if x.dim() == 4:
        yield x.to(memory_format=torch.channels_last)
    if x.dim() == 1 and x is not KEY:
        yield torch.stack([x, x], -1)[:, 0]
    if x.is_complex():
        yield x.conj().resolve_conj().conj()


@each_op
def test_any_layout_gives_the_same_bits(op: Op) -> None:
    args = op.make(SMALL, torch.float32)
    want = outputs(op, args)
    for i, a in enumerate(args):
        if not isinstance(a, Tensor) or a is TABLE:
            continue
        for other in _layouts(a):
            got = outputs(op, (*args[:i], other, *args[i + 1 :]))
            assert_bits(got, want)


@shaped
def test_any_number_of_threads_gives_the_same_bits(op: Op) -> None:
    args = requiring_gradients(op, op.make(BIG, torch.float32))
    before, results = torch.get_num_threads(), []
    summed = op.name in ("diffuse", "fading", "equalize")  # gradients that torch sums: their last bits depend on threads
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            out = outputs(op, args)
            results.append(tuple(o.detach() for o in out) + (gradients(op, args, out) if op.gradients and not summed else ()))
    finally:
        torch.set_num_threads(before)
    assert_bits(results[1], results[0])
    assert_bits(results[2], results[0])


@shaped
def test_nothing_is_allocated_but_the_outputs(op: Op) -> None:
    # Times, variances and coefficients are converted to the precision they are used in; none is needed here.
    args = op.make(BIG, torch.float64 if op.name in ("alpha_bar", "timestep") else torch.float32)
    with torch.no_grad(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as p:
        out = outputs(op, args)
    sizes = [e.nbytes() for e in p.profiler.kineto_results.events() if e.name() == "[memory]" and e.nbytes() > 0]
    large = sorted(o.untyped_storage().nbytes() for o in out if o.numel() >= 1024)
    quarter = min(large, default=BIG[0] * BIG[1] * BIG[2] * BIG[3] * 4) // 4
    assert sorted(s for s in sizes if s > quarter) == large


@differentiable
def test_second_derivatives_are_refused_not_wrong(op: Op) -> None:
    """Operators whose backwards are made of others (diffuse, pack, the channels) have them; the rest raise."""
    args = requiring_gradients(op, op.make((2, 4, 2, 2), torch.float64))
    out = outputs(op, args)
    loss = sum(o.abs().square().sum() for i, o in enumerate(out) if op.outputs is None or i in op.outputs)
    if op.name in ("diffuse", "pack", "unpack", "fading", "fading_equalized", "equalize"):
        (first,) = torch.autograd.grad(loss, args[op.gradients[0]], create_graph=True)
        assert torch.autograd.grad(first.abs().square().sum(), args[op.gradients[0]])[0].abs().sum() > 0
    else:
        with pytest.raises(RuntimeError, match="has no second derivative: call backward without create_graph"):
            torch.autograd.grad(loss, args[op.gradients[0]], create_graph=True)


@torch_imports
@pytest.mark.parametrize("op", [op for op in OPS if op.gradients and op.name not in ("pack", "unpack")], ids=str)
def test_forward_mode_is_refused_not_zero(op: Op) -> None:
    args = op.make((2, 4, 2, 2), torch.float64)
    for position in op.gradients:
        with forward_ad.dual_level():
            dual = forward_ad.make_dual(args[position], torch.ones_like(args[position]))
            with pytest.raises(
                ValueError, match=f"{op.name.removesuffix('_with_gradients')}: expected tensors without a forward-mode tangent"
            ):
                op.call(*args[:position], dual, *args[position + 1 :])
        if any(isinstance(a, Tensor) and a.is_complex() for a in args):
            continue  # torch.func.jacfwd takes none
        with pytest.raises(ValueError, match="without a forward-mode tangent"):
            torch.func.jacfwd(lambda x, p=position: op.call(*args[:p], x, *args[p + 1 :]))(args[position])


@torch_imports
@pytest.mark.parametrize("op", [op for op in OPS if not op.gradients], ids=str)
def test_forward_mode_of_what_has_no_gradient_is_refused(op: Op) -> None:
    args = op.make((2, 4, 2, 2), torch.float64)
    for position, value in enumerate(args):
        if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
            continue
        with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward AD"):
            op.call(*args[:position], forward_ad.make_dual(value, torch.ones_like(value)), *args[position + 1 :])


def test_every_operator_has_a_row() -> None:
    registered = {s.name.removeprefix("semdiff::") for s in torch._C._jit_get_all_schemas() if s.name.startswith("semdiff::")}
    assert registered == {op.name for op in OPS}
    assert semdiff.__version__
