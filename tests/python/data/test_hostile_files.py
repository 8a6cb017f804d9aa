# SPDX-License-Identifier: Apache-2.0
"""Files that were made to do harm: refused in a moment, by name, and nothing in them runs."""

from __future__ import annotations

import pickle
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semdiff.data.rcc import read_rcc
from semdiff.metrics.weights import unpickle_arrays

# Qt's resource files


def name_of(text: str) -> bytes:
    return struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")


def rcc(nodes: list[bytes], data: bytes, names: bytes) -> bytes:
    tree = b"".join(nodes)
    return b"qres" + struct.pack(">4I", 1, 20, 20 + len(tree), 20 + len(tree) + len(data)) + tree + data + names


def folder(count: int, first: int, name: int = 0) -> bytes:
    return struct.pack(">IHII", name, 2, count, first)


def file(name: int = 0) -> bytes:
    return struct.pack(">IHHHI", name, 0, 0, 0, 0)


NO_DATA = struct.pack(">I", 0)
SHARED = [folder(2, 1)] + [folder(2, 2 * i + 1) for i in range(1, 25) for _ in range(2)] + [file(), file()]
RCC = {
    "folders share what is in them": rcc(SHARED, NO_DATA, name_of("a")),
    "a folder in itself": rcc([folder(1, 0)], NO_DATA, name_of("a")),
    "a ring": rcc([folder(1, 1), folder(1, 2), folder(1, 1)], NO_DATA, name_of("a")),
    "more nodes than there are": rcc([folder(2**32 - 1, 0)], NO_DATA, name_of("a")),
    "one long name for all": rcc([folder(50_000, 1), *[file()] * 50_000], NO_DATA, name_of("a" * 32_000)),
    "very deep": rcc([folder(1, i + 1) for i in range(50_000)] + [file()], NO_DATA, name_of("a" * 100)),
}


@pytest.mark.parametrize("case", RCC)
def test_a_resource_file_takes_no_longer_than_its_size(tmp_path: Path, case: str) -> None:
    path = tmp_path / "some.rcc"
    path.write_bytes(RCC[case])
    begun = time.process_time()
    with pytest.raises(ValueError, match=r"some\.rcc: expected a Qt resource file, but it is cut off or damaged \("):
        read_rcc(path)
    assert time.process_time() - begun < 2


def test_deep_folders_are_read(tmp_path: Path) -> None:
    """As deep as no recursion goes, in a file that is as large as its paths."""
    path = tmp_path / "some.rcc"
    path.write_bytes(rcc([folder(1, i + 1) for i in range(2000)] + [file()], struct.pack(">I", 100_000) + bytes(100_000), name_of("a")))
    ((name, content),) = read_rcc(path).items()
    assert name == "/".join("a" * 2000)
    assert len(content) == 100_000


# Pickles of arrays


def forged(state: Any = None, array: Any = None, code: str = "f8") -> bytes:
    """A pickle of one array, with the dtype's or the array's state replaced."""

    class Call:
        def __init__(self, function: Any, arguments: tuple[Any, ...], state: Any) -> None:
            self.parts = function, arguments, state

        def __reduce__(self) -> Any:
            return self.parts

    reconstruct = np.zeros(0).__reduce__()[0]
    dtype = Call(np.dtype, (code, False, True), state or (3, "<", None, None, None, -1, -1, 0))
    whole = Call(reconstruct, (np.ndarray, (0,), b"b"), array(dtype) if array else (1, (2,), dtype, False, bytes(16)))
    return pickle.dumps({"a": whole})


def test_arrays_of_numbers_are_read() -> None:
    tree = {"deep": {"x": np.arange(6.0).reshape(2, 3), "y": np.arange(6, dtype=np.int16)}, "z": np.asfortranarray(np.eye(3)[:2])}
    tree["big"] = np.arange(3, dtype=">f4")
    for protocol in range(3, 6):
        content = pickle.dumps(tree, protocol)
        if protocol == 5 and b"_frombuffer" in content:
            continue  # another function, which no file that is read here names
        found = unpickle_arrays(content, "some.ckpt")
        assert list(found) == ["deep/x", "deep/y", "z", "big"]
        for name, expected in (("deep/x", tree["deep"]["x"]), ("deep/y", tree["deep"]["y"]), ("z", tree["z"]), ("big", tree["big"])):
            assert np.array_equal(found[name].numpy(), expected)
    assert unpickle_arrays(forged(), "some.ckpt")["a"].tolist() == [0.0, 0.0]


