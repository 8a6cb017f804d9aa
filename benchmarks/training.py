# SPDX-License-Identifier: Apache-2.0
"""One step of the up-sampler's training (stage 3), with semdiff's operators and with plain PyTorch around the same networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import semdiff
from benchmarks.cases import _loss_terms
from benchmarks.timing import interleave
from semdiff.models.blocks import UPSCALE
from semdiff.models.networks import Downsampler, Upsampler
from semdiff.training.random_channel import Conditions
from semdiff.training.stages.resampling import ResamplingStage

LATENTS, SYMBOLS, BATCH = 8, 8, 64
SNR_DB = (-7.0, 18.0)


class PlainStage(torch.nn.Module):
    """The same step as a careful user writes it: AWGN, an SNR for each sample, the loss term by term."""

    def __init__(self, downsampler: Downsampler, upsampler: Upsampler) -> None:
        super().__init__()
        self.downsampler, self.upsampler = downsampler, upsampler

    def forward(self, z: Tensor) -> Tensor:
        count = z.shape[0]
        snr_db = torch.empty(count).uniform_(*SNR_DB)
        rate = torch.ones(count)
        features = self.downsampler(z, snr_db + 2.0 * torch.randn(count), rate)
        sent = features / features.square().mean((1, 2, 3), keepdim=True).sqrt()
        noise_var = (10 ** (-0.1 * snr_db))[:, None, None, None]
        received = sent + noise_var.sqrt() * torch.randn_like(sent)
        coarse = self.upsampler.coarse(received, snr_db, rate, torch.zeros_like(received))
        mean, raw = F.pixel_shuffle(coarse, UPSCALE).chunk(2, 1)
        logvar = 10 * torch.tanh(raw / 10)
        _ = mean + (0.5 * logvar).exp() * torch.randn_like(mean)
        return _loss_terms(mean, logvar, z, 1 / (1 + noise_var))


def saved_bytes(run: Any) -> int:
    """What the forward pass keeps for the backward pass."""
    kept: dict[int, int] = {}

    def keep(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        run()
    return sum(kept.values())


def measure(rounds: int) -> list[dict[str, Any]]:
    rows = []
    for name, width, deep_width, wide in (("the Fashion-MNIST link's networks", 48, 64, 80), ("small ones, width 8", 8, 8, 8)):
        torch.manual_seed(0)
        ends = Downsampler(LATENTS, SYMBOLS, width, deep_width), Upsampler(LATENTS, SYMBOLS, wide)
        z = semdiff.normal((BATCH, LATENTS, 8, 8), semdiff.Key(1))
        stage = ResamplingStage(*ends, (SYMBOLS,), 0.1, conditions=Conditions(SNR_DB, fading=False))
        plain = PlainStage(*ends)
        losses = {"ours": lambda: stage(semdiff.Key(2), z)["loss"], "torch": lambda: plain(z)}  # noqa: B023
        trained = [p for end in ends for p in end.parameters()]
        steps = {k: lambda f=f: torch.autograd.grad(f(), trained, allow_unused=True) for k, f in losses.items()}  # noqa: B023
        times = interleave(steps, rounds, seconds=0.2)
        median, low, high = times["ours"].ratio_to(times["torch"])
        each = {f"{k}_ms": 1e3 * t.median for k, t in times.items()} | {f"{k}_bytes": saved_bytes(f) for k, f in losses.items()}
        rows.append({"networks": name, **each, "ratio": median, "p10": low, "p90": high})
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    heads = (f"a training step of both ends, {BATCH} latents", "ours, ms", "torch, ms", "× torch (10-90 %)", "kept for backward, share")
    lines = [f"| {' | '.join(heads)} |", "|---|---:|---:|---:|---:|"]
    for r in rows:
        ratio, share = f"{r['ratio']:.2f} ({r['p10']:.2f}-{r['p90']:.2f})", f"{100 * r['ours_bytes'] / r['torch_bytes']:.0f} %"
        lines.append(f"| {r['networks']} | {r['ours_ms']:.1f} | {r['torch_ms']:.1f} | {ratio} | {share} |")
    return "\n".join(lines)
