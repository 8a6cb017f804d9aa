# SPDX-License-Identifier: Apache-2.0
"""Tell whether a diffusion model can help: compare mean squared errors of a latent received over AWGN, with and without the denoiser.

The receivers of y = z + n are the observation as it is (error N0), the linear MMSE estimate, an estimate element by element, the denoiser's
posterior mean at the matching time, and its sampler. For Gaussian data nothing beats the linear estimate (Kay, Estimation Theory, 1993,
ch. 12). For independent elements, such as a constellation's symbols, nothing beats an estimate that looks at each element alone, and where
hard decisions follow even that gains nothing. A denoiser gains where the data have structure beyond both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from semdiff.diffusion.matching import DiffusionState, match
from semdiff.diffusion.sampler import Denoiser, Prediction, posterior_mean, sample
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.evaluation.linear_estimate import elementwise_mmse, ledoit_wolf, linear_mmse
from semdiff.phy.channel import AWGN, pack, unpack
from semdiff.rng import Key, KeyLike
from semdiff.transmission.step_count import StepCount, StepTable, check_steps, resolve_steps

if TYPE_CHECKING:
    from semdiff.link import SemanticLink

RECEIVERS = ("observation", "linear", "elementwise", "posterior_mean", "sample")
SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 15.0)
ENOUGH = 4  # samples for each dimension, half of which fit the covariance. Chosen by hand
TILE = 4  # cells on the side of a square of a picture
WORTH_DB = 0.1  # the smallest gain that counts. Chosen by hand


@dataclass(frozen=True)
class Level:
    """Hold the mean squared errors per element at one SNR.

    Attributes:
        snr_db: the SNR in dB.
        t: the matching time of the schedule, averaged.
        observation, linear, elementwise, posterior_mean, sample: mean squared errors of the receivers.
        gain_db, gain_db_se: gain of the posterior mean over the linear estimate in dB, and its standard error over the samples.
        gain_elementwise_db, gain_elementwise_db_se: gain over the element-by-element estimate, likewise.
    """

    snr_db: float
    t: float
    observation: float
    linear: float
    elementwise: float
    posterior_mean: float
    sample: float
    gain_db: float
    gain_db_se: float
    gain_elementwise_db: float
    gain_elementwise_db_se: float


@dataclass(frozen=True)
class Diagnosis:
    """Hold what `diagnose` found.

    Attributes:
        levels: one for each SNR.
        verdict: a sentence that says what they mean.
        helps: whether the denoiser beats both other estimates at some SNR.
        samples, dimensions: of the latents.
    """

    levels: list[Level]
    verdict: str
    helps: bool
    samples: int
    dimensions: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict."""
        return asdict(self)


def diagnose(
    latents: Tensor,
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    snr_db: float | Sequence[float] = SNRS_DB,
    prediction: Prediction = "eps",
    steps: StepCount = "auto",
    batch: int = 256,
    key: KeyLike = None,
) -> Diagnosis:
    """Compare a denoiser with estimates that need none.

    The linear and the element-by-element estimate learn from one half of the latents and are tested on the other, both ways, so they do not
    know what they are tested on.

    Args:
        latents: float (N, ...), N >= 20, of about unit variance, that the denoiser was not trained on.
        denoiser: (x_t, t) -> output.
        schedule: of its training.
        snr_db: E|s|^2 / N0 in dB for symbols of unit power, so N0 is the noise variance in each element (block fading is AWGN at the faded
            SNR).
        prediction: as in `semdiff.sample`.
        steps: likewise, or "auto": those of the link at the SNR, 8 without a link.
        batch: latents at a time.
        key: of the random numbers.

    Returns:
        Errors, gains and a verdict.

    Raises:
        TypeError, ValueError: naming the argument.

    Example:
        >>> import semdiff as sd
        >>> from semdiff.evaluation import diagnose
        >>> schedule = sd.NoiseSchedule.cosine(1000)
        >>> latents = sd.normal((200, 4), sd.Key(0))
        >>> denoiser = lambda x, t: (1 - schedule.alpha_bar(t.double())).sqrt().to(x)[:, None] * x  # of Gaussian data
        >>> diagnose(latents, denoiser, schedule, snr_db=5.0, key=sd.Key(1)).helps
        False
    """
    return _diagnose(latents, lambda *_: denoiser, schedule, snr_db, prediction, steps, batch, key)