class Evil:
    def __reduce__(self) -> Any:
        return print, ("it ran",)


LOOP: dict[str, Any] = {}
LOOP["again"] = LOOP
PICKLES = {
    "objects": pickle.dumps({"a": np.array([object], dtype=object)}, 4),
    "forged flags": forged((3, "|", None, None, None, -1, -1, 63), code="O8"),
    "forged flags of numbers": forged((3, "<", None, None, None, -1, -1, 63)),
    "numbers become objects": forged((3, "|", None, None, None, 8, 1, 63)),
    "fields": pickle.dumps({"a": np.zeros(2, "f4,f4")}, 4),
    "text": pickle.dumps({"a": np.array(["a"])}, 4),
    "times": pickle.dumps({"a": np.zeros(2, "M8[s]")}, 4),
    "too few bytes": forged(array=lambda dtype: (1, (2**40,), dtype, False, bytes(16))),
    "negative": forged(array=lambda dtype: (1, (-1, -1), dtype, False, bytes(16))),
    "a list for bytes": forged(array=lambda dtype: (1, (2,), dtype, False, [1, 2])),
    "no state": forged(array=lambda dtype: 3),
    "no dtype": forged(array=lambda _: (1, (2,), "f8", False, bytes(16))),
    "a call": pickle.dumps({"a": Evil()}),
    "no array": pickle.dumps({"a": 3}),
    "no tree": pickle.dumps(np.zeros(3), 4),
    "in itself": pickle.dumps(LOOP),
    "cut": forged()[:-20],
    "a number beyond its length": b"\x80\x02}r\xff\xff\xff\x7f.",
    "nothing": b"",
    "no pickle": b"\x89PNG",
}


@pytest.mark.parametrize("case", PICKLES)
def test_a_pickle_of_more_than_numbers_is_refused(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.process_time()
    with pytest.raises(ValueError, match=r"some\.ckpt: expected a pickle of NumPy arrays alone \("):
        unpickle_arrays(PICKLES[case], "some.ckpt")
    assert time.process_time() - begun < 0.5
    assert capsys.readouterr().out == ""


# JSON


@pytest.mark.parametrize("depth", [300, 900, 100_000])
def test_deep_json_is_refused(tmp_path: Path, depth: int) -> None:
    from semdiff.evaluation.json_files import read_json

    deep = "[" * depth + "]" * depth
    (tmp_path / "results.json").write_text(f'{{"format": "semdiff evaluation", "format_version": 1, "rows": {deep}}}')
    with pytest.raises(ValueError, match=r"results\.json: expected JSON of the format 'semdiff evaluation', "):
        read_json(tmp_path / "results.json", "semdiff evaluation", 1)


def test_deep_json_of_models_checkpoints_and_plans_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    from accelerate import Accelerator
    from safetensors.torch import save_file

    from semdiff._util.tensor_files import load_tensors
    from semdiff.link import SemanticLink
    from semdiff.training.budget import Plans

    deep = "[" * 100_000
    for name in ("checksums.json", "model_index.json", "plan.json"):
        (tmp_path / name).write_text(deep)
    with pytest.raises(ValueError, match=r"checksums\.json: expected a JSON object of sha256 digests"):
        SemanticLink.from_pretrained(tmp_path)
    (tmp_path / "checksums.json").unlink()
    with pytest.raises(ValueError, match=r"model_index\.json: expected a JSON object, .* but it is damaged"):
        SemanticLink.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"plan\.json: expected the plan of a training"):
        Plans(tmp_path / "plan.json", {}, Accelerator(cpu=True))
    import torch

    save_file({"a": torch.zeros(1)}, tmp_path / "stage.safetensors", metadata={"semdiff": deep})
    with pytest.raises(ValueError, match=r"stage\.safetensors: expected a checkpoint of semdiff"):
        load_tensors(tmp_path / "stage.safetensors")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = " + b"[" * 100_000])
def test_toml_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    from semdiff.evaluation import Config

    (tmp_path / "some.toml").write_bytes(content)
    with pytest.raises(ValueError, match=r"some\.toml: expected a TOML file, but it does not parse"):
        Config.from_toml(tmp_path / "some.toml")
