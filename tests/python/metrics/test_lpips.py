# SPDX-License-Identifier: Apache-2.0
"""LPIPS against torchmetrics' arithmetic and heads; where its weights come from. Skipped without them."""

from __future__ import annotations

import io
import pickle
import re
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from semdiff.data.cache import cache_folder
from semdiff.metrics import LPIPS, lpips, lpips_shifted, psnr
from semdiff.metrics.lpips_distance import SHIFTS
from semdiff.metrics.weights import ALEXNET, FOLDER_VARIABLE, _ArraysOnly, locate, read_arrays, read_weights
from tests.python.photographs import noisy, photograph, photographs
from tests.python.pretrained import installed

NETS = ("alex", "vgg")


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def weights(own_cache) -> Path:
    return installed(lambda: locate(ALEXNET))


@pytest.mark.parametrize("net", NETS)
def test_heads_are_those_of_torchmetrics(net):
    import torchmetrics.functional.image as image

    heads = torch.load(Path(image.__file__).parent / "lpips_models" / f"{net}.pth", map_location="cpu", weights_only=True)
    for ours, theirs in zip(LPIPS(net).heads, heads.values(), strict=True):
        assert torch.equal(ours.flatten(), theirs.flatten())


@pytest.mark.parametrize("net", NETS)
def test_distance_is_that_of_torchmetrics(net, monkeypatch):
    """Its arithmetic and heads, around our trunk: torchvision's, layer by layer, where it would load one."""
    module = pytest.importorskip("torchmetrics.functional.image.lpips")
    trunk = nn.Sequential(*[layer for stage in LPIPS(net).stages for layer in stage])
    monkeypatch.setattr(module, "_get_tv_model_features", lambda *_: trunk)
    theirs = module._LPIPS(net=net)
    y = photographs(72)
    x = noisy(y, 0.1)
    torch.testing.assert_close(lpips(x, y, net), theirs(x, y, normalize=True).flatten(), rtol=1e-4, atol=1e-6)


def test_trunk_is_torchvisions():
    """The first numbers of its first filters, as torchvision prints them: the kernels lie the right way round."""
    alex, vgg = (LPIPS(net).stages[0][0].weight[0, 0] for net in NETS)
    torch.testing.assert_close(alex[0, :3], torch.tensor([0.11864, 0.094069, 0.095435]), rtol=1e-4, atol=0)
    torch.testing.assert_close(vgg[0], torch.tensor([-0.55373, 0.14270, 0.52896]), rtol=1e-4, atol=0)


def test_known_numbers():
    y = photograph("coffee", 128).expand(4, -1, -1, -1)
    x = torch.cat([noisy(y[:1], s) for s in (0.05, 0.1, 0.2, 0.5)])
    torch.testing.assert_close(lpips(x, y, "alex"), torch.tensor([0.2624, 0.5381, 0.9549, 1.3543]), rtol=0.01, atol=0)
    torch.testing.assert_close(lpips(x, y, "vgg"), torch.tensor([0.3443, 0.5372, 0.7418, 0.9438]), rtol=0.01, atol=0)


@pytest.mark.parametrize("net", NETS)
def test_equal_images_have_no_distance_and_noise_adds(net):
    y = photographs(64)
    assert lpips(y, y, net).abs().max() < 1e-9
    values = torch.stack([lpips(noisy(y, s), y, net) for s in (0.02, 0.05, 0.1, 0.2)])
    assert (values.diff(dim=0) > 0).all()


