# SPDX-License-Identifier: Apache-2.0
"""A target for every reader: bytes of any kind end in a result, or in a refusal that names the file; never in another error.

Each target has small files of its format to begin with. What was found once lies in tests/fuzz/corpus/NAME and stays.
"""

from __future__ import annotations

import io
import json
import pickle
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

CORPUS = Path(__file__).with_name("corpus")
SPLIT = b"\n--next file--\n"  # between the parts of a target that reads two files
ROOT = Path(__file__).parents[2]
LINK = ROOT / "tests" / "fixtures" / "semdiff-0.1.0" / "link"


@dataclass(frozen=True)
class Target:
    """Hold a reader and what to begin with.

    Attributes:
        read: reads content, and may raise `refusals` alone.
        seeds: contents that are read, or nearly.
        refusals: what it may raise.
    """

    read: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    refusals: tuple[type[Exception], ...] = (ValueError,)

    def __call__(self, content: bytes) -> bool:
        """Whether it was read; an error that is no refusal, or one without words, is raised."""
        try:
            self.read(content)
        except self.refusals as error:
            if not any(name in str(error) for name in ("some.", "content", str(folder()))):
                raise AssertionError(f"a refusal that names no file: {type(error).__name__} {error}") from error
            return False
        return True


@cache
def _place() -> tempfile.TemporaryDirectory[str]:
    """A folder that goes away with the process."""
    return tempfile.TemporaryDirectory()


def folder() -> Path:
    return Path(_place().name)


def _written(name: str, content: bytes) -> Path:
    path = folder() / name
    path.write_bytes(content)
    return path


def _idx(content: bytes) -> object:
    from semdiff.data.idx import parse_idx

    return parse_idx(content)


def _idx_seeds() -> list[bytes]:
    return [b"\0\0\x08\x03" + struct.pack(">3I", 2, 2, 3) + bytes(12), b"\0\0\x08\x01" + struct.pack(">I", 5) + b"label"]


def _rcc(content: bytes) -> object:
    from semdiff.data.rcc import read_rcc

    return read_rcc(_written("some.rcc", content))


def _rcc_seeds() -> list[bytes]:
    def name(text: str) -> bytes:
        return struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")

    found = []
    for version, more in ((1, b""), (3, bytes(8))):
        nodes = [struct.pack(">IHII", 0, 2, 2, 1), struct.pack(">IHHHI", 0, 0, 0, 0, 0), struct.pack(">IHHHI", 8, 0, 0, 0, 9)]
        tree, data, names = (
            b"".join(node + more for node in nodes),
            struct.pack(">I", 5) + b"hello" + struct.pack(">I", 0),
            name("a") + name("bc"),
        )
        found.append(b"qres" + struct.pack(">4I", version, 20, 20 + len(tree), 20 + len(tree) + len(data)) + tree + data + names)
    return found


def _sigmf(content: bytes) -> object:
    from semdiff.phy.sigmf import read_recording, sample_rate

    meta, _, samples = content.partition(SPLIT)
    _written("some.sigmf-data", samples)
    recording = read_recording(_written("some.sigmf-meta", meta))
    return sample_rate(recording.metadata, "some.sigmf-meta")


def _sigmf_seeds() -> list[bytes]:
    found = []
    for kind in ("cf32_le", "ci16_be", "cu8"):
        whole = {"core:datatype": kind, "core:version": "1.2.0", "core:sample_rate": 1e6, "core:num_channels": 1}
        note = {"core:sample_start": 0, "core:sample_count": 2, "core:label": "frame"}
        document = {"global": whole, "captures": [{"core:sample_start": 0}], "annotations": [note]}
        found.append(json.dumps(document).encode() + SPLIT + np.ones(4, np.complex64).tobytes())
    return found


def _picture(content: bytes) -> object:
    from semdiff.data.animations import read_animation
    from semdiff.data.pictures import read_picture

    read_picture(content, grey=None, name="some.png")
    return read_animation(content, name="some.png")


def _picture_seeds() -> list[bytes]:
    from PIL import Image

    deep = Image.fromarray((np.arange(12, dtype=np.uint16) * 5000).reshape(3, 4))
    colour = Image.fromarray((np.arange(36, dtype=np.uint8) * 7).reshape(3, 4, 3))
    clear = colour.convert("RGBA")
    found = []
    for picture, kind, options in (
        (colour, "PNG", {}), (deep, "PNG", {}), (deep, "TIFF", {}), (deep, "PPM", {}), (clear, "PNG", {}), (colour, "JPEG", {}),
        (colour, "WEBP", {}), (colour, "BMP", {}), (colour.convert("P"), "GIF", {}), (colour.convert("CMYK"), "TIFF", {}),
        (colour.convert("1"), "PNG", {"transparency": 0}), (colour, "GIF", {"save_all": True, "append_images": [colour], "duration": 40}),
        (colour, "PNG", {"save_all": True, "append_images": [colour.rotate(180)], "duration": 40}), (deep, "JPEG2000", {}),
    ):  # fmt: skip
        file = io.BytesIO()
        picture.save(file, kind, **options)
        found.append(file.getvalue())
    return found


def _checkpoint(content: bytes) -> object:
    from semdiff._util.tensor_files import load_tensors

    return load_tensors(_written("some.safetensors", content))


