# SPDX-License-Identifier: Apache-2.0
"""The kept inputs of every fuzz target, its seeds, and changes of them at random: read, or refused by name. `make fuzz` searches on."""

from __future__ import annotations

import random

import pytest

pytest.importorskip("diffusers")

from tests.fuzz.targets import CORPUS, TARGETS, corpus, mutated

CHANGES = 60
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pillow's, of damaged pictures


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept_is_read_or_refused(name: str) -> None:
    target, kept = TARGETS[name], list(corpus(name))
    read = [target(content) for _, content in kept]
    assert any(read), "no input of this target is a right one"
    choose = random.Random(name)
    for _ in range(CHANGES):
        target(mutated(choose.choice(kept)[1], choose.choice(kept)[1], choose))


def test_kept_inputs_are_small_and_of_a_target() -> None:
    assert {path.name for path in CORPUS.iterdir()} <= {*TARGETS, "receiver_json"}
    assert all(path.stat().st_size < 10_000 for path in CORPUS.rglob("*") if path.is_file())
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 100_000


def test_another_error_is_seen() -> None:
    target = TARGETS["idx"]
    broken = type(target)(lambda content: {}[content], target.seeds)
    with pytest.raises(KeyError):
        broken(b"")
    wordless = type(target)(lambda content: int(""), target.seeds)
    with pytest.raises(AssertionError, match="names no file"):
        wordless(b"")
