# SPDX-License-Identifier: Apache-2.0
"""The page of `semdiff app`: what it computes against direct calls, and the page itself in a headless browser."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import semdiff

pytest.importorskip("diffusers")
pytest.importorskip("typer")
pytest.importorskip("PIL")
pytest.importorskip("tqdm")

from PIL import Image

from semdiff.cli.trial import Heard, Settings, Shown, Trial
from semdiff.data import sample_images, sample_photos
from semdiff.metrics import psnr
from tests.python.browser import SIZES, browser_of, fits_the_window

WAIT = 120  # seconds; a busy machine computes long


@pytest.fixture(scope="module")
def trial() -> Trial:
    from semdiff.models.store import find_model

    return Trial(find_model("fashion-mnist"))


def test_a_trial_is_what_each_system_gives(trial: Trial) -> None:
    from semdiff.baselines import ADJSCC

    image = sample_images()[3]
    found = list(trial.run(image, Settings("rayleigh-fast", 7.0, 1 / 24.5, 3, 0.5, 9)))
    shown = {one.name: one for one in found if isinstance(one, Shown)}
    (heard,) = (one for one in found if isinstance(one, Heard))
    channel, key = semdiff.Rayleigh("fast"), semdiff.Key(9)
    direct = trial.link.transmit(image[None], 7.0, cbr=1 / 24.5, channel=channel, steps=3, realism=0.5, key=key)
    adjscc = ADJSCC.default().transmit(image[None], 7.0, cbr=1 / 24.5, channel=channel, key=key)
    for name, done in (("link", direct), ("ADJSCC", adjscc)):
        assert torch.equal(shown[name].image[None], done.images)
        assert f"PSNR {float(psnr(done.images, image[None])):.2f} dB" in shown[name].words
    assert {"link", "ADJSCC", "digital"} == set(shown)
    assert "32 payload = 32 (CBR 1/24.5)" in heard.words
    assert f"Measured SNR: {float(direct.snr_db[0]):.2f} dB" in heard.words
    assert f"t = {float(direct.t[0]):.0f} of 1000" in heard.words
    assert heard.sent.shape == heard.received.shape == (32,)
    symbols = trial.link.send(image[None], 7.0, cbr=1 / 24.5)
    assert torch.equal(heard.sent, symbols[0])


def test_what_was_left_out_once_is_there_again(trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    image = sample_images()[0]
    left_out = [one for one in trial.run(image, Settings("multipath")) if isinstance(one, Shown) and one.image is None]
    again = [one.name for one in trial.run(image, Settings()) if isinstance(one, Shown) and one.image is not None]
    assert set(again) == {"link", "ADJSCC", "digital"}
    assert all(one.words for one in left_out)


def test_pictures_are_made_as_large_as_they_are_sent(trial: Trial, tmp_path: Path) -> None:
    Image.new("RGB", (60, 40), (255, 0, 0)).save(tmp_path / "a.png")
    assert trial.read((tmp_path / "a.png").read_bytes(), "a.png").shape == (1, 28, 28)
    with pytest.raises(ValueError, match=r"b\.png: expected a picture \(PNG, JPEG, WebP, \.\.\.\), got something"):
        trial.read(b"no picture", "b.png")
    with pytest.raises(ValueError, match="cbr: expected a ratio within 5 %"):
        list(trial.run(sample_images()[0], Settings(cbr=1 / 2)))


# --- in the browser ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    pytest.importorskip("nicegui", reason="needs nicegui: pip install 'semdiff-torch[app]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "semdiff", "app", "--port", str(port), "--no-open"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}  # NiceGUI has a mode for tests
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    try:
        for _ in range(WAIT):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None
            time.sleep(1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture(params=SIZES)
def page(address: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    with browser_of(request.param) as browser:
        browser.get(address)
        yield browser


def text(page: Any) -> str:
    return str(page.execute_script("return document.body.innerText"))


def wait(page: Any, condition: Any) -> None:
    for _ in range(2 * WAIT):
        if condition():
            return
        time.sleep(0.5)
    raise AssertionError(text(page))


def finished(page: Any) -> bool:
    return text(page).count("PSNR") == 3 and "is computed" not in text(page)


@pytest.mark.slow
def test_the_page(page: Any, address: str, tmp_path: Path) -> None:
    # The picture that is there is sent at once, and comes as by direct calls.
    wait(page, lambda: finished(page))
    expected = [one for one in Trial().run(sample_photos()[0], Settings(cbr=1 / 24)) if isinstance(one, (Shown, Heard))]
    for one in expected:
        assert one.words in text(page)
    pictures = page.execute_script("return [...document.images].map(i => [i.naturalWidth, i.naturalHeight])")
    assert pictures == [[320, 256]] * 4
    # Nothing is cut off, nothing comes from elsewhere, nothing fails.
    assert fits_the_window(page)
    loaded = page.execute_script("return performance.getEntriesByType('resource').map(e => e.name)")
    assert loaded
    assert all(name.startswith((address, "data:")) for name in loaded)
    # What is no picture is told, and the page goes on.
    (tmp_path / "bad.png").write_bytes(b"no picture")
    choose = page.find_element("css selector", "input[type=file]").send_keys
    choose(str(tmp_path / "bad.png"))
    wait(page, lambda: "bad.png: expected a picture" in text(page))
    Image.new("RGB", (640, 200), (20, 120, 200)).save(tmp_path / "sea.png")
    choose = page.find_element("css selector", "input[type=file]").send_keys
    choose(str(tmp_path / "sea.png"))
    wait(page, lambda: "320 x 100 pixels" in text(page) and finished(page))
    assert "expected a picture" not in text(page)
    assert [line for line in page.get_log("browser") if line["level"] == "SEVERE"] == []
    # Another channel.
    page.execute_script("document.querySelectorAll('.q-select')[0].scrollIntoView()")
    page.find_elements("css selector", ".q-select")[0].click()
    wait(page, lambda: page.find_elements("xpath", "//div[contains(@class,'q-item')]//*[text()='rayleigh']"))
    time.sleep(0.5)  # the menu opens
    page.find_element("xpath", "//div[contains(@class,'q-item')]//*[text()='rayleigh']").click()
    before = page.find_element("css selector", ".heard").text
    time.sleep(0.5)
    page.find_element("xpath", "//button[.//*[text()='Send']]").click()
    wait(page, lambda: page.find_element("css selector", ".heard").text != before)


@pytest.mark.slow
def test_the_page_is_for_this_machine_alone(address: str) -> None:
    """The socket listens on 127.0.0.1, and on no other address."""
    port = int(address.rpartition(":")[2])
    listening = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    places = {words[1].rpartition(":")[0] for words in listening if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port}
    assert places == {"0100007F"}
