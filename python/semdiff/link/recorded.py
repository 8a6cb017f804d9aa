# SPDX-License-Identifier: Apache-2.0
"""A link whose air is a recording: an image to samples, and samples to an image.

A recording's metadata describe the frame to the receiver. Nothing of that went over the air, so it is declared with the result: every
name with its bits. What may differ from one frame to the next, the number of payload symbols, is charged as side information at one bit
a channel use; what two ends agree on once (the frame's layout, the image's size, the model) is declared and not charged.
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
from semdiff.link.pipeline import DEFAULT_MODEL, SemanticLink
from semdiff.models.store import NAME, shipped_models, verify_checksums
from semdiff.phy.sync import FrameSpec, Synchronization, modulate, resample, synchronize
from semdiff.rng import Key, KeyLike
from semdiff.transmission.inputs import check_share
from semdiff.transmission.ledger import Ledger
from semdiff.transmission.steps import StepCount, check_steps

BAND = 1.2  # times a frame's bandwidth: the least rate of a recording, with room for the filter that changes it
HIGHEST = 256  # times a frame's rate: the most
PEAK = 0.7  # of the larger of |I| and |Q|: below a converter's full scale, with room for its filters


@dataclass(frozen=True)
class Description:
    """What a recording tells its receiver: the semdiff:NAME fields of its metadata."""

    frame: FrameSpec
    image_shape: tuple[int, int, int]
    model: str  # `model_digest`

    def to_metadata(self) -> dict[str, Any]:
        return {"frame": asdict(self.frame), "image_shape": list(self.image_shape), "model": self.model}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any]) -> Description:
        """From the global object of a recording. ValueError, naming the field, where one is absent or damaged."""
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
        """Names and bits of what the receiver was told. payload is a choice among `offers`, the rest is counted as written."""
        layout = {name: value for name, value in asdict(self.frame).items() if name != "payload"}
        return {
            "payload": math.ceil(math.log2(offers)),
            "frame": 8 * len(json.dumps(layout, separators=(",", ":"))),
            "image_shape": 8 * len(json.dumps(self.image_shape, separators=(",", ":"))),
            "model": 4 * len(self.model),
        }

    def ledger(self, offers: int) -> Ledger:
        """What the frame costs on the air."""
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
    """What `receive_samples` returns."""

    image: Tensor  # (C, H, W), float, in [0, 1]
    ledger: Ledger
    declared: dict[str, int]  # what the receiver was told beside the air: names and bits
    synchronization: Synchronization
    t: float  # time at which denoising began
    evaluations: int
    seconds: float


def model_digest(folder: Path | None = None) -> str:
    """SHA-256 of a model's list of checksums, in hexadecimal; None is the default model. ValueError where there is no list."""
    folder = shipped_models()[DEFAULT_MODEL] if folder is None else folder
    if not (folder / NAME).is_file():
        raise ValueError(f"{folder}: expected a model with {NAME}, as save_pretrained writes it")
    verify_checksums(folder)
    listed = json.loads((folder / NAME).read_text(encoding="utf-8"))
    return hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()


def at_the_frames_rate(samples: NDArray[Any], rate: float, sent_rate: float, spec: FrameSpec) -> NDArray[Any]:
    """Samples that were heard at `rate` a second at that of the frame, `sent_rate`. ValueError, naming both, where `rate` is too low for
    its band, or hundreds of times as high."""
    least = BAND * (1 + spec.roll_off) * sent_rate / spec.samples_per_symbol
    if not least <= rate <= HIGHEST * sent_rate:
        wanted = f"a recording of {least:g} to {HIGHEST * sent_rate:g} samples a second, for a frame sent at {sent_rate:g}"
        raise ValueError(f"core:sample_rate: expected {wanted}, got {rate:g}")
    return resample(samples, rate, sent_rate)


def send_samples(
    link: SemanticLink, image: Tensor, model: str, cbr: float | None = None, snr_db: float = 10.0
) -> tuple[NDArray[Any], Description]:
    """One image (C, H, W) as a frame's samples, complex64 with a peak of 0.7, and its description. Arguments as in `SemanticLink.send`."""
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
    """The image of the strongest frame in samples, complex (n,). Arguments as in `SemanticLink.receive`; gain and SNR are estimated.

    ValueError where the description is of another model, or no whole frame is found.
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
    heard = link.equalize_and_upsample(link.received(received.y, received.noise_var, received.h, size=size), key=base, size=size)
    images, t, evaluations = link.denoise_and_decode(heard, steps=steps, realism=realism, key=base, size=size)
    began = math.nan if t is None else float(t[0])
    ledger, declared = description.ledger(len(offers)), description.declared(len(offers))
    return ReceivedImage(images[0], ledger, declared, found, began, evaluations, time.perf_counter() - begun)
