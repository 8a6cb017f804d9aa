# SPDX-License-Identifier: Apache-2.0
"""Read the parts of a latent diffusion pipeline that diffusers saved: autoencoder, denoiser, scheduler, and the empty prompt's embedding.

Stable Diffusion's kind (`vae`, `unet`, `scheduler`, `text_encoder`, `tokenizer`) and unconditional ones (`LDMPipeline`, whose
autoencoder is called `vqvae`). As of links, only classes that are known here are loaded, every tensor and no others, from safetensors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from semdiff.models.hub import READ, fetch_model, is_repository
from semdiff.models.loading import CLASSES, check_class, load_network
from semdiff.models.store import model_index

VAE_NAMES = ("vae", "vqvae")
KNOWN = {"unet": tuple(kind for kind in CLASSES["unet"] if kind[0] == "diffusers"), "scheduler": CLASSES["scheduler"]}
KNOWN |= dict.fromkeys(VAE_NAMES, CLASSES["vae"])
TEXT = {"text_encoder": "CLIPTextModel", "tokenizer": "CLIPTokenizer"}
FILES = ("model_index.json", "tokenizer/*.txt", *(f"{part}/*{suffix}" for part in (*KNOWN, *TEXT) for suffix in READ))
WEIGHTS = "diffusion_pytorch_model"


class PipelineParts(NamedTuple):
    """Hold what a link takes of a pipeline, in the order of `SemanticLink.from_diffusers`.

    Attributes:
        vae, unet: the networks, in the dtype in which they are stored.
        scheduler: of the denoiser's training.
        prompt_embeds: float32 (1, tokens, width), of the empty prompt; None for an unconditional denoiser.
    """

    vae: Any
    unet: Any
    scheduler: Any
    prompt_embeds: Tensor | None


def find_pipeline(pipeline: str | os.PathLike[str]) -> Path:
    """Find the folder of a pipeline.

    Args:
        pipeline: a folder that diffusers' save_pretrained wrote, or user/model on the Hugging Face Hub.

    Raises:
        FileNotFoundError: where there is neither.
        OSError: for what else the Hub answers.
    """
    folder = Path(pipeline)
    if is_repository(pipeline) and not folder.is_dir():
        folder = fetch_model(str(pipeline), "pipeline", FILES, ignore_patterns=["*.non_ema*"])
    if not folder.is_dir():
        expected = "a folder that diffusers' save_pretrained wrote, or user/model on the Hub"
        raise FileNotFoundError(f"pipeline: expected {expected}, got {os.fspath(pipeline)!r}")
    if not (folder / "model_index.json").is_file():
        raise FileNotFoundError(f"pipeline: expected a folder with model_index.json, got {os.fspath(pipeline)!r}")
    return folder


def read_pipeline(pipeline: str | os.PathLike[str]) -> PipelineParts:
    """Read a pipeline's parts.

    Args:
        pipeline: as of `find_pipeline`.

    Returns:
        The parts, on the CPU.

    Raises:
        FileNotFoundError: where it is not there.
        ValueError: where a part is missing, of a class that no link takes, or damaged.
        ImportError: where the denoiser wants a prompt and transformers is absent.

    Example:
        >>> import tempfile
        >>> from diffusers import AutoencoderTiny, DDIMScheduler, LDMPipeline, UNet2DModel
        >>> from semdiff.models.pretrained import read_pipeline
        >>> vae = AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
        >>> blocks = {"block_out_channels": (8, 8), "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
        >>> unet = UNet2DModel(in_channels=4, out_channels=4, norm_num_groups=4, **blocks)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     LDMPipeline(vqvae=vae, unet=unet, scheduler=DDIMScheduler()).save_pretrained(folder)
        ...     parts = read_pipeline(folder)
        >>> type(parts.vae).__name__, parts.unet.dtype, parts.prompt_embeds
        ('AutoencoderTiny', torch.float32, None)
    """
    folder = find_pipeline(pipeline)
    index = {name: tuple(kind) for name, kind in model_index(folder).items() if isinstance(kind, list) and kind != [None, None]}
    vae = next((name for name in VAE_NAMES if name in index), "vae")
    for name, words in ((vae, "a vae"), ("unet", "a unet"), ("scheduler", "a scheduler")):
        if name not in index:
            raise ValueError(f"pipeline: expected one with {words}, a latent diffusion model, got only {', '.join(index) or 'nothing'}")
        if index[name] not in KNOWN[name]:
            expected, got = ", ".join(kind for _, kind in KNOWN[name]), ".".join(map(str, index[name]))
            raise ValueError(f"pipeline: {name}: expected {expected}, got {got}")
    kind = index["scheduler"][1]
    check_class(folder / "scheduler" / "scheduler_config.json", (kind,))
    scheduler = _class(index["scheduler"]).from_pretrained(str(folder / "scheduler"), local_files_only=True)
    conditional = index["unet"][1] == "UNet2DConditionModel"
    embeds = empty_prompt(folder, index) if conditional else None
    return PipelineParts(_network(folder / vae, index[vae]), _network(folder / "unet", index["unet"]), scheduler, embeds)


def _network(folder: Path, kind: tuple[str, str]) -> Any:
    """The network in the dtype of its file."""
    variant = _variant(folder, WEIGHTS)
    files = sorted(folder.glob("*.safetensors" if variant is None else f"*.{variant}*.safetensors"))
    options: dict[str, Any] = {"use_safetensors": True, "low_cpu_mem_usage": False, "variant": variant}
    if files:
        options["torch_dtype"] = stored_dtype(files[0])
    return load_network(_class(kind), folder, (kind[1],), options)


def _variant(folder: Path, stem: str) -> str | None:
    """Of a network that is stored in half precision alone, that variant's name."""
    whole = any((folder / f"{stem}.safetensors{more}").is_file() for more in ("", ".index.json"))
    return None if whole else next((v for v in ("fp16", "bf16") if any(folder.glob(f"{stem}.*{v}*"))), None)


def stored_dtype(file: Path) -> torch.dtype:
    """Return the dtype of the first floating-point tensor of a safetensors file; float32 where it cannot be read."""
    try:
        with safe_open(file, framework="pt") as tensors:
            dtypes = (tensors.get_slice(name)[:1].dtype for name in tensors.keys() if tensors.get_slice(name).get_shape())  # noqa: SIM118
            return next((d for d in dtypes if d.is_floating_point), torch.float32)
    except Exception:  # a damaged file, which loading names
        return torch.float32


def empty_prompt(folder: Path, index: Mapping[str, tuple[str, str]]) -> Tensor:
    """Compute the text embedding of an empty prompt, as Stable Diffusion's pipelines do: padded to the tokenizer's length.

    Args:
        folder: of the pipeline.
        index: its parts, (module, class) by name.

    Returns:
        float32 (1, tokens, width).

    Raises:
        ValueError: for another text encoder than CLIP's.
        ImportError: where transformers is absent.
    """
    for name, expected in TEXT.items():
        kind = index.get(name, ("nothing",))[-1]
        if str(kind).removesuffix("Fast") != expected:
            raise ValueError(f"pipeline: {name}: expected {expected} beside a conditional unet, got {kind}")
    if "text_encoder_2" in index:
        raise ValueError("pipeline: text_encoder_2: expected one text encoder, got two")
    try:
        from transformers import CLIPTextModel, CLIPTokenizer
    except ImportError as error:
        raise ImportError("a pipeline with a text encoder needs transformers: pip install transformers") from error
    try:
        tokenizer = CLIPTokenizer.from_pretrained(str(folder / "tokenizer"), local_files_only=True)
        options = {"local_files_only": True, "use_safetensors": True, "variant": _variant(folder / "text_encoder", "model")}
        encoder = CLIPTextModel.from_pretrained(str(folder / "text_encoder"), **options)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        got = " ".join(str(error).split())[:300]
        raise ValueError(f"pipeline: text_encoder, tokenizer: the files are damaged or incomplete ({got})") from error
    length = min(tokenizer.model_max_length, encoder.config.max_position_embeddings)
    tokens = tokenizer("", padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    with torch.no_grad():
        return encoder.float().eval()(tokens.input_ids)[0].float()  # type: ignore[no-any-return]


def _class(kind: tuple[str, str]) -> Any:
    return getattr(import_module(kind[0]), kind[1])
