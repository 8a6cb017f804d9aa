# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff app`: a local page on which a picture is sent, by NiceGUI."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semdiff.cli.options import PhotoModel

if TYPE_CHECKING:
    from torch import Tensor

    from semdiff.cli.trial import Heard, Shown, Trial

HOST = "127.0.0.1"  # this machine alone
LARGEST = 20  # megabytes of an upload
STYLE = """
<style>
  body { background: #f6f7f9; }
  .cards, .controls { display: grid; width: 100%; gap: 16px 24px; }
  .cards { grid-template-columns: repeat(auto-fit, minmax(min(100%, 150px), 1fr)); }
  .controls { grid-template-columns: repeat(auto-fit, minmax(min(100%, 220px), 1fr)); align-items: end; }
  .q-uploader__list, .q-uploader__subtitle { display: none; }
</style>
"""


def page(
    model: PhotoModel = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Of the page's address, http://127.0.0.1:PORT.")] = 8080,
    show: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Open a local page on which pictures are sent: choose the channel, SNR, CBR, steps and realism, and see the systems side by side.

    The link, a learned code without diffusion and a codec behind an LDPC code and QAM have the same channel uses and the same noise. Below
    them are the received symbols and the time at which denoising began. The page is there for this machine alone, until the command is
    interrupted. Pictures are scaled to at most 320 pixels a side.
    """
    try:
        from nicegui import ui
    except ImportError as error:
        raise ImportError(f"the page needs {error.name}: pip install 'semdiff-torch[app]'") from error
    from semdiff.cli.trial import Trial

    trial = Trial(model)
    typer.echo(f"http://{HOST}:{port} (end it with Ctrl-C)")
    ui.run(
        lambda: Page(trial).build(), host=HOST, port=port, title="semdiff", show=show, reload=False, show_welcome_message=False,
        reconnect_timeout=120.0,  # what is computed may block long
    )  # fmt: skip


ONE_AT_A_TIME = Lock()  # pages share the systems


class Page:
    """Hold what one visitor sees.

    Args:
        trial: the systems.
    """

    def __init__(self, trial: Trial) -> None:
        from semdiff.cli.comparison import shipped_code_name
        from semdiff.data.samples import samples_of_shape

        self.trial = trial
        code = shipped_code_name(trial.link)
        self.titles = {"link": "link", code: code, "digital": "codec, LDPC, QAM"}  # of the systems, by name
        self.picture: Tensor = samples_of_shape(trial.link.image_shape).images[0]
        self.controls: dict[str, Any] = {}
        self.cards: dict[str, Any] = {}
        self.turns = 0  # how often pictures were sent: a new one ends the one before

    def build(self) -> None:
        """Make the page's elements."""
        from nicegui import ui

        from semdiff.cli.trial import CHANNELS

        ui.add_head_html(STYLE)
        with ui.column().classes("w-full max-w-screen-xl mx-auto p-2 sm:p-4 gap-4"):
            ui.label("A picture over a noisy channel").classes("text-2xl")
            with ui.card().classes("w-full"), ui.element("div").classes("controls"):
                ui.upload(
                    label="A picture (drop it here)", auto_upload=True, max_files=None, max_file_size=LARGEST * 2**20,
                    on_upload=self.upload, on_rejected=lambda: self.say(f"expected a picture of at most {LARGEST} MB"),
                ).props("accept=image/* flat bordered").classes("w-full max-w-full")  # fmt: skip
                self.controls["channel"] = ui.select(list(CHANNELS), value="awgn", label="Channel")
                self.controls["cbr"] = ui.select(
                    self.trial.cbrs, value=list(self.trial.cbrs)[len(self.trial.cbrs) // 2], label="CBR, channel uses a value"
                )
                self.controls["steps"] = ui.select(["auto", 1, 2, 4, 8, 16], value="auto", label="Steps")
                self.controls["snr_db"] = self.slider("SNR", -5, 20, 1, 5, " dB")
                self.controls["realism"] = self.slider("Realism", 0, 1, 0.1, 1, "")
                self.controls["seed"] = ui.number("Seed", value=0, min=0, precision=0)
                ui.button("Send", on_click=self.send)
            self.status = ui.label("").classes("text-red-700 status")
            with ui.element("div").classes("cards"):
                for name, title in {"original": "original", **self.titles}.items():
                    with ui.card().classes("p-3 gap-1"):
                        ui.label(title).classes("font-medium")
                        self.cards[name] = ui.image().classes("w-full"), ui.label("").classes("text-sm text-gray-700")
            self.heard = ui.label("").classes("text-sm heard")
            self.chart = ui.echart(_chart([], [])).classes("w-full max-w-xl aspect-square h-auto")
        self.show_original()
        ui.timer(0.5, self.send, once=True)

    def slider(self, name: str, low: float, high: float, step: float, value: float, unit: str) -> Any:
        """Make a slider with its name and value above it.

        Args:
            name, unit: what stands around the value.
            low, high, step, value: of the slider.
        """
        from nicegui import ui

        with ui.column().classes("w-full gap-0"):
            text = ui.label().classes("text-sm text-gray-700")
            slider = ui.slider(min=low, max=high, step=step, value=value)
            text.bind_text_from(slider, "value", lambda v: f"{name}: {v:g}{unit}")
        return slider

    def say(self, words: str) -> None:
        """Show words, such as why something does not work."""
        self.status.set_text(words)

    def show_original(self) -> None:
        """Show the picture that is sent, and nothing that was received."""
        for name in self.cards:
            self.show(name, None, "")
        self.show("original", self.picture, f"{self.picture.shape[2]} x {self.picture.shape[1]} pixels")

    def show(self, name: str, picture: Tensor | None, words: str) -> None:
        """Show a picture and words on a card.

        Args:
            name: of the card.
            picture: (C, H, W) in [0, 1], or None.
            words: below it.
        """
        from semdiff.data.pictures import to_picture

        image, label = self.cards[name]
        image.set_source("" if picture is None else to_picture(picture))
        label.set_text(words)

    async def upload(self, event: Any) -> None:
        """Take a file, and send it."""
        from nicegui import run

        event.sender.reset()
        try:  # in a thread: a large picture takes long, and other visitors wait for nothing
            picture = await run.io_bound(self.trial.read, await event.file.read(), event.file.name)
        except ValueError as error:
            self.say(str(error))
            return
        if picture is None:  # the page is closing
            return
        self.picture = picture
        self.show_original()
        await self.send()

    async def send(self) -> None:
        """Send the picture as the controls say, and show each system's picture as it comes."""
        from nicegui import run

        from semdiff.cli.trial import Settings

        values = {name: control.value for name, control in self.controls.items()}
        settings = Settings(**values | {"seed": int(values["seed"] or 0)})
        self.turns += 1
        turn = self.turns
        self.say("")
        for name in self.titles:
            self.show(name, None, "is computed ...")
        found = self.trial.run(self.picture, settings)
        try:
            while (one := await run.io_bound(_next, found)) is not None and turn == self.turns:
                self.take(one)
        except (ValueError, TypeError) as error:
            self.show_original()
            self.say(str(error))

    def take(self, found: Shown | Heard) -> None:
        """Show what was computed.

        Args:
            found: a picture, or the symbols.
        """
        from semdiff.cli.trial import Shown

        if isinstance(found, Shown):
            self.show(found.name, found.image, found.words)
            return
        self.heard.set_text(found.words)
        points = [[[round(float(s.real), 3), round(float(s.imag), 3)] for s in symbols] for symbols in (found.received, found.sent)]
        self.chart.options.clear()
        self.chart.options.update(_chart(*points))
        self.chart.update()


def _next(found: Any) -> Any:
    with ONE_AT_A_TIME:
        return next(found, None)


def _chart(received: list[list[float]], sent: list[list[float]]) -> dict[str, Any]:
    """The options of a scatter plot of symbols."""
    axis = {"type": "value", "min": -3, "max": 3}
    series = [("received", received, "#e0873a"), ("sent", sent, "#2f6db5")]
    return {
        "title": {"text": "Symbols, sent and received (equalised)", "textStyle": {"fontSize": 14, "fontWeight": "normal"}},
        "legend": {"top": 28},
        "grid": {"top": 64, "left": 36, "right": 16, "bottom": 28},
        "animation": False,
        "xAxis": axis,
        "yAxis": axis,
        "series": [
            {"name": name, "type": "scatter", "symbolSize": 4, "data": points, "itemStyle": {"color": colour, "opacity": 0.6}}
            for name, points, colour in series
        ],
    }
