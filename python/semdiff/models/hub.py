# SPDX-License-Identifier: Apache-2.0
"""Fetch models from the Hugging Face Hub and send them there, by huggingface_hub: its cache, tokens, HF_ENDPOINT and HF_HUB_OFFLINE."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

HUB_OPTIONS = ("revision", "token", "cache_dir", "force_download", "local_files_only")
READ = (".json", ".safetensors")  # what loading reads; nothing else is fetched, or compared with its checksum
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_CARD = """\
---
library_name: semdiff
tags: [semantic-communication, joint-source-channel-coding]
---
# {repository}

A {kind} of semdiff, which sends images over noisy wireless channels.

```python
from {module} import {kind}

model = {kind}.from_pretrained("{repository}")
```
"""


def check_hub_options(options: Iterable[str]) -> None:
    """Check names of options.

    Args:
        options: the names.

    Raises:
        TypeError: for one that is not in `HUB_OPTIONS`.
    """
    for name in options:
        if name not in HUB_OPTIONS:
            raise TypeError(f"{name}: expected one of {', '.join(HUB_OPTIONS)}, got an unknown argument")


def is_repository(model: str | os.PathLike[str]) -> bool:
    """Tell whether a model's name can be that of a repository on the Hub, user/model. A path object never is one.

    Args:
        model: the name.
    """
    return isinstance(model, str) and _REPOSITORY.fullmatch(model) is not None


def fetch_model(repository: str, argument: str = "model", files: Sequence[str] | None = None, **options: Any) -> Path:
    """Fetch a model's JSON and safetensors, or find them in the Hub's cache.

    Without a connection the cached files are taken, as huggingface_hub does.

    Args:
        repository: user/model.
        argument: name of the argument, for the message.
        files: patterns of what is fetched; None is all JSON and safetensors.
        options: those of `HUB_OPTIONS`, as huggingface_hub's snapshot_download takes them.

    Returns:
        The folder in the cache.

    Raises:
        FileNotFoundError: where the Hub has no such repository, or it cannot be reached and the cache lacks files.
        OSError: for another revision than there is, and what else the Hub answers.
    """
    try:
        wanted = [f"*{suffix}" for suffix in READ] if files is None else list(files)
        return Path(snapshot_download(repository, allow_patterns=wanted, library_name="semdiff", **options))
    except (RepositoryNotFoundError, LocalEntryNotFoundError) as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(f"{argument}: there is no folder {repository!r} here, and the Hub does not give it ({reason})") from error


def push_model(
    save: Callable[[Path], object],
    repository: str,
    kind: type,
    commit_message: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    create_pr: bool = False,
) -> str:
    """Save a model and send its files to the Hub, in one commit; a repository without a README.md gets one.

    Args:
        save: writes the model into a folder.
        repository: user/model, or a name in the token's account; made where there is none.
        kind: the model's class.
        commit_message: of the commit.
        private: of a repository that is made.
        token: of an account with the right to write; None is the one of `hf auth login`.
        create_pr: whether to open a pull request in place of a commit.

    Returns:
        The commit's address.
    """
    api = HfApi(token=token, library_name="semdiff")
    with TemporaryDirectory() as place:
        folder = Path(place) / "model"
        save(folder)  # first: of a model that cannot be saved no repository is made
        repository = api.create_repo(repository, private=private, exist_ok=True).repo_id
        if not api.file_exists(repository, "README.md"):
            module = kind.__module__.rsplit(".", 1)[0]
            (folder / "README.md").write_text(_CARD.format(repository=repository, kind=kind.__name__, module=module), encoding="utf-8")
        message = commit_message or f"Upload {kind.__name__}"
        return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message, create_pr=create_pr))
