# SPDX-License-Identifier: Apache-2.0
"""Register the systems that can be compared, and the channels, by name.

A system is any object with transmit(images, snr_db, cbr=None, channel=None, key=None, ...) -> semdiff.link.Transmission. Those registered
here are imported at first use, so that one whose extra is absent does not matter to the others.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, get_args

import torch
from torch import Tensor, nn

from semdiff.diffusion.matching import MatchMode
from semdiff.diffusion.sampler import Solver
from semdiff.evaluation.config import ChannelSpec, SystemSpec, unknown
from semdiff.evaluation.json_files import to_json
from semdiff.phy.channel import Channel
from semdiff.rng import Key

if TYPE_CHECKING:
    from semdiff.link import Transmission

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
    """

    module: str
    attribute: str
    extra: str
    axes: tuple[str, ...] = ()
    options: Mapping[str, Any] = {}
    trained_on: tuple[str, ...] = ()


SYSTEMS: dict[str, RegisteredSystem] = {
    "link": RegisteredSystem("semdiff.link", "SemanticLink", "models", RECEIVER_AXES),
    "upsampler-mean": RegisteredSystem("semdiff.link", "SemanticLink", "models", options={"diffusion": False}, trained_on=("psnr",)),
    "adjscc": RegisteredSystem("semdiff.baselines", "ADJSCC", "models", trained_on=("psnr",)),
    "adjscc-lpips": RegisteredSystem("semdiff.baselines", "PerceptualADJSCC", "models", trained_on=("psnr", "lpips_alex")),
    "deepjscc": RegisteredSystem("semdiff.baselines", "DeepJSCC", "models", trained_on=("psnr",)),
    "ffdnet": RegisteredSystem("semdiff.baselines", "FFDNetReceiver", "models", trained_on=("psnr",)),
    "digital": RegisteredSystem("semdiff.baselines", "Digital", "eval"),
    "capacity": RegisteredSystem("semdiff.baselines", "Capacity", "models"),
}


# Channels as version 0.1.0 called them.
RECORDED = {"blind": "blindnoise", "given": "fixedchannel", "impaired": "hardwareimpairments", "mistaken": "imperfectcsi"}


@dataclass(frozen=True)
class System:
    """Hold a system that is ready to transmit, and what tells it from others.

    Attributes:
        label: in the results.
        name: as registered, or of a user's class.
        transmitter: the object.
        axes: which of RECEIVER_AXES change its output.
        options: passed to every transmit.
        path: of the weights.
        weights: sha256 of all parameters.
        arguments: of the constructor.
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
        """
        return self.transmitter.transmit(images, snr_db, cbr=cbr, channel=channel, key=key, **axes, **self.options)  # type: ignore[no-any-return]

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
        if spec.name not in SYSTEMS:
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
    spec = dataclasses.replace(spec, options=tuple((name, value) for name, value in spec.options if name not in told))
    if spec.path is not None and spec.options:
        raise ValueError(f"systems.{spec.label}.options: expected none beside a path, whose files say all; got {dict(spec.options)}")
    if spec.path is None:
        made = _make(kind, spec)
    elif hasattr(kind, "from_pretrained"):
        made = _trained(kind, spec.path, f"systems.{spec.label}.path")
    else:
        raise ValueError(f"systems.{spec.label}.path: expected none, {spec.name} has no weights to load; got {spec.path!r}")
    digest, trained_on = weights_digest(made), entry.trained_on or getattr(made, "trained_on", ())
    return System(spec.label, spec.name, made, entry.axes, {**entry.options, **told}, spec.path, digest, dict(spec.options), trained_on)


def _make(kind: Any, spec: SystemSpec) -> Any:
    """The class's default(), for systems that come with weights, or the class with the options that its constructor has."""
    make = kind.default if hasattr(kind, "default") else kind
    where, options = f"systems.{spec.label}.options", dict(spec.options)
    check_arguments(where, options, make)
    if hasattr(kind, "default") and "model" in options:
        return _trained(kind, options["model"], f"{where}.model")
    try:
        return make(**options)
    except (TypeError, ValueError) as error:
        raise type(error)(f"systems.{spec.label}: {error}") from error


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


