# SPDX-License-Identifier: Apache-2.0
"""What to do with noise that differs from element to element: `python -m studies.match_spread`, on priors whose posterior is exact.

Fast Rayleigh fading, one gain for each pair of elements, known to the receiver; zero-forcing or MMSE equaliser. Ways to match:

    paper    the time of the nominal SNR, for the equaliser's output as it is
    mean     one time, from the second moments
    top_up   one time, the noisiest element's, with fresh noise for the others
    element  a time for each element, fused by precision (the library's default)

For each: the squared error of `posterior_mean` and of `sample`, divided by the exact posterior's MMSE (1 is the least, 2 is
that of a draw from the posterior), and the energy distance between samples and exact posterior samples, about 0 where they agree.
Writes docs/results/match_spread.csv and match_spread.md.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import semdiff
from semdiff import DiffusionState, Key, NoiseSchedule, Received, equalize, match, normal, pack, unpack, unpack_per_symbol
from semdiff.oracle import GaussianMixture
from studies.writing import write_csv, write_lines

SCHEDULE = NoiseSchedule.scaled_linear()
SNRS = (0.0, 5.0, 10.0, 15.0, 20.0)
WAYS = ("paper", "mean", "top_up", "element")
SAMPLERS = (("dpmpp_2m", 8), ("dpmpp_2m", 32), ("ddpm", 32))


class Prior(NamedTuple):
    """Draws, the denoiser of x_t (it predicts x_0), and the exact posterior under noise that differs."""

    draw: Callable[[int, Key], Tensor]
    denoise: Callable[[Tensor, Tensor], Tensor]
    mean: Callable[[Tensor, Tensor], Tensor]
    variance: Callable[[Tensor, Tensor], Tensor]
    sample: Callable[[Tensor, Tensor, Key], Tensor]


def mixture(prior: GaussianMixture) -> Prior:
    prior = prior.standardized()
    return Prior(
        lambda n, key: prior.sample(n, key, torch.float64),
        prior.denoiser(SCHEDULE, "x0"),
        prior.posterior_mean,
        prior.posterior_variance,
        prior.posterior_sample,
    )


def waves(d: int = 32, k: int = 32) -> Prior:
    """One of 32 waves: every element tells of all others."""
    phase, which = 2 * math.pi * torch.arange(d, dtype=torch.float64) / d, torch.arange(k, dtype=torch.float64).unsqueeze(1)
    means = torch.sin(phase * (1 + which % 2) + 2 * math.pi * which / k) + 0.5 * torch.sin(3 * phase + which)
    return mixture(GaussianMixture(means, torch.full((k,), 0.05)))


def codebook(d: int = 32, k: int = 16) -> Prior:
    """One of 16 random words."""
    return mixture(GaussianMixture(normal((k, d), Key(100), torch.float64), torch.full((k,), 0.1)))


def independent(d: int = 32) -> Prior:
    """Each element by itself near -1 or +1: nothing to learn from neighbours."""
    one = GaussianMixture([[-1.0], [1.0]], [0.05, 0.05]).standardized()
    denoise = one.denoiser(SCHEDULE, "x0")

    def each(f: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda y, v, *key: f(y.reshape(-1, 1), v.expand_as(y).reshape(-1, 1), *key).reshape(y.shape)

    return Prior(
        lambda n, key: one.sample(n * d, key, torch.float64).reshape(n, d),
        lambda x, t: denoise(x.reshape(-1, 1), t.repeat_interleave(d)).reshape(x.shape),
        each(one.posterior_mean),
        each(one.posterior_variance),
        each(one.posterior_sample),
    )


def gauss_markov(d: int = 64, correlation: float = 0.95) -> Prior:
    """A Gaussian whose neighbours are alike, as an image's are: Wiener filters."""
    i = torch.arange(d, dtype=torch.float64)
    covariance = correlation ** (i.unsqueeze(1) - i).abs()
    power, basis = torch.linalg.eigh(covariance)
    root = torch.linalg.cholesky(covariance)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        a = SCHEDULE.alpha_bar(t).unsqueeze(1)
        return (x @ basis * (a.sqrt() * power / (a * power + 1 - a))) @ basis.T

    def gain(v: Tensor) -> Tensor:
        return torch.linalg.solve(covariance + torch.diag_embed(v), covariance.expand(*v.shape, d)).mT

    def mean(y: Tensor, v: Tensor) -> Tensor:
        return (gain(v) @ y.unsqueeze(-1)).squeeze(-1)

    def conditional(v: Tensor) -> Tensor:
        k = covariance - gain(v) @ covariance
        return (k + k.mT) / 2

    def sample(y: Tensor, v: Tensor, key: Key) -> Tensor:
        lower = torch.linalg.cholesky(conditional(v))
        return mean(y, v) + (lower @ normal(y.shape, key, torch.float64).unsqueeze(-1)).squeeze(-1)

    def draw(n: int, key: Key) -> Tensor:
        return normal((n, d), key, torch.float64) @ root.T

    return Prior(draw, denoise, mean, lambda y, v: conditional(v).diagonal(dim1=1, dim2=2), sample)


PRIORS = {"waves": waves, "codebook": codebook, "gauss-markov": gauss_markov, "independent": independent}


def fast_rayleigh(z: Tensor, snr_db: float, key: Key) -> Received:
    s = pack(z)
    fading, noise = key.split(2)
    h, n = (torch.view_as_complex(normal((*s.shape, 2), k, torch.float64)) * math.sqrt(0.5) for k in (fading, noise))
    n0 = 10 ** (-snr_db / 10)
    return Received(h * s + math.sqrt(n0) * n, h, torch.full((len(z), 1), n0, dtype=torch.float64))


