# SPDX-License-Identifier: Apache-2.0
"""Define options that several commands share, with one wording."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

if TYPE_CHECKING:
    from semdiff.link import SemanticLink
    from semdiff.phy.channel import Channel
    from semdiff.phy.mimo import Precoding

CHANNELS = "awgn, rayleigh, rayleigh-fast, rician:K, rician-fast:K, multipath, mimo:NTxNR, mimo:NTxNR:PRECODING"


def parse_ratio(text: str) -> float:
    """Parse text such as 0.0417 or 1/24.

    Raises:
        typer.BadParameter: which becomes a message, for anything else.
    """
    try:
        return float(Fraction(text.strip()))
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"expected a ratio such as 1/24 or 0.0417, got {text!r}") from None


def parse_steps(text: str) -> int | str:
    """Parse text such as 8, or auto.

    Raises:
        typer.BadParameter: for anything else.
    """
    try:
        return text if text == "auto" else int(text)
    except ValueError:
        raise typer.BadParameter(f"expected an integer or auto, got {text!r}") from None


def parse_snrs(texts: Sequence[str]) -> list[float]:
    """Parse texts of --snr: of 0,5 and 10 the numbers [0.0, 5.0, 10.0], each once.

    Raises:
        typer.BadParameter: for what is no number.
    """
    try:
        return list(dict.fromkeys(float(part) for text in texts for part in text.split(",")))
    except ValueError:
        got = " ".join(texts)
        raise typer.BadParameter(f"expected numbers in dB such as 5 or 0,5,10, got {got!r}", param_hint="'--snr'") from None


Snrs = Annotated[
    list[str] | None,
    typer.Option("--snr", metavar="DB[,DB...]", help="Average signal-to-noise ratio of the channel, one or several; 10 if not given."),
]
Cbr = Annotated[
    float | None,
    typer.Option("--cbr", parser=parse_ratio, help="Channel uses for each source value, such as 1/24; the model's largest if not given."),
]
ChannelName = Annotated[
    str,
    typer.Option(
        "--channel",
        help=f"One of {CHANNELS}. -fast: a gain for each symbol in place of one for a picture; K in dB; multipath: 8 taps, OFDM; "
        "PRECODING: equal, waterfilling or equalizing, none if not given.",
    ),
]
Realism = Annotated[float, typer.Option("--realism", help="0: the picture of least error. 1: the one of most detail. Between: their mix.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout instead of the table.")]


def parse_model(text: str) -> Path:
    """Find the folder of a model: text is the name of one in the package, a folder, or user/model on the Hub.

    Raises:
        typer.BadParameter: where it is none of them.
    """
    from semdiff.cli.late_imports import import_links

    import_links()  # store imports diffusers
    from semdiff.models.store import find_model

    try:
        return find_model(text)
    except OSError as error:
        raise typer.BadParameter(str(error).removeprefix("model: ")) from None


def _model(default: str) -> Any:
    text = f"Name of a model in the package, folder of one, or user/model on the Hub; {default} if not given."
    return typer.Option("--model", parser=parse_model, metavar="MODEL", help=text)


Model = Annotated[Path | None, _model("fashion-mnist")]
PhotoModel = Annotated[Path | None, _model("photos")]
AnyModel = Annotated[Path | None, _model("each of the package's")]
Seed = Annotated[int, typer.Option("--seed", help="Of the channel's noise and the sampler's. The same seed gives the same result.")]
Steps = Annotated[  # int or "auto": typer knows no unions
    Any,
    typer.Option(
        "--steps",
        parser=parse_steps,
        metavar="INTEGER|auto",
        help="Of the sampler; each is one pass of the denoiser. auto: as many as pay at the SNR, where the model knows "
        "(fashion-mnist and cifar10 4, photos 1).",
    ),
]


def load_link(model: Path | None, default: str = "fashion-mnist") -> SemanticLink:
    """Load a link.

    Args:
        model: its folder; None is the package's of the name `default`.
        default: see above.

    Raises:
        ImportError: naming the extra, where diffusers is absent.
    """
    from semdiff.cli.late_imports import import_links, late_imports

    import_links()
    from semdiff.link import SemanticLink

    with late_imports():  # a scheduler looks at all those that it could be exchanged for
        return SemanticLink.default(default) if model is None else SemanticLink.from_pretrained(model)


def parse_channel(text: str) -> Channel:
    """Make the channel that the text names.

    Raises:
        ValueError: that lists the names, or tells which argument is out of its range.
    """
    from semdiff.phy.channel import AWGN
    from semdiff.phy.fading import Rayleigh, Rician
    from semdiff.phy.mimo import MIMO
    from semdiff.phy.multipath import Multipath

    name, *values = text.split(":")
    coherence: Literal["block", "fast"] = "fast" if name.endswith("-fast") else "block"
    try:
        match (name, values):
            case ("awgn", []):
                return AWGN()
            case ("rayleigh" | "rayleigh-fast", []):
                return Rayleigh(coherence)
            case ("rician" | "rician-fast", [k_db]):
                return Rician(float(k_db), coherence)
            case ("multipath", []):
                return Multipath()
            case ("mimo", [antennas, *precoding]) if len(precoding) <= 1:
                nt, nr = map(int, antennas.split("x"))
                return MIMO(nt, nr, cast("Precoding | None", precoding[0] if precoding else None))
            case _:
                raise ValueError("no such channel")
    except ValueError as error:
        raise ValueError(f"--channel: expected one of {CHANNELS}, got {text!r} ({error})") from None
