# SPDX-License-Identifier: Apache-2.0
"""Run the loop that every stage shares: deterministic batches, Adam or Muon, a moving average of the weights, checkpoints, over accelerate.

All randomness of step n is a function of (seed, n, process), so a checkpoint needs no generator state, and an interrupted run that is
started again ends with the same bits as one that was not.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from semdiff._util.tensor_files import save_tensors
from semdiff.rng import Key
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.batches import Batches, Rows
from semdiff.training.checkpoint import optimizer_tensors, resume_training, training_identity
from semdiff.training.compiled import compiled_blocks
from semdiff.training.curve import StageCurve
from semdiff.training.muon import Muon

SHOWN_EVERY = 50  # steps


class Stage(nn.Module):
    """Define what is trained in one stage.

    forward(key, *batch) returns {"loss": scalar with a gradient, other names: scalars to show}. Parameters with requires_grad are trained;
    submodules in `frozen` (a tuple of their names) are not, and are not stored.
    """

    frozen: tuple[str, ...] = ()

    def freeze(self) -> None:
        """Set the frozen submodules to eval mode, without gradients."""
        for name in self.frozen:
            self.get_submodule(name).requires_grad_(False).eval()

    def weights(self) -> dict[str, Tensor]:
        """Return the tensors that this stage may change, by name: what is averaged and stored."""
        return {n: t for n, t in self.state_dict().items() if not n.startswith(tuple(f"{f}." for f in self.frozen))}


@dataclass(frozen=True)
class Plan:
    """Describe how long and how fast one stage is trained.

    Attributes:
        steps: of the training.
        batch_size: over all processes.
        learning_rate: the largest.
        warm_up: steps of rising learning rate; then it falls along half a cosine to zero.
        average: decay of the moving average of the weights.
        clip: largest norm of the gradient.
        optimizer: "adam", or "muon" (`semdiff.training.muon`), which comes further with as many images.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warm_up: int = 100
    average: float = 0.998
    clip: float = 1.0
    optimizer: Literal["adam", "muon"] = "adam"

    def scaled(self, budget: float) -> Plan:
        """Return the same plan with `budget` times the steps, at least 1."""
        return dataclasses.replace(self, steps=max(1, round(self.steps * budget)), warm_up=max(1, round(self.warm_up * min(1.0, budget))))

    def rate(self, step: int) -> float:
        """Compute the learning rate at a step."""
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up) * 0.5 * (1 + math.cos(math.pi * step / self.steps))