def test_an_image_does_not_depend_on_its_batch():
    y = photographs(64)
    x = noisy(y, 0.1)
    alone = torch.cat([lpips(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(lpips(x, y), alone, rtol=1e-5, atol=1e-6)


def test_grey_and_small_images():
    y = photographs(28).mean(1, keepdim=True)
    x = noisy(y, 0.1)
    large = [nn.functional.interpolate(i.repeat(1, 3, 1, 1), (84, 84), mode="bilinear", align_corners=False) for i in (x, y)]
    torch.testing.assert_close(lpips(x, y), lpips(*large), rtol=1e-5, atol=1e-6)


def test_shifted_is_the_mean_over_parts_of_wider_images():
    """Where an image goes on beyond its edges as they repeat, a shift is another part of it."""
    y = photographs(64)[:2]
    x = noisy(y, 0.1)
    wide = [images[..., [0] * 3 + [*range(64)] + [63] * 3, :][..., [0] * 3 + [*range(64)] + [63] * 3] for images in (x, y)]
    parts = []
    for down, right in SHIFTS:
        parts.append(lpips(*(images[..., 3 - down : 70 - down, 3 - right : 70 - right] for images in wide)))
    torch.testing.assert_close(lpips_shifted(x, y), torch.stack(parts).mean(0), rtol=1e-5, atol=1e-6)


def test_it_is_a_loss():
    y = photographs(64)
    x = noisy(y, 0.1).requires_grad_()
    loss = lpips(x, y).sum()
    loss.backward()
    step = 1e-3 * x.grad / x.grad.norm()
    nearer = LPIPS("alex")(x.detach() - step, y).sum()
    assert (nearer - loss).item() == pytest.approx(-1e-3 * x.grad.norm().item(), rel=0.05)


def test_bad_input_is_named():
    y = photographs(64)
    with pytest.raises(ValueError, match="net: expected alex or vgg, got 'squeeze'"):
        lpips(y, y, "squeeze")
    with pytest.raises(ValueError, match="x: expected 1 or 3 channels, got 2"):
        lpips(y[:, :2], y[:, :2])


# Weights


@pytest.fixture
def nowhere(monkeypatch, tmp_path, weights):
    """No package, no folder named, an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    monkeypatch.setattr("semdiff.metrics.weights.find_spec", lambda name: None)
    return weights


def test_absent_weights_say_how_to_get_them(nowhere):
    with pytest.raises(FileNotFoundError, match=re.escape(ALEXNET.command)):
        LPIPS("alex")
    y = photographs(64)
    assert psnr(y, noisy(y, 0.1)).isfinite().all()


def test_weights_from_a_named_place_and_then_from_the_cache(nowhere, monkeypatch, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    shutil.copy(nowhere, folder)
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    first = read_arrays(ALEXNET)
    monkeypatch.delenv(FOLDER_VARIABLE)
    again = read_arrays(ALEXNET)  # only the cache is left
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert LPIPS("alex", folder / ALEXNET.name).stages[0][0].bias.shape == (64,)
    (cached,) = cache_folder().iterdir()
    content = bytearray(cached.read_bytes())
    content[-1] ^= 1
    cached.write_bytes(content)
    with pytest.raises(FileNotFoundError):  # a damaged cache is not believed
        read_arrays(ALEXNET)
    read_arrays(ALEXNET, folder)  # and made again
    assert all(torch.equal(first[n], t) for n, t in read_arrays(ALEXNET).items())


def test_altered_weights_are_refused(nowhere, tmp_path):
    content = bytearray(nowhere.read_bytes())
    content[5000] ^= 1
    (tmp_path / ALEXNET.name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{ALEXNET.name}: expected .* of sha256 {ALEXNET.sha256}, got"):
        read_weights(ALEXNET, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"weights: expected the file alexnet.ckpt"):
        read_weights(ALEXNET, tmp_path / "other")


def test_a_cache_that_cannot_be_written_is_done_without(nowhere, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(read_arrays(ALEXNET, nowhere)) == 15


def test_a_pickle_with_more_than_arrays_is_refused():
    class Evil:
        def __reduce__(self):
            return print, ("it ran",)

    with pytest.raises(pickle.UnpicklingError, match=r"expected numpy arrays only, got builtins.print"):
        _ArraysOnly(io.BytesIO(pickle.dumps({"a": Evil()}))).load()
