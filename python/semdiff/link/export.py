# SPDX-License-Identifier: Apache-2.0
"""Export the receiver's networks as AOTInductor packages: machine code that a C++ program runs without Python (cpp/examples/receive.cpp).

The steps between the networks (equaliser, match, sampler) are in semdiff's C++ API, and so is `gaussian_upsample`; the up-sampler's
package ends just before it. The batch size is fixed: diffusers' UNet tests whether it is 1 or above 63, and a dynamic size would exclude 1.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

from semdiff._build import __version__
from semdiff._util.arguments import to_count
from semdiff._util.atomic import write_atomically
from semdiff.link.compilation import has_compiler
from semdiff.link.pixel_link import PixelLink
from semdiff.models.blocks import UPSCALE
from semdiff.models.latents import LatentScale
from semdiff.models.pixel_blocks import from_blocks

if TYPE_CHECKING:
    from semdiff.link.base import ImageLink
    from semdiff.link.pipeline import SemanticLink

DESCRIPTION = "receiver.json"
# Not -march=native: so a package runs on every CPU of the level that the description names.
ARCHITECTURES = {"AVX2": "x86-64-v3", "AVX512": "x86-64-v4"}


class Part(nn.Module):
    """Wrap run(network, *inputs) as a module, which torch.export takes.

    Args:
        network: the network.
        run: what to compute with it.
    """

    def __init__(self, network: nn.Module, run: Callable[..., Tensor]) -> None:
        super().__init__()
        self.network = network
        self.run = run
        self.eval()

    def forward(self, *inputs: Tensor) -> Tensor:
        """Compute run(network, *inputs)."""
        return self.run(self.network, *inputs)


def parts(link: ImageLink, batch: int) -> dict[str, tuple[Part, tuple[Tensor, ...]]]:
    """List the receiver's networks, with inputs of the right shapes.

    Args:
        link: the link.
        batch: images at a time.

    Returns:
        (module, inputs) by name.
    """
    channels, height, width = link.layout().symbols
    features, numbers = torch.zeros(batch, channels, height, width, device="cpu"), torch.ones(batch, device="cpu")
    upsampler = (
        Part(link.upsampler, lambda net, x, snr_db, rate, noise_map: net.coarse(x, snr_db, rate, noise_map)),
        (features, numbers, numbers.clone(), features.clone()),
    )
    size = link.layout().image[1:]
    if isinstance(link, PixelLink):
        scale, images = link.scale, torch.zeros(batch, *link.layout().image, device="cpu")
        return {
            "upsampler": upsampler,
            "denoiser": (Part(link.unet, lambda net, *inputs: net(*inputs)), (images, numbers, numbers.clone(), numbers.clone())),
            "decoder": (
                Part(link.decoder, lambda net, x, snr_db, rate: scale.normalize(net(x, snr_db, rate, size))),
                (features, numbers, numbers.clone()),
            ),
        }
    latent = torch.zeros(batch, link.vae.config.latent_channels, UPSCALE * height, UPSCALE * width, device="cpu")
    blocks = (link.config.block, link.layout().multiple)
    decoders = {"decoder": link.vae.decoder, "sample_decoder": link.sample_decoder or link.vae.decoder}
    return {
        "upsampler": upsampler,
        "denoiser": (Part(link.unet, lambda net, x, t: net(x, t).sample), (latent, numbers)),
    } | {name: (Part(net, lambda net, z: from_blocks(net(z), *size, *blocks).clamp(0, 1)), (latent,)) for name, net in decoders.items()}


def export_link(link: ImageLink, folder: Path, batch: int = 1) -> dict[str, Any]:
    """Write a link's receiver as upsampler.pt2, denoiser.pt2, decoder.pt2, of a link on latents sample_decoder.pt2, and receiver.json.

    decoder.pt2 decodes the posterior mean; of a link on pixels it makes the perceptual estimate. receiver.json is written last and says how
    the others are used. This takes a minute or two. The files are for CPUs of this one's kind.

    Args:
        link: of float32 on the CPU, for images of one size.
        folder: where to write.
        batch: images that the networks take at a time.

    Returns:
        The content of receiver.json.

    Raises:
        TypeError, ValueError: for a batch below 1, or a link that the C++ receiver cannot follow.
        RuntimeError: where there is no C++ compiler.
    """
    batch = to_count(batch, "batch", 1)
    if link.device.type != "cpu" or link.dtype != torch.float32:
        raise ValueError(f"link: expected one of float32 on the CPU, got {link.dtype} on {link.device}")
    if link.image_shape[1] is None:
        raise ValueError(f"link: expected one for images of one size, got one for {link.image_shape}")
    if link.own_denoiser is not None:
        raise ValueError("link: expected one with its own denoiser, which a C++ receiver can follow, got one of with_denoiser")
    if not isinstance(link, PixelLink):
        _check_latents(link)
    if not has_compiler():
        raise RuntimeError("exporting needs a C++ compiler: install g++, or name one in the variable CXX")
    cpu = torch.backends.cpu.get_cpu_capability()
    digests = {}
    for name, (part, inputs) in parts(link, batch).items():
        content = _compile(part, inputs, name, {"cpp.march": ARCHITECTURES.get(cpu)})
        write_atomically(folder / f"{name}.pt2", content)
        digests[f"{name}.pt2"] = hashlib.sha256(content).hexdigest()
    (mean, std), (lowest, highest) = link.scale if isinstance(link, PixelLink) else (0.0, 1.0), link.feature_snr_range_db
    description = {
        "semdiff": __version__,
        "torch": torch.__version__,
        "cpu": cpu,
        "batch": batch,
        "image_shape": list(link.image_shape),
        "symbol_shape": list(link.layout().symbols),
        "rates": list(link.config.rates),
        "link": link.saved_as,
        "prediction": "v" if isinstance(link, PixelLink) else link.prediction,
        "renoise": link.config.renoise,
        "pixel_mean": mean,
        "pixel_std": std,
        "noise_var_range": [10 ** (-highest / 10), min(10 ** (-max(lowest, -3000) / 10), 1e308)],
        "sha256": digests,
        "alphas_cumprod": link.schedule.alphas_cumprod.tolist(),
    }
    write_atomically(folder / DESCRIPTION, (json.dumps(description) + "\n").encode())
    return description


def _check_latents(link: SemanticLink) -> None:
    more = [name for name in ("mean_decoder", "detail_decoder", "prompt") if getattr(link, name) is not None]
    more += [word for word, found in (("hints", link.hinted), ("clip_sample", link.clip is not None)) if found]
    if more:
        raise ValueError(f"link: expected one that a C++ receiver can follow, got one with {', '.join(more)}")
    if not isinstance(link.vae, AutoencoderTiny) or LatentScale.of(link.vae.config) != LatentScale():
        raise ValueError(f"link: expected an AutoencoderTiny without scale and shift, got {type(link.vae).__name__}")


def _compile(part: Part, inputs: tuple[Tensor, ...], name: str, configs: dict[str, Any]) -> bytes:
    """One package's bytes. The file's name goes into the archive, so it is made under its own."""
    with tempfile.TemporaryDirectory() as scratch, torch.no_grad(), warnings.catch_warnings():
        for remark in (FutureWarning, DeprecationWarning):  # torch's on torch
            warnings.simplefilter("ignore", remark)
        program = torch.export.export(part, inputs)
        path = torch._inductor.aoti_compile_and_package(program, package_path=f"{scratch}/{name}.pt2", inductor_configs=configs)
        return Path(path).read_bytes()
