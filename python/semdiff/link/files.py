# SPDX-License-Identifier: Apache-2.0
"""Load and save links: models of the package by their names, folders of safetensors and JSON, and repositories on the Hub."""

from __future__ import annotations

import os
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import DiffusionPipeline

from semdiff.models.hub import HUB_OPTIONS, check_hub_options, fetch_model, push_model
from semdiff.models.loading import CLASSES, NETWORK_OPTIONS, load_parts, read_index
from semdiff.models.store import find_model, model_index, saved, shipped_models, verify_checksums

DEFAULT_MODEL = "fashion-mnist"


class LinkFiles(DiffusionPipeline):  # type: ignore[misc]
    """Load and save a diffusers pipeline whose folders are checked, complete, and of classes that are known here.

    Attributes:
        saved_as: the class's name in a folder's model_index.json.
    """

    saved_as: ClassVar[str]

    @classmethod
    def default(cls, model: str = DEFAULT_MODEL) -> Self:
        """Load a link that comes with the package.

        Args:
            model: fashion-mnist (28x28 grey, CBR 1/12 and 1/24), cifar10 (32x32 colour, CBR 1/6, 1/12 and 1/24) or photos (colour, any
                size, CBR 1/12, 1/24 and 1/48).

        Returns:
            The link, in float32 on the CPU.

        Raises:
            ValueError: for another name.

        Example:
            >>> from semdiff.link import SemanticLink
            >>> link = SemanticLink.default("fashion-mnist")
            >>> link.image_shape, {channels: round(cbr, 4) for channels, cbr in link.cbrs.items()}
            ((1, 28, 28), {2: 0.0816, 1: 0.0408})
        """
        models = shipped_models()
        if model not in models:
            raise ValueError(f"model: expected one that comes with the package ({', '.join(models)}), got {model!r}")
        link: Self = cls.from_pretrained(models[model])
        return link

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
        """Load a link of the package by its name, from a folder that `save_pretrained` wrote, or from the Hugging Face Hub.

        Args:
            pretrained_model_name_or_path: the name, the folder, or user/model on the Hub, in this order.
            kwargs: networks in place of the folder's; dtype, float32 unless it says otherwise; and for the Hub, as diffusers takes them,
                revision, token, cache_dir, force_download and local_files_only.

        Returns:
            The link; of `SemanticLink` a `PixelLink` where the folder holds one.

        Raises:
            FileNotFoundError: where there is none.
            OSError: for what else the Hub answers, such as an unknown revision.
            ValueError: where a file is missing, truncated or altered, or names a class that no link has.
        """
        if not isinstance(pretrained_model_name_or_path, (str, os.PathLike)):
            got = type(pretrained_model_name_or_path).__name__
            raise TypeError(f"pretrained_model_name_or_path: expected the name of a model or a folder, got {got}")
        known = {*signature(cls).parameters, *NETWORK_OPTIONS, *HUB_OPTIONS}
        if unknown := [name for name in kwargs if name not in known]:
            raise TypeError(f"{unknown[0]}: expected one of {', '.join(sorted(known))}, got an unknown argument")
        for name in ("dtype", "torch_dtype"):
            if kwargs.get(name) is not None and not isinstance(kwargs[name], torch.dtype):
                raise TypeError(f"{name}: expected a torch.dtype, got {kwargs[name]!r}")
        hub = {name: kwargs.pop(name) for name in HUB_OPTIONS if name in kwargs}
        folder = find_model(pretrained_model_name_or_path, "pretrained_model_name_or_path", **hub)
        if not (folder / "model_index.json").is_file():
            raise FileNotFoundError(f"{folder}: expected a folder with model_index.json, as save_pretrained writes it")
        verify_checksums(folder)
        return cls._load(folder, **kwargs)

    @classmethod
    def _load(cls, folder: Path, **kwargs: Any) -> Any:
        options = {"dtype": torch.float32, "use_safetensors": True, "low_cpu_mem_usage": False} | kwargs
        fields = signature(cls).parameters
        index = read_index(folder, fields, cls.saved_as)
        needed = [name for name, p in fields.items() if name in CLASSES and p.default is p.empty]
        if absent := [name for name in needed if name not in index and kwargs.get(name) is None]:
            raise ValueError(f"{folder / 'model_index.json'}: expected the parts {', '.join(needed)}, got none for {', '.join(absent)}")
        settings = {name: value for name, value in model_index(folder).items() if name in fields and name not in CLASSES}
        given = {name: value for name, value in kwargs.items() if name in fields}
        with torch.device("cpu"):  # whatever the default device is
            parts = load_parts(folder, {name: kind for name, kind in index.items() if name not in kwargs}, options)
            # Not by diffusers' own from_pretrained, which looks each part's class up again, in the module that the file names.
            return cls(**(settings | parts | given))

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> Path:
        """Fetch a link from the Hub into its cache, so that `from_pretrained` finds it there without a connection.

        Args:
            pretrained_model_name: user/model.
            kwargs: revision, token, cache_dir, force_download and local_files_only.

        Returns:
            The folder.
        """
        check_hub_options(kwargs)
        return fetch_model(pretrained_model_name, "pretrained_model_name", **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike[str], push_to_hub: bool = False, **kwargs: Any) -> None:
        """Save the link as safetensors and JSON, with a checksum of each file.

        The folder holds the old model or the whole new one at any time.

        Args:
            save_directory: the folder.
            push_to_hub: whether to send it to the Hub too, by the folder's name or as repo_id.
            kwargs: of diffusers' save_pretrained, and of `push_to_hub`.
        """
        if getattr(self, "own_denoiser", None):
            raise ValueError("link: expected its own denoiser, got one of with_denoiser; save the link that it was made of")
        sent = {name: kwargs.pop(name) for name in ("commit_message", "private", "token", "create_pr") if name in kwargs}
        repository = kwargs.pop("repo_id", Path(save_directory).name)
        with saved(save_directory) as folder:
            super().save_pretrained(folder, **({"safe_serialization": True} | kwargs))
        if push_to_hub:
            self.push_to_hub(repository, variant=kwargs.get("variant"), **sent)

    def push_to_hub(self, repo_id: str, *, variant: str | None = None, **kwargs: Any) -> str:
        """Send the link to the Hugging Face Hub, as `save_pretrained` writes it, in one commit.

        Args:
            repo_id: user/model, or a name in one's own account; made where there is none.
            variant: of the weights' files, see `save_pretrained`.
            kwargs: commit_message, private, token and create_pr, as diffusers takes them.

        Returns:
            The commit's address.
        """
        return push_model(lambda folder: self.save_pretrained(folder, variant=variant), repo_id, type(self), **kwargs)
