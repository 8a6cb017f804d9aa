# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import semdiff
from semdiff._build import check_torch, openmp_runtimes, torch_of

ROOT = Path(__file__).parents[3]


def test_one_version() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert semdiff.__version__.partition("+")[0] == declared  # a wheel's names its torch behind the +
    assert semdiff.build_info()["version"] == semdiff.__version__  # C++ reports what CMake read
    assert torch_of(semdiff.__version__) in (None, ".".join(torch.__version__.split(".")[:2]))


def test_build_info_tells_how_it_was_made() -> None:
    info = semdiff.build_info()
    assert set(info) == {
        "version", "torch", "torch_running", "compiler", "flags", "build_type", "cxx_standard", "isa_built", "isa", "threads", "openmp",
    }  # fmt: skip
    assert info["isa"] in info["isa_built"]
    assert "baseline" in info["isa_built"]
    assert "-ffp-contract=off" in str(info["flags"])
    assert str(info["torch"]).split(".")[:2] == torch.__version__.split(".")[:2]
    assert info["threads"] == torch.get_num_threads()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/maps")
def test_one_openmp_runtime() -> None:
    """Two runtimes fight over the threads. In a process of its own: another test may have loaded a library with its own."""
    code = "import semdiff, torch; semdiff.normal((1 << 16,)); torch.randn(1 << 16).exp(); print(*semdiff.build_info()['openmp'])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert len(out) == 1
    assert "torch" in out[0]
    assert out[0] in openmp_runtimes()


def test_another_torch_is_named() -> None:
    check_torch("2.13.0", "2.13.1+cpu")
    with pytest.raises(
        ImportError, match=r"built against torch 2\.13\.0 and torch 2\.14\.0 is running.*'torch==2\.13\.\*'.*\+pt214.*Rebuild it"
    ):
        check_torch("2.13.0", "2.14.0")
    assert [torch_of(version) for version in ("0.1.0+pt213", "0.1.0+pt30", "0.1.0", "")] == ["2.13", "3.0", None, None]


PROBE = """
import hashlib, torch, semdiff
from semdiff import Key
torch.set_num_threads(2)
key, digest = Key(5), hashlib.sha256()
s = semdiff.NoiseSchedule.scaled_linear()
for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
    x, y, z = (semdiff.normal((3, 8, 33, 41), k, dtype) for k in key.split(3))
    mu, logvar = x.clone().requires_grad_(), y.clone().requires_grad_()
    loss = semdiff.upsampler_loss(mu, logvar, z, 0.5, 0.1, 0.1, key)
    t = torch.tensor([900.5, 300, 20])
    out = [semdiff.reparameterize(x, y, key), *semdiff.gaussian_upsample(x, 2, key), *loss, *torch.autograd.grad(loss.total, (mu, logvar)),
           semdiff.ddim_step(x, y, t, t / 2, s, 0.5, "v", 1.0, key), *semdiff.dpmpp_2m_step(x, y, z, t + 9, t, t / 2, s),
           semdiff.match(x, 0.3, s, key=key, rounding="ceil").x, *semdiff.normalize_power(x), semdiff.measured_snr_db(x, y)]
    for tensor in out:
        digest.update(tensor.detach().reshape(-1).view(torch.uint8).numpy().tobytes())
print(semdiff.build_info()["isa"], digest.hexdigest())
"""


def probe(isa: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, env=os.environ | {"SEMDIFF_ISA": isa})


@pytest.mark.slow
def test_every_instruction_set_gives_the_same_bits() -> None:
    """Those this CPU has; tests/cpp/kernel_isa.cpp compares kernel by kernel."""
    digests = {}
    for isa in semdiff.build_info()["isa_built"]:
        run = probe(isa)
        if run.returncode:
            assert f"got {isa}" in run.stderr  # built, but not for this CPU
            continue
        name, digest = run.stdout.split()
        assert name == isa
        digests[name] = digest
    assert "baseline" in digests
    assert len(set(digests.values())) == 1


@pytest.mark.slow
def test_an_unknown_instruction_set_is_an_error() -> None:
    run = probe("sse9")
    assert run.returncode != 0
    usable = [name for name in semdiff.build_info()["isa_built"] if probe(name).returncode == 0]
    *_, last = run.stderr.strip().splitlines()
    assert last.startswith("ValueError: SEMDIFF_ISA: expected one of ")
    assert last.endswith(", got sse9")
    assert all(name in last for name in usable)
    assert "Exception raised from" not in run.stderr  # no C++ frames