def check_arguments(where: str, given: Mapping[str, Any], make: Any) -> None:
    """Check that a callable has arguments of these names.

    Args:
        where: for the message.
        given: arguments by name.
        make: the callable.

    Raises:
        ValueError: for one that it has not.
    """
    takes = [name for name in inspect.signature(make).parameters if name not in ("args", "kwargs")]
    for name in given:
        if name not in takes:
            raise ValueError(f"{where}: {unknown('argument', name, takes)}")


def wrap_system(label: str, transmitter: Any) -> System:
    """Wrap a user's own object as a system.

    It is swept over steps and realism as its `axes` say, or if it has none and its transmit has parameters of those names. It may have an
    attribute `trained_on`. Finished cells know it by its class and its weights: give another `out` to one of other settings.

    Args:
        label: in the results.
        transmitter: the object.

    Raises:
        TypeError: where it has no transmit.
    """
    if not callable(getattr(transmitter, "transmit", None)):
        raise TypeError(f"systems.{label}: expected an object with transmit(images, snr_db, ...), got {type(transmitter).__name__}")
    parameters = inspect.signature(transmitter.transmit).parameters
    name = f"{type(transmitter).__module__}.{type(transmitter).__qualname__}"
    axes = tuple(axis for axis in RECEIVER_AXES if axis in getattr(transmitter, "axes", parameters))
    trained_on = tuple(getattr(transmitter, "trained_on", ()))
    return System(label, name, transmitter, axes, weights=weights_digest(transmitter), trained_on=trained_on)


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


def weights_digest(system: Any) -> str | None:
    """Compute the sha256 of all parameters and buffers of a system's modules, and of its config; None where there are none."""
    found = hashlib.sha256()
    any_weights = False
    for name, module in _modules(system):
        for key, value in sorted(module.state_dict().items()):
            any_weights = True
            tensor = value.detach().cpu().contiguous()
            found.update(f"{name}.{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    config = getattr(system, "config", None)
    if isinstance(config, Mapping):
        found.update(to_json({k: v for k, v in config.items() if _plain(v)}))
    return found.hexdigest() if any_weights else None


def _modules(system: Any) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(system, nn.Module):
        yield "", system
        return
    parts = getattr(system, "components", None)  # a diffusers pipeline's
    for name, part in sorted((parts if isinstance(parts, Mapping) else getattr(system, "__dict__", {})).items()):
        if isinstance(part, nn.Module):
            yield name, part


def _plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool)) or (isinstance(value, (list, tuple)) and all(map(_plain, value)))


def channel_classes() -> dict[str, type[Channel]]:
    """List semdiff's channels by their class's name in small letters, and by the names that recorded results have."""
    public = import_module("semdiff")
    names = (getattr(public, name) for name in public.__all__)
    kinds = [v for v in names if isinstance(v, type) and issubclass(v, Channel) and v is not Channel]
    known = {kind.__name__.lower(): kind for kind in kinds}
    return known | {recorded: known[name] for recorded, name in RECORDED.items()}


def make_channel(spec: ChannelSpec) -> Channel:
    """Make a channel.

    Args:
        spec: its name and arguments.

    Raises:
        ValueError: for a name or an argument that does not exist.
    """
    known = channel_classes()
    if spec.name not in known:
        raise ValueError(f"channels: {unknown('channel', spec.name, known)}")
    kind = known[spec.name]
    check_arguments(f"channels.{spec.name}", dict(spec.options), kind)
    try:
        return kind(**dict(spec.options))
    except (TypeError, ValueError) as error:
        raise type(error)(f"channels.{spec.name}: {error}") from error