def state(way: str, x: Tensor, noise_var: Tensor, gain: Tensor, snr_db: float, key: Key) -> DiffusionState:
    if way == "paper":
        return match(x, 10 ** (-snr_db / 10), SCHEDULE, "paper")
    return match(x, noise_var, SCHEDULE, key=key, gain=gain, spread=way)  # type: ignore[arg-type]


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|a - b| - E|a - a'| - E|b - b'|, per square root of the dimension; 0 where the laws agree (Szekely and Rizzo, 2013).

    Rows of one index come from one received latent, so they are no independent pair and are left out.
    """

    def apart(v: Tensor, w: Tensor) -> Tensor:
        distances = torch.cdist(v, w)
        return (distances.sum() - distances.diagonal().sum()) / (len(v) * (len(v) - 1))

    return float(2 * apart(a, b) - apart(a, a) - apart(b, b)) / math.sqrt(a.shape[1])


def study(prior: Prior, snr_db: float, n: int, samplers: tuple[tuple[str, int], ...]) -> list[dict[str, Any]]:
    from_prior, channel, exact_key, other_key, top_up, loop = Key(int(snr_db) + 1).split(6)
    z = prior.draw(n, from_prior)
    received = fast_rayleigh(z, snr_db, channel)
    zf = equalize(received, "zf")
    y, v = unpack(zf.x, z.shape), unpack_per_symbol(zf.noise_var, z.shape)
    mmse = float(prior.variance(y, v).mean())
    exact = prior.sample(y, v, exact_key)

    def row(equalizer: str, way: str, path: str, steps: int, estimate: Tensor) -> dict[str, Any]:
        ratio = float((estimate - z).square().mean()) / mmse
        distance = energy_distance(estimate, exact)
        return {"equalizer": equalizer, "way": way, "path": path, "steps": steps, "mse": ratio * mmse, "mse_over_mmse": ratio,
                "energy_distance": distance}  # fmt: skip

    rows = [
        row("-", "exact", "posterior_mean", 1, prior.mean(y, v)),
        row("-", "exact", "sample", 0, prior.sample(y, v, other_key)),
    ]
    for equalizer in ("zf", "mmse"):
        equalized = equalize(received, equalizer)  # type: ignore[arg-type]
        x = unpack(equalized.x, z.shape)
        noise_var, gain = unpack_per_symbol(equalized.noise_var, z.shape), unpack_per_symbol(equalized.gain, z.shape)
        for way in WAYS:
            if way != "paper" and equalizer == "zf":
                continue  # the same states as from the MMSE equaliser, to rounding: tests/python/diffusion/test_matching_elements.py
            start = state(way, x, noise_var, gain, snr_db, top_up)
            rows.append(row(equalizer, way, "posterior_mean", 1, semdiff.posterior_mean(prior.denoise, start, SCHEDULE, "x0")))
            for solver, steps in samplers:
                out = semdiff.sample(prior.denoise, start, SCHEDULE, steps, solver, prediction="x0", key=loop)  # type: ignore[arg-type]
                rows.append(row(equalizer, way, solver, steps, out))
    return rows


def table(rows: list[dict[str, Any]], path: str, steps: int, cell: Callable[[dict[str, Any]], str]) -> list[str]:
    lines = ["| prior | match | " + " | ".join(f"{s:g} dB" for s in SNRS) + " |", "|---|---|" + "---|" * len(SNRS)]
    kind = ("posterior_mean", 1) if path == "posterior_mean" else ("sample", 0)
    for prior in PRIORS:
        for equalizer, way in [("-", "exact"), ("zf", "paper"), *(("mmse", way) for way in WAYS)]:
            wanted = (prior, equalizer, way, *(kind if way == "exact" else (path, steps)))
            cells = [cell(r) for r in rows if (r["prior"], r["equalizer"], r["way"], r["path"], r["steps"]) == wanted]
            name = f"{way} ({equalizer.upper()})" if way == "paper" else way
            if cells:
                lines.append(f"| {prior} | {name} | " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=300, help="received latents for each point (default 300)")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder (default docs/results)")
    arguments = parser.parse_args()
    rows = [
        {"prior": name, "snr_db": snr_db, **row}
        for name, make in PRIORS.items()
        for snr_db in SNRS
        for row in study(make(), snr_db, arguments.samples, SAMPLERS)
    ]
    write_csv(arguments.out / "match_spread.csv", rows)
    lines = [
        "# Noise that differs from element to element",
        "",
        "Fast Rayleigh fading with a known gain for each symbol, priors whose exact posterior is known (`studies/match_spread.py`);",
        f"{arguments.samples} received latents a point, all ways from the same ones. Errors are divided by the exact MMSE.",
        "`mean`, `top_up` and `element` give the same states after zero-forcing and after the MMSE equaliser, so they stand here once.",
        "",
        "## `posterior_mean`: squared error / MMSE (1 is the least)",
        "",
        *table(rows, "posterior_mean", 1, lambda r: f"{r['mse_over_mmse']:.2f}"),
    ]
    for solver, steps in SAMPLERS:
        lines += [
            "",
            f"## `sample`, {solver}, {steps} steps: squared error / MMSE, and (1000 x energy distance to exact posterior samples)",
            "",
            *table(rows, solver, steps, lambda r: f"{r['mse_over_mmse']:.2f} ({1000 * r['energy_distance']:.1f})"),
        ]
    write_lines(arguments.out / "match_spread.md", lines)


if __name__ == "__main__":
    main()
