"""A JSON Schema accepts what `structured` accepts, and refuses what it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import jsonschema
import pytest

from lumbargrade.domain.errors import LumbargradeError
from lumbargrade.files.schemas import json_schema
from lumbargrade.files.structures import ADDED_LATER, structured


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Part:
    """A part.

    Attributes:
        size: how large,
            in mm.
        at: where.
    """

    size: float
    at: tuple[float, float] | None = None


@dataclass(frozen=True)
class Whole:
    """A whole.

    Attributes:
        name, colour: what it is.
    """

    name: str
    colour: Colour
    parts: tuple[Part, ...]
    count: int = 1
    notes: Mapping[str, str] = field(default_factory=dict)
    later: bool = field(default=False, metadata=ADDED_LATER)


GOOD: dict[str, Any] = {
    "name": "a",
    "colour": "red",
    "parts": [{"size": 1, "at": [1.0, 2.0]}, {"size": 1.5, "at": None}, {"size": 2}],
    "count": 1,
    "notes": {"a": "b"},
    "later": True,
}


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in GOOD.items() if k != key}


@pytest.mark.parametrize(
    ("content", "fits"),
    [
        (GOOD, True),
        (without("later"), True),
        (without("count"), False),
        (without("notes"), False),
        (without("parts"), False),
        (GOOD | {"more": 1}, False),
        (GOOD | {"colour": "blue"}, False),
        (GOOD | {"name": None}, False),
        (GOOD | {"count": 1.5}, False),
        (GOOD | {"notes": {"a": 1}}, False),
        (GOOD | {"parts": [{"at": None}]}, False),
        (GOOD | {"parts": [{"size": "1"}]}, False),
        (GOOD | {"parts": [{"size": 1, "at": [1.0]}]}, False),
        (GOOD | {"parts": [{"size": 1, "at": [1.0, 2.0, 3.0]}]}, False),
    ],
)
def test_schema_and_code_agree(content: dict[str, Any], fits: bool) -> None:
    schema = json_schema(Whole, "whole")
    assert jsonschema.Draft202012Validator(schema).is_valid(content) == fits
    if fits:
        structured(content, Whole, "x", "whole")
    else:
        with pytest.raises(LumbargradeError):
            structured(content, Whole, "x", "whole")


def test_descriptions_come_from_the_docstrings() -> None:
    schema = json_schema(Whole, "whole")
    assert schema["description"] == "A whole."
    assert schema["properties"]["colour"]["description"] == "what it is."
    assert schema["$defs"]["Part"]["properties"]["size"]["description"] == "how large, in mm."


def test_other_types_are_refused() -> None:
    @dataclass(frozen=True)
    class Odd:
        value: complex

    with pytest.raises(TypeError, match="no JSON Schema for"):
        json_schema(Odd, "odd")
