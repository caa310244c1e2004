"""Numbers that numpy wrote into a torch file, read without running anything of numpy.

A best score beside the parameters is often a numpy number, and torch.load refuses it with
``weights_only``. These stand-ins take the place of the two functions that such a number is stored
with; they make plain Python numbers of the bytes and refuse every other type.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import torch

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
