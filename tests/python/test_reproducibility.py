# SPDX-License-Identifier: Apache-2.0
"""What docs/explanation/reproducibility.md promises and no other test holds. `python -m tests.python.test_reproducibility` prints the
golden numbers of the stream's version; they change with the version alone.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from semdiff import AWGN, Key, normal, pack
from semdiff._util import child_keys
from tests.python.op_digests import of_operators, of_streams
from tests.python.op_table import OPS, SMALL, TABLE, Op

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "reproducibility.md"
STREAMS = ROOT / "tests" / "fixtures" / "streams"


def golden() -> dict[str, Any]:
    register = {name: value for name, value in vars(child_keys).items() if name.isupper()}
    return of_streams() | {"child keys": register}


def test_a_stream_version_is_its_golden_file() -> None:
    """Numbers, children and the operators that draw: where one differs, `Key.stream_version` must be another, with a file of its own."""
    found, want = golden(), json.loads((STREAMS / f"{Key.stream_version}.json").read_text("utf-8"))
    assert {name: value for name, value in found.items() if want.get(name) != value} == {}
    assert found.keys() == want.keys()
    newest = max(int(path.stem) for path in STREAMS.glob("*.json"))
    assert Key.stream_version == newest


def in_a_process(isa: str, threads: int) -> dict[str, str]:
    environment = os.environ | {"SEMDIFF_ISA": isa, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "tests.python.op_digests", str(threads)]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if "SEMDIFF_ISA: expected one of" in ran.stderr:
        pytest.skip(f"this CPU does not run {isa}")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("isa", ["baseline", "x86_64_v3", "x86_64_v4"])
def test_every_instruction_set_and_process_gives_the_same_bits(isa: str) -> None:
    """Of every operator, in every dtype; with two threads there, and one here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        here = of_operators()
    finally:
        torch.set_num_threads(before)
    there = in_a_process(isa, 2)
    assert there.keys() == here.keys()
    assert [name for name in here if here[name] != there[name]] == []


@pytest.mark.parametrize("op", [op for op in OPS if op.shaped], ids=str)
def test_batch_mates_change_no_bit_of_an_operator(op: Op) -> None:
    def with_mates(value: Any) -> Any:
        batch = isinstance(value, Tensor) and value.dim() and len(value) == SMALL[0] and value is not TABLE and value.dtype != torch.uint64
        return torch.cat([value[:1], value[1:] * 0.75]) if batch else value

    args = op.make(SMALL, torch.float32)
    first, second = (op.call(*a) for a in (args, tuple(map(with_mates, args))))
    for a, b in zip(*((r,) if isinstance(r, Tensor) else r for r in (first, second)), strict=True):
        if a.dim() and len(a) == SMALL[0]:  # of a loss's means, all samples are part
            assert torch.equal(a[0], b[0])


def test_pieces_of_a_draw_are_those_of_the_whole() -> None:
    """An offset of k counters is 4k elements, so that a draw may be made in any order and in any pieces."""
    whole = normal((4000,), Key(8))
    for size in (4, 100, 1000, 4000):
        pieces = [normal((size,), Key(8, begin // 4)) for begin in range(0, 4000, size)]
        assert torch.equal(torch.cat(pieces), whole)


# Networks

LINK = """
import sys, torch
from semdiff import Key
from semdiff.data import sample_images
from semdiff.link import SemanticLink
from tests.python.op_digests import digest
torch.set_num_threads(int(sys.argv[1]))
print(digest(SemanticLink.default().transmit(sample_images()[:2], 5.0, key=Key(0), steps=2).images))
"""


def link_digest(threads: int, environment: int) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", LINK, str(threads)],
        cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": str(environment)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def link() -> Any:
    pytest.importorskip("diffusers")
    from semdiff.link import SemanticLink

    return SemanticLink.default()


@pytest.fixture(scope="module")
def images() -> Tensor:
    from semdiff.data import sample_images

    return sample_images()[:4]


@pytest.fixture
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_one_thread_is_deterministic_whatever_the_machine_offers(link: Any, images: Tensor, one_thread: None) -> None:
    """torch.set_num_threads(1) in a process that was given two threads, OMP_NUM_THREADS=1 in another, and this one."""
    from tests.python.op_digests import digest

    here = digest(link.transmit(images[:2], 5.0, key=Key(0), steps=2).images) + "\n"
    assert link_digest(1, 2) == here
    assert link_digest(1, 1) == here


def test_other_threads_change_a_link_by_rounding_alone(link: Any, images: Tensor, one_thread: None) -> None:
    """Measured 7e-7 for two threads and 1.4e-6 for three, of pixels in [0, 1]; the bound is seven times that."""
    want = link.transmit(images, 5.0, key=Key(0), steps=8).images
    assert torch.equal(link.transmit(images, 5.0, key=Key(0), steps=8).images, want)
    for threads in (2, 3):
        torch.set_num_threads(threads)
        assert float((link.transmit(images, 5.0, key=Key(0), steps=8).images - want).abs().max()) < 1e-5


def test_batch_mates_change_no_bit_of_a_link_and_their_number_rounding(link: Any, images: Tensor, one_thread: None) -> None:
    """Measured 5e-7 between a batch of four and one alone."""
    want = link.transmit(images, 5.0, key=Key(0), steps=8).images[0]
    mates = torch.cat([images[:1], images[1:] * 0.5])
    assert torch.equal(link.transmit(mates, 5.0, key=Key(0), steps=8).images[0], want)
    alone = link.transmit(images[:1], 5.0, key=Key(0), steps=8).images[0]
    assert float((alone - want).abs().max()) < 1e-5


def test_a_channel_gives_a_process_the_same_symbols() -> None:
    s = pack(normal((2, 64), Key(1)))
    code = (
        "from semdiff import *; from tests.python.op_digests import digest;"
        "print(digest(*AWGN()(pack(normal((2, 64), Key(1))), 5.0, Key(2))))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    from tests.python.op_digests import digest

    assert ran.stdout.strip() == digest(*AWGN()(s, 5.0, Key(2))), ran.stderr


def test_every_sentence_of_the_page_names_its_test() -> None:
    """`test_tests_that_texts_mention_exist` sees to it that they exist."""
    rows = [
        line for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ") and "---" not in line and "| held by |" not in line
    ]
    assert len(rows) >= 18
    for row in rows:
        assert re.search(r"`(test_\w+(\.py)?|tests/(cpp|device)/\w+\.(cpp|py))`", row.split("|")[2]), row


if __name__ == "__main__":
    print(json.dumps(golden(), indent=1))
