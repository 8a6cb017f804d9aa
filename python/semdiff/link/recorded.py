# SPDX-License-Identifier: Apache-2.0
"""Send an image as radio samples, and receive an image from a recording.

A recording's metadata describe the frame to the receiver. They did not go over the channel, so the result declares every field with its
bits. What may differ from one frame to the next, the number of payload symbols, counts as side information at one bit a channel use. What
two ends agree on once (the frame's layout, the image's size, the model) is declared and does not count.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from semdiff._util.arguments import fits
from semdiff.link.files import DEFAULT_MODEL
from semdiff.link.pipeline import SemanticLink
from semdiff.models.store import CHECKSUMS, shipped_models, verify_checksums
from semdiff.phy.sync import FrameSpec, Synchronization, modulate, resample, synchronize
from semdiff.rng import Key, KeyLike
from semdiff.transmission.inputs import check_share
from semdiff.transmission.ledger import Ledger
from semdiff.transmission.step_count import StepCount, check_steps

# Chosen by hand.
LEAST_BANDWIDTHS = 1.2  # the lowest sample rate of a recording, in bandwidths of the frame, with room for the resampling filter
MOST_FRAME_RATES = 256  # the highest sample rate of a recording, in sample rates of the frame
PEAK = 0.7  # largest |I| or |Q|, below a converter's full scale, with room for its filters


@dataclass(frozen=True)
class Description:
    """Hold what a recording tells its receiver: the semdiff:NAME fields of its metadata.

    Attributes:
        frame: the frame's layout.
        image_shape: (C, H, W) of the image.
        model: from `model_digest`.
    """

    frame: FrameSpec
    image_shape: tuple[int, int, int]
    model: str

    def to_metadata(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"frame": asdict(self.frame), "image_shape": list(self.image_shape), "model": self.model}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Description:
        """Read the fields from the global object of a recording.

        Args:
            metadata: the object.

        Raises:
            ValueError: naming the field, where one is absent or damaged.
        """
        present = sorted({name.split(":")[0] for name in metadata if ":" in name})
        for name in ("semdiff:frame", "semdiff:image_shape", "semdiff:model"):
            if name not in metadata:
                raise ValueError(f"{name}: expected a recording that semdiff made, which has this field, got {', '.join(present)}")
        frame, shape, model = (metadata[f"semdiff:{name}"] for name in ("frame", "image_shape", "model"))
        names = {f.name for f in fields(FrameSpec)}
        if not isinstance(frame, dict) or set(frame) != names:
            raise ValueError(f"semdiff:frame: expected an object with {', '.join(sorted(names))}, got {str(frame)[:200]}")
        if not (isinstance(shape, list) and len(shape) == 3 and all(type(n) is int and n > 0 for n in shape)):
            raise ValueError(f"semdiff:image_shape: expected three integers above zero, got {str(shape)[:200]}")
        if not (isinstance(model, str) and re.fullmatch("[0-9a-f]{64}", model)):
            raise ValueError(f"semdiff:model: expected 64 hexadecimal digits, got {str(model)[:200]}")
        try:
            return cls(FrameSpec(**frame), (shape[0], shape[1], shape[2]), model)
        except (TypeError, ValueError) as error:
            raise ValueError(f"semdiff:frame: {error}") from None

    def declared(self, offers: int) -> dict[str, int]:
        """Count the bits of each field that the receiver was told.

        Args:
            offers: numbers of payload symbols to choose from, which the payload's bits count; the rest is counted as written.

        Returns:
            Bits by name.
        """
        layout = {name: value for name, value in asdict(self.frame).items() if name != "payload"}
        return {
            "payload": math.ceil(math.log2(offers)),
            "frame": 8 * len(json.dumps(layout, separators=(",", ":"))),
            "image_shape": 8 * len(json.dumps(self.image_shape, separators=(",", ":"))),
            "model": 4 * len(self.model),
        }

    def ledger(self, offers: int) -> Ledger:
        """Count the frame's channel uses; `offers` as in `declared`."""
        c, height, width = self.image_shape
        return Ledger(
            payload=self.frame.payload,
            source_values=c * height * width,
            side_information=self.declared(offers)["payload"],
            pilots=self.frame.pilots,
            preamble=2 * self.frame.preamble,
        )


