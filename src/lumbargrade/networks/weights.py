"""Reading weight files that others wrote, without executing anything in them."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lumbargrade.domain.errors import BadModel
from lumbargrade.domain.files import atomic_path

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
_LFS_POINTER = b"version https://git-lfs.github.com/"
#: How many parameters of a kind an error names: a file for another network has hundreds.
_LISTED = 8


@dataclass(frozen=True)
class WeightFile:
    """Tensors of a file by name, and the plain values that stood beside them (epoch and such)."""

    tensors: Mapping[str, Tensor]
    notes: Mapping[str, int | float | str] = field(default_factory=dict)


def read_weights(path: Path) -> WeightFile:
    """Read a ``.safetensors`` or torch file.

    A torch file may hold the tensors themselves or have them under ``state_dict`` or ``model``.

    Raises:
        BadModel: for a file that is absent, damaged, or holds something else.
    """
    content = _content(path)
    if not isinstance(content, Mapping):
        raise BadModel(f"{path}: holds no parameters, but {type(content).__name__}")
    wrapped = [k for k in ("state_dict", "model") if isinstance(content.get(k), Mapping)]
    tensors = content[wrapped[0]] if wrapped else content
    if other := [str(k) for k, v in tensors.items() if not _is_plain(v)]:
        raise BadModel(f"{path}: not only parameters: {', '.join(other[:5])}")
    if not tensors:
        raise BadModel(f"{path}: holds no parameters")
    notes = {str(k): v for k, v in content.items() if isinstance(v, int | float | str)}
    return WeightFile({str(name): tensor for name, tensor in tensors.items()}, notes)


def _content(path: Path) -> object:
    """What a file holds, without a warning of how it is stored."""
    if not path.is_file():
        raise BadModel(f"{path}: no such file")
    with path.open("rb") as stream:
        if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise BadModel(
                f"{path}: a Git LFS pointer, not the file that it stands for; fetch that with "
                "`git lfs pull`, or download it"
            )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # its text advises to run what the file says
        raise BadModel(
            f"{path}: not a readable weight file: damaged, or it holds other objects than tensors, "
            "which are never loaded because they can run code"
        ) from None
    except UNREADABLE as error:
        raise BadModel(f"{path}: not a readable weight file: {first_line(error)}") from None


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
        BadModel: with the first missing, unknown and misshapen parameters after ``what``, and how
            many more there are of each.
    """
    faults = {
        "missing": [f"missing {name}" for name in expected if name not in given],
        "unknown": [f"unknown {name}" for name in given if name not in expected],
        "of another shape": [
            f"{name} has shape {tuple(given[name].shape)}, not {tuple(shape)}"
            for name, shape in expected.items()
            if name in given and tuple(given[name].shape) != tuple(shape)
        ],
    }
    lines = []
    for kind, found in faults.items():
        lines += found[:_LISTED]
        if len(found) > _LISTED:
            lines.append(f"... and {len(found) - _LISTED:,} more {kind}")
    if lines:
        raise BadModel(f"{what}:\n  " + "\n  ".join(lines))


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its name where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
