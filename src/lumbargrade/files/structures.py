"""Dataclasses read from and written to plain data (TOML, JSON): strict, every fault named."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.errors import BaseValidationError
from cattrs.gen import make_dict_structure_fn
from cattrs.v import format_exception, transform_error

from lumbargrade.domain.errors import LumbargradeError, UsageError
from lumbargrade.domain.findings import ModelSource

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
_model = make_dict_structure_fn(ModelSource, _converter)


@_converter.register_structure_hook
def _without_old_key(value: Any, kind: type[ModelSource]) -> ModelSource:
    """Version 0.1 wrote one more key for each model, which was always true."""
    if isinstance(value, Mapping):
        value = {k: v for k, v in value.items() if k != "validation_fold_only"}
    return _model(value, kind)


def structured(
    data: Any,
    kind: type[_T],
    origin: str | Path,
    name: str,
    error: type[LumbargradeError] = UsageError,
) -> _T:
    """A dataclass from nested plain data; nothing is guessed or converted.

    Args:
        data: as TOML or JSON give it.
        kind: the dataclass.
        origin: the file, for messages.
        name: what paths of keys start with, for messages.
        error: what to raise.

    Raises:
        LumbargradeError: for unknown or missing keys and wrong values, each named with its path.
    """
    if not isinstance(data, Mapping):
        raise error(f"{origin}: not a table of keys and values")
    try:
        return _converter.structure(data, kind)
    except BaseValidationError as found:
        reasons = transform_error(found, path=name, format_exception=_reason)
        raise error(f"{origin}: " + "; ".join(reasons)) from None


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


def read_plain(path: Path, error: type[LumbargradeError] = UsageError) -> dict[str, Any]:
    """The content of a TOML file, or of a JSON file by its suffix ``.json``.

    Raises:
        LumbargradeError: of the type ``error``, if it cannot be read or is not such a file.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as failed:
        raise error(f"{path}: cannot be read ({failed.strerror})") from None
    except UnicodeDecodeError as failed:
        raise error(f"{path}: not a text file in UTF-8 ({failed})") from None
    return parse_plain(text, path, error, json_text=path.suffix == ".json")


def parse_plain(
    text: str,
    origin: str | Path,
    error: type[LumbargradeError] = UsageError,
    *,
    json_text: bool = False,
) -> dict[str, Any]:
    """The content of a TOML or JSON text; see `read_plain`."""
    try:
        content = json.loads(text) if json_text else tomllib.loads(text)
    except ValueError as failed:
        raise error(f"{origin}: not valid {'JSON' if json_text else 'TOML'}: {failed}") from None
    if not isinstance(content, dict):
        raise error(f"{origin}: not a table of keys and values")
    return content