@dataclass(frozen=True)
class ReceivedImage:
    """Hold an image received from a recording. `receive_samples` returns it.

    Attributes:
        image: float (C, H, W) in [0, 1].
        ledger: channel uses of the frame.
        declared: bits by name of what the receiver was told besides the signal.
        synchronization: time, frequency and phase that were found.
        t: the time at which denoising began.
        evaluations: of the denoiser.
        seconds: wall-clock time.
    """

    image: Tensor
    ledger: Ledger
    declared: dict[str, int]
    synchronization: Synchronization
    t: float
    evaluations: int
    seconds: float


def model_digest(folder: Path | None = None) -> str:
    """Compute the SHA-256 of a model's list of checksums, in hexadecimal.

    Args:
        folder: of the model; None is the default model.

    Raises:
        ValueError: where there is no list, or a file is altered.
    """
    folder = shipped_models()[DEFAULT_MODEL] if folder is None else folder
    if not (folder / CHECKSUMS).is_file():
        raise ValueError(f"{folder}: expected a model with {CHECKSUMS}, as save_pretrained writes it")
    verify_checksums(folder)
    listed = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


def at_the_frames_rate(samples: NDArray[Any], rate: float, sent_rate: float, spec: FrameSpec) -> NDArray[Any]:
    """Resample a recording to the sample rate of the frame.

    Args:
        samples: complex (n,).
        rate: samples a second of the recording.
        sent_rate: samples a second of the frame.
        spec: the frame's layout.

    Raises:
        ValueError: naming both rates, where `rate` is too low for the frame's band, or more than 256 times as high.
    """
    least = LEAST_BANDWIDTHS * (1 + spec.roll_off) * sent_rate / spec.samples_per_symbol
    if not least <= rate <= MOST_FRAME_RATES * sent_rate:
        expected = f"a recording of {least:g} to {MOST_FRAME_RATES * sent_rate:g} samples a second, for a frame sent at {sent_rate:g}"
        raise ValueError(f"core:sample_rate: expected {expected}, got {rate:g}")
    return resample(samples, rate, sent_rate)


def send_samples(
    link: SemanticLink, image: Tensor, model: str, cbr: float | None = None, snr_db: float = 10.0
) -> tuple[NDArray[Any], Description]:
    """Encode one image as a frame's samples.

    Args:
        link: the link.
        image: float (C, H, W) in [0, 1].
        model: from `model_digest`.
        cbr, snr_db: as in `SemanticLink.send`.

    Returns:
        complex64 samples with a peak of 0.7, and their description.
    """
    symbols = link.send(image[None], cbr=cbr, snr_db=snr_db)
    spec = FrameSpec(payload=symbols.shape[1])
    samples = modulate(symbols, spec)
    description = Description(spec, (image.shape[0], image.shape[1], image.shape[2]), model)
    return samples * (PEAK / max(abs(samples.real).max(), abs(samples.imag).max())), description


@torch.no_grad()
def receive_samples(
    link: SemanticLink,
    samples: NDArray[Any],
    description: Description,
    model: str,
    steps: StepCount = "auto",
    realism: float = 1.0,
    key: KeyLike = None,
) -> ReceivedImage:
    """Decode the image of the strongest frame in samples; gain and SNR are estimated.

    Args:
        link: the link.
        samples: complex (n,), at the frame's sample rate.
        description: of the frame.
        model: from `model_digest`.
        steps, realism, key: as in `SemanticLink.receive`.

    Raises:
        ValueError: where the description is of another model, or no whole frame is found.
    """
    begun = time.perf_counter()
    check_share(realism, "realism")
    check_steps(steps, link.schedule.T)
    base = Key.of(key)
    if description.model != model:
        raise ValueError(f"semdiff:model: expected {model[:12]}..., the model at hand, got {description.model[:12]}..., another one")
    if not fits(description.image_shape, link.image_shape):
        raise ValueError(f"semdiff:image_shape: expected {link.image_shape}, the model's, got {description.image_shape}")
    spec, size = description.frame, description.image_shape[1:]
    layout = link.layout(size)
    offers = [layout.uses(channels) for channels in layout.counts]
    if spec.payload not in offers:
        raise ValueError(f"semdiff:frame: payload: expected one of {offers}, what the model sends, got {spec.payload}")
    received, found = synchronize(samples, spec)
    reception = link.equalize_and_upsample(link.received(received.y, received.noise_var, received.h, size=size), key=base, size=size)
    images, t, evaluations = link.denoise_and_decode(reception, steps=steps, realism=realism, key=base, size=size)
    began = math.nan if t is None else float(t[0])
    ledger, declared = description.ledger(len(offers)), description.declared(len(offers))
    return ReceivedImage(images[0], ledger, declared, found, began, evaluations, time.perf_counter() - begun)
