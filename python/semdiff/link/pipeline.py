# SPDX-License-Identifier: Apache-2.0
"""SemanticLink: images over a noisy channel and back, as a diffusers pipeline."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from diffusers import AutoencoderTiny, DiffusionPipeline, SchedulerMixin, UNet2DModel
from safetensors import SafetensorError
from torch import Tensor

from semdiff.channel import AWGN, Channel, Received
from semdiff.link.codec import from_blocks, to_blocks
from semdiff.link.files import quiet, verify_checksums, write_checksums
from semdiff.link.inputs import check_gains, check_images, check_share, check_steps, choose_rate, per_sample
from semdiff.link.networks import Downsampler, Upsampler
from semdiff.link.reception import estimate, starting_state
from semdiff.link.symbols import arrive, features_to_symbols
from semdiff.link.transmission import Transmission, conclude
from semdiff.matching import MatchMode
from semdiff.rng import Key, KeyLike, key_tensor
from semdiff.sampler import Prediction, Solver, posterior_mean, sample
from semdiff.schedule import NoiseSchedule
from semdiff.vae import GaussianSample

PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
DEFAULT_MODEL = "fashion-mnist"

Self = TypeVar("Self", bound="SemanticLink")


class Heard(NamedTuple):
    """What the receiver knows before it denoises: the up-sampler's Gaussian of x_t and the channel's noise variance, float64 (B,)."""

    gaussian: GaussianSample
    noise_var: Tensor


class SemanticLink(DiffusionPipeline):  # type: ignore[misc]
    """encoder -> Downsampler -> unit power -> channel -> Upsampler -> match -> denoiser -> decoder.

    `SemanticLink.default()` loads the Fashion-MNIST model that comes with the package; `from_pretrained(folder)` one that
    `save_pretrained(folder)` wrote. Weights are safetensors only. Results for an image do not depend on the others in its batch.

    image_shape: (C, H, W) of the images it takes. rates: numbers of symbol channels on offer. renoise: see `starting_state`.
    """

    def __init__(
        self,
        vae: AutoencoderTiny,
        unet: UNet2DModel,
        downsampler: Downsampler,
        upsampler: Upsampler,
        scheduler: SchedulerMixin,
        image_shape: Sequence[int] = (1, 28, 28),
        rates: Sequence[int] = (8, 4),
        renoise: float = 1.0,
    ) -> None:
        super().__init__()
        self.register_modules(vae=vae, unet=unet, downsampler=downsampler, upsampler=upsampler, scheduler=scheduler)
        self.register_to_config(image_shape=list(image_shape), rates=list(rates), renoise=renoise)
        self.schedule = NoiseSchedule.from_diffusers(scheduler)
        self.prediction = PREDICTIONS[scheduler.config.prediction_type]
        for module in (vae, unet, downsampler, upsampler):
            module.eval()

    # What it offers

    @property
    def image_shape(self) -> tuple[int, int, int]:
        c, h, w = self.config.image_shape
        return c, h, w

    @property
    def symbol_shape(self) -> tuple[int, int, int]:
        """(channels, h, w) of the features at the full rate."""
        _, height, width = self.image_shape
        return self.downsampler.config.symbol_channels, -(-height // 8), -(-width // 8)

    @property
    def cbrs(self) -> dict[int, float]:
        """Complex uses for each source value, by the number of symbol channels sent: what `cbr` can be."""
        c, h, w = self.image_shape
        return {channels: self.uses(channels) / (c * h * w) for channels in self.config.rates}

    def uses(self, channels: int) -> int:
        """Complex channel uses for one image."""
        return -(-channels * self.symbol_shape[1] * self.symbol_shape[2] // 2)

    # The transmitter

    @torch.no_grad()
    def send(self, images: Tensor, cbr: float | None = None, snr_db: float | Tensor = 10.0) -> Tensor:
        """Symbols for the air: complex (B, uses), unit average power in each sample.

        images: float (B, C, H, W) in [0, 1]. cbr: one of `cbrs`, within 5 %; None is the largest. snr_db: what the transmitter believes
        about the channel, a number or (B,); it was trained with 2 dB of error there and may be wrong by more at a price.
        """
        check_images(images, self.image_shape)
        channels = choose_rate(cbr, self.cbrs)
        believed = per_sample(snr_db, "snr_db", images.shape[0])
        x = to_blocks(images.to(self.device, self.dtype))
        z = self.vae.encode(x).latents
        features = self.downsampler(z, believed.to(x), self._rate(channels, x))
        return features_to_symbols(features, channels)

    # The receiver

    @torch.no_grad()
    def receive(
        self,
        symbols: Tensor,
        noise_var: float | Tensor,
        h: Tensor | None = None,
        steps: int = 8,
        realism: float = 1.0,
        match: MatchMode = "calibrated",
        solver: Solver = "dpmpp_2m",
        diffusion: bool = True,
        key: KeyLike = None,
    ) -> Tensor:
        """Images (B, C, H, W) in [0, 1] from received symbols, complex (B, uses).

        noise_var: E|n|^2, a number, (B,) or broadcastable to the symbols. h: the channel's complex gain, (B,) or broadcastable to the
        symbols; None is 1. realism r: (1 - r) * posterior mean + r * sample, in image space. match: see `starting_state`.
        diffusion=False decodes the up-sampler's mean as it is.
        """
        heard = self.hear(symbols, noise_var, h, key)
        return self.imagine(heard, steps, realism, match, solver, diffusion, key)[0]

    @torch.no_grad()
    def hear(self, symbols: Tensor, noise_var: float | Tensor, h: Tensor | None = None, key: KeyLike = None) -> Heard:
        """The first half of `receive`: equalises and up-samples."""
        batch = symbols.shape[0]
        channels = self._channels_of(symbols)
        if isinstance(noise_var, Tensor) and noise_var.dim() > 1:
            per_symbol = noise_var.detach().double()
            if not bool((per_symbol > 0).all() & per_symbol.isfinite().all()):
                raise ValueError("noise_var: expected finite numbers above zero")
        else:
            per_symbol = per_sample(noise_var, "noise_var", batch, positive=True)[:, None]
        gain = check_gains(torch.ones(batch) if h is None else h, symbols)
        return self.understand(Received(symbols, gain, per_symbol.to(symbols.device)), channels, key)

    @torch.no_grad()
    def understand(self, received: Received, channels: int, key: KeyLike = None) -> Heard:
        """`hear` for what a channel object returned, at the rate of `channels` symbol channels."""
        received = Received(*(v.to(self.device) for v in received))
        arrived = arrive(received._replace(y=received.y.to(torch.complex64)), channels, self.symbol_shape)
        features, noise_map = arrived.features.to(self.dtype), arrived.noise_map.to(self.dtype)
        snr_db = -10 * torch.log10(arrived.noise_var)
        draw = Key.from_tensor(key_tensor(key)).fold_in(1)
        gaussian = self.upsampler(features, snr_db.to(features), self._rate(channels, features), draw, noise_map)
        return Heard(gaussian, arrived.noise_var.cpu())

    @torch.no_grad()
    def imagine(
        self,
        heard: Heard,
        steps: int = 8,
        realism: float = 1.0,
        match: MatchMode = "calibrated",
        solver: Solver = "dpmpp_2m",
        diffusion: bool = True,
        key: KeyLike = None,
    ) -> tuple[Tensor, Tensor, int]:
        """The second half of `receive`: (images, the time t at which denoising began (B,), evaluations for each image)."""
        share = check_share(realism, "realism")
        check_steps(steps, self.schedule.T)
        batch = heard.noise_var.shape[0]
        if not diffusion:
            return self._decode(estimate(*heard)[0]), torch.full((batch,), torch.nan, dtype=torch.float64), 0
        base = Key.from_tensor(key_tensor(key)).fold_in(2)
        if share == 0.0:
            return *self._mean(heard, match, base), 1
        state = starting_state(*heard, self.schedule, match, self.config.renoise, base)
        z = sample(self._denoise, state, self.schedule, steps, solver, prediction=self.prediction, key=base.fold_in(1))
        evaluations = 2 * steps - 1 if solver == "heun" else steps
        if share == 1.0:
            return self._decode(z), state.t, evaluations
        mean, _ = self._mean(heard, match, base)
        return (1 - share) * mean + share * self._decode(z), state.t, evaluations + 1

    # Both ends and the channel between them

    @torch.no_grad()
    def transmit(
        self,
        images: Tensor,
        snr_db: float | Tensor,
        cbr: float | None = None,
        channel: Channel | None = None,
        steps: int = 8,
        realism: float = 1.0,
        match: MatchMode = "calibrated",
        solver: Solver = "dpmpp_2m",
        diffusion: bool = True,
        key: KeyLike = None,
    ) -> Transmission:
        """Sends images over `channel` (AWGN() if None) at `snr_db`, a number or (B,), which both ends know, and receives them.

        Arguments as in `send` and `receive`. ValueError or TypeError, naming the argument, for anything out of its range.
        """
        begun = time.perf_counter()
        check_share(realism, "realism")
        check_steps(steps, self.schedule.T)
        base = Key.from_tensor(key_tensor(key))
        symbols = self.send(images, cbr, snr_db)
        wanted = per_sample(snr_db, "snr_db", images.shape[0])
        channel = AWGN() if channel is None else channel
        received = channel(symbols, wanted, base.fold_in(0))
        heard = self.understand(received, self._channels_of(symbols), base)
        pictures, t, evaluations = self.imagine(heard, steps, realism, match, solver, diffusion, base)
        return conclude(pictures, symbols, received, channel, begun, t, evaluations)

    __call__ = transmit

    # Files

    @classmethod
    def default(cls: type[Self]) -> Self:
        """The model that comes with the package: Fashion-MNIST, 28x28 grey, CBR 1/12 and 1/24."""
        with as_file(files("semdiff") / "weights" / DEFAULT_MODEL) as folder:
            return cls.from_pretrained(folder)

    @classmethod
    def from_pretrained(cls: type[Self], pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """A link from a local folder that `save_pretrained` wrote, in float32 unless dtype says otherwise.

        FileNotFoundError where there is none; ValueError where a file is missing, truncated or altered. Nothing is downloaded.
        """
        folder = Path(pretrained_model_name_or_path)
        if not (folder / "model_index.json").is_file():
            raise FileNotFoundError(f"{folder}: expected a folder with model_index.json, as save_pretrained writes it")
        verify_checksums(folder)
        options = {"dtype": torch.float32, "use_safetensors": True, "local_files_only": True, "low_cpu_mem_usage": False} | kwargs
        try:
            with quiet():
                link: Self = super().from_pretrained(str(folder), **options)
        except (SafetensorError, OSError) as error:
            raise ValueError(f"{folder}: the model's files are damaged or incomplete ({error})") from error
        return link

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Writes the model as safetensors and JSON, with a checksum of each file."""
        with quiet():
            super().save_pretrained(save_directory, **({"safe_serialization": True} | kwargs))
        write_checksums(Path(save_directory))

    # Parts

    def _mean(self, heard: Heard, mode: MatchMode, key: Key) -> tuple[Tensor, Tensor]:
        state = starting_state(*heard, self.schedule, mode, 0.0, key)
        return self._decode(posterior_mean(self._denoise, state, self.schedule, self.prediction)), state.t

    def _denoise(self, x: Tensor, t: Tensor) -> Tensor:
        return self.unet(x, t).sample  # type: ignore[no-any-return]

    def _decode(self, z: Tensor) -> Tensor:
        _, height, width = self.image_shape
        return from_blocks(self.vae.decode(z).sample, height, width).clamp(0, 1)

    def _rate(self, channels: int, like: Tensor) -> Tensor:
        return torch.full((like.shape[0],), channels / self.symbol_shape[0], dtype=like.dtype, device=like.device)

    def _channels_of(self, symbols: Tensor) -> int:
        if not isinstance(symbols, Tensor) or not symbols.is_complex():
            raise TypeError(f"symbols: expected a complex tensor (B, uses), got {getattr(symbols, 'dtype', type(symbols).__name__)}")
        offers: dict[int, int] = {self.uses(channels): channels for channels in self.config.rates}
        if symbols.dim() != 2 or symbols.shape[0] == 0 or symbols.shape[1] not in offers:
            raise ValueError(f"symbols: expected shape (B, uses) with uses one of {sorted(offers)}, got {tuple(symbols.shape)}")
        if not bool(torch.view_as_real(symbols).isfinite().all()):
            raise ValueError("symbols: expected finite numbers, got NaN or infinity")
        return offers[symbols.shape[1]]
