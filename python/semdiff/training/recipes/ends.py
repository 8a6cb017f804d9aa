# SPDX-License-Identifier: Apache-2.0
"""Train the down- and up-sampler around any autoencoder and denoiser: stage 3 of the recipes, for parts that others trained.

`train` makes the system of arXiv 2407.18468 of a diffusers pipeline and a folder of pictures; `train_ends` trains a link that is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from semdiff._util.precision import Precision
from semdiff.data import cifar10, fashion_mnist, read_folder
from semdiff.link import Downsampler, SemanticLink, Upsampler
from semdiff.link.assembly import cell_of, multiple_of
from semdiff.models.pretrained import PipelineParts, read_pipeline
from semdiff.models.store import quiet
from semdiff.rng import Key
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.batches import Batches, RandomCrops
from semdiff.training.engine import Plan, Stage, fit
from semdiff.training.latent_cache import cached_latents
from semdiff.training.linear import begin_ends
from semdiff.training.random_channel import DEFAULT_CONDITIONS, Conditions
from semdiff.training.recipes import photos
from semdiff.training.recipes.common import Course, check_budget
from semdiff.training.stages.resampling import ResamplingStage
from semdiff.transmission.inputs import TOLERANCE

PLAN = Plan(steps=3000, batch_size=16, learning_rate=1e-3)
LATENTS_PLAN = Plan(steps=4000, batch_size=64, learning_rate=1e-3)  # of cached latents, whose step costs a fraction
CROP_CELLS = 16  # cells on the side of a crop of pictures of other sizes: 256 pixels for Stable Diffusion
CROPS = 2048


class EncodedStage(Stage):
    """Train another stage on encoded images.

    Args:
        encode: images to latents; not trained.
        inner: the stage on latents.
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], inner: Stage) -> None:
        super().__init__()
        self.encode, self.inner = encode, inner

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        """Compute the inner stage's losses of images (B, C, H, W) in [0, 1]; key is passed on."""
        with torch.no_grad():
            z = self.encode(images).to(images)
        return self.inner(key, z)  # type: ignore[no-any-return]


