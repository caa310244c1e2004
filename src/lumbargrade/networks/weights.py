"""Read and write weights; no code in a file from another source is executed."""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lumbargrade.domain.errors import BadModel
from lumbargrade.files.binary import require_binary
from lumbargrade.files.writing import atomic_path, write_text
from lumbargrade.inference.model_folder import MODEL_META, MODEL_WEIGHTS

#: numpy's codes (kind and bytes) of booleans, integers and real numbers.
_NUMBERS = frozenset(["b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])

#: Modules of numpy's ``scalar`` function in numpy 1 and numpy 2.
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")


class _NumberType:
    """Replacement for ``numpy.dtype``: the type of one number."""

    def __init__(self, code: object = "", *_: object) -> None:
        if code not in _NUMBERS:
            raise pickle.UnpicklingError(f"a numpy value of type {code}")
        self.code = str(code)
        self.order = "<"

    def __setstate__(self, state: Any) -> None:
        """Read the byte order, the only part of the state that a number needs."""
        self.order = ">" if state[1] == ">" else "<"


def _number(kind: object, data: object) -> bool | int | float:
    """Replacement for numpy's ``scalar``: convert bytes to a number."""
    if not isinstance(kind, _NumberType):
        raise pickle.UnpicklingError("a numpy value without a type")
    content = data.encode("latin1") if isinstance(data, str) else data
    value = np.frombuffer(content, f"{kind.order}{kind.code}")  # type: ignore[call-overload]
    number: bool | int | float = value.reshape(()).item()
    return number


def numpy_numbers() -> torch.serialization.safe_globals:
    """Let torch.load with ``weights_only`` also read single numpy numbers inside this context.

    They become Python's bool, int or float. Arrays and other objects are still refused.
    """
    known: list[Any] = [(_NumberType, "numpy.dtype")]
    return torch.serialization.safe_globals(known + [(_number, f"{m}.scalar") for m in _MODULES])


#: Exceptions of torch.load for damaged files, found by truncating files and flipping bytes.
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


#: Prefixes that (Distributed)DataParallel and torch.compile add to every parameter name.
_WRAPPERS = ("module.", "_orig_mod.")

#: Keys under which training programs store the parameters.
_STATES = ("state_dict", "model", "model_state_dict")

#: Number of names of each kind that an error lists.
_LISTED = 10


@dataclass(frozen=True)
class WeightFile:
    """Content of a weight file.

    Attributes:
        tensors: tensors by name.
        notes: plain values stored beside them, such as the epoch.
        removed: the prefix removed from every name, such as ``module.``.
    """

    tensors: Mapping[str, Tensor]
    notes: Mapping[str, int | float | str] = field(default_factory=dict)
    removed: str = ""


def read_weights(path: Path) -> WeightFile:
    """Read a ``.safetensors`` or torch file.

    A torch file may hold the tensors directly or under ``state_dict``, ``model`` or
    ``model_state_dict``. Prefixes of DataParallel and torch.compile are removed if all names have
    them.

    Raises:
        BadModel: if the file is missing, damaged, or holds something else.
    """
    content = _content(path)
    if not isinstance(content, Mapping):
        raise BadModel(
            f"{path}: holds no parameters but an object of type {type(content).__name__}"
        )
    wrapped = [k for k in _STATES if isinstance(content.get(k), Mapping)]
    tensors = content[wrapped[0]] if wrapped else content
    if other := [str(k) for k, v in tensors.items() if not _is_plain(v)]:
        raise BadModel(f"{path}: entries that are not parameters: {', '.join(other[:5])}")
    if not tensors:
        raise BadModel(f"{path}: holds no parameters")
    notes = {str(k): v for k, v in content.items() if isinstance(v, int | float | str)}
    named = {str(name): tensor for name, tensor in tensors.items()}
    removed = _wrapping(named)
    return WeightFile({k.removeprefix(removed): t for k, t in named.items()}, notes, removed)


def _wrapping(names: Iterable[str]) -> str:
    """Return the prefix of all names that comes from wrapping the network."""
    found = ""
    while common := [w for w in _WRAPPERS if all(n.startswith(found + w) for n in names)]:
        found += common[0]
    return found


def _content(path: Path) -> object:
    """Read a file's content, without warnings about its storage format."""
    if not path.is_file():
        raise BadModel(f"{path}: no such file")
    require_binary(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings(), numpy_numbers():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its own text advises to execute the file
        raise BadModel(
            f"{path}: not a readable weight file: it is damaged, or holds objects other than "
            f"tensors{_foreign(error)}, which are never loaded because they can run code; save "
            "only the state_dict in the program that wrote it"
        ) from None
    except UNREADABLE as error:
        raise BadModel(f"{path}: not a readable weight file: {first_line(error)}") from None


def _foreign(error: pickle.UnpicklingError) -> str:
    """Return in brackets the object that torch refused, if its text names one."""
    found = re.search(r"(?:GLOBAL|global|type|class) `?([A-Za-z_][\w.]*\.\w+)", str(error))
    return f" ({found[1]})" if found else ""


def _is_plain(value: object) -> bool:
    """Return whether a value is a tensor of real numbers with all elements in memory."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not (value.is_quantized or value.is_nested or value.is_meta or value.is_complex())
    )


def write_torch(path: Path, content: object) -> None:
    """Write a torch file atomically.

    Raises:
        OSError: if it cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            torch.save(content, temporary)
        except RuntimeError as error:  # raised by torch if the disk is full
            raise OSError(f"{path}: {first_line(error)}") from None


def write_weights(
    folder: Path, state: Mapping[str, Tensor], header: str, meta: Mapping[str, Any]
) -> None:
    """Write a model folder: the weights with their metadata in the header, and a copy of those.

    Args:
        folder: created if missing.
        state: parameters by name.
        header: key of the metadata in the weight file; it tells kinds of models apart.
        meta: plain JSON data.

    Raises:
        OSError: if the folder cannot be written to.
    """
    tensors = {name: t.detach().cpu().contiguous() for name, t in state.items()}
    text = json.dumps(meta, indent=1)
    with atomic_path(folder / MODEL_WEIGHTS) as temporary:
        try:
            save_file(tensors, temporary, metadata={header: text})
        except SafetensorError as error:
            raise OSError(f"{folder / MODEL_WEIGHTS}: {error}") from None
    write_text(folder / MODEL_META, text + "\n")


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """Read the weight file of a model folder.

    Raises:
        BadModel: if it is damaged.
    """
    try:
        weights: dict[str, Tensor] = load_file(file)
    except SafetensorError as error:
        raise BadModel(f"{file}: damaged: {error}") from None
    return weights


def filled(
    build: Callable[[], nn.Module], weights: Mapping[str, Tensor], what: str, origin: str
) -> nn.Module:
    """Build a network and give it the weights of a model folder.

    Args:
        build: makes the network.
        weights: its parameters and buffers by name, in its own types; the network takes them over.
        what: start of the error's text if they do not fit.
        origin: where the weights are from, for other errors.

    Raises:
        BadModel: if names, shapes or types do not fit, or values are not finite.
    """
    # on the meta device, no time is spent on random weights that would be overwritten
    with torch.device("meta"):
        network = build()
    expected = network.state_dict()
    if any(name not in expected for name, _ in network.named_buffers()):
        network = build()  # buffers that are computed, not saved, need a real device
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    require_fit(weights, shapes, what)
    if wrong := [n for n, tensor in expected.items() if weights[n].dtype != tensor.dtype]:
        raise BadModel(
            f"{origin}: {wrong[0]} is {weights[wrong[0]].dtype}, not {expected[wrong[0]].dtype} "
            f"({len(wrong)} such parameters)"
        )
    require_finite(weights, origin)  # otherwise findings would be skipped without an error
    network.load_state_dict(weights, strict=True, assign=True)
    return network


def require_real(given: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> None:
    """Check that parameters are real numbers where those of a network, of the same names, are.

    Raises:
        BadModel: if some are not; the text names them.
    """
    whole = [n for n, t in like.items() if t.is_floating_point() > given[n].is_floating_point()]
    if whole:
        raise BadModel(f"integers instead of real numbers in {', '.join(whole[:5])}")


def require_finite(given: Mapping[str, Tensor], what: str) -> None:
    """Check that all parameters are finite.

    Raises:
        BadModel: if some are not; the text is ``what`` with their names.
    """
    wrong = [name for name, tensor in given.items() if not tensor.isfinite().all()]
    if wrong:
        rest = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise BadModel(f"{what}: values that are not finite in {', '.join(wrong[:5])}{rest}")


def require_fit(
    given: Mapping[str, Tensor], expected: Mapping[str, Sequence[int]], what: str
) -> None:
    """Check that tensors have the expected names and shapes.

    Raises:
        BadModel: if not; the text is ``what`` with up to ten missing, unknown and misshapen
            parameters each, and the number of others.
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
    """Return the first faults of a kind, and the total number if some are left out."""
    more = len(faults) - _LISTED
    if more <= 0:
        return list(faults)
    return [*faults[:_LISTED], f"... and {more} more {kind}, {len(faults)} in all"]


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the error's class name if it is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
