# SPDX-License-Identifier: Apache-2.0
"""A link whose air is a recording: send, a simulated path, receive; what it costs, and what it refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import semdiff
from semdiff.data import sample_images
from semdiff.phy.sigmf import read_recording, write_recording
from semdiff.phy.sync import impair, resample
from tests.python.sigmf_files import alter, put_data

pytest.importorskip("diffusers")
pytest.importorskip("typer")
pytest.importorskip("PIL")

from PIL import Image
from typer.testing import CliRunner

from semdiff.link import SemanticLink
from semdiff.link.recorded import Description, model_digest, receive_samples, send_samples

# From Python


@pytest.fixture(scope="module")
def shipped() -> SemanticLink:
    return SemanticLink.default()


def test_pictures_are_as_good_as_over_awgn(shipped: SemanticLink) -> None:
    """Means at 10 dB of ten images over two paths each: within 0.5 dB of link.transmit at the same SNR, and samples begin at the same t."""
    images, model, over_air, over_awgn = sample_images(), model_digest(), [], []
    times = []
    for i in range(20):
        image, key = images[i % 10], semdiff.Key(i)
        samples, description = send_samples(shipped, image, model)
        heard = impair(samples, description.frame, 10.0, 37 * i + 0.3, -3.0 * i, 0.3 * i, 0.002 * (i - 10), 300, key)
        done = receive_samples(shipped, heard, description, model, realism=0.0, key=key)
        assert done.image.shape == (1, 28, 28)
        assert done.evaluations == 0
        other = shipped.transmit(image[None], 10.0, realism=0.0, key=key)
        sample = receive_samples(shipped, heard, description, model, steps=1, key=key)
        times.append((sample.t, shipped.transmit(image[None], 10.0, steps=1, key=key).t.item()))
        over_air.append(-10 * np.log10(float((done.image - image).square().mean())))
        over_awgn.append(-10 * np.log10(float((other.images[0] - image).square().mean())))
    assert np.mean(over_air) == pytest.approx(np.mean(over_awgn), abs=0.5)
    assert np.mean(over_air) > 19
    estimated, known = np.mean(times, 0)
    assert estimated == pytest.approx(known, rel=0.1)  # denoising begins where the SNR says


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from semdiff.training.recipes.latents import build

    folder = tmp_path_factory.mktemp("recording") / "model"
    build(0).link().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def link(model: Path) -> SemanticLink:
    return SemanticLink.from_pretrained(model)


@pytest.mark.filterwarnings("ignore:snr_db. this model was trained for")  # there is no noise
def test_the_ledger_counts_what_the_air_was_busy_with(link: SemanticLink, model: Path) -> None:
    digest = model_digest(model)
    for cbr, payload, pilots in ((None, 64, 8), (32 / 784, 32, 4)):
        samples, description = send_samples(link, sample_images()[0], digest, cbr)
        assert samples.dtype == np.complex64
        assert max(abs(samples.real).max(), abs(samples.imag).max()) == pytest.approx(0.7)
        done = receive_samples(link, samples, description, digest, steps=1, key=semdiff.Key(0))
        ledger = done.ledger
        assert (ledger.payload, ledger.pilots, ledger.preamble, ledger.side_information) == (payload, pilots, 122, 3)
        assert ledger.cbr == pytest.approx((payload + pilots + 122 + 3) / 784)
        layout = '{"pilot_spacing":8,"preamble":61,"root":13,"samples_per_symbol":4,"roll_off":0.25,"span":12,"guard":16}'
        assert done.declared == {"payload": 3, "frame": 8 * len(layout), "image_shape": 8 * len("[1,28,28]"), "model": 256}


def test_the_same_key_gives_the_same_picture(link: SemanticLink, model: Path) -> None:
    digest = model_digest(model)
    samples, description = send_samples(link, sample_images()[1], digest)
    heard = impair(samples, description.frame, 5.0, 99.9, key=semdiff.Key(0))
    one, again, other = (receive_samples(link, heard, description, digest, steps=2, key=semdiff.Key(k)) for k in (1, 1, 2))
    assert torch.equal(one.image, again.image)
    assert not torch.equal(one.image, other.image)
    assert one.synchronization == other.synchronization


def test_descriptions(link: SemanticLink, model: Path) -> None:
    _, description = send_samples(link, sample_images()[0], model_digest(model))
    as_written = {f"semdiff:{name}": value for name, value in description.to_metadata().items()}
    assert Description.from_metadata(json.loads(json.dumps(as_written))) == description
    frame = as_written["semdiff:frame"]
    for name, value, words in (
        ("frame", 3, "semdiff:frame: expected an object with"),
        ("frame", frame | {"more": 1}, "semdiff:frame: expected an object with"),
        ("frame", frame | {"payload": 10**15}, "semdiff:frame: payload: expected an integer"),
        ("frame", frame | {"payload": "64"}, "semdiff:frame: payload: expected an integer"),
        ("image_shape", [28, 28], "semdiff:image_shape: expected three integers"),
        ("image_shape", [1, 28, True], "semdiff:image_shape: expected three integers"),
        ("model", "../x", "semdiff:model: expected 64 hexadecimal digits"),
    ):
        with pytest.raises(ValueError, match=words):
            Description.from_metadata(as_written | {f"semdiff:{name}": value})


# The commands


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: str | Path) -> Any:
    from semdiff.cli.app import app

    return CliRunner().invoke(app, [str(a) for a in arguments])


def done(*arguments: str | Path) -> str:
    ran = call(*arguments)
    assert ran.exit_code == 0, ran.output
    assert ran.stderr == ""
    return str(ran.stdout)


def refused(*arguments: str | Path) -> str:
    """The one line of a refusal."""
    ran = call(*arguments)
    assert ran.exit_code == 2, ran.output
    assert ran.stdout == ""
    assert ran.stderr.startswith("semdiff: ")
    assert ran.stderr.count("\n") == 1
    return str(ran.stderr)


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    path = tmp_path / "boot.png"
    Image.fromarray((sample_images()[9, 0] * 255).round().to(torch.uint8).numpy()).save(path)
    return path


@pytest.fixture
def heard(boot: Path, model: Path) -> Path:
    """A recording with a frame in it, at 15 dB."""
    done("send", boot, "--model", model)
    done("impair", "tx.sigmf-meta", "--snr", "15", "--delay", "210.7", "--gain", "-20", "--phase", "2", "--cfo", "-0.015", "--seed", "4")
    return Path("rx.sigmf-meta")


def test_send_impair_receive(boot: Path, model: Path) -> None:
    sent = json.loads(done("send", boot, "-o", "a/tx.sigmf-meta", "--model", model, "--snr", "15", "--cbr", "0.0408", "--json"))
    assert sent["samples"] == len(read_recording(Path("a/tx.sigmf-meta")).samples) == (2 * 16 + 122 + 32 + 4) * 4
    uses = {"payload": 32, "side_information": 3, "pilots": 4, "preamble": 122, "cyclic_prefix": 0, "total": 161}
    assert sent["channel_uses"] == uses
    assert sent["cbr"] == pytest.approx(161 / 784)
    done("impair", "a/tx.sigmf-meta", "-o", "rx.sigmf-meta", "--snr", "15", "--delay", "100.25", "--gain", "-30", "--cfo", "0.01")
    options = ["receive", "rx.sigmf-meta", "--model", model, "--steps", "2", "--realism", "0.5"]
    report = json.loads(done(*options, "-o", "b/out.png", "--json"))
    assert report["found"]["start"] == pytest.approx(100.25 + 64, abs=0.2)
    assert report["found"]["cfo"] == pytest.approx(0.01, abs=5e-4)
    assert report["found"]["snr_db"] == pytest.approx(15, abs=2)
    assert report["channel_uses"] == uses
    assert report["cbr"] == pytest.approx(161 / 784)
    assert set(report["declared_bits"]) == {"payload", "frame", "image_shape", "model"}
    assert report["evaluations"] == 3
    with Image.open("b/out.png") as picture:
        assert (picture.size, picture.mode) == ((28, 28), "L")
    table = done(*options)
    for word in ("received.png", "sample 164.", "cycles a symbol", "32 payload + 4 pilots + 122 preamble", "model 256 bits"):
        assert word in table
    assert max(map(len, table.splitlines())) <= 80
    assert Path("received.png").read_bytes() == Path("b/out.png").read_bytes()
    done(*options, "--seed", "1")
    assert Path("received.png").read_bytes() != Path("b/out.png").read_bytes()


def test_what_is_sent_is_a_valid_recording(boot: Path, model: Path) -> None:
    sigmf = pytest.importorskip("sigmf")
    done("send", boot, "--model", model, "--rate", "250000")
    foreign = sigmf.fromfile("tx.sigmf-meta")
    foreign.validate()
    assert foreign.get_global_field("core:sample_rate") == 250000
    (note,) = foreign.get_annotations()
    first, count = note["core:sample_start"], note["core:sample_count"]
    power = np.abs(foreign.read_samples()) ** 2
    assert power[first : first + count].sum() > 0.99 * power.sum()


def test_a_recorder_that_knows_nothing_of_the_frame(heard: Path, model: Path) -> None:
    """An integer recording, as a receiver writes it, with the frame's description from the sent file."""
    samples = read_recording(heard).samples
    numbers = (samples.view(np.float32) / np.abs(samples).max() * 20000).round().astype("<i2")
    Path("foreign.sigmf-data").write_bytes(numbers.tobytes())
    document = {"global": {"core:datatype": "ci16_le", "core:version": "1.0.0"}, "captures": [], "annotations": []}
    Path("foreign.sigmf-meta").write_text(json.dumps(document))
    assert "semdiff:frame: expected a recording that semdiff made, which has this field, got core" in refused(
        "receive", "foreign.sigmf-meta", "--model", model
    )
    found = [
        json.loads(done("receive", name, *frame, "--model", model, "--steps", "1", "--json"))["found"]
        for name, frame in (("foreign.sigmf-meta", ["--frame", "tx.sigmf-meta"]), (heard, []))
    ]
    assert found[0]["start"] == pytest.approx(found[1]["start"], abs=0.01)
    assert found[0]["snr_db"] == pytest.approx(found[1]["snr_db"], abs=0.1)