def train_ends(
    link: SemanticLink,
    data: Sequence[Tensor] | Batches,
    plan: Plan = PLAN,
    seed: int = 0,
    conditions: Conditions | None = None,
    folder: Path | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Train the down- and up-sampler of a link in place, and leave everything else as it is.

    Args:
        link: as `SemanticLink.from_diffusers` makes it.
        data: images (N, C, H, W) in [0, 1] as the only tensor of a sequence, or `RandomCrops`, of whole cells.
        plan: steps and learning rate.
        seed: of all random numbers.
        conditions: of the channel; None is those of the photograph link's recipe.
        folder: of the checkpoints, from which it resumes as `fit` does.
        progress: show a bar.

    Returns:
        The last shown losses.

    Example:
        >>> from diffusers import AutoencoderTiny, DDPMScheduler, UNet2DModel
        >>> from semdiff.data import sample_photos
        >>> from semdiff.link import SemanticLink
        >>> from semdiff.training.engine import Plan
        >>> from semdiff.training.recipes.ends import train_ends
        >>> vae = AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
        >>> blocks = {"block_out_channels": (8, 8), "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
        >>> unet = UNet2DModel(in_channels=4, out_channels=4, norm_num_groups=4, **blocks)
        >>> link = SemanticLink.from_diffusers(vae, unet, DDPMScheduler())
        >>> losses = train_ends(link, [sample_photos()[..., :64, :64]], Plan(steps=2, batch_size=4, learning_rate=1e-3), progress=False)
        >>> sorted(losses)
        ['error', 'loss', 'match']
    """
    conditions = conditions or photos.conditions(photos.read_recipe())
    link.register_to_config(snr_db_range=list(conditions.snr_db))
    ends = ResamplingStage(link.downsampler, link.upsampler, tuple(link.config.rates), conditions=conditions)
    return fit(EncodedStage(link.encode, ends), data, plan, name="ends", key=Key(seed), folder=folder, progress=progress)


def train(
    out: str | os.PathLike[str],
    pipeline: str | os.PathLike[str] | PipelineParts,
    data: str | os.PathLike[str] | Tensor,
    cbr: Sequence[float] = (),
    budget: float = 1.0,
    seed: int = 0,
    resume: bool = True,
    precision: Precision = "auto",
    crops: int = CROPS,
    progress: bool = True,
    on_step: Callable[[str, int], None] | None = None,
) -> Path:
    """Train the down- and up-sampler around a pretrained latent diffusion model, which stays as it is.

    Args:
        out: folder of the latents, the checkpoints and the model. An interrupted run goes on from there.
        pipeline: as of `semdiff.models.pretrained.read_pipeline`, or its result.
        data: folder of pictures, of CIFAR-10's binary version or of Fashion-MNIST; or images (N, C, H, W) in [0, 1]. Of pictures of one
            size the link is for that size and sends no header. Of others it is for any size, and learns from random crops.
        cbr: complex channel uses for each source value; none is the largest up to 1/12 that is no more than the latents, its half and its
            quarter.
        budget: factor on the number of steps.
        seed: of all random numbers.
        resume: whether to go on from what is there.
        precision: see `prepare_accelerator`.
        crops: how many, of pictures of several sizes.
        progress: show a bar.
        on_step: called with the stage's name and the number of steps so far.

    Returns:
        The folder out/model, which `SemanticLink.from_pretrained` reads; the pipeline's networks are stored in the dtype that they had.

    Raises:
        FileNotFoundError: where pipeline or data is not there.
        ValueError: naming pipeline, data, cbr, budget or crops, where it does not fit.
    """
    check_budget(budget)
    if crops < 1:
        raise ValueError(f"crops: expected a number above zero, got {crops}")
    folder, key = Path(out), Key(seed)
    parts = pipeline if isinstance(pipeline, PipelineParts) else read_pipeline(pipeline)
    colours, cell = parts.vae.config.in_channels, cell_of(parts.vae, 1)
    if colours not in (1, 3):
        raise ValueError(f"pipeline: vae: expected 1 or 3 channels of pictures, got {colours}")
    pictures = read_pictures(data, colours)
    shape: tuple[int | None, ...] = (colours, None, None)
    padding = 1.0
    if isinstance(pictures, Tensor):
        shape, conditions = tuple(pictures.shape[1:]), DEFAULT_CONDITIONS
        padding = _padding(pictures.shape[-2], pictures.shape[-1], multiple_of(parts.vae, parts.unet, 1))
    else:
        conditions = photos.conditions(photos.read_recipe())
    rates = symbol_channels(cbr, colours, cell, parts.vae.config.latent_channels, padding)
    link = _link(parts, rates, shape, conditions, seed)
    accelerator = prepare_accelerator(precision)
    size = CROP_CELLS * cell
    views = pictures if isinstance(pictures, Tensor) else RandomCrops(photos.usable(pictures, size), size, min(crops, 16), key)
    z = cached_latents(link, views, crops, folder / "latents.safetensors", accelerator, resume, progress)
    begin_ends(link.downsampler, link.upsampler, z)
    stage = ResamplingStage(link.downsampler, link.upsampler, rates, conditions=conditions)
    course = Course(folder / "checkpoints", key, accelerator, resume, progress, on_step)
    course.run(1, "ends", stage, [z], LATENTS_PLAN.scaled(budget))
    return _save(link, folder / "model", accelerator)


def symbol_channels(cbr: Sequence[float], colours: int, cell: int, latent_channels: int, padding: float = 1.0) -> tuple[int, ...]:
    """Compute the numbers of symbol channels of bandwidth ratios.

    Args:
        cbr: complex channel uses for each source value; none as in `train`.
        colours: channels of the images.
        cell: pixels on the side of the square that one set of symbols stands for.
        latent_channels: of the latents, of which a cell has 2x2.
        padding: pixels of an image when it is padded to whole cells, for each of its own.

    Returns:
        The numbers, the largest first.

    Raises:
        ValueError: where one of them is not within 5 % of a whole number of symbol channels, or two are the same.
    """
    per_channel = padding / (2 * colours * cell**2)
    if not len(cbr):
        most = min(4 * latent_channels, round(1 / 12 / per_channel))
        return tuple(dict.fromkeys(max(1, most // part) for part in (1, 2, 4)))
    found = []
    for ratio in cbr:
        channels = round(ratio / per_channel) if 0 < ratio <= 1 else 0
        if channels < 1 or abs(channels * per_channel / ratio - 1) > TOLERANCE:
            near = max(1, channels) * per_channel
            whole = f"a multiple of 1/{1 / per_channel:.0f} within 5 %, at most 1 (one symbol channel for {cell}x{cell} pixels)"
            raise ValueError(f"cbr: expected {whole}, got {ratio:.4g}; the nearest is {near:.4g}")
        found.append(channels)
    if len(set(found)) < len(found):
        raise ValueError(f"cbr: expected different ratios, got {', '.join(f'{r:.4g}' for r in cbr)}")
    return tuple(sorted(found, reverse=True))


def read_pictures(data: str | os.PathLike[str] | Tensor, colours: int | None = None) -> Tensor | dict[str, Tensor]:
    """Read what ends, or a latent diffusion model, are trained on.

    Args:
        data: as of `train`.
        colours: channels of the images, 1 or 3; None is those of the data, 3 for a folder of pictures.

    Returns:
        Images (N, C, H, W) of one size, in [0, 1] or uint8, which take a quarter of the memory; or uint8 pictures by name of several.

    Raises:
        FileNotFoundError, ValueError: naming data, where it is not there or does not fit.
    """
    if isinstance(data, Tensor):
        images: Tensor = data
    elif (Path(data) / "data_batch_1.bin").is_file():
        images = cifar10("train", data).images
    elif any(Path(data).glob("train-images*")):
        images = fashion_mnist("train", data).images
    else:
        try:
            pictures = read_folder(data, grey=colours == 1)
        except (FileNotFoundError, ValueError) as error:
            raise type(error)(f"data: {error}") from None
        if len({p.shape for p in pictures.values()}) > 1:
            return pictures
        images = torch.stack(list(pictures.values()))
    if images.dim() != 4 or images.shape[1] not in ((1, 3) if colours is None else (colours,)):
        wanted = "1 or 3 channels" if colours is None else f"{colours} channels, as the pipeline's vae takes"
        raise ValueError(f"data: expected images of {wanted}, got shape {tuple(images.shape)}")
    return images


def _padding(height: int, width: int, multiple: int) -> float:
    whole = [-(-n // multiple) * multiple for n in (height, width)]
    return whole[0] * whole[1] / (height * width)


def _link(parts: PipelineParts, rates: tuple[int, ...], shape: tuple[int | None, ...], conditions: Conditions, seed: int) -> SemanticLink:
    latents = parts.vae.config.latent_channels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        ends = Downsampler(latents, rates[0], linear=True), Upsampler(latents, rates[0], linear=True)
    link = SemanticLink.from_diffusers(*parts[:3], *ends, parts.prompt_embeds)
    link.register_to_config(rates=list(rates), snr_db_range=list(conditions.snr_db))
    if shape[1] is not None:
        link.register_to_config(image_shape=list(shape), header=False)
    return link


def _save(link: SemanticLink, place: Path, accelerator: Accelerator) -> Path:
    if accelerator.is_main_process:
        with quiet():
            for end in (link.downsampler, link.upsampler):
                end.to(torch.float16)
        link.save_pretrained(place)
    accelerator.wait_for_everyone()
    return place
