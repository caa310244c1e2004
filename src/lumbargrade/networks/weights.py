"""Reading weight files that others wrote, without executing anything in them."""

from __future__ import annotations

import codecs
import pickle
import re
import struct
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lumbargrade.domain.errors import BadModel
from lumbargrade.files.writing import atomic_path

#: Booleans, whole numbers and real numbers: kind and size in bytes, as numpy stores a type.
_NUMBERS = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])

#: numpy 1 and numpy 2 have the same function in different modules.
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


class _NumberType:
    """Stands for ``numpy.dtype``: the type of one number."""

    def __init__(self, code: object = "", *_: object) -> None:
        if code not in _NUMBERS:
            raise pickle.UnpicklingError(f"a numpy value of type {code}")
        self.code = str(code)
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        """Take the byte order, the only part of the state that matters to a number."""
        self.order = ">" if state[1] == ">" else "<"


def _number(kind: object, data: object) -> bool | int | float:
    """Stands for numpy's ``scalar``: the number that some bytes hold."""
    if not isinstance(kind, _NumberType):
        raise pickle.UnpicklingError("a numpy value without a type")
    content = data.encode("latin1") if isinstance(data, str) else data
    value = np.frombuffer(content, f"{kind.order}{kind.code}")  # type: ignore[call-overload]
    number: bool | int | float = value.reshape(()).item()
    return number


def numpy_numbers() -> torch.serialization.safe_globals:
    """Within this context, torch.load with ``weights_only`` reads single numpy numbers too.

    They become Python's bool, int or float. Arrays and all else are refused as before.
    """
    known: list[Any] = [(_NumberType, "numpy.dtype")]
    return torch.serialization.safe_globals(known + [(_number, f"{m}.scalar") for m in _MODULES])


#: What torch.load raises for truncated and garbage files, as found by cutting and flipping bytes.
UNREADABLE = (
    SafetensorError,
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    OverflowError,
    MemoryError,
    AssertionError,
    struct.error,
)

#: How the text begins that stands in the place of a file whose content Git LFS has not fetched.
_LFS_POINTER = b"version https://git-lfs"

#: Bytes of printable ASCII text.
_TEXT = bytes([*range(0x20, 0x7F), *b"\t\n\r\f"])

#: What torch puts before every name of a network that it wraps: DataParallel (the distributed one
#: too) and torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")

#: Where a training program keeps the parameters in a file of several things.
_STATES = ("state_dict", "model", "model_state_dict")

#: Names of each kind that an error lists; the rest are counted.
_LISTED = 10


@dataclass(frozen=True)
class WeightFile:
    """What a weight file holds.

    Attributes:
        tensors: by name.
        notes: the plain values that stood beside them (epoch and such).
        removed: what was removed from the beginning of every name, such as ``module.``.
    """

    tensors: Mapping[str, Tensor]
    notes: Mapping[str, int | float | str] = field(default_factory=dict)
    removed: str = ""


def read_weights(path: Path) -> WeightFile:
    """Read a ``.safetensors`` or torch file.

    A torch file may hold the tensors themselves or have them under ``state_dict``, ``model`` or
    ``model_state_dict``. Where every name begins with what DataParallel or torch.compile puts
    there, that is removed.

    Raises:
        BadModel: for a file that is absent, damaged, or holds something else.
    """
    content = _content(path)
    if not isinstance(content, Mapping):
        raise BadModel(f"{path}: holds no parameters, but {type(content).__name__}")
    wrapped = [k for k in _STATES if isinstance(content.get(k), Mapping)]
    tensors = content[wrapped[0]] if wrapped else content
    if other := [str(k) for k, v in tensors.items() if not _is_plain(v)]:
        raise BadModel(f"{path}: not only parameters: {', '.join(other[:5])}")
    if not tensors:
        raise BadModel(f"{path}: holds no parameters")
    notes = {str(k): v for k, v in content.items() if isinstance(v, int | float | str)}
    named = {str(name): tensor for name, tensor in tensors.items()}
    removed = _wrapping(named)
    return WeightFile({k.removeprefix(removed): t for k, t in named.items()}, notes, removed)


