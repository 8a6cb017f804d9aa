# SPDX-License-Identifier: Apache-2.0
"""Arguments that a link cannot use are refused in words that name them."""

import pytest
import torch

pytest.importorskip("diffusers")

from semdiff.training.recipes.latents import build


@pytest.fixture(scope="module")
def link():
    return build(0).link()


@pytest.fixture(scope="module")
def images():
    return torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"images": [[0.0]]}, TypeError, r"images: .* got list"),
        ({"images": torch.zeros(1, 1, 28, 28, dtype=torch.uint8)}, TypeError, r"images: .* got torch.uint8; images.float\(\) / 255"),
        ({"images": torch.zeros(1, 28, 28)}, ValueError, r"images: .*\(B, 1, 28, 28\).*got shape \(1, 28, 28\)"),
        ({"images": torch.zeros(1, 3, 64, 64)}, ValueError, r"images: .*\(B, 1, 28, 28\).*got shape \(1, 3, 64, 64\)"),
        ({"images": torch.zeros(0, 1, 28, 28)}, ValueError, "images: .* empty batch"),
        ({"images": torch.full((1, 1, 28, 28), torch.nan)}, ValueError, r"images: expected values in \[0, 1\], got values from nan"),
        ({"images": torch.full((1, 1, 28, 28), 255.0)}, ValueError, r"images: expected values in \[0, 1\]"),
        ({"images": torch.zeros(1, 1, 28, 28).to_sparse()}, ValueError, r"images: .* got torch\.sparse_coo"),
        ({"images": torch.zeros(1, 1, 28, 28, device="meta")}, ValueError, "images: .* got one on meta, which has no values"),
        ({"snr_db": float("nan")}, ValueError, "snr_db: expected finite"),
        ({"snr_db": torch.zeros(3)}, ValueError, r"snr_db: expected a number or shape \(5,\), got shape \(3,\)"),
        ({"snr_db": torch.zeros(5, dtype=torch.int64)}, TypeError, "snr_db: .* torch.int64"),
        ({"snr_db": "loud"}, TypeError, "snr_db: .* str"),
        ({"snr_db": "5"}, TypeError, "snr_db: .* str"),
        ({"snr_db": True}, TypeError, "snr_db: .* bool"),
        ({"cbr": 0.5}, ValueError, r"cbr: .*0.0816 \(1/12.3\).*got 0.5"),
        ({"cbr": -1.0}, ValueError, "cbr: "),
        ({"cbr": "half"}, TypeError, "cbr: .* str"),
        ({"steps": 0}, ValueError, r"steps: .*\[1, 1000\], got 0"),
        ({"steps": 1001}, ValueError, "steps: "),
        ({"steps": 2.5}, TypeError, "steps: .* float"),
        ({"steps": "some"}, TypeError, r"steps: expected an integer in \[1, 1000\] or 'auto', got 'some'"),
        ({"realism": 1.5}, ValueError, r"realism: .*\[0, 1\], got 1.5"),
        ({"realism": float("nan")}, ValueError, "realism: "),
        ({"realism": True}, TypeError, "realism: expected a number .* bool"),
        ({"match": "best"}, ValueError, "mode: .*'best'"),
        ({"solver": "magic"}, ValueError, "solver: .*'magic'"),
    ],
)
def test_bad_arguments_are_named(link, images, arguments, error, words):
    with pytest.raises(error, match=words):
        link.transmit(**({"images": images, "snr_db": 5.0} | arguments))


@pytest.mark.parametrize(
    ("symbols", "noise_var", "error", "words"),
    [
        (torch.zeros(2, 64), 0.1, TypeError, "symbols: .* torch.float32"),
        (torch.zeros(2, 63, dtype=torch.complex64), 0.1, ValueError, r"symbols: .*\[32, 64\] or what whole.*got \(2, 63\)"),
        (torch.full((2, 64), torch.nan, dtype=torch.complex64), 0.1, ValueError, "symbols: .*NaN"),
        (torch.zeros(2, 64, dtype=torch.complex64), -0.1, ValueError, "noise_var: .*above zero"),
        (torch.zeros(2, 64, dtype=torch.complex64), float("inf"), ValueError, "noise_var: .*finite"),
        (torch.zeros(2, 64, dtype=torch.complex64), torch.zeros(2, 1), ValueError, "noise_var: .*above zero"),
    ],
)
def test_bad_symbols_are_named(link, symbols, noise_var, error, words):
    with pytest.raises(error, match=words):
        link.receive(symbols, noise_var)


@pytest.mark.parametrize(
    ("h", "error", "words"),
    [
        (0.5, TypeError, "h: expected a tensor, got float"),
        (torch.ones(3), ValueError, r"h: expected shape \(2,\) or one that broadcasts to the symbols' \(2, 64\), got \(3,\)"),
        (torch.ones(2, 63), ValueError, r"h: expected .*got \(2, 63\)"),
        (torch.ones(2, 64, 1, 1), ValueError, r"h: expected .*got \(2, 64, 1, 1\)"),
        (torch.full((2, 1), torch.nan), ValueError, "h: expected finite numbers"),
    ],
)
def test_bad_gains_are_named(link, h, error, words):
    with pytest.raises(error, match=words):
        link.receive(torch.ones(2, 64, dtype=torch.complex64), 0.1, h=h)
