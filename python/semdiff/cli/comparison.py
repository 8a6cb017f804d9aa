# SPDX-License-Identifier: Apache-2.0
"""Send a picture over a learned code and digital transmission beside the link, at the same channel uses and noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from torch import Tensor

from semdiff.cli.output import print_note
from semdiff.metrics import LPIPS, lpips, psnr
from semdiff.phy.channel import Channel
from semdiff.rng import Key

if TYPE_CHECKING:
    from semdiff.link import SemanticLink, Transmission

ImageDistance: TypeAlias = Callable[[Tensor, Tensor], Tensor]
# The class and the name of the package's learned code without diffusion, by the shape of a link's images.
SHIPPED_CODES = {
    (1, 28, 28): ("ADJSCC", "fashion-mnist"),
    (3, 32, 32): ("ResidualJSCC", "cifar10"),
    (3, None, None): ("ADJSCC", "photos"),
}


class Outcome(NamedTuple):
    """Hold what one system made of one image.

    Attributes:
        image: (C, H, W) in [0, 1].
        numbers: psnr_db, measured_snr_db, t where there is one, lpips where it is measured.
        outage: whether nothing was decoded; the image then says nothing.
    """

    image: Tensor  # (C, H, W), in [0, 1]
    numbers: dict[str, float]  # psnr_db, measured_snr_db, t where there is one, lpips where it is judged
    outage: bool = False  # nothing was decoded, and the image says nothing


def measure_outcomes(done: Transmission, originals: Tensor, lpips: ImageDistance | None = None) -> list[Outcome]:
    """Measure each image that a system received.

    Args:
        done: the transmission.
        originals: what was sent.
        lpips: measures LPIPS; None leaves it out.
    """
    numbers = {"psnr_db": psnr(done.images, originals), "measured_snr_db": done.snr_db, "t": done.t}
    if lpips is not None:
        numbers["lpips"] = lpips(done.images, originals)
    return [Outcome(image, {name: float(values[i]) for name, values in numbers.items()}) for i, image in enumerate(done.images)]


class Comparison:
    """Hold the systems that are compared with a link.

    Args:
        link: the link.
        adjscc: the folder of an ADJSCC; None is the package's for images of the link's shape.

    Attributes:
        left_out: why a system is not there, by name.
    """

    def __init__(self, link: SemanticLink, adjscc: Path | None = None) -> None:
        self.link = link
        self.systems: dict[str, Any] = {}
        self.left_out: dict[str, str] = {}
        self.lpips = _lpips()
        code = shipped_code_name(link) if adjscc is None else "ADJSCC"
        makers: dict[str, Callable[[], Any]] = {code: lambda: _code(link, adjscc), "digital": _digital}
        for name, make in makers.items():
            try:
                self.systems[name] = make()
            except (ImportError, FileNotFoundError) as error:
                self._leave_out(name, error)

    def transmit(
        self, images: Tensor, snr_db: float, cbr: float | None, channel: Channel, key: Key, cost: int
    ) -> Iterator[tuple[str, list[Outcome]]]:
        """Send images over every system.

        Args:
            images: (B, C, H, W) in [0, 1].
            snr_db, cbr, channel, key: as in `ImageTransmitter.transmit`.
            cost: channel uses for one image, as the link's ledger counts them.

        Yields:
            The system's name and its outcomes.
        """
        from semdiff.transmission.inputs import choose_rate  # needs the extra [models], whose absence --help survives

        layout = self.link.layout()
        channels = choose_rate(cbr, layout)
        uses = self.link.layout((images.shape[2], images.shape[3])).uses(channels)
        for name, system in list(self.systems.items()):
            # A learned system calls its rates by what they cost on whole cells, the digital one takes any number of uses.
            ratio = layout.cbr(channels) if hasattr(system, "layout") else uses / images[0].numel()
            try:
                done = system.transmit(images, snr_db, cbr=ratio, channel=channel, key=key)
            except ValueError as error:
                self._leave_out(name, error)
                continue
            if done.ledger.total != cost:
                self._leave_out(name, f"it takes {done.ledger.total} channel uses where the link takes {cost}")
                continue
            outage = getattr(system, "outage", None)  # what the digital one shows when nothing arrives
            yield (
                name,
                [
                    o._replace(outage=outage is not None and bool((o.image == outage).all()))
                    for o in measure_outcomes(done, images, self.lpips)
                ],
            )

    def _leave_out(self, name: str, why: object) -> None:
        self.systems.pop(name, None)
        self.left_out[name] = " ".join(str(why).split())
        print_note(f"{name} is left out: {self.left_out[name]}")


def shipped_code_name(link: SemanticLink) -> str:
    """Return the class of the package's learned code for the link's images, which stands for it in tables."""
    return SHIPPED_CODES.get(link.image_shape, ("ADJSCC", ""))[0]


def shipped_code(link: SemanticLink) -> Any:
    """Load the package's learned code without diffusion for the link's images.

    Args:
        link: the link.

    Raises:
        FileNotFoundError: where there is none, or where its weights are not there.
    """
    from semdiff import baselines

    if link.image_shape not in SHIPPED_CODES:
        raise FileNotFoundError(f"no {shipped_code_name(link)} for images of shape {link.image_shape} comes with the package")
    kind, name = SHIPPED_CODES[link.image_shape]
    return getattr(baselines, kind).default(name)


def _code(link: SemanticLink, folder: Path | None) -> Any:
    from semdiff.baselines import ADJSCC

    if folder is None:
        return shipped_code(link)
    try:
        found = ADJSCC.load(folder)
    except FileNotFoundError as error:
        raise ValueError(f"--adjscc: {error}") from None  # asked for by name: not to be left out
    if found.image_shape != link.image_shape:
        raise ValueError(f"--adjscc: expected a model for images of shape {link.image_shape}, the link's, got {found.image_shape}")
    return found


def _digital() -> Any:
    from semdiff.baselines import Digital

    return Digital()


def _lpips() -> ImageDistance | None:
    """LPIPS (AlexNet) of images; None where its network is not installed."""
    try:
        LPIPS("alex")
    except FileNotFoundError:
        return None
    return lpips
