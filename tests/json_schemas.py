"""Validate files by the JSON Schemas that the package ships."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import jsonschema

from lumbargrade.grading.schemas import schema_path


@cache
def _validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(schema_path(name).read_text("utf-8")))


def require_valid(path: Path, name: str) -> None:
    """Require that a JSON file fits the schema with this name; lists every fault otherwise."""
    faults = [f"{e.json_path}: {e.message}" for e in _validator(name).iter_errors(_read(path))]
    assert not faults, "\n".join(faults)


def _read(path: Path) -> object:
    content: object = json.loads(path.read_text(encoding="utf-8"))
    return content
