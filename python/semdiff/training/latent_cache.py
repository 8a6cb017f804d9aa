# SPDX-License-Identifier: Apache-2.0
"""Encode a training's images once, and keep the latents in a file from which an interrupted run goes on."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from semdiff._util.tensor_files import load_tensors, save_tensors
from semdiff.link import SemanticLink
from semdiff.models.store import quiet
from semdiff.training.batches import RandomCrops

BATCH = 16  # images at a time
SAVED_EVERY = 60.0  # seconds


@torch.no_grad()
def cached_latents(
    link: SemanticLink, views: Tensor | RandomCrops, crops: int, file: Path, accelerator: Accelerator, resume: bool, progress: bool
) -> Tensor:
    """Encode images by a link's autoencoder, in float32 on the accelerator's device; the link is as it was afterwards.

    Of several processes the main one encodes, and the others wait for its file.

    Args:
        link: whose autoencoder it is.
        views: images (N, C, H, W) in [0, 1] or uint8, or crops of pictures.
        crops: how many crops are drawn.
        file: of the latents; what is there of the same images and autoencoder is not encoded again.
        accelerator: of the training.
        resume: False encodes anew.
        progress: show a bar.

    Returns:
        float32 (N, c, h, w) on the CPU.

    Raises:
        ValueError: where the file is of other images or of another autoencoder, or is damaged.
    """
    count = len(views) if isinstance(views, Tensor) else crops
    identity = _identity(link, views, count)
    if accelerator.is_main_process:
        z = _kept(file, identity) if resume else None
        if z is None or len(z) < count:
            _encode(link, views, count, z, file, identity, accelerator, progress)
    accelerator.wait_for_everyone()
    return load_tensors(file)[0]["latents"]


def _encode(
    link: SemanticLink,
    views: Tensor | RandomCrops,
    count: int,
    z: Tensor | None,
    file: Path,
    identity: str,
    accelerator: Accelerator,
    progress: bool,
) -> None:
    vae, stored = link.vae, link.vae.dtype
    with quiet():
        vae.to(accelerator.device, torch.float32)
    done = [] if z is None else [z]
    begin, saved = (0 if z is None else len(z)), time.monotonic()
    with tqdm(total=count, initial=begin, desc="latents", unit="image", disable=not progress) as bar:
        for start in range(begin, count, BATCH):
            stop = min(start + BATCH, count)
            images = views[start:stop] if isinstance(views, Tensor) else views.batch(start // BATCH)[0][: stop - start]
            images = images if images.is_floating_point() else images.float() / 255
            done.append(link.encode(images.to(accelerator.device)).cpu())
            bar.update(stop - start)
            if stop == count or time.monotonic() - saved > SAVED_EVERY:
                save_tensors(file, {"latents": torch.cat(done)}, {"identity": identity})
                saved = time.monotonic()
    with quiet():
        vae.to("cpu", stored)


def _kept(file: Path, identity: str) -> Tensor | None:
    if not file.exists():
        return None
    tensors, meta = load_tensors(file)
    if meta.get("identity") != identity or "latents" not in tensors:
        raise ValueError(f"{file}: expected latents of this pipeline and these images, got those of others; remove it or pass resume=False")
    return tensors["latents"]


def _identity(link: SemanticLink, views: Tensor | RandomCrops, count: int) -> str:
    """A digest of what the latents depend on; of the numbers a hash of their bytes."""
    seen = views.identity() if isinstance(views, RandomCrops) else [list(views.shape), str(views.dtype)]
    digest = hashlib.sha256(json.dumps([count, seen]).encode())
    pictures = [views] if isinstance(views, Tensor) else [*views.pictures, views.key.tensor]
    weights = {name: tensor for name, tensor in link.vae.state_dict().items() if not name.startswith(("decoder", "post_quant"))}
    for tensor in (*pictures, *weights.values()):
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
