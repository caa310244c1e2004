"""JSON Schemas of dataclasses, so that the code is the only place that says what a file holds."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from enum import StrEnum
from typing import Any, Union, get_args, get_origin, get_type_hints

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean"}
_ATTRIBUTE = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", re.MULTILINE)


def json_schema(kind: type, title: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the files that `structured` reads as a dataclass.

    Descriptions are the docstrings of the dataclasses and of their attributes. Keywords in the
    metadata ``schema`` of a field are added to its schema. A schema cannot say everything: the
    dataclasses also check that values do not contradict each other.

    Args:
        kind: the dataclass.
        title: title of the schema.

    Raises:
        TypeError: if a field has a type that is not supported.
    """
    found: dict[str, Any] = {}
    whole = _of_dataclass(kind, found)
    return {"$schema": _DIALECT, "title": title, **whole, "$defs": dict(sorted(found.items()))}


def _of_dataclass(kind: type, found: dict[str, Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    texts = _texts(kind)
    properties, required = {}, []
    for one in fields(kind):
        schema = _of_type(hints[one.name], found)
        if one.name in texts:
            schema["description"] = texts[one.name]
        properties[one.name] = {**schema, **one.metadata.get("schema", {})}
        if _required(one):
            required.append(one.name)
    return {
        "description": (kind.__doc__ or "").split("\n")[0],
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _required(one: Field[Any]) -> bool:
    """Whether `structured` refuses a file without this key."""
    return one.default is not None and not one.metadata.get("added_later")


def _texts(kind: type) -> dict[str, str]:
    """The descriptions of the attributes of a class in its docstring."""
    _, _, attributes = (kind.__doc__ or "").partition("Attributes:\n")
    unindented = re.sub(r"^    ", "", attributes, flags=re.MULTILINE)
    texts = {}
    for names, text in _ATTRIBUTE.findall(unindented.partition("\n\n")[0]):
        for name in names.split(", "):
            texts[name] = " ".join(text.split())
    return texts


def _of_type(kind: Any, found: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if origin in (Union, types.UnionType):
        options = [_of_type(a, found) for a in arguments if a is not type(None)]
        if type(None) in arguments:
            options.append({"type": "null"})
        return {"anyOf": options}
    if origin is tuple and arguments[-1] is Ellipsis:
        return {"type": "array", "items": _of_type(arguments[0], found)}
    if origin is tuple:
        items = [_of_type(a, found) for a in arguments]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _of_type(arguments[1], found)}
    name = getattr(kind, "__name__", str(kind)).lstrip("_")
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        found[name] = {"type": "string", "enum": [member.value for member in kind]}
    elif is_dataclass(kind) and isinstance(kind, type):
        if name not in found:
            found[name] = {}  # a class may contain itself
            found[name] = _of_dataclass(kind, found)
    else:
        raise TypeError(f"no JSON Schema for {kind}")
    return {"$ref": f"#/$defs/{name}"}
