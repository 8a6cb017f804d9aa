# SPDX-License-Identifier: Apache-2.0
"""SemanticLink: images over a noisy channel and back, as a diffusers pipeline."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Self

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, SchedulerMixin, UNet2DConditionModel, UNet2DModel
from torch import Tensor

from semdiff._util.precision import Precision
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.diffusion.vae import GaussianSample
from semdiff.link.assembly import PREDICTIONS, cell_of, check_parts, clip_of, multiple_of, options_around
from semdiff.link.base import DEFAULT_MODEL as DEFAULT_MODEL
from semdiff.link.base import ImageLink
from semdiff.link.compilation import compile_networks
from semdiff.link.receiver import DecodingReceiver, Denoise, DenoisingReceiver, Receiver
from semdiff.link.reception import Reception
from semdiff.models.codec import Border, from_blocks, to_blocks
from semdiff.models.latents import LatentScale
from semdiff.models.networks import Denoiser, DetailDecoder, Downsampler, MeanDecoder, Prompt, SampleDecoder, Upsampler
from semdiff.models.store import model_index
from semdiff.rng import Key
from semdiff.transmission.layout import Layout
from semdiff.transmission.steps import check_table
from semdiff.transmission.symbols import ReceivedFeatures
from semdiff.transmission.warnings import check_range


class SemanticLink(ImageLink):
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
    `semdiff.transmission.symbols.clamp_snr`.
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

    def features(self, images: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Make the transmitter's features, (B, C, h, w), of images on its device; snr_db and rate (share of the symbol channels): (B,)."""
        z = self.encode(images)
        told = (snr_db.to(z) - self.downsampler.level_db(z, rate)).clamp_max(self._heard_db[1])
        return self.downsampler(z, told, rate).to(z)  # type: ignore[no-any-return]

    def encode(self, images: Tensor) -> Tensor:
        """Latents (B, C, h, w) of about unit variance for images (B, C, H, W) in [0, 1]: of a variational encoder the scaled mode."""
        found = self.vae.encode(to_blocks(images, self.config.block, self.config.border, self._multiple))
        latents = found.latents if hasattr(found, "latents") else found.latent_dist.mode()
        return self._latents.normalize(latents.to(images))

    def upsample(self, arrived: ReceivedFeatures, snr_db: Tensor, rate: Tensor, key: Key, size: tuple[int, int]) -> Reception:
        gaussian = self.upsampler(arrived.features, snr_db, rate, key, arrived.noise_map)
        return Reception(GaussianSample(*(v.to(arrived.features) for v in gaussian)), arrived.noise_var.cpu())

    def receiver(self, size: tuple[int, int]) -> Receiver:
        """The receiver behind the up-sampler, for images of this height and width."""
        decode = partial(self.decode, size=size)
        told = (self.denoiser, decode, self.schedule, self.prediction, self.clip, self.config.renoise, self.config.auto_steps)
        to_images = partial(self._to_images, size=size)
        decode_sample = decode if self.sample_decoder is None else lambda z: to_images(self.sample_decoder(z))
        if self.mean_decoder is None:
            return DenoisingReceiver(*told, decode_sample)
        return DecodingReceiver(*told, decode_sample, to_images, self.mean_decoder, self.detail_decoder)

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

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> ImageLink:
        """Load a link of any kind: see `ImageLink.from_pretrained`."""
        folder = cls.folder(pretrained_model_name_or_path)
        if cls is SemanticLink and (folder / "model_index.json").is_file() and model_index(folder).get("_class_name") == "PixelLink":
            from semdiff.link.pixel_link import PixelLink  # which stands on this package's doors, as this class does

            return PixelLink.from_pretrained(folder, **kwargs)
        return super().from_pretrained(folder, **kwargs)

    def compile(self, precision: Precision = "auto", compiled: bool = True) -> Self:
        """Makes the networks quicker, in place, and returns the link: channels last, and through torch.compile, which takes a minute at
        the first picture and, as compiled decoders see a picture whole, more memory for large ones. precision: "bf16" computes
        the receiver in bfloat16, "auto" does where the processor multiplies it itself; pictures then differ by less than 0.05 dB. Where
        there is no C++ compiler, or with compiled=False, the rest is done without it, in the first case with a warning."""
        found = [self.vae.decoder, *(getattr(self, name) for name in ("unet", *self._optional_components) if name != "prompt")]
        quick = [(part, "forward") for part in found if part is not None] + [(self.upsampler, "coarse")]
        exact = [(part, "forward") for part in (self.vae.encoder, self.downsampler)]  # bfloat16 there cost up to 0.25 dB
        compile_networks(quick, exact, self.device, precision, compiled, any_size=self.image_shape[1] is None)
        return self

    def denoiser(self, guess: Tensor, log_error: Tensor) -> Denoise:
        """The denoiser (x, t) -> output; if it was trained so, told the estimate of z and ln of its error variance, (B, C, h, w) both."""
        more: tuple[Tensor, ...] = ()
        if self.hinted:
            more = (torch.cat([guess, log_error], 1),)
        elif self.prompt is not None:
            more = (self.prompt(len(guess)),)
        return lambda x, t: self.unet(x, t, *more).sample.to(x)

    def decode(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """Make images (B, C, *size) in [0, 1] of latents."""
        return self._to_images(self.vae.decode(self._latents.restore(z)).sample, size)

    def _to_images(self, blocks: Tensor, size: tuple[int, int]) -> Tensor:
        return from_blocks(blocks.to(self.dtype), *size, self.config.block, self._multiple).clamp(0, 1)

