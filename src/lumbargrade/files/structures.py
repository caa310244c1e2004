"""Convert dataclasses to and from plain data (TOML, JSON); errors name every fault."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, asdict, fields, is_dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import cattrs
from cattrs.errors import BaseValidationError, ClassValidationError
from cattrs.gen import make_dict_structure_fn
from cattrs.v import format_exception, transform_error

from lumbargrade.domain.errors import LumbargradeError, UsageError
from lumbargrade.domain.findings import ModelSource

_T = TypeVar("_T")

#: Metadata of a dataclass field that earlier versions did not write; it may be absent in a file.
ADDED_LATER = {"added_later": True}


def _number(value: Any, _: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(f"expected float, got {value!r}")


def _exactly(kind: type) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is kind:
            return value
        raise ValueError(f"expected {kind.__name__}, got {value!r}")

    return structure


@cache
def _converter(*, partial: bool, detailed: bool) -> cattrs.Converter:
    """The converter for `structured`; not ``detailed`` is faster, but its errors name no key."""
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=detailed)
    for kind in (bool, int, str):
        converter.register_structure_hook(kind, _exactly(kind))
    converter.register_structure_hook(float, _number)
    # a StrEnum is a str, whose hook would accept any text
    converter.register_structure_hook(StrEnum, lambda value, kind: kind(value))
    if not partial:
        converter.register_structure_hook_factory(is_dataclass, _complete)
    model = converter.get_structure_hook(ModelSource)

    @converter.register_structure_hook
    def _without_old_key(value: Any, kind: type[ModelSource]) -> ModelSource:
        """Ignore the key that version 0.1 also wrote for each model; it was always true."""
        if isinstance(value, Mapping):
            value = {k: v for k, v in value.items() if k != "validation_fold_only"}
        found: ModelSource = model(value, kind)
        return found

    return converter


def _complete(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    """Structure a dataclass whose keys must be present although its fields have defaults."""
    structure = make_dict_structure_fn(kind, converter)
    required = {
        f.name
        for f in fields(kind)
        if f.init
        and (f.default not in (MISSING, None) or f.default_factory is not MISSING)
        and not f.metadata.get("added_later")
    }
    if not required:
        return structure

    def complete(value: Any, _: Any) -> Any:
        missing = required - value.keys() if isinstance(value, Mapping) else ()
        if not missing:
            return structure(value, kind)
        faults: list[Exception] = [ValueError(f"missing {', '.join(sorted(missing))}")]
        try:
            structure(value, kind)
        except ClassValidationError as others:
            faults.extend(others.exceptions)
        raise ClassValidationError("missing keys", faults, kind)

    return complete


def structured(
    data: Any,
    kind: type[_T],
    origin: str | Path,
    name: str,
    error: type[LumbargradeError] = UsageError,
    *,
    partial: bool = False,
) -> _T:
    """Make a dataclass from nested plain data; no value is guessed or converted.

    A key may be absent only if its default is None, which `plain` does not write, or if its field
    has the metadata `ADDED_LATER`.

    Args:
        data: the content of a TOML or JSON file.
        kind: the dataclass.
        origin: the file, for messages.
        name: first part of the paths of keys, for messages.
        error: the type of error to raise.
        partial: every key with a default may be absent, as in recipes.

    Raises:
        LumbargradeError: of the type ``error``, for unknown or missing keys and wrong values, each
            named with its path.
    """
    if not isinstance(data, Mapping):
        raise error(f"{origin}: not a table of keys and values")
    with suppress(Exception):  # it is structured again, with an error that names every fault
        return _converter(partial=partial, detailed=False).structure(data, kind)
    try:
        return _converter(partial=partial, detailed=True).structure(data, kind)
    except BaseValidationError as found:
        reasons = transform_error(found, path=name, format_exception=_reason)
        raise error(f"{origin}: " + "; ".join(reasons)) from None


def _reason(error: BaseException, kind: type | None) -> str:
    """Word an error for a message. cattrs alone would omit the text of our ValueErrors."""
    text = str(error) if isinstance(error, ValueError) else ""
    return f"invalid value: {text}" if text else format_exception(error, kind)


def plain(settings: Any) -> dict[str, Any]:
    """Return nested plain data, which :func:`structured` reads back; None is not written."""
    found: dict[str, Any] = _plain(asdict(settings))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def read_plain(path: Path, error: type[LumbargradeError] = UsageError) -> dict[str, Any]:
    """Read a TOML file, or a JSON file if its suffix is ``.json``.

    Raises:
        LumbargradeError: of the type ``error``, if the file cannot be read or is malformed.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as failed:
        raise error(f"{path}: cannot be read ({failed.strerror})") from None
    except UnicodeDecodeError as failed:
        raise error(f"{path}: not a text file in UTF-8 ({failed}); save it as UTF-8") from None
    return parse_plain(text, path, error, json_text=path.suffix == ".json")


def parse_plain(
    text: str,
    origin: str | Path,
    error: type[LumbargradeError] = UsageError,
    *,
    json_text: bool = False,
) -> dict[str, Any]:
    """Parse a TOML or JSON text; see `read_plain`."""
    try:
        content = json.loads(text) if json_text else tomllib.loads(text)
    except (ValueError, RecursionError) as failed:  # the latter: nested thousands of times
        raise error(f"{origin}: not valid {'JSON' if json_text else 'TOML'}: {failed}") from None
    if not isinstance(content, dict):
        raise error(f"{origin}: not a table of keys and values")
    return content
