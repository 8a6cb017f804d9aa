# SPDX-License-Identifier: Apache-2.0
"""Receive a hybrid digital-analog code with networks: a picture of least error, one of most detail, and samples of a diffusion model.

The linear receiver of `Hybrid` knows how large its error is in every cell. From there each picture has a network:

- the mean: `Restorer`, trained on squared error;
- the perceptual estimate p: another `Restorer`, trained on LPIPS too, which says the variance s^2 of its error for every pixel;
- a sample: `PictureDenoiser` follows the straight path from p + k s eps, k^2 = `renoise`, to the picture. It is told that state and the
  variance of its noise, (1 + k^2) s^2, and neither p nor the base: what the state leaves out it has to draw.

Noise that differs from pixel to pixel becomes one time of the forward process by division: with c^2 = (1 + k^2) s^2 / v, v its average,
x / c has noise of variance v everywhere, and its t is the schedule's for v. The path and the solver are those of a `PixelLink`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from semdiff._util.child_keys import DENOISER
from semdiff.baselines.hybrid import Hybrid
from semdiff.baselines.hybrid_reception import HybridReception
from semdiff.diffusion.matching import DiffusionState, match
from semdiff.diffusion.sampler import sample
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.link.pixel_starting_state import straight_grid
from semdiff.models.loading import load_network
from semdiff.models.restorer import PIXEL_STD, PictureDenoiser, Restored, Restorer
from semdiff.models.store import find_baseline, find_model, model_index, saved, verify_checksums
from semdiff.rng import Key, normal
from semdiff.transmission.step_count import StepCount
from semdiff.transmission.transmitter import Decoded

AUTO_STEPS = 4
# The least v of a first state: that of less noise is scaled to it, so that the schedule, which begins at 0.00085, has room for the steps.
LEAST_NOISE = 0.05


class ScaledState(NamedTuple):
    """Hold a first state and what it was divided by.

    Attributes:
        state: x / c at its time t.
        scale: c, of the shape of x.
    """

    state: DiffusionState
    scale: Tensor


def scaled_state(perceptual: Restored, renoise: float, schedule: NoiseSchedule, key: Key) -> ScaledState:
    """Compute the state at which a sample begins, see the module.

    Args:
        perceptual: the perceptual estimate and the ln of its error's variance, (B, C, H, W).
        renoise: variance of the fresh noise, in parts of the error's.
        schedule: of the times.
        key: of the fresh noise.
    """
    variance = perceptual.logvar.exp()
    x = perceptual.mean.clamp(0, 1) + (renoise * variance).sqrt() * normal(variance.shape, key, variance.dtype)
    total = (1 + renoise) * variance
    average = total.double().flatten(1).mean(1) / PIXEL_STD**2  # of the schedule's data, which have unit variance
    average = average.clamp_min(LEAST_NOISE)
    scale = (total / average.to(total)[:, None, None, None]).sqrt()
    return ScaledState(match(x / scale, average, schedule), scale)


class HybridLink(Hybrid):
    """Send images as `Hybrid` does, and receive colour pictures with networks. Grey ones are shown as they arrive.

    realism 0 is the mean, 1 a sample, or the perceptual estimate of a link without a denoiser, or the mean of one without both.

    Args:
        restorer: makes the mean.
        perceptual: makes the perceptual estimate, or None.
        denoiser: of samples, or None.
        renoise: variance of a sample's fresh noise, in parts of the perceptual estimate's error variance.
        options: of `Hybrid`.

    Example:
        >>> import semdiff as sd
        >>> from semdiff.baselines.hybrid_link import HybridLink
        >>> from semdiff.data import sample_photos
        >>> from semdiff.models.restorer import Restorer
        >>> link = HybridLink(Restorer(), codec="webp")  # untrained: the linear estimate
        >>> link.transmit(sample_photos()[:1, :, :64, :64], snr_db=10.0, cbr=1 / 12, key=sd.Key(0)).evaluations
        0
    """

    axes: ClassVar[tuple[str, ...]] = ("steps", "realism")
    weights: ClassVar[str] = "hybrid-link"
    options: ClassVar[tuple[str, ...]] = ("share", "margin_db", "codec", "target_bler", "design_snr_db", "renoise")
    parts: ClassVar[dict[str, Any]] = {"restorer": Restorer, "perceptual": Restorer, "denoiser": PictureDenoiser}

    def __init__(
        self,
        restorer: Restorer,
        perceptual: Restorer | None = None,
        denoiser: PictureDenoiser | None = None,
        renoise: float = 0.25,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if denoiser is not None and perceptual is None:
            raise ValueError("perceptual: expected a Restorer beside the denoiser, whose samples begin there, got None")
        self.restorer, self.perceptual, self.denoiser, self.renoise = restorer, perceptual, denoiser, renoise
        self.schedule = NoiseSchedule.scaled_linear()
        for network in self.components.values():
            network.eval()

    @property
    def components(self) -> dict[str, Any]:
        """Return the networks by name."""
        return {name: getattr(self, name) for name in self.parts if getattr(self, name) is not None}

    @property
    def config(self) -> dict[str, Any]:
        """Return the options that its pictures depend on beside the networks."""
        return {name: getattr(self, name) for name in self.options}

    @classmethod
    def default(cls, model: str = "photos") -> HybridLink:
        """Load the networks in the repository's folder weights/, with the code that they stand behind.

        A wheel has no baselines: the variable SEMDIFF_WEIGHTS names the folder weights/ of a clone.

        Args:
            model: photos, colour pictures of any size, at CBR 1/100 to 1/5 and -2 to 21 dB.

        Raises:
            FileNotFoundError: where there is none of this name.
        """
        return cls.load(find_baseline(model, cls.weights, cls.__name__, "python -m semdiff.training.recipes.hybrid"))

    @classmethod
    def load(cls, folder: str | os.PathLike[str], **options: Any) -> HybridLink:
        """Load the networks that `save` wrote.

        Args:
            folder: the folder, or photos, see `default`.
            options: of `HybridLink`, in place of those that it was saved with.

        Raises:
            FileNotFoundError: where there is none.
            ValueError: where a file is altered, damaged or another network's.
        """
        place = find_model(folder, "folder", cls.weights)
        verify_checksums(place)
        there = {name: kind for name, kind in cls.parts.items() if (place / name).is_dir()}
        if "restorer" not in there:
            raise FileNotFoundError(f"{place}: expected a folder with restorer/, as save writes it")
        files: dict[str, Any] = {"torch_dtype": torch.float32, "use_safetensors": True, "low_cpu_mem_usage": False}
        found = {name: load_network(kind, place / name, (kind.__name__,), files) for name, kind in there.items()}
        index = model_index(place)
        if index.get("_class_name") != cls.__name__:
            raise ValueError(f"{place}: expected a {cls.__name__}, got {index.get('_class_name')!r}")
        return cls(**found, **{name: index[name] for name in cls.options if name in index} | options)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Save the networks as safetensors, the code's options as JSON, and a checksum of each file.

        Args:
            folder: the folder.
        """
        with saved(folder) as place:
            self.write(place)

    def write(self, place: Path) -> None:
        """Write each network to its folder below `place`, and the code's options to model_index.json."""
        for name, network in self.components.items():
            network.save_pretrained(place / name, safe_serialization=True)
        index = {"_class_name": type(self).__name__} | self.config
        (place / "model_index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")

    def show(self, reception: HybridReception, steps: StepCount, realism: float, key: Key) -> Decoded:
        """Make (1 - realism) * mean + realism * sample, in pixels.

        Args:
            reception: of one picture.
            steps: of the sampler; "auto" is 4.
            realism: see the class.
            key: of the sample.
        """
        if reception.base.shape[1] != 3:
            return super().show(reception, steps, realism, key)
        known = reception.base, reception.picture, reception.error_maps()
        if self.perceptual is None or realism == 0.0:
            return Decoded(self.restorer(*known).mean.clamp(0, 1))
        perceptual, count = self.perceptual(*known), 0
        picture = perceptual.mean
        if self.denoiser is not None:
            count = AUTO_STEPS if steps == "auto" else steps
            picture = self.draw(perceptual, self.denoiser, count, key.fold_in(DENOISER))
        picture = picture.clamp(0, 1)
        if realism < 1.0:
            picture = (1 - realism) * self.restorer(*known).mean.clamp(0, 1) + realism * picture
        return Decoded(picture, evaluations=count)

    def draw(self, perceptual: Restored, denoiser: PictureDenoiser, steps: int, key: Key) -> Tensor:
        """Sample pictures, not clamped to [0, 1].

        Args:
            perceptual: the estimate and the ln of its error's variance.
            denoiser: of the samples.
            steps: of the path.
            key: of the fresh noise.
        """
        schedule = self.schedule
        (x, t), scale = scaled_state(perceptual, self.renoise, schedule, key)

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            noise_var = schedule.noise_var(t)
            noisy = x * (1 + noise_var).sqrt().to(x)[:, None, None, None] * scale
            log_var = noise_var.log().to(x)[:, None, None, None] + 2 * scale.log()
            clean: Tensor = noisy - (0.5 * log_var).exp() * denoiser(noisy, log_var)
            return clean / scale

        grid = straight_grid(t, steps, schedule)
        return sample(denoise, DiffusionState(x, t), schedule, steps, "ddim", prediction="x0", grid=grid) * scale
