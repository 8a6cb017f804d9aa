# SPDX-License-Identifier: Apache-2.0
"""`link.compile()` against the link as it was: the same pictures, sooner; the same files."""

import pytest
import torch

import semdiff
from semdiff.link import SemanticLink, compilation
from semdiff.metrics import psnr
from tests.python.photographs import photographs
from tests.python.small_links import any_size_link

KEY = semdiff.Key(3)


def pictures(link, x, **options):
    return [link.transmit(x, 5.0, cbr=1 / 24, steps=2, realism=r, key=KEY, **options).images for r in (0.0, 1.0)]


def test_channels_last_changes_rounding_alone():
    link, x = any_size_link(), photographs(48)
    before = pictures(link, x)
    assert link.compile("fp32", compiled=False) is link
    torch.testing.assert_close(pictures(link, x), before, rtol=0, atol=2e-5)
    assert link.unet.conv_in.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_compiled_networks_make_the_same_pictures_at_every_size():
    link = any_size_link()
    shapes = (photographs(48), photographs(64)[:, :, :40])
    before = [pictures(link, x) for x in shapes]
    link.compile("fp32")
    for x, eager in zip(shapes, before, strict=True):
        torch.testing.assert_close(pictures(link, x), eager, rtol=0, atol=1e-4)


def test_bfloat16_costs_less_than_a_twentieth_of_a_decibel():
    link, x = SemanticLink.default("photos"), photographs(128)
    before = pictures(link, x)
    seen = []
    link.unet.conv_in.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    narrow = pictures(link.compile("bf16", compiled=False), x)
    assert set(seen) == {torch.bfloat16}
    for a, b in zip(before, narrow, strict=True):
        assert not torch.equal(a, b)
        assert float((psnr(a, x) - psnr(b, x)).abs().max()) < 0.05
    again = pictures(link.compile("fp32", compiled=False), x)
    torch.testing.assert_close(again, before, rtol=0, atol=2e-5)


@pytest.mark.parametrize("able", [True, False])
def test_auto_is_what_the_processor_multiplies(able, monkeypatch):
    monkeypatch.setattr(compilation, "computes_bf16", lambda cpu: able)
    link, seen = any_size_link(), []
    link.unet.conv_in.register_forward_hook(lambda _, __, out: seen.append(out.dtype))
    pictures(link.compile(compiled=False), photographs(32))
    assert set(seen) == {torch.bfloat16 if able else torch.float32}


def test_without_a_compiler_it_says_so_and_goes_on(monkeypatch):
    monkeypatch.setattr(compilation, "has_compiler", lambda: False)
    link, x = any_size_link(), photographs(32)
    before = pictures(link, x)
    with pytest.warns(RuntimeWarning, match=r"compile: no C\+\+ compiler found .*; the networks run eagerly"):
        link.compile("fp32")
    torch.testing.assert_close(pictures(link, x), before, rtol=0, atol=2e-5)


def test_files_are_the_same(tmp_path):
    link = any_size_link()
    link.save_pretrained(tmp_path / "before")
    link.compile("bf16", compiled=False).save_pretrained(tmp_path / "after")
    files = sorted(p.relative_to(tmp_path / "before") for p in (tmp_path / "before").rglob("*.safetensors"))
    assert len(files) == 6
    assert all((tmp_path / "before" / f).read_bytes() == (tmp_path / "after" / f).read_bytes() for f in files)


def test_another_precision_is_refused():
    with pytest.raises(ValueError, match="precision: expected auto, bf16, fp32, got 'fp16'"):
        any_size_link().compile("fp16")
