# SPDX-License-Identifier: Apache-2.0
"""Load a link's networks from their folders: only of classes that are named here, with every tensor that they have and no other.

diffusers imports whatever module a folder's index names, leaves a tensor that the file lacks as memory was, and passes over one that it
does not know.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError
from safetensors.torch import load_file

from semdiff._util.parameters import check_finite, check_names, check_tensors
from semdiff.models.int8 import FILE, dequantize, is_quantized
from semdiff.models.store import model_index, quiet

NETWORK_OPTIONS = ("dtype", "torch_dtype", "use_safetensors", "low_cpu_mem_usage", "variant")
OURS, PIXELS, JSCC = "semdiff.models.networks", "semdiff.models.pixels", "semdiff.models.jscc_layers"
RESIDUAL, RESIDUAL_UPSAMPLER = "semdiff.models.residual_jscc", "semdiff.models.residual_upsampler"
# In folders written by 0.1.0 they are modules of semdiff.link.
RENAMED = {f"semdiff.link.{old}": name for old, name in (("networks", OURS), ("pixels", PIXELS), ("jscc_networks", JSCC))}
VARIANCE_PRESERVING = (
    "DDIMParallelScheduler", "DDIMScheduler", "DDPMParallelScheduler", "DDPMScheduler", "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler", "DPMSolverSDEScheduler", "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler", "LCMScheduler",
    "LMSDiscreteScheduler", "PNDMScheduler", "SASolverScheduler", "TCDScheduler", "UniPCMultistepScheduler",
)  # fmt: skip
# By part: (module, class) as model_index.json has them.
CLASSES: dict[str, tuple[tuple[str, str], ...]] = {
    "vae": (("diffusers", "AutoencoderTiny"), ("diffusers", "AutoencoderKL"), ("diffusers", "VQModel")),
    "unet": ((OURS, "Denoiser"), (PIXELS, "PixelDenoiser"), ("diffusers", "UNet2DModel"), ("diffusers", "UNet2DConditionModel")),
    "downsampler": ((OURS, "Downsampler"),),
    "upsampler": ((OURS, "Upsampler"), (PIXELS, "PixelUpsampler"), (RESIDUAL_UPSAMPLER, "ResidualUpsampler")),
    "mean_decoder": ((OURS, "MeanDecoder"),),
    "sample_decoder": ((OURS, "SampleDecoder"),),
    "detail_decoder": ((OURS, "DetailDecoder"),),
    "prompt": ((OURS, "Prompt"),),
    "transmitter": ((JSCC, "Transmitter"), (RESIDUAL, "ResidualTransmitter")),
    "decoder": ((JSCC, "JSCCDecoder"), (RESIDUAL, "ResidualDecoder")),
    "scheduler": tuple(("diffusers", name) for name in VARIANCE_PRESERVING),
}


def read_index(folder: Path, fields: Mapping[str, Any], pipeline: str = "SemanticLink") -> dict[str, tuple[str, str]]:
    """Read the parts that folder/model_index.json names, with their module and class.

    Args:
        folder: of a link.
        fields: what the link's constructor takes.
        pipeline: the link's class.

    Returns:
        (module, class) by name.

    Raises:
        ValueError: for an index that is damaged, is of another pipeline, or names a part, a field or a class that no link has.
    """
    place, index = folder / "model_index.json", model_index(folder)
    if index.get("_class_name") != pipeline:
        raise ValueError(f"{place}: expected a {pipeline}, got {index.get('_class_name')!r}")
    found = {}
    for name, value in index.items():
        if name.startswith("_"):
            continue
        if name not in fields:
            raise ValueError(f"{place}: {name}: unknown field; known: {', '.join(fields)}")
        if name in CLASSES and value not in (None, [None, None]):
            kind = tuple(value) if isinstance(value, list) else (value,)
            kind = (RENAMED.get(kind[0], kind[0]), *kind[1:])
            if kind not in CLASSES[name]:
                expected = ", ".join(".".join(pair) for pair in CLASSES[name])
                raise ValueError(f"{place}: {name}: expected {expected}, got {'.'.join(map(str, kind))}")
            found[name] = kind
    return found


def load_parts(folder: Path, index: Mapping[str, tuple[str, str]], options: Mapping[str, Any]) -> dict[str, Any]:
    """Load the parts of `read_index`, each from its own folder.

    Args:
        folder: of a link.
        index: from `read_index`.
        options: of a pipeline's from_pretrained, from which networks take their own.

    Returns:
        Parts by name.
    """
    options = {"torch_dtype" if name == "dtype" else name: value for name, value in options.items() if name in NETWORK_OPTIONS}
    found = {}
    for name, (module, kind_name) in index.items():
        kind = getattr(import_module(module), kind_name)
        if name == "scheduler":
            check_class(folder / name / "scheduler_config.json", (kind_name,))
            found[name] = kind.from_pretrained(str(folder / name), local_files_only=True)
        else:
            found[name] = load_network(kind, folder / name, (kind_name,), options)
    return found


def load_network(kind: Any, folder: Path, names: Collection[str], options: Mapping[str, Any]) -> Any:
    """Load a network from its own folder.

    Args:
        kind: its class.
        folder: the folder.
        names: of the classes that its config may be of.
        options: of its from_pretrained.

    Raises:
        ValueError: naming the file or the tensors, where the config is of another class or the file is damaged, lacks a tensor, has one too
            many, one of another shape, or NaN or infinity in one.
    """
    config = check_class(folder / "config.json", names)
    own = kind.__module__.startswith("semdiff.")
    if own and (unknown := [n for n in config if not n.startswith("_") and n not in signature(kind.__init__).parameters]):
        raise ValueError(f"{folder / 'config.json'}: unknown field of a {kind.__name__}: {', '.join(unknown)}")
    try:
        if own and (folder / FILE).is_file() and is_quantized(folder / FILE):
            network = kind.from_config(config)
            stored = dequantize(load_file(folder / FILE))
            check_tensors(str(folder), stored, network.state_dict())
            network.load_state_dict(stored)
            with quiet():
                return network.to(options.get("torch_dtype", torch.float32)).eval()
        with quiet():
            # diffusers' own method, also of a class whose from_pretrained ends here.
            load = ModelMixin.from_pretrained.__func__
            network, found = load(kind, str(folder), output_loading_info=True, local_files_only=True, **options)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{folder}: the model's files are damaged or incomplete ({error})") from error
    except (RuntimeError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(f"{folder}: the files do not fit a {kind.__name__} ({' '.join(str(error).split())[:400]})") from error
    check_names(str(folder), found["missing_keys"], found["unexpected_keys"])
    check_finite(str(folder), network.state_dict())
    return network.eval()


def check_class(place: Path, names: Collection[str]) -> dict[str, Any]:
    """Read a config and check its class.

    Args:
        place: of the config.
        names: of the classes that it may be of.

    Raises:
        ValueError: where it is missing, damaged, or of another class.
    """
    try:
        config = json.loads(place.read_text("utf-8"))
        named = config["_class_name"]
    except FileNotFoundError:
        raise ValueError(f"{place}: this file of the model is missing") from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{place}: expected a JSON object with a _class_name, but it is damaged ({error})") from None
    if named not in names:
        raise ValueError(f"{place}: expected the config of {' or '.join(sorted(names))}, got that of {named}")
    return dict(config)
