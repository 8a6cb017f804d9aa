# SPDX-License-Identifier: Apache-2.0
"""Transmitters of one's own: what `transmit` counts, and what an exchange may not do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import semdiff
from semdiff.evaluation import sweep
from semdiff.transmission.transmitter import Air, Decoded, ImageTransmitter

IMAGES = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
KEY = semdiff.Key(3)


class Uncoded(ImageTransmitter):
    """Two pixels in each symbol; `answer` makes what is returned of the images that were received."""

    def __init__(self, answer: Any = Decoded) -> None:
        self.answer = answer

    def exchange(self, images: Tensor, air: Air, **_: Any) -> Any:
        y, _, noise_var = air(semdiff.pack(2 * images - 1))
        assert noise_var.shape == (len(images), 1)
        return self.answer((semdiff.unpack(y, images.shape) + 1) / 2)


def test_what_goes_over_the_air_is_counted_and_measured() -> None:
    sent = Uncoded().transmit(IMAGES, torch.tensor([5.0, 20.0]), key=KEY)
    symbols = semdiff.pack(2 * IMAGES - 1)
    received = semdiff.AWGN()(symbols, torch.tensor([5.0, 20.0], dtype=torch.float64), KEY.fold_in(0))
    assert torch.equal(sent.images, (semdiff.unpack(received.y, IMAGES.shape) + 1) / 2)
    torch.testing.assert_close(sent.snr_db, semdiff.measured_snr_db(symbols, received.y))
    assert (sent.ledger.total, sent.ledger.cbr, sent.evaluations) == (32, 0.5, 0)
    assert bool(sent.t.isnan().all())


def test_images_alone_are_an_answer() -> None:
    assert torch.equal(Uncoded(lambda x: x).transmit(IMAGES, 9, key=KEY).images, Uncoded().transmit(IMAGES, 9, key=KEY).images)


def test_numpy_arrays_and_seeds_are_taken() -> None:
    expected = Uncoded().transmit(IMAGES, 9, key=KEY)
    assert torch.equal(Uncoded().transmit(IMAGES.numpy(), 9, key=3).images, expected.images)
    for answer in (lambda x: x.numpy(), lambda x: Decoded(x.numpy())):
        assert torch.equal(Uncoded(answer).transmit(IMAGES, 9, key=KEY).images, expected.images)


class Louder(semdiff.Channel):
    """Noise whose variance is computed with the tensor of variances, in float64."""

    def __init__(self, part: Any = lambda y: y) -> None:
        super().__init__()
        self.part = part

    def forward(self, s: Tensor, snr_db: Any, key: Any = None) -> semdiff.Received:
        y, h, noise_var = semdiff.AWGN()(s, snr_db, key)
        return semdiff.Received(self.part(s + (y - s) * (noise_var / noise_var)), h, noise_var)


def test_a_channel_that_computes_in_double_precision() -> None:
    assert Louder()(semdiff.pack(IMAGES), 5.0, KEY).y.dtype == torch.complex128
    expected = Uncoded().transmit(IMAGES, 5.0, key=KEY)
    found = Uncoded().transmit(IMAGES, 5.0, channel=Louder(), key=KEY)
    assert found.images.dtype == torch.float32
    torch.testing.assert_close(found.images, expected.images, atol=1e-6, rtol=0)
    with pytest.raises(TypeError, match=r"channel: expected Louder to return complex symbols y, got torch\.float64"):
        Uncoded().transmit(IMAGES, 5.0, channel=Louder(torch.real), key=KEY)


class ForNumbers(semdiff.Channel):
    """Right for an SNR that is a number."""

    def forward(self, s: Tensor, snr_db: Any, key: Any = None) -> semdiff.Received:
        return semdiff.Received(s * 10 ** (snr_db / 20), *semdiff.AWGN()(s, snr_db, key)[1:])


def test_a_channel_for_numbers_says_what_it_was_called_with() -> None:
    with pytest.raises(RuntimeError, match="size of tensor") as caught:
        Uncoded().transmit(IMAGES, 5.0, channel=ForNumbers(), key=KEY)
    note = "channel: ForNumbers.forward was called with s (2, 32), torch.complex64, and snr_db (2,), torch.float64: an SNR for each sample"
    assert caught.value.__notes__ == [note]
    words = r"channels\.a: expected ForNumbers\.forward to work with s \(2, 8\), .* an SNR for each sample, got The size"
    with pytest.raises(TypeError, match=words):
        sweep(systems={"a": Uncoded()}, channels={"a": ForNumbers()}, data=IMAGES, snr_db=5, metrics=["psnr"])


class NoRealism(Uncoded):
    def exchange(self, images: Tensor, air: Air, cbr: Any, steps: Any, key: Any) -> Any:  # type: ignore[override]
        return super().exchange(images, air)


class NoKey(semdiff.Channel):
    def forward(self, s: Tensor, snr_db: Any) -> Any:  # type: ignore[override]
        return semdiff.AWGN()(s, snr_db)


class Unfinished(semdiff.Channel):
    pass


class Twice(Uncoded):
    def exchange(self, images: Tensor, air: Air, **_: Any) -> Any:
        air(semdiff.pack(images))
        return super().exchange(images, air)


class Never(Uncoded):
    def exchange(self, images: Tensor, air: Air, **_: Any) -> Any:
        return Decoded(images)


class Flat(Uncoded):
    def exchange(self, images: Tensor, air: Air, **_: Any) -> Any:
        air(images if self.answer is Decoded else images.to(torch.complex64))
        return Decoded(images)


class Forgetful(semdiff.Channel):
    def forward(self, s: Tensor, snr_db: Any, key: Any = None) -> Any:
        return tuple(semdiff.AWGN()(s, snr_db, key))


class Half(semdiff.Channel):
    def forward(self, s: Tensor, snr_db: Any, key: Any = None) -> Any:
        return semdiff.AWGN()(s, snr_db, key)._replace(h=None, noise_var=0.1)


@pytest.mark.parametrize(
    ("system", "options", "error", "words"),
    [
        (Uncoded(lambda x: None), {}, TypeError, r"Uncoded.exchange: expected Decoded\(images\), images a float tensor, got NoneType"),
        (Uncoded(lambda x: Decoded(x.tolist())), {}, TypeError, "Uncoded.exchange: expected .* got list"),
        (Uncoded(lambda x: np.array(["a"])), {}, TypeError, "Uncoded.exchange: expected .* got ndarray"),
        (Uncoded(lambda x: (x * 255).to(torch.uint8)), {}, TypeError, "Uncoded.exchange: expected .* got a tensor of torch.uint8"),
        (Uncoded(lambda x: x[:1]), {}, ValueError, r"expected images of shape \(2, 1, 8, 8\), as they were sent, got \(1, 1, 8, 8\)"),
        (Twice(), {}, ValueError, "air: expected one call for each batch, got a second one"),
        (Never(), {}, ValueError, r"Never.exchange: expected one call of air\(symbols\), got none"),
        (Flat(), {}, TypeError, r"symbols: expected a complex tensor \(B, uses\), got a tensor of torch.float32"),
        (Flat(None), {}, ValueError, r"symbols: expected shape \(2, uses\), got \(2, 1, 8, 8\)"),
        (Uncoded(), {"channel": Forgetful()}, TypeError, "channel: expected Forgetful to return a semdiff.Received of tensors, got tuple"),
        (Uncoded(), {"channel": Half()}, TypeError, "to return a semdiff.Received of tensors, got NoneType for h, float for noise_var"),
        (
            NoRealism(),
            {},
            TypeError,
            r"NoRealism.exchange: expected a call \(images, air, \*, cbr, steps, realism, key\) to work, got .*'realism'",
        ),
        (Uncoded(), {"channel": NoKey()}, TypeError, r"NoKey.forward: expected a call \(s, snr_db, key\) to work, got NoKey.forward\(s"),
        (
            Uncoded(),
            {"channel": Unfinished()},
            NotImplementedError,
            r"Unfinished: expected a method forward\(self, s, snr_db, key\) that returns a semdiff.Received",
        ),
        (Uncoded(), {"channel": "awgn"}, TypeError, "channel: expected a semdiff.Channel, such as .* got str"),
        (Uncoded(), {"channel": semdiff.AWGN}, TypeError, "channel: expected a semdiff.Channel, such as .* got the class AWGN"),
        (Uncoded(), {"steps": 0}, ValueError, "steps: expected an integer in"),
        (Uncoded(), {"realism": 2}, ValueError, "realism: expected a number in"),
    ],
)
def test_what_is_wrong_is_named(system: ImageTransmitter, options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        system.transmit(IMAGES, 5.0, **options)


class Dialled(Uncoded):
    axes = ("steps", "realism")


@pytest.mark.parametrize(("system", "cells"), [(Uncoded(), 1), (Dialled(), 3)])  # at realism 0 steps change nothing
def test_an_evaluation_varies_what_a_system_says(system: ImageTransmitter, cells: int) -> None:
    metrics = {"psnr": lambda a, b, _: -10 * (a - b).square().mean((1, 2, 3)).log10()}
    found = sweep(None, systems={"own": system}, data=IMAGES, snr_db=5, steps=[1, 2], realism=[0.0, 1.0], metrics=metrics)
    assert len(found.rows) == cells
