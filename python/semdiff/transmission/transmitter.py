# SPDX-License-Identifier: Apache-2.0
"""Define one interface for all that sends images over a channel: links, learned codes, codecs with channel codes, a user's classes."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from semdiff._util.arguments import as_tensor
from semdiff._util.child_keys import CHANNEL
from semdiff._util.signatures import check_call
from semdiff.phy.channel import AWGN, Channel, Received
from semdiff.rng import Key, KeyLike
from semdiff.transmission.inputs import check_share, describe, describe_wrong, per_sample
from semdiff.transmission.ledger import Transmission, make_transmission
from semdiff.transmission.step_count import StepCount, check_steps


class Decoded(NamedTuple):
    """Hold a receiver's output for one batch.

    Attributes:
        images: (B, C, H, W) in [0, 1].
        t: float64 (B,), the time at which denoising began; None or NaN without diffusion.
        evaluations: denoiser evaluations for each image, the most where they differ.
    """

    images: Tensor
    t: Tensor | None = None
    evaluations: int = 0


@dataclass
class Air:
    """Send one batch over a channel, and keep the symbols and what came back for the count of channel uses.

    Attributes:
        channel: where the symbols go.
        snr_db: float64 (B,), finite.
        key: of the channel's random numbers.
        symbols: as sent, complex (B, uses); None before the call.
        received: as the channel returned them; None before the call.
    """

    channel: Channel
    snr_db: Tensor
    key: Key
    symbols: Tensor | None = None
    received: Received | None = None

    def __call__(self, symbols: Tensor) -> Received:
        """Send symbols. Call this once.

        Args:
            symbols: complex (B, uses), of unit average power in each sample.

        Returns:
            Received symbols and gains, of the symbols' dtype, and noise variances.

        Raises:
            TypeError: for symbols that are no complex tensor, or a channel that returns no `Received` of tensors.
            ValueError: for another shape, or a second call: what goes over the air is counted once.
        """
        if self.symbols is not None:
            raise ValueError("air: expected one call for each batch, got a second one")
        if not isinstance(symbols, Tensor) or not symbols.is_complex():
            raise TypeError(f"symbols: expected a complex tensor (B, uses), got {describe(symbols)}")
        if symbols.dim() != 2 or len(symbols) != len(self.snr_db):
            raise ValueError(f"symbols: expected shape ({len(self.snr_db)}, uses), got {tuple(symbols.shape)}")
        self.symbols = symbols
        check_call(self.channel.forward, f"{type(self.channel).__name__}.forward", "s, snr_db, key")
        try:
            received = self.channel(symbols, self.snr_db, self.key)
        except RuntimeError as error:  # shapes that do not fit: of a user's channel that was tried with a number
            given = f"s {tuple(symbols.shape)}, {symbols.dtype}, and snr_db {tuple(self.snr_db.shape)}, {self.snr_db.dtype}"
            error.add_note(f"channel: {type(self.channel).__name__}.forward was called with {given}: an SNR for each sample")
            raise
        if wrong := describe_wrong(received):
            raise TypeError(f"channel: expected {type(self.channel).__name__} to return a semdiff.Received of tensors, got {wrong}")
        if not received.y.is_complex():
            raise TypeError(f"channel: expected {type(self.channel).__name__} to return complex symbols y, got {received.y.dtype}")
        # A noise variance is float64, and so is what a user's channel makes of one: it is rounded to the symbols' precision.
        self.received = received._replace(y=received.y.to(symbols.dtype), h=received.h.to(symbols.dtype))
        return self.received


class ImageTransmitter(ABC):
    """Send images over a noisy channel and receive them.

    A class of your own has one method, `exchange`. `transmit` checks the arguments that all have, runs it, and counts the channel uses.

    Example:
        >>> import torch, semdiff as sd
        >>> from semdiff.transmission.transmitter import Decoded, ImageTransmitter
        >>> class Pixels(ImageTransmitter):
        ...     '''Two pixels in each symbol, uncoded.'''
        ...     def exchange(self, images, air, *, cbr, steps, realism, key):
        ...         symbols, scale = sd.normalize_power(sd.pack(images - 0.5))
        ...         x = air(symbols).y * scale[:, None]
        ...         return Decoded((sd.unpack(x, images.shape) + 0.5).clamp(0, 1))
        >>> sent = Pixels().transmit(torch.rand(2, 1, 8, 8), snr_db=20.0, key=sd.Key(0))
        >>> sent.images.shape, sent.ledger.cbr
        (torch.Size([2, 1, 8, 8]), 0.5)
    """

    axes: ClassVar[tuple[str, ...]] = ()  # which of "steps" and "realism" change its pictures: what an evaluation varies

    @property
    def most_steps(self) -> int:
        """Return the most evaluations that a sampler can be asked for."""
        return 1000

    @torch.no_grad()
    def transmit(
        self,
        images: Tensor,
        snr_db: float | Tensor,
        *,
        cbr: float | None = None,
        channel: Channel | None = None,
        steps: StepCount = "auto",
        realism: float = 1.0,
        key: KeyLike = None,
        **receiver: Any,
    ) -> Transmission:
        """Send images over `channel` at `snr_db`, which both ends know, and receive them.

        Args:
            images: float (B, C, H, W) in [0, 1], a tensor or a NumPy array.
            snr_db: signal-to-noise ratio of a symbol in dB, a number or float (B,).
            cbr: complex channel uses for each source value (C*H*W of an image); None is the most that is offered, or 1/12.
            channel: where the symbols go; None is AWGN().
            steps: evaluations of a sampler, or "auto"; without effect where there is none.
            realism: 0 for the picture of least error, 1 for the one of most detail, or between; without effect where there is one picture.
            key: of the channel's and the receiver's random numbers; None draws one from torch's generator.
            receiver: more arguments of this system's `exchange`.

        Returns:
            The received images, what they cost on the air, and what was measured: see `Transmission`.

        Raises:
            TypeError, ValueError: naming the argument, for anything out of its range.
        """
        begun = time.perf_counter()
        check_share(realism, "realism")
        check_steps(steps, self.most_steps)
        images = as_tensor(images)
        if not isinstance(images, Tensor):
            hint = "read_picture(file)[None] / 255, of semdiff.data, is one"
            raise TypeError(f"images: expected a float tensor of shape (B, C, H, W) in [0, 1], got {type(images).__name__}; {hint}")
        channel = AWGN() if channel is None else channel
        if not isinstance(channel, Channel):
            form = "or a class of yours with forward(self, s, snr_db, key)"
            raise TypeError(f"channel: expected a semdiff.Channel, such as semdiff.Rayleigh(), {form}, got {describe(channel)}")
        where = f"{type(self).__name__}.exchange"
        check_call(self.exchange, where, "images, air", ", ".join(("cbr", "steps", "realism", "key", *receiver)))
        base = Key.of(key)
        air = Air(channel, per_sample(snr_db, "snr_db", len(images) if images.dim() else 1), base.fold_in(CHANNEL))
        decoded = self.exchange(images, air, cbr=cbr, steps=steps, realism=float(realism), key=base, **receiver)
        if air.symbols is None or air.received is None:
            raise ValueError(f"{where}: expected one call of air(symbols), got none")
        decoded = _check_decoded(decoded, images, where)
        return make_transmission(decoded.images, air.symbols, air.received, air.channel, begun, decoded.t, decoded.evaluations)

    @abstractmethod
    def exchange(self, images: Tensor, air: Air, *, cbr: float | None, steps: StepCount, realism: float, key: Key) -> Decoded:
        """Encode the images, call `air` once with the symbols, and decode what it returns.

        Args:
            images: float (B, C, H, W) in [0, 1], not checked beyond being a tensor.
            air: the channel at this batch's SNR.
            cbr, steps, realism: as in `transmit`, the last two checked.
            key: of the batch; its child 0 is the channel's, others are free.

        Returns:
            The decoded images. `transmit` also takes the images alone, and a NumPy array for a tensor.
        """


def _check_decoded(decoded: Any, images: Tensor, where: str) -> Decoded:
    """TypeError or ValueError unless an exchange returned images like those that it was given; images alone will do."""
    if isinstance(decoded, Decoded):
        decoded = decoded._replace(images=as_tensor(decoded.images))
    else:
        alone = as_tensor(decoded)
        decoded = Decoded(alone) if isinstance(alone, Tensor) else decoded
    if not isinstance(decoded, Decoded) or not isinstance(decoded.images, Tensor) or not decoded.images.is_floating_point():
        got = describe(decoded.images) if isinstance(decoded, Decoded) else describe(decoded)
        raise TypeError(f"{where}: expected Decoded(images), images a float tensor, got {got}")
    if decoded.images.shape != images.shape:
        raise ValueError(f"{where}: expected images of shape {tuple(images.shape)}, as they were sent, got {tuple(decoded.images.shape)}")
    return decoded
