# SPDX-License-Identifier: Apache-2.0
"""SemanticLink: images over a noisy channel and back, as a diffusers pipeline."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DiffusionPipeline, SchedulerMixin, UNet2DConditionModel, UNet2DModel
from torch import Tensor

from semdiff._util.precision import Precision
from semdiff.diffusion.matching import DiffusionState, MatchMode
from semdiff.diffusion.sampler import Solver, posterior_mean, sample
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.diffusion.vae import GaussianSample
from semdiff.link.assembly import PREDICTIONS, cell_of, check_parts, clip_of, multiple_of, options_around
from semdiff.link.compilation import hasten
from semdiff.link.reception import Heard, estimate, estimate_elements, starting_state
from semdiff.models.codec import Border, from_blocks, to_blocks
from semdiff.models.latents import LatentScale
from semdiff.models.loading import load_parts, read_index
from semdiff.models.networks import Denoiser, DetailDecoder, Downsampler, MeanDecoder, Prompt, SampleDecoder, Upsampler
from semdiff.models.store import model_index, quiet, saved, shipped_models, verify_checksums
from semdiff.phy.channel import AWGN, Channel, Received
from semdiff.rng import Key, KeyLike
from semdiff.transmission.inputs import check_gains, check_images, check_share, choose_rate, per_sample
from semdiff.transmission.layout import Layout
from semdiff.transmission.ledger import Transmission, conclude
from semdiff.transmission.steps import USUAL, Steps, check_steps, check_table, resolve_steps, sample_in_groups
from semdiff.transmission.symbols import features_to_symbols, hear_within
from semdiff.transmission.warnings import average_snr_db, check_range, warn_of_snr

DEFAULT_MODEL = "fashion-mnist"


class SemanticLink(DiffusionPipeline):  # type: ignore[misc]
    """encoder -> Downsampler -> unit power -> channel -> Upsampler -> match -> denoiser -> decoder.

    `SemanticLink.default()` loads a model that comes with the package, the Fashion-MNIST one if none is named;
    `from_pretrained(folder)` one that `save_pretrained(folder)` wrote. Weights are safetensors only. Results for an image do not depend on
    the others in its batch.

    image_shape: (C, H, W) of the images it takes; H and W are None where it takes any. rates: numbers of symbol channels on offer.
    renoise: see `starting_state`. block, border: see `semdiff.models.codec`. header: see `semdiff.transmission.header`; models for any size
    need one.
    mean_decoder: makes the picture of least error from the up-sampler's Gaussian; the denoiser, whose mean it replaces, is not run.
    sample_decoder: decodes samples, in place of the autoencoder's decoder; or a detail_decoder adds what they show to the mean_decoder's
    picture. prompt: what a text-conditioned denoiser is told.
    auto_steps: what steps="auto" means, pairs of an SNR in dB and the steps from there upwards; None is 8. snr_db_range: the SNRs of the
    training, [low, high]; outside there is a UserWarning. faintest_db, clearest_db: of what is heard, see
    `semdiff.transmission.symbols.within`.
    """

    saved_as: ClassVar[str] = "SemanticLink"  # in a folder's model_index.json
    _optional_components = ["mean_decoder", "sample_decoder", "detail_decoder", "prompt"]  # noqa: RUF012, diffusers' own name and type

    def __init__(
        self,
        vae: AutoencoderTiny | AutoencoderKL,
        unet: UNet2DModel | UNet2DConditionModel | Denoiser,
        downsampler: Downsampler,
        upsampler: Upsampler,
        scheduler: SchedulerMixin,
        mean_decoder: MeanDecoder | None = None,
        sample_decoder: SampleDecoder | None = None,
        detail_decoder: DetailDecoder | None = None,
        prompt: Prompt | None = None,
        image_shape: Sequence[int | None] = (1, 28, 28),
        rates: Sequence[int] = (8, 4),
        renoise: float = 1.0,
        block: int = 4,
        border: Border = "black",
        header: bool = False,
        auto_steps: Sequence[Sequence[float]] | None = None,
        snr_db_range: Sequence[float] | None = None,
        clearest_db: float | None = None,
        faintest_db: float | None = None,
    ) -> None:
        super().__init__()
        modules = {"vae": vae, "unet": unet, "downsampler": downsampler, "upsampler": upsampler}
        modules |= {"mean_decoder": mean_decoder, "sample_decoder": sample_decoder, "detail_decoder": detail_decoder, "prompt": prompt}
        self.register_modules(scheduler=scheduler, **modules)
        check_parts(vae, unet, scheduler, prompt)
        self.schedule, self.clip = NoiseSchedule.from_diffusers(scheduler), clip_of(scheduler)
        self._latents = LatentScale.of(vae.config)
        check_table(auto_steps, self.schedule.T)
        check_range(snr_db_range)
        shape = {"image_shape": list(image_shape), "rates": list(rates), "block": block, "border": border, "header": header}
        self.register_to_config(**shape, renoise=renoise, auto_steps=auto_steps, clearest_db=clearest_db)
        self.register_to_config(snr_db_range=snr_db_range and list(snr_db_range), faintest_db=faintest_db)
        self._heard_db = (-math.inf if faintest_db is None else faintest_db, math.inf if clearest_db is None else clearest_db)
        self.prediction = PREDICTIONS[scheduler.config.prediction_type]
        self.hinted = bool(unet.config.get("hints", 0))
        self._multiple = multiple_of(vae, unet, block)
        for module in modules.values():
            if module is not None:
                module.eval()

    # What it offers

    @property
    def image_shape(self) -> tuple[int, int | None, int | None]:
        c, h, w = self.config.image_shape
        return c, h, w

    @property
    def cell(self) -> int:
        """Pixels on the side of the square that one set of symbols stands for: two latents."""
        return cell_of(self.vae, self.config.block)

    @property
    def trained_on(self) -> tuple[str, ...]:
        """The metrics that its training made good. A decoder of the samples' own saw LPIPS, that of details by both networks."""
        return ("psnr", "lpips_alex", "lpips_vgg")[: 3 if self.detail_decoder else 2 if self.sample_decoder else 1]

    def layout(self, size: tuple[int, int] | None = None) -> Layout:
        """How images of this height and width lie on the air. None: of the size that the model is for, or of one cell if it takes any."""
        c, height, width = self.image_shape
        cell = self.cell
        h, w = size or (height or cell, width or cell)
        channels = self.downsampler.config.symbol_channels
        return Layout((c, h, w), self._multiple, cell, channels, tuple(self.config.rates), self.config.header, height is None)

    @property
    def cbrs(self) -> dict[int, float]:
        """Complex uses for each source value, by the number of symbol channels sent: what `cbr` can be. For a model of any size what they
        are without padding and header; `Ledger.cbr` counts both."""
        return self.layout().cbrs

    # The transmitter

    @torch.no_grad()
    def send(self, images: Tensor, cbr: float | None = None, snr_db: float | Tensor = 10.0) -> Tensor:
        """Symbols for the air: complex (B, uses), unit average power in each sample.

        images: float (B, C, H, W) in [0, 1]. cbr: one of `cbrs`, within 5 %, or with a UserWarning what lies between them; None is the
        largest. snr_db: what the transmitter believes about the channel, a number or (B,); it was trained with 2 dB of error there and may
        be wrong by more at a price.
        """
        check_images(images, self.image_shape)
        channels = choose_rate(cbr, self.layout())
        believed = per_sample(snr_db, "snr_db", images.shape[0])
        warn_of_snr(believed, self.config.snr_db_range)
        z = self.encode(images.to(self.device, self.dtype))
        rate = self._rate(channels, z)
        features = self.downsampler(z, (believed.to(z) - self.downsampler.level_db(z, rate)).clamp_max(self._heard_db[1]), rate).to(z)
        return features_to_symbols(features, channels, self.config.header)

    def encode(self, images: Tensor) -> Tensor:
        """Latents (B, C, h, w) of about unit variance for images (B, C, H, W) in [0, 1]: of a variational encoder the scaled mode."""
        found = self.vae.encode(to_blocks(images, self.config.block, self.config.border, self._multiple))
        latents = found.latents if hasattr(found, "latents") else found.latent_dist.mode()
        return self._latents.normalize(latents.to(images))

    # The receiver

    @torch.no_grad()
    def receive(
        self,
        symbols: Tensor,
        noise_var: float | Tensor,
        h: Tensor | None = None,
        steps: Steps = USUAL,
        realism: float = 1.0,
        match: MatchMode = "calibrated",
        solver: Solver = "dpmpp_2m",
        diffusion: bool = True,
        key: KeyLike = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Images (B, C, H, W) in [0, 1] from received symbols, complex (B, uses).

        noise_var: E|n|^2, a number, (B,) or broadcastable to the symbols. h: the channel's complex gain, (B,) or broadcastable to the
        symbols; None is 1. steps: a number, or "auto": what `auto_steps` says to the SNR at which a sample was heard. realism r: in pixels
        (1 - r) * mean + r * sample; the mean is the denoiser's posterior mean, or the mean_decoder's picture, in 0 evaluations. match: see
        `starting_state`. diffusion=False: the up-sampler's mean by a decoder untrained for it. size: height, width, for a model of any.
        """
        heard = self.hear(symbols, noise_var, h, key, size)
        return self.imagine(heard, steps, realism, match, solver, diffusion, key, size)[0]

    @torch.no_grad()
    def hear(
        self,
        symbols: Tensor,
        noise_var: float | Tensor,
        h: Tensor | None = None,
        key: KeyLike = None,
        size: tuple[int, int] | None = None,
    ) -> Heard:
        """The first half of `receive`: equalises and up-samples."""
        batch = symbols.shape[0]
        channels = self._sized(size).channels_of(symbols)
        if isinstance(noise_var, Tensor) and noise_var.dim() > 1:
            per_symbol = noise_var.detach().double()
            if not bool((per_symbol > 0).all() & per_symbol.isfinite().all()):
                raise ValueError("noise_var: expected finite numbers above zero")
        else:
            per_symbol = per_sample(noise_var, "noise_var", batch, positive=True)[:, None]
        gain = check_gains(torch.ones(batch, device=symbols.device) if h is None else h, symbols)
        warn_of_snr(average_snr_db(gain, per_symbol, fading=h is not None), self.config.snr_db_range)
        return self.understand(Received(symbols, gain, per_symbol.to(symbols.device)), channels, key, size)

    @torch.no_grad()
    def understand(self, received: Received, channels: int, key: KeyLike = None, size: tuple[int, int] | None = None) -> Heard:
        """`hear` for what a channel object returned, at the rate of `channels` symbol channels."""
        arrived, snr_db = hear_within(received, channels, self._sized(size), self._heard_db, self.device, self.dtype)
        features, noise_var, noise_map = arrived
        told = snr_db, self._rate(channels, features)
        gaussian = self.upsampler(features, *told, Key.of(key).fold_in(1), noise_map)
        return Heard(GaussianSample(*(v.to(features) for v in gaussian)), noise_var.cpu())

    @torch.no_grad()
    def imagine(
        self,
        heard: Heard,
        steps: Steps = USUAL,
        realism: float = 1.0,
        match: MatchMode = "calibrated",
        solver: Solver = "dpmpp_2m",
        diffusion: bool = True,
        key: KeyLike = None,
        size: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Tensor, int]:
        """The second half of `receive`: (images, the time t at which denoising began (B,), evaluations for each image, the most if they
        differ)."""
        share = check_share(realism, "realism")
        check_steps(steps, self.schedule.T)
        pixels = self._sized(size).image[1:]
        if not diffusion:
            return self._decode(estimate(*heard)[0], pixels), torch.full_like(heard.noise_var, torch.nan), 0
        base = Key.of(key).fold_in(2)
        if share == 0.0:
            return self._mean(heard, match, base, pixels)
        state = starting_state(*heard, self.schedule, match, self.config.renoise, base)
        counts = resolve_steps(steps, -10 * torch.log10(heard.noise_var), self.config.auto_steps)

        def draw(count: int, rows: Tensor) -> Tensor:
            part = DiffusionState(state.x[rows], state.t[rows])
            denoiser, key = self.denoiser(*estimate_elements(*heard.of(rows))), base.fold_in(1)
            return sample(denoiser, part, self.schedule, count, solver, prediction=self.prediction, clip=self.clip, key=key)

        z = sample_in_groups(draw, counts, together=solver == "ddpm")
        evaluations = 2 * int(counts.max()) - 1 if solver == "heun" else int(counts.max())
        if share == 1.0:
            return self._decode_sample(z, heard, pixels), state.t, evaluations
        mean, _, more = self._mean(heard, match, base.fold_in(2), pixels)  # the sample's start has base
        return (1 - share) * mean + share * self._decode_sample(z, heard, pixels), state.t, evaluations + more

    # Both ends and the channel between them

    @torch.no_grad()
    def transmit(
        self,
        images: Tensor,
        snr_db: float | Tensor,
        cbr: float | None = None,
        channel: Channel | None = None,
        steps: Steps = USUAL,
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
        base = Key.of(key)
        symbols = self.send(images, cbr, snr_db)
        size = (images.shape[2], images.shape[3])
        wanted = per_sample(snr_db, "snr_db", images.shape[0])
        channel = AWGN() if channel is None else channel
        received = channel(symbols, wanted, base.fold_in(0))
        heard = self.understand(received, self.layout(size).channels_of(symbols), base, size)
        pictures, t, evaluations = self.imagine(heard, steps, realism, match, solver, diffusion, base, size)
        return conclude(pictures, symbols, received, channel, begun, t, evaluations)

    __call__ = transmit

    @classmethod
    def from_diffusers(
        cls,
        vae: AutoencoderTiny | AutoencoderKL,
        unet: UNet2DModel | UNet2DConditionModel,
        scheduler: SchedulerMixin,
        downsampler: Downsampler | None = None,
        upsampler: Upsampler | None = None,
        prompt_embeds: Tensor | None = None,
    ) -> Self:
        """A link for pictures of any size around an autoencoder, a denoiser of its latents, and the scheduler that this was trained with.

        downsampler, upsampler: None makes untrained ones, for complex CBR 1/12, 1/24 and 1/48, which
        `semdiff.training.stages.ends.train_ends` trains. prompt_embeds: (1, tokens, width), the text embedding that a conditional denoiser
        is given, as a pipeline's encode_prompt makes it. ValueError where the parts do not fit each other, or where a config says what a
        link does not do, naming part and field.
        """
        return cls(vae, unet, scheduler=scheduler, **options_around(vae, unet, downsampler, upsampler, prompt_embeds))

    def compile(self, precision: Precision = "auto", compiled: bool = True) -> Self:
        """Makes the networks quicker, in place, and returns the link: channels last, and through torch.compile, which takes a minute at
        the first picture and, as compiled decoders see a picture whole, more memory for large ones. precision: "bf16" computes
        the receiver in bfloat16, "auto" does where the processor multiplies it itself; pictures then differ by less than 0.05 dB. Where
        there is no C++ compiler, or with compiled=False, the rest is done without it, in the first case with a warning."""
        found = [self.vae.decoder, *(getattr(self, name) for name in ("unet", *self._optional_components) if name != "prompt")]
        quick = [(part, "forward") for part in found if part is not None] + [(self.upsampler, "coarse")]
        exact = [(part, "forward") for part in (self.vae.encoder, self.downsampler)]  # bfloat16 there cost up to 0.25 dB
        hasten(quick, exact, self.device, precision, compiled, any_size=self.image_shape[1] is None)
        return self

    # Files

    @classmethod
    def default(cls, model: str = DEFAULT_MODEL) -> Self:
        """One in the package: fashion-mnist (28x28 grey, CBR 1/12, 1/24) or photos (colour, any size, also 1/48). ValueError for others."""
        models = shipped_models()
        if model not in models:
            raise ValueError(f"model: expected one that comes with the package ({', '.join(models)}), got {model!r}")
        return cls.from_pretrained(models[model])

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """A link from a local folder that `save_pretrained` wrote, in float32 unless dtype says otherwise.

        FileNotFoundError where there is none; ValueError where a file is missing, truncated or altered. Nothing is downloaded.
        """
        folder = Path(pretrained_model_name_or_path)
        if not (folder / "model_index.json").is_file():
            raise FileNotFoundError(f"{folder}: expected a folder with model_index.json, as save_pretrained writes it")
        verify_checksums(folder)
        if cls is SemanticLink and model_index(folder).get("_class_name") == "PixelLink":
            from semdiff.link.pixel_link import PixelLink  # which is one of these

            return PixelLink.from_pretrained(folder, **kwargs)
        options = {"dtype": torch.float32, "use_safetensors": True, "local_files_only": True, "low_cpu_mem_usage": False} | kwargs
        index = read_index(folder, signature(cls).parameters, cls.saved_as)
        parts = load_parts(folder, {name: kind for name, kind in index.items() if name not in kwargs}, options)
        with quiet():
            link: Self = super().from_pretrained(str(folder), **(options | parts))
        return link

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Writes the model as safetensors and JSON, with a checksum of each file: the folder holds the old model or the whole new one."""
        with saved(save_directory) as folder:
            super().save_pretrained(folder, **({"safe_serialization": True} | kwargs))

    # Parts

    def _mean(self, heard: Heard, mode: MatchMode, key: Key, size: tuple[int, int]) -> tuple[Tensor, Tensor, int]:
        """The picture of least error, the time of its one evaluation (NaN without one), and how many there were."""
        if self.mean_decoder is not None:
            return self._to_images(self.mean_decoder(*estimate_elements(*heard)), size), torch.full_like(heard.noise_var, torch.nan), 0
        state = starting_state(*heard, self.schedule, mode, 0.0, key)
        denoiser = self.denoiser(*estimate_elements(*heard))
        return self._decode(posterior_mean(denoiser, state, self.schedule, self.prediction, self.clip), size), state.t, 1

    def denoiser(self, guess: Tensor, log_error: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """The denoiser (x, t) -> output; if it was trained so, told the estimate of z and ln of its error variance, (B, C, h, w) both."""
        more: tuple[Tensor, ...] = ()
        if self.hinted:
            more = (torch.cat([guess, log_error], 1),)
        elif self.prompt is not None:
            more = (self.prompt(len(guess)),)
        return lambda x, t: self.unet(x, t, *more).sample.to(x)

    def _decode(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        return self._to_images(self.vae.decode(self._latents.restore(z)).sample, size)

    def _decode_sample(self, z: Tensor, heard: Heard, size: tuple[int, int]) -> Tensor:
        if self.detail_decoder is not None and self.mean_decoder is not None:
            told = estimate_elements(*heard)
            return self._to_images(self.detail_decoder(z, *told, self.mean_decoder(*told)), size)
        return self._decode(z, size) if self.sample_decoder is None else self._to_images(self.sample_decoder(z), size)

    def _to_images(self, blocks: Tensor, size: tuple[int, int]) -> Tensor:
        return from_blocks(blocks.to(self.dtype), *size, self.config.block, self._multiple).clamp(0, 1)

    def _rate(self, channels: int, like: Tensor) -> Tensor:
        share = channels / self.layout().channels
        return torch.full((like.shape[0],), share, dtype=like.dtype, device=like.device)

    def _sized(self, size: tuple[int, int] | None) -> Layout:
        """ValueError where the model takes any size and none is given, or takes one and another is given."""
        _, height, width = self.image_shape
        if size is None and height is None:
            raise ValueError("size: expected the height and width of the images, since this model takes any, got None")
        if size is not None and height is not None and tuple(size) != (height, width):
            raise ValueError(f"size: expected {height, width}, which this model was trained for, got {tuple(size)}")
        return self.layout(size)