@torch.no_grad()
def _diagnose(
    latents: Tensor,
    conditioned_denoiser: Callable[[Tensor, float], Denoiser],
    schedule: NoiseSchedule,
    snr_db: float | Sequence[float],
    prediction: Prediction,
    steps: StepCount,
    batch: int,
    key: KeyLike,
    clip: float | None = None,
    auto_steps: StepTable | None = None,
) -> Diagnosis:
    """conditioned_denoiser(y, noise_var): the denoiser for latents received as y with that noise variance."""
    _check(latents)
    check_steps(steps, schedule.T)
    levels_db = [float(v) for v in (snr_db if isinstance(snr_db, Sequence) else [snr_db])]
    if not levels_db:
        raise ValueError("snr_db: expected at least one number, got none")
    n = latents.shape[0]
    z = latents.detach().cpu().double().reshape(n, -1)
    base = Key.of(key)
    halves = [(slice(0, n // 2), slice(n // 2, n)), (slice(n // 2, n), slice(0, n // 2))]
    known = [ledoit_wolf(z[fit]) for fit, _ in halves]
    levels = []
    for i, level in enumerate(levels_db):
        noise, top_up, draws = base.fold_in(i).split(3)
        received = AWGN()(pack(latents), level, noise)
        y = unpack(received.y, latents.shape)
        noise_var = float(received.noise_var[0, 0])
        flat = y.cpu().double().reshape(n, -1)
        linear, alone = torch.empty_like(z), torch.empty_like(z)
        for (fit, test), c in zip(halves, known, strict=True):
            linear[test] = linear_mmse(flat[test], noise_var, c)
            alone[test] = elementwise_mmse(flat[test], noise_var, z[fit])
        state = match(y, noise_var, schedule, key=top_up)
        count = int(resolve_steps(steps, torch.tensor([level]), auto_steps)[0])

        def mean(part: DiffusionState, denoiser: Denoiser) -> Tensor:
            return posterior_mean(denoiser, part, schedule, prediction, clip)

        def draw(part: DiffusionState, denoiser: Denoiser, key: Key = draws, count: int = count) -> Tensor:
            return sample(denoiser, part, schedule, count, prediction=prediction, clip=clip, key=key)

        estimates = {"observation": flat, "linear": linear, "elementwise": alone}
        denoisers = [conditioned_denoiser(part, noise_var) for part in y.split(batch)]
        estimates |= {"posterior_mean": _in_batches(mean, state, denoisers, batch), "sample": _in_batches(draw, state, denoisers, batch)}
        errors = {name: (x - z).square().mean(1) for name, x in estimates.items()}
        gain, gain_se = _gain_db(errors["linear"], errors["posterior_mean"])
        over_alone, over_alone_se = _gain_db(errors["elementwise"], errors["posterior_mean"])
        averages = {name: float(e.mean()) for name, e in errors.items()}
        levels.append(Level(level, float(state.t.mean()), **averages, gain_db=gain, gain_db_se=gain_se,
                            gain_elementwise_db=over_alone, gain_elementwise_db_se=over_alone_se))  # fmt: skip
    verdict, helps = _verdict(levels)
    if helps and n < ENOUGH * z.shape[1]:
        verdict += f" ({n} latents of {z.shape[1]} elements leave the linear estimate short of its best: {ENOUGH * z.shape[1]} would not)"
    return Diagnosis(levels, verdict, helps, n, z.shape[1])


def diagnose_link(
    link: SemanticLink, images: Tensor, snr_db: float | Sequence[float] = SNRS_DB, steps: StepCount = "auto", key: KeyLike = None
) -> Diagnosis:
    """Run `diagnose` with a link's own denoiser, on its latents of images, without the transmitter's bottleneck.

    A link for any size is tested on whole squares of TILE cells of its images, so that there are many latents of few elements. A denoiser
    that is conditioned on the received features gets what y alone says: y / (1 + N0), and the variance of that estimate's error, N0 / (1 +
    N0).

    Args:
        link: with a diffusion model on latents.
        images: float (B, C, H, W) in [0, 1].
        snr_db, steps, key: as in `diagnose`.

    Raises:
        TypeError, ValueError: naming the argument; for a link on pixels, whose denoiser does not begin at noisy images.

    Example:
        >>> import semdiff as sd
        >>> from semdiff.data import sample_photos
        >>> from semdiff.evaluation import diagnose_link
        >>> from semdiff.link import SemanticLink
        >>> found = diagnose_link(SemanticLink.default("photos"), sample_photos()[:, :, :256, :256], snr_db=0.0, steps=1, key=sd.Key(0))
        >>> len(found.levels), found.dimensions
        (1, 2048)
    """
    from semdiff.link import SemanticLink
    from semdiff.transmission.inputs import check_images

    if not isinstance(link, SemanticLink):
        raise ValueError(f"link: expected a SemanticLink, with a diffusion model on latents, got a {type(link).__name__}")
    check_images(images, link.image_shape)
    if link.image_shape[1] is None:
        images = _squares(images, TILE * link.cell)
    with torch.no_grad():
        parts = [link.encode(part.to(link.device, link.dtype)).cpu() for part in images.split(256)]

    def conditioned_denoiser(y: Tensor, noise_var: float) -> Denoiser:
        guess = (y / (1 + noise_var)).to(link.device)
        denoise = link.denoiser(guess, torch.full_like(guess, math.log(noise_var / (1 + noise_var))))
        return lambda x, t: denoise(x.to(link.device), t.to(link.device)).cpu()

    table = link.config.auto_steps
    return _diagnose(torch.cat(parts), conditioned_denoiser, link.schedule, snr_db, link.prediction, steps, 256, key, link.clip, table)


def _squares(images: Tensor, side: int) -> Tensor:
    """(N, C, side, side): the whole squares of images (B, C, H, W), picture by picture. ValueError where they hold none."""
    if min(images.shape[2:]) < side:
        raise ValueError(f"images: expected at least {side} x {side} pixels, got {images.shape[2]} x {images.shape[3]}")
    squares = images.unfold(2, side, side).unfold(3, side, side)
    return squares.permute(0, 2, 3, 1, 4, 5).reshape(-1, images.shape[1], side, side)


def _in_batches(
    receive: Callable[[DiffusionState, Denoiser], Tensor], state: DiffusionState, denoisers: Sequence[Denoiser], batch: int
) -> Tensor:
    parts = zip(state.x.split(batch), state.t.split(batch), denoisers, strict=True)
    return torch.cat([receive(DiffusionState(x, t), denoiser).cpu().double().flatten(1) for x, t, denoiser in parts])


def _gain_db(reference: Tensor, errors: Tensor) -> tuple[float, float]:
    """10 log10 of the ratio of mean errors, and its standard error: both are of the same samples and the same noise (delta method)."""
    a, b = reference.mean(), errors.mean()
    relative = reference / a - errors / b
    return float(10 * torch.log10(a / b)), float(10 / math.log(10) * relative.std() / math.sqrt(len(relative)))


def _verdict(levels: list[Level]) -> tuple[str, bool]:
    def sure(gain: float, error: float) -> bool:
        return gain > WORTH_DB and gain > 3 * error

    best, worst = max(levels, key=lambda v: v.gain_db), min(levels, key=lambda v: v.gain_db)
    gains = [v for v in levels if sure(v.gain_db, v.gain_db_se)]
    beyond = [v for v in gains if sure(v.gain_elementwise_db, v.gain_elementwise_db_se)]
    loss = ""
    if sure(-worst.gain_db, worst.gain_db_se):
        loss = f"it loses {-worst.gain_db:.1f} dB to linear at {worst.snr_db:g} dB (too little training, another schedule or prediction?)"
    if beyond:
        top = max(beyond, key=lambda v: min(v.gain_db, v.gain_elementwise_db))
        line = (
            f"diffusion helps at {', '.join(f'{v.snr_db:g}' for v in beyond)} dB: {top.gain_db:.1f} dB less squared error than linear at "
            f"{top.snr_db:g} dB, and {top.gain_elementwise_db:.1f} dB less than element by element"
        )
        return line + (f"; but {loss}" if loss else ""), True
    if gains:
        line = (
            f"gain over linear, {best.gain_db:.1f} dB at {best.snr_db:g} dB, but none over an estimate that looks at each element alone: "
            "the elements have no structure in common, so hard decisions stay what they are"
        )
        return line + (f"; and {loss}" if loss else ""), False
    if loss:
        return f"no gain over linear: {loss}", False
    return f"no gain over linear ({best.gain_db:+.2f} dB at best): to this denoiser the data are Gaussian, where linear is best", False


def _check(latents: Tensor) -> None:
    if not isinstance(latents, Tensor) or not latents.is_floating_point():
        raise TypeError(f"latents: expected a floating-point tensor (N, ...), got {getattr(latents, 'dtype', type(latents).__name__)}")
    if latents.dim() < 2 or latents.shape[0] < 20 or latents.numel() == 0:
        raise ValueError(f"latents: expected shape (N, ...) with N >= 20, got {tuple(latents.shape)}")
    if not bool(latents.isfinite().all()):
        raise ValueError("latents: expected finite numbers, got NaN or infinity")
    power = float(latents.double().square().mean())
    if not 0.5 < power < 2:
        raise ValueError(
            f"latents: expected about unit variance, which is what a schedule and an SNR are about, got a mean square of {power:.3g}; "
            "divide by its root"
        )
