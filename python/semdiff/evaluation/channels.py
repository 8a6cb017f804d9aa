# SPDX-License-Identifier: Apache-2.0
"""Find the channels of an evaluation by name, and hold a user's to what a channel is."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from semdiff._util.signatures import check_call
from semdiff.evaluation.own_objects import check_arguments, make_object
from semdiff.evaluation.readers import unknown
from semdiff.evaluation.specs import ChannelSpec, is_own
from semdiff.phy.channel import Channel, pack
from semdiff.rng import Key, normal
from semdiff.transmission.inputs import describe_wrong

# Channels as version 0.1.0 called them.
RECORDED = {"blind": "blindnoise", "given": "fixedchannel", "impaired": "hardwareimpairments", "mistaken": "imperfectcsi"}


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
        TypeError: for one of a user's that is no channel, as `check_channel`.
    """
    if is_own(spec.name):
        where = f"channels.{spec.label}"
        return check_channel(make_object(spec.name, dict(spec.options), where), where)
    known = channel_classes()
    if spec.name not in known:
        raise ValueError(f"channels: {unknown('channel', spec.name, known)}")
    kind = known[spec.name]
    check_arguments(f"channels.{spec.name}", dict(spec.options), kind)
    try:
        return kind(**dict(spec.options))
    except (TypeError, ValueError) as error:
        raise type(error)(f"channels.{spec.name}: {error}") from error


def check_channel(channel: Any, where: str) -> Channel:
    """Check a user's channel by sending a few symbols.

    Args:
        channel: the object.
        where: the field, for the message.

    Returns:
        The channel.

    Raises:
        TypeError: where it is no `Channel`, its forward takes other arguments, or it returns no `Received`.
    """
    if not isinstance(channel, Channel):
        got = f"the class {channel.__name__}; {channel.__name__}(...) makes one" if isinstance(channel, type) else type(channel).__name__
        raise TypeError(f"{where}: expected an object of a subclass of semdiff.Channel with forward(self, s, snr_db, key), got {got}")
    name = type(channel).__name__
    check_call(channel.forward, f"{where}: {name}.forward", "s, snr_db, key")
    try:
        received = channel(pack(normal((2, 16), Key(0))), torch.full((2,), 10.0, dtype=torch.float64), Key(1))
    except NotImplementedError as error:
        raise TypeError(f"{where}: {error}") from None
    except RuntimeError as error:
        called = "s (2, 8), complex64, and snr_db (2,), float64, an SNR for each sample"
        raise TypeError(f"{where}: expected {name}.forward to work with {called}, got {error}") from error
    if wrong := describe_wrong(received):
        raise TypeError(f"{where}: expected {name}.forward to return a semdiff.Received(y, h, noise_var) of tensors, got {wrong}")
    return channel