@pytest.mark.parametrize("rate", [2e6, 2.4e6, 0.7e6, 1.0001e6])
def test_a_recording_of_another_sample_rate(heard: Path, model: Path, rate: float) -> None:
    """It is received as at the frame's rate; places are told in its own samples."""
    first = json.loads(done("receive", heard, "--model", model, "--steps", "1", "--json"))["found"]
    write_recording(Path("other.sigmf-meta"), resample(read_recording(heard).samples, 1e6, rate), rate, {})
    options = ("receive", "other.sigmf-meta", "--frame", "tx.sigmf-meta", "--model", model, "--steps", "1")
    found = json.loads(done(*options, "--json"))["found"]
    assert found["start"] == pytest.approx(first["start"] * rate / 1e6, abs=0.1)
    assert found["cfo"] == pytest.approx(first["cfo"], abs=1e-5)
    assert found["snr_db"] == pytest.approx(first["snr_db"], abs=0.3)


def test_rates_that_do_not_do_are_named(heard: Path, model: Path) -> None:
    options = ("receive", heard, "--frame", "tx.sigmf-meta", "--model", model)
    for rate in ("300000", "1e+12"):
        wanted = f"core:sample_rate: expected a recording of 375000 to 2.56e+08 samples a second, for a frame sent at 1e+06, got {rate}"
        assert wanted in refused(*options[:1], alter(heard, core_sample_rate=float(rate)), *options[2:])
    for rate, words in ((0, "expected samples a second above zero, got 0"), ("fast", "expected a number, got str")):
        assert f"rx.sigmf-meta: core:sample_rate: {words}" in refused(*options[:1], alter(heard, core_sample_rate=rate), *options[2:])