def _wrapping(names: Iterable[str]) -> str:
    """What stands before every name because the network was wrapped when it was saved."""
    found = ""
    while common := [w for w in _WRAPPERS if all(n.startswith(found + w) for n in names)]:
        found += common[0]
    return found


def require_binary(path: Path) -> None:
    """Make sure that a file is not text in the place of weights.

    Raises:
        BadModel: for a Git LFS pointer, a web page, other text, or an empty file.
        OSError: if the file cannot be read.
    """
    with path.open("rb") as stream:
        start = stream.read(512)
    if start.startswith(_LFS_POINTER):
        raise BadModel(
            f"{path}: a Git LFS pointer, not the file that it stands for; fetch that with "
            "`git lfs pull`, or download it"
        )
    if not start:
        raise BadModel(f"{path}: damaged: the file is empty; download or copy it again")
    text = start.removeprefix(codecs.BOM_UTF8).lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise BadModel(
            f"{path}: a web page, not weights; the server probably answered with a page to log in "
            "or an error: download the file again and look at it"
        )
    if not start.translate(None, _TEXT):
        first = start.decode("ascii").strip().splitlines()[:1]
        raise BadModel(
            f"{path}: a text file, not weights; it begins with {''.join(first)[:60]!r}; download "
            "the weights again"
        )


def _content(path: Path) -> object:
    """What a file holds, without a warning of how it is stored."""
    if not path.is_file():
        raise BadModel(f"{path}: no such file")
    require_binary(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(), numpy_numbers():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its text advises to run what the file says
        raise BadModel(
            f"{path}: not a readable weight file: damaged, or it holds other objects than tensors"
            f"{_foreign(error)}, which are never loaded because they can run code; where it was "
            "written, save the state_dict alone"
        ) from None
    except UNREADABLE as error:
        raise BadModel(f"{path}: not a readable weight file: {first_line(error)}") from None


def _foreign(error: pickle.UnpicklingError) -> str:
    """The object that torch did not read, in brackets, where its text names one."""
    found = re.search(r"(?:GLOBAL|global|type|class) `?([A-Za-z_][\w.]*\.\w+)", str(error))
    return f" ({found[1]})" if found else ""


def _is_plain(value: object) -> bool:
    """Whether a value is a tensor of real numbers with all its elements in memory."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not (value.is_quantized or value.is_nested or value.is_meta or value.is_complex())
    )


def write_torch(path: Path, content: object) -> None:
    """Write a file that torch.load reads, atomically.

    Raises:
        OSError: if it cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # what torch makes of a full disk
            raise OSError(f"{path}: {first_line(error)}") from None


def require_finite(given: Mapping[str, Tensor], what: str) -> None:
    """Make sure that parameters are finite numbers.

    Raises:
        BadModel: listing those that are not after ``what``.
    """
    wrong = [name for name, tensor in given.items() if not tensor.isfinite().all()]
    if wrong:
        rest = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise BadModel(f"{what}: values that are not finite in {', '.join(wrong[:5])}{rest}")


def require_fit(
    given: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]], what: str
) -> None:
    """Make sure that tensors are the expected ones, by name and shape.

    Raises:
        BadModel: naming up to ten missing, unknown and misshapen parameters each after ``what``,
            with the count of the others.
    """
    missing = [f"missing {name}" for name in expected if name not in given]
    unknown = [f"unknown {name}" for name in given if name not in expected]
    misshapen = [
        f"{name} has shape {tuple(given[name].shape)}, not {tuple(shape)}"
        for name, shape in expected.items()
        if name in given and tuple(given[name].shape) != tuple(shape)
    ]
    faults = _some(missing, "missing") + _some(unknown, "unknown")
    if faults := faults + _some(misshapen, "of another shape"):
        raise BadModel(f"{what}:\n  " + "\n  ".join(faults))


def _some(faults: Sequence[str], kind: str) -> list[str]:
    """The first of a kind of faults, and how many there are where some are left out."""
    more = len(faults) - _LISTED
    if more <= 0:
        return list(faults)
    return [*faults[:_LISTED], f"... and {more} more {kind}, {len(faults)} in all"]


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its name where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