def _checkpoint_seeds() -> list[bytes]:
    import torch
    from safetensors.torch import save

    tensors = {"model.a": torch.ones(2, 2), "optimizer.0.step": torch.zeros(())}
    return [save(tensors, metadata={"semdiff": '{"step": 3, "shown": {}}'}), save({"a": torch.zeros(1)})]


def _index(content: bytes) -> object:
    """The files that say what a link's folder holds: its index, a network's config, its checksums."""
    from semdiff.models.loading import check_class, read_index
    from semdiff.models.store import verify_checksums

    kind, _, document = content.partition(b"\n")
    if kind == b"config":
        return check_class(_written("config.json", document), ("Upsampler",))
    if kind == b"checksums":
        (folder() / "model").mkdir(exist_ok=True)
        _written("model/config.json", b"{}")
        _written("model/checksums.json", document)
        return verify_checksums(folder() / "model")
    fields = dict.fromkeys(json.loads((LINK / "model_index.json").read_text()))
    _written("model_index.json", document)
    return read_index(folder(), {name: None for name in fields if not name.startswith("_")})


def _index_seeds() -> list[bytes]:
    names = {"index": LINK / "model_index.json", "config": LINK / "upsampler" / "config.json", "checksums": LINK / "checksums.json"}
    empty = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # sha256 of {}
    whole = [b"checksums\n" + json.dumps({"config.json": empty}).encode()]
    return [*(kind.encode() + b"\n" + path.read_bytes() for kind, path in names.items()), *whole]


def _toml(content: bytes) -> object:
    from semdiff.evaluation import Config

    return Config.from_toml(_written("some.toml", content))


def _toml_seeds() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "python" / "semdiff" / "evaluation" / "configs").glob("*.toml"))]


def _recipe(content: bytes) -> object:
    from semdiff.training.recipes.photos import read_recipe

    return read_recipe(_written("some-recipe.toml", content))


def _recipe_seeds() -> list[bytes]:
    return [(ROOT / "python" / "semdiff" / "training" / "recipes" / "photos.toml").read_bytes()]


def _results(content: bytes) -> object:
    from semdiff.evaluation import Results

    results = Results.load(_written("results.json", content))
    return results.summary()


@cache
def _results_seeds() -> list[bytes]:
    from semdiff.evaluation import sweep

    out = folder() / "evaluation"
    sweep(systems=["capacity"], channels="awgn", snr_db=[5.0], cbr=[1 / 2], metrics=["psnr"], data="samples", images=2, out=out)
    return [(out / "results.json").read_bytes()]


def _pickle(content: bytes) -> object:
    from semdiff.metrics.weights import unpickle_arrays

    return unpickle_arrays(content, "some.ckpt")


def _pickle_seeds() -> list[bytes]:
    tree = {"deep": {"x": np.arange(6.0).reshape(2, 3)}, "y": np.arange(3, dtype=">i2")}
    return [pickle.dumps(tree, protocol) for protocol in (2, 3, 4)]


TARGETS: dict[str, Target] = {
    "idx": Target(_idx, _idx_seeds),
    "rcc": Target(_rcc, _rcc_seeds),
    "sigmf": Target(_sigmf, _sigmf_seeds, (ValueError, TypeError)),
    "pictures": Target(_picture, _picture_seeds),
    "safetensors": Target(_checkpoint, _checkpoint_seeds),
    "model": Target(_index, _index_seeds),
    "toml": Target(_toml, _toml_seeds, (ValueError, TypeError, FileNotFoundError)),
    "recipe": Target(_recipe, _recipe_seeds, (ValueError, TypeError)),
    "results": Target(_results, _results_seeds, (ValueError, TypeError)),
    "pickle": Target(_pickle, _pickle_seeds),
}


def corpus(name: str) -> Iterator[tuple[str, bytes]]:
    """(name, content) of what is kept, and of the seeds."""
    kept = CORPUS / name
    if kept.is_dir():
        yield from ((path.name, path.read_bytes()) for path in sorted(kept.iterdir()))
    yield from ((f"seed {i}", seed) for i, seed in enumerate(TARGETS[name].seeds()))


def mutated(content: bytes, other: bytes, choose: Any) -> bytes:
    """Content with one to four things done to it: bytes changed, cut, repeated, put in, or exchanged with another's."""
    found = bytearray(content)
    for _ in range(choose.randint(1, 4)):
        at = choose.randrange(len(found) + 1)
        length = choose.choice((1, 1, 2, 4, 8, 64))
        kind = choose.randrange(7)
        if kind == 0 and found:
            found[min(at, len(found) - 1)] ^= 1 << choose.randrange(8)
        elif kind == 1:
            del found[at : at + length]
        elif kind == 2:
            found[at:at] = found[at : at + length]
        elif kind == 3:
            found[at : at + length] = choose.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
        elif kind == 4:
            found[at:at] = choose.choice(
                (b"-1", b"1e999", b"NaN", b"null", b"[]", b"{}", b'"', b"0x", b"9" * 30, b"true", b"\\u0000", b"../")
            )
        elif kind == 5 and other:
            start = choose.randrange(len(other))
            found[at : at + length] = other[start : start + length]
        elif kind == 6:
            del found[at:]
    return bytes(found)