def test_a_digest_in_capitals(heard: Path, model: Path) -> None:
    digest = json.loads(heard.read_text())["global"]["core:sha512"]
    assert read_recording(alter(heard, core_sha512=digest.upper())).samples.size > 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"core_datatype": "ri16_le"}, "rx.sigmf-meta: core:datatype: expected one of"),
        ({"core_sha512": "1" * 128}, "rx.sigmf-data: truncated or altered, core:sha512"),
        ({"semdiff_model": "0" * 64}, "semdiff:model: expected"),
        ({"semdiff_model": None}, "semdiff:model: expected a recording that semdiff made"),
        ({"semdiff_frame": None, "capture_details:x": {}}, "semdiff:frame: expected a recording that semdiff made"),
        ({"semdiff_image_shape": [3, 28, 28]}, "semdiff:image_shape: expected (1, 28, 28), the model's, got (3, 28, 28)"),
    ],
)
def test_receive_refuses(heard: Path, model: Path, changes: dict[str, Any], words: str) -> None:
    assert words in refused("receive", alter(heard, **changes), "--model", model)
    assert not Path("received.png").exists()


def test_impair_refuses_a_rate_that_is_no_number(heard: Path) -> None:
    for rate in ("fast", [1]):
        message = refused("impair", alter(heard, core_sample_rate=rate), "-o", "again.sigmf-meta")
        assert "rx.sigmf-meta: core:sample_rate: expected a number, got" in message


