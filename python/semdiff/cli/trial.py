# SPDX-License-Identifier: Apache-2.0
"""Compute what the page of `semdiff app` shows: a picture over a channel by the link, a learned code and a codec, at equal channel uses."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from semdiff.cli.comparison import Comparison, measure_outcomes
from semdiff.cli.options import load_link, parse_channel
from semdiff.cli.output import format_ratio, format_time, uses_line
from semdiff.data.pictures import middle, read_picture, shrink, to_picture, to_pixels
from semdiff.phy.channel import Channel, Received, Uses
from semdiff.phy.equalizer import equalize
from semdiff.rng import Key, KeyLike
from semdiff.transmission.step_count import StepCount

if TYPE_CHECKING:
    from semdiff.link import Transmission

LONGEST = 320  # pixels on the longer side of what is sent: the codec takes about a minute a megapixel
POINTS = 1000  # of the constellation
CHANNELS = ("awgn", "rayleigh", "rayleigh-fast", "rician:6", "multipath", "mimo:2x2:waterfilling")


@dataclass(frozen=True)
class Settings:
    """Hold what the page's controls say.

    Attributes:
        channel: as of the command.
        snr_db, cbr, steps, realism: as in `ImageTransmitter.transmit`.
        seed: of the key.
    """

    channel: str = "awgn"
    snr_db: float = 5.0
    cbr: float | None = None
    steps: StepCount = "auto"
    realism: float = 1.0
    seed: int = 0


class Shown(NamedTuple):
    """Hold one picture of the page.

    Attributes:
        name: of the system.
        image: (C, H, W) in [0, 1]; None where there is none.
        words: PSNR and LPIPS, or why there is none.
    """

    name: str
    image: Tensor | None
    words: str


class Heard(NamedTuple):
    """Hold what the link's receiver began with.

    Attributes:
        sent, received: symbols, complex (points,), the latter equalised.
        words: channel uses, measured SNR, t and evaluations.
    """

    sent: Tensor
    received: Tensor
    words: str


class Listening(Channel):
    """Send over another channel, and keep what went in and what came out.

    Args:
        channel: the other one.
    """

    symbols: Tensor
    received: Received

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.channel = channel

    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        """Send symbols, and return what the other channel does.

        Args:
            s, snr_db, key: as in `Channel.forward`.
        """
        self.symbols, self.received = s, self.channel(s, snr_db, key)
        return self.received

    def uses(self, symbols: int) -> Uses:
        """Count the channel uses of so many symbols, as the other channel does."""
        return self.channel.uses(symbols)


class Trial:
    """Hold the systems, and send pictures over them.

    Args:
        model: the link's folder; None is the package's for photographs.
    """

    def __init__(self, model: Path | None = None) -> None:
        self.link = load_link(model, "photos")
        self.comparison = Comparison(self.link)

    @property
    def cbrs(self) -> dict[float, str]:
        """Return the link's bandwidth ratios and how the controls write them, the largest first."""
        return {ratio: format_ratio(ratio) for ratio in sorted(self.link.cbrs.values(), reverse=True)}

    def read(self, content: bytes, name: str) -> Tensor:
        """Read a picture file, and make it as large as is sent.

        Args:
            content: of the file.
            name: for messages.

        Returns:
            float (C, H, W) in [0, 1].

        Raises:
            ValueError: naming the file, where it is no picture.
        """
        channels, height, width = self.link.image_shape
        pixels = read_picture(content, grey=channels == 1, name=name)
        if height is None or width is None:
            pixels = shrink(pixels, max(1.0, max(pixels.shape[1:]) / LONGEST))
        elif pixels.shape[1:] != (height, width):
            side = min(pixels.shape[1:])
            pixels = to_pixels(to_picture(middle(pixels, side, side)).resize((width, height)))
        return pixels.float() / 255

    def run(self, image: Tensor, settings: Settings) -> Iterator[Shown | Heard]:
        """Send a picture over every system.

        Args:
            image: (C, H, W) in [0, 1].
            settings: of the controls.

        Yields:
            What the link made of it, what it heard, and what each other system made of it.

        Raises:
            ValueError: naming what does not fit.
        """
        batch, key = image[None], Key(settings.seed)
        channel = Listening(parse_channel(settings.channel))
        done = self.link.transmit(
            batch, settings.snr_db, cbr=settings.cbr, channel=channel, steps=settings.steps, realism=settings.realism, key=key
        )
        yield self._shown("link", done, batch)
        yield _heard(channel, done, self.link.schedule.T)
        comparison = copy(self.comparison)  # which leaves out what cannot send this picture
        comparison.systems, comparison.left_out = dict(comparison.systems), dict(comparison.left_out)
        for name, (outcome,) in comparison.transmit(batch, settings.snr_db, settings.cbr, channel.channel, key, done.ledger.total):
            words = "nothing was decoded" if outcome.outage else _quality(outcome.numbers)
            yield Shown(name, outcome.image, words)
        for name, why in comparison.left_out.items():
            yield Shown(name, None, why)

    def _shown(self, name: str, done: Transmission, originals: Tensor) -> Shown:
        (outcome,) = measure_outcomes(done, originals, self.comparison.lpips)
        return Shown(name, outcome.image, _quality(outcome.numbers))


def _quality(numbers: dict[str, float]) -> str:
    return f"PSNR {numbers['psnr_db']:.2f} dB" + (f", LPIPS {numbers['lpips']:.3f}" if "lpips" in numbers else "")


def _heard(channel: Listening, done: Transmission, steps: int) -> Heard:
    every = max(1, channel.symbols.shape[1] // POINTS)
    x = equalize(channel.received, "mmse_unbiased").x
    t = format_time(float(done.t[0]))
    began = "The denoiser was not asked." if t == "-" else f"Denoising began at t = {t} of {steps}; evaluations: {done.evaluations}."
    words = f"Channel uses: {uses_line(done.ledger)}. Measured SNR: {float(done.snr_db[0]):.2f} dB. {began}"
    symbols = channel.symbols[0, ::every][:POINTS]
    return Heard(symbols, torch.as_tensor(x[0, ::every][:POINTS]), words)
