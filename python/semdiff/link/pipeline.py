# SPDX-License-Identifier: Apache-2.0
"""Define SemanticLink: images over a noisy channel and back with a diffusion model on latents, as a diffusers pipeline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, SchedulerMixin, UNet2DConditionModel, UNet2DModel
from torch import Tensor

from semdiff._util.precision import Precision
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.diffusion.vae import GaussianSample
from semdiff.link.assembly import PREDICTIONS, cell_of, check_parts, clip_of, multiple_of, options_around
from semdiff.link.base import ImageLink
from semdiff.link.compilation import compile_networks
from semdiff.link.receiver import DecodingReceiver, Denoise, DenoisingReceiver, Receiver
from semdiff.link.starting_state import Reception
from semdiff.models.latents import LatentScale
from semdiff.models.networks import Denoiser, DetailDecoder, Downsampler, MeanDecoder, Prompt, SampleDecoder, Upsampler
from semdiff.models.pixel_blocks import Border, from_blocks, to_blocks
from semdiff.models.store import model_index
from semdiff.rng import Key
from semdiff.transmission.layout import Layout
from semdiff.transmission.step_count import check_table
from semdiff.transmission.symbols import ReceivedFeatures
from semdiff.transmission.warnings import check_range


class SemanticLink(ImageLink):
    """Send images as features of latents: encoder -> Downsampler -> unit power -> channel -> Upsampler -> match -> denoiser -> decoder.

    `SemanticLink.default()` loads a model that comes with the package; `from_pretrained(folder)` one that `save_pretrained(folder)` wrote.
    Weights are safetensors only. The result for an image does not depend on the others in its batch.

    Args:
        vae: the autoencoder.
        unet: the denoiser of its latents.
        downsampler, upsampler: the networks before and after the channel.
        scheduler: diffusers' scheduler with the noise schedule of the denoiser's training.
        mean_decoder: makes the image of least error from the up-sampler's Gaussian. The denoiser, whose mean it replaces, is then not run.
        sample_decoder: decodes samples, in place of the autoencoder's decoder.
        detail_decoder: adds what samples show to the mean decoder's image, in place of a sample_decoder.
        prompt: text embedding of a text-conditioned denoiser.
        image_shape: (C, H, W) of the images it takes; H and W are None where it takes any size.
        rates: numbers of symbol channels on offer.
        renoise: fresh noise at a sample's start, see `semdiff.link.starting_state.starting_state`.
        block, border: see `semdiff.models.pixel_blocks`.
        header: whether a header is sent, see `semdiff.transmission.header`; models for any size need one.
        auto_steps: what steps="auto" means, pairs of an SNR in dB and the steps from there upwards; None is 8.
        snr_db_range: the SNRs of the training, [low, high] in dB; outside there is a UserWarning.
        clearest_db, faintest_db: the highest and the lowest SNR of features in the training, see `semdiff.transmission.symbols.clamp_snr`.

    Example:
        >>> from semdiff.link import SemanticLink
        >>> link = SemanticLink.default("photos")
        >>> link.vae.config.latent_channels, link.config.rates
        (32, [128, 64, 32])
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
        self.feature_snr_range_db = (-math.inf if faintest_db is None else faintest_db, math.inf if clearest_db is None else clearest_db)
        self.prediction = PREDICTIONS[scheduler.config.prediction_type]
        self.hinted = bool(unet.config.get("hints", 0))
        self._multiple = multiple_of(vae, unet, block)
        for module in modules.values():
            if module is not None:
                module.eval()

    # What it offers

    @property
    def cell(self) -> int:
        """Compute the side in pixels of the square that one set of symbols stands for: two latents."""
        return cell_of(self.vae, self.config.block)

    @property
    def trained_on(self) -> tuple[str, ...]:
        """List the metrics that the training optimised. A sample decoder saw LPIPS by AlexNet, a detail decoder LPIPS by both networks."""
        return ("psnr", "lpips_alex", "lpips_vgg")[: 3 if self.detail_decoder else 2 if self.sample_decoder else 1]

    def layout(self, size: tuple[int, int] | None = None) -> Layout:
        """Describe the symbols of an image, see `ImageLink.layout`.

        Args:
            size: height and width of the images; None is the size that the model is for, or one cell if it takes any.
        """
        c, height, width = self.image_shape
        cell = self.cell
        h, w = size or (height or cell, width or cell)
        channels = self.downsampler.config.symbol_channels
        return Layout((c, h, w), self._multiple, cell, channels, tuple(self.config.rates), self.config.header, height is None)

    def features(self, images: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Compute the transmitter's features, see `ImageLink.features`.

        Args:
            images: (B, C, H, W) in [0, 1], on the link's device.
            snr_db: what the transmitter knows of the channel, (B,).
            rate: share of the symbol channels to be sent, (B,).
        """
        z = self.encode(images)
        feature_snr_db = (snr_db.to(z) - self.downsampler.level_db(z, rate)).clamp_max(self.feature_snr_range_db[1])
        return self.downsampler(z, feature_snr_db.to(z), rate).to(z)  # type: ignore[no-any-return]

    def encode(self, images: Tensor) -> Tensor:
        """Encode images as latents of about unit variance; of a variational autoencoder the scaled mode.

        Args:
            images: (B, C, H, W) in [0, 1].

        Returns:
            Latents (B, C, h, w).
        """
        encoded = self.vae.encode(to_blocks(images, self.config.block, self.config.border, self._multiple))
        latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mode()
        return self._latents.normalize(latents.to(images))

    def upsample(self, arrived: ReceivedFeatures, snr_db: Tensor, rate: Tensor, key: Key, size: tuple[int, int]) -> Reception:
        """Compute the up-sampler's Gaussian, see `ImageLink.upsample`.

        Args:
            arrived: received features and their noise.
            snr_db, rate: SNR of the features and share of the symbol channels, (B,).
            key: of the draw.
            size: unused, since latents of any size come out.
        """
        gaussian = self.upsampler(arrived.features, snr_db, rate, key, arrived.noise_map)
        return Reception(GaussianSample(*(v.to(arrived.features) for v in gaussian)), arrived.noise_var.cpu())

    def receiver(self, size: tuple[int, int]) -> Receiver:
        """Return the receiver behind the up-sampler, for images of height and width `size`."""
        decode = partial(self.decode, size=size)
        _, prediction = self.own_denoiser or (None, self.prediction)
        clip = None if self.own_denoiser else self.clip
        common = (self.schedule, self.config.auto_steps, self.denoiser, decode, prediction, clip, self.config.renoise)
        to_images = partial(self._to_images, size=size)
        decode_sample = decode if self.sample_decoder is None else partial(self._decode_sample, size=size)
        if self.mean_decoder is None:
            return DenoisingReceiver(*common, decode_sample)
        return DecodingReceiver(*common, decode_sample, to_images, self.mean_decoder, self.detail_decoder)

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
        """Make a link for images of any size around an autoencoder and a denoiser of its latents.

        Args:
            vae: the autoencoder.
            unet: the denoiser.
            scheduler: the one that the denoiser was trained with.
            downsampler, upsampler: None makes untrained ones, for complex CBR 1/12, 1/24 and 1/48, which
                `semdiff.training.recipes.ends.train_ends` trains.
            prompt_embeds: (1, tokens, width), the text embedding that a conditional denoiser is given, as a pipeline's encode_prompt makes
                it.

        Returns:
            The link.

        Raises:
            ValueError: where the parts do not fit each other, or a config asks for what a link does not do; it names part and field.
        """
        return cls(vae, unet, scheduler=scheduler, **options_around(vae, unet, downsampler, upsampler, prompt_embeds))

    @classmethod
    def _load(cls, folder: Path, **kwargs: Any) -> Any:
        """Load the link in a folder, which may hold another kind."""
        if cls is SemanticLink and model_index(folder).get("_class_name") == "PixelLink":
            from semdiff.link.pixel_link import PixelLink  # imported here, since it imports this package's base

            return PixelLink._load(folder, **kwargs)
        return super()._load(folder, **kwargs)

    def compile(self, precision: Precision = "auto", compiled: bool = True) -> Self:
        """Make the networks faster, in place: channels last in memory, and torch.compile.

        Compiling takes a minute at the first image. Compiled decoders see an image whole, which takes more memory for large ones. Without a
        C++ compiler there is a warning, and the networks run eagerly.

        Args:
            precision: "bf16" computes the receiver in bfloat16, "auto" does where the processor multiplies it itself. Images then differ by
                less than 0.05 dB.
            compiled: False leaves out torch.compile.

        Returns:
            This link.
        """
        found = [self.vae.decoder, *(getattr(self, name) for name in ("unet", *self._optional_components) if name != "prompt")]
        quick = [(part, "forward") for part in found if part is not None] + [(self.upsampler, "coarse")]
        exact = [(part, "forward") for part in (self.vae.encoder, self.downsampler)]  # bfloat16 there cost up to 0.25 dB
        compile_networks(quick, exact, self.device, precision, compiled, any_size=self.image_shape[1] is None)
        return self

    def denoiser(self, guess: Tensor, log_error: Tensor) -> Denoise:
        """Return the denoiser as a function (x, t) -> output, with its conditions filled in; that of `with_denoiser` has none.

        Args:
            guess: estimate of z, (B, C, h, w); given to a denoiser that was trained with it.
            log_error: ln of its error variance, (B, C, h, w); given likewise.
        """
        if self.own_denoiser:
            return self.own_denoiser[0]
        conditions: tuple[Tensor, ...] = ()
        if self.hinted:
            conditions = (torch.cat([guess, log_error], 1),)
        elif self.prompt is not None:
            conditions = (self.prompt(len(guess)),)
        return lambda x, t: self.unet(x, t, *conditions).sample.to(x)

    def decode(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        """Decode latents as images.

        Args:
            z: latents (B, C, h, w).
            size: height and width of the images.

        Returns:
            float (B, C, *size) in [0, 1].
        """
        return self._to_images(self.vae.decode(self._latents.restore(z)).sample, size)

    def _decode_sample(self, z: Tensor, size: tuple[int, int]) -> Tensor:
        return self._to_images(self.sample_decoder(z), size)

    def _to_images(self, blocks: Tensor, size: tuple[int, int]) -> Tensor:
        return from_blocks(blocks.to(self.dtype), *size, self.config.block, self._multiple).clamp(0, 1)