def test_receive_refuses_another_rate_and_a_cut_recording(heard: Path, model: Path) -> None:
    frame = json.loads(heard.read_text())["global"]["semdiff:frame"]
    assert "semdiff:frame: payload: expected one of [32, 40, 48, 56, 64]" in refused(
        "receive", alter(heard, semdiff_frame=frame | {"payload": 50}), "--model", model
    )
    alter(heard, semdiff_frame=frame)
    content = heard.with_suffix(".sigmf-data").read_bytes()
    assert "is cut, " in refused("receive", put_data(heard, content[: 8 * 900]), "--model", model)
    assert "no frame found" in refused("receive", put_data(heard, content[: 8 * 200]), "--model", model)
    noise = torch.view_as_complex(semdiff.normal((5000, 2), semdiff.Key(0))).numpy()
    assert "no frame found" in refused("receive", put_data(heard, noise.astype("<c8").tobytes()), "--model", model)
    assert not Path("received.png").exists()


def test_bad_usage(boot: Path, heard: Path, model: Path) -> None:
    assert "boot.png: expected a name that ends in .sigmf-meta" in refused("receive", boot, "--model", model)
    assert "tx.wav: expected a name that ends in .sigmf-meta" in refused("send", boot, "-o", "tx.wav", "--model", model)
    assert "'absent.sigmf-meta' does not exist" in refused("receive", "absent.sigmf-meta")
    assert "cbr: expected a ratio" in refused("send", boot, "--cbr", "0.5", "--model", model)
    assert "snr_db: expected finite" in refused("send", boot, "--snr", "nan", "--model", model)
    assert "sample_rate: expected" in refused("send", boot, "--rate", "-1", "--model", model)
    assert "steps: expected an integer in [1, 1000]" in refused("receive", heard, "--steps", "0", "--model", model)
    assert "realism: expected a number in [0, 1]" in refused("receive", heard, "--realism", "2", "--model", model)
    assert "seed: expected an integer" in refused("receive", heard, "--seed", "-1", "--model", model)
    assert "delay: expected" in refused("impair", heard, "-o", "y.sigmf-meta", "--delay", "-1")
    assert "--out: expected another file" in refused("impair", heard, "-o", heard)
    os.remove(heard.with_suffix(".sigmf-data"))
    assert "rx.sigmf-data: expected the samples" in refused("receive", heard, "--model", model)


def test_a_model_without_checksums_is_refused(boot: Path, model: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(model, tmp_path / "copy")
    (tmp_path / "copy" / "checksums.json").unlink()
    assert "expected a model with checksums.json" in refused("send", boot, "--model", tmp_path / "copy")


@pytest.mark.parametrize("command", ["send", "impair", "receive"])
def test_help(command: str) -> None:
    assert "Usage:" in done(command, "--help")
