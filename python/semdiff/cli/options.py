# SPDX-License-Identifier: Apache-2.0
"""Options that several commands share, with one wording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from semdiff.link import SemanticLink

Cbr = Annotated[
    float | None, typer.Option("--cbr", help="Channel uses for each source value; the model's largest if not given. The demo names it.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of the table.")]
Model = Annotated[
    Path | None,
    typer.Option("--model", help="Folder of a trained model; the one in the package if not given.", exists=True, file_okay=False),
]
Seed = Annotated[int, typer.Option("--seed", help="Of the channel's noise and the sampler's. The same seed gives the same result.")]
Steps = Annotated[int, typer.Option("--steps", help="Of the sampler; each is one pass of the denoiser.")]


def load_link(model: Path | None) -> SemanticLink:
    """The model in that folder, or the package's own. ImportError, naming the extra, where diffusers is absent."""
    from semdiff.link import SemanticLink

    return SemanticLink.default() if model is None else SemanticLink.from_pretrained(model)
