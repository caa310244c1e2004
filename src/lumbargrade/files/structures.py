"""Dataclasses read from and written to plain data (TOML, JSON): strict, every fault named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from typing import Any, TypeVar

import cattrs
from cattrs.errors import BaseValidationError
from cattrs.v import format_exception, transform_error

from lumbargrade.domain.errors import UsageError

_T = TypeVar("_T")

_converter = cattrs.Converter(forbid_extra_keys=True)


def _strict_number(kind: type) -> Any:
    def structure(value: Any, _: Any) -> Any:
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if kind is bool and isinstance(value, bool):
            return value
        if kind is int and isinstance(value, int) and not isinstance(value, bool):
            return value
        if kind is float and numeric:
            return float(value)
        if kind is str and isinstance(value, str):
            return value
        raise ValueError(f"expected {kind.__name__}, got {value!r}")

    return structure


for _kind in (bool, int, float, str):
    _converter.register_structure_hook(_kind, _strict_number(_kind))
# a StrEnum is a str, whose hook would let any text pass
_converter.register_structure_hook(StrEnum, lambda value, kind: kind(value))


def structured(data: Mapping[str, Any], kind: type[_T], origin: str, name: str) -> _T:
    """A dataclass of typed settings from nested plain data; nothing is guessed or converted.

    Args:
        data: as TOML or JSON give it.
        kind: the dataclass.
        origin: the file, for messages.
        name: what paths of keys start with, for messages.

    Raises:
        UsageError: for unknown or missing keys and wrong values, each named with its path.
    """
    try:
        return _converter.structure(dict(data), kind)
    except BaseValidationError as error:
        reasons = transform_error(error, path=name, format_exception=_reason)
        raise UsageError(f"{origin}: " + "; ".join(reasons)) from None


def _reason(error: BaseException, kind: type | None) -> str:
    """cattrs keeps the text of a ValueError to itself; ours are written to be read."""
    text = str(error) if isinstance(error, ValueError) else ""
    return f"invalid value: {text}" if text else format_exception(error, kind)


def plain(settings: Any) -> dict[str, Any]:
    """Nested plain data of a dataclass, which :func:`structured` reads back; None is left out."""
    found: dict[str, Any] = _plain(asdict(settings))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