def fit(
    stage: Stage,
    data: Sequence[Tensor] | Batches,
    plan: Plan,
    *,
    name: str,
    key: Key,
    folder: Path | None = None,
    resume: bool = True,
    accelerator: Accelerator | None = None,
    save_every: float = 60.0,
    progress: bool = True,
    on_step: Callable[[int], None] | None = None,
    curve: StageCurve | None = None,
    begin: int = 0,
    compile: bool = False,
) -> dict[str, float]:
    """Train a stage, and leave it with the averaged weights, in eval mode.

    Checkpoints go to folder/<name>.safetensors every `save_every` seconds and at the end.

    Args:
        stage: what to train.
        data: batches, or tensors of one length whose rows are drawn.
        plan: steps and learning rate.
        name: of the stage.
        key: of all random numbers.
        folder: of the checkpoints; None keeps none.
        resume: continue from a checkpoint that is there; a finished one makes this return at once.
        accelerator: None is float32 on the CPU.
        save_every: seconds between checkpoints.
        progress: show a bar.
        on_step: called with the number of steps so far.
        curve: records losses and scores, in the main process.
        begin: the step at which it begins where no checkpoint is, for a stage whose weights were trained that far; the optimiser is fresh,
            so the learning rate rises anew over the plan's warm-up.
        compile: whether blocks are compiled (`semdiff.training.compiled`), which needs a C++ compiler.

    Returns:
        The scalars' running means over some 50 steps.

    Raises:
        ValueError: where the checkpoint belongs to another plan, seed, data or precision, or is damaged.
        RuntimeError: where the loss is not finite.
    """
    accelerator = accelerator or prepare_accelerator(cpu=True)
    stage.freeze()
    stage.to(accelerator.device)
    stage.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # in which processors convolve
    trained = [p for p in stage.parameters() if p.requires_grad]
    made = Muon if plan.optimizer == "muon" else partial(torch.optim.Adam, fused=True)
    optimizer: torch.optim.Optimizer = made(trained, lr=plan.learning_rate, betas=(0.9, 0.99))
    file = folder / f"{name}.safetensors" if folder is not None else None
    batches = Rows(data, plan.batch_size, key) if isinstance(data, Sequence) else data
    identity = training_identity(stage, batches, plan, name, key, accelerator)
    average = {n: t.detach().clone() for n, t in stage.weights().items()}
    if not 0 <= begin <= plan.steps:
        raise ValueError(f"begin: expected a step of the plan, 0 to {plan.steps}, got {begin}")
    step = begin
    running: dict[str, Tensor] = {}
    if resume and file is not None and file.exists():
        step, running = resume_training(file, identity, stage, optimizer, average)
    model, optimizer = accelerator.prepare(stage, optimizer)
    model.train()
    stage.freeze()
    main = accelerator.is_main_process
    curve = curve if main else None
    if curve is not None:
        curve.begin(step)
    saved = time.monotonic()
    units = {"unit": "image", "unit_scale": batches.batch_size, "mininterval": 1.0}
    blocks = compiled_blocks(stage) if compile else nullcontext()
    with blocks, tqdm(total=plan.steps, initial=step, desc=name, disable=not (progress and main), **units) as bar:
        while step < plan.steps:
            batch = [d.to(accelerator.device) for d in batches.batch(step, accelerator.process_index, accelerator.num_processes)]
            for group in optimizer.param_groups:
                group["lr"] = plan.rate(step) * min(1.0, (step - begin + 1) / plan.warm_up if begin else 1.0)
            terms = model(key.fold_in(step).fold_in(accelerator.process_index), *batch)
            optimizer.zero_grad()
            accelerator.backward(terms["loss"])
            accelerator.clip_grad_norm_(trained, plan.clip)
            optimizer.step()
            step += 1
            _average(average, stage.weights(), min(plan.average, (step - begin) / (step - begin + 20)))
            new = {n: term.detach() for n, term in terms.items()}
            share = max(1 / (step - begin), 1 / SHOWN_EVERY)
            running = {n: torch.lerp(running.get(n, value).to(value), value, share) for n, value in new.items()}
            bar.update()
            if step % SHOWN_EVERY == 0 or step == plan.steps:
                shown = _numbers(running)
                if not math.isfinite(shown["loss"]):
                    raise RuntimeError(f"{name}: the loss is {shown['loss']} at step {step}")
                seen = {} if curve is None else curve.observe(step, shown, lambda: _averaged(stage, average), step == plan.steps)
                bar.set_postfix({n: float(f"{v:.4g}") for n, v in (shown | seen).items()}, refresh=False)
            late = time.monotonic() - saved > save_every
            if file is not None and main and (late or step == plan.steps):
                meta = {"identity": identity, "step": step, "shown": _numbers(running)}
                if curve is not None:
                    curve.save()
                tensors = {f"model.{n}": t for n, t in stage.weights().items()} | {f"average.{n}": t for n, t in average.items()}
                save_tensors(file, tensors | optimizer_tensors(optimizer), meta)
                saved = time.monotonic()
            if on_step is not None:
                on_step(step)
    stage.load_state_dict(average, strict=False)
    stage.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload] # in which files are written
    stage.eval()
    return _numbers(running)


def _numbers(scalars: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in scalars.items()}


@contextmanager
def _averaged(stage: Stage, average: dict[str, Tensor]) -> Iterator[None]:
    """The stage has its averaged weights; afterwards its own, to the bit."""
    own = {n: t.detach().clone() for n, t in stage.weights().items()}
    stage.load_state_dict(average, strict=False)
    stage.eval()
    try:
        yield
    finally:
        stage.load_state_dict(own, strict=False)
        stage.train()
        stage.freeze()


@torch.no_grad()
def _average(average: dict[str, Tensor], weights: dict[str, Tensor], decay: float) -> None:
    for name, value in weights.items():
        if value.is_floating_point():
            average[name].lerp_(value.to(average[name].device), 1 - decay)
        else:
            average[name].copy_(value)
