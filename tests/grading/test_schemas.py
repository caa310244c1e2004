"""The shipped JSON Schemas are what the code reads, and are schemas."""

from __future__ import annotations

import json

import jsonschema
import pytest

from lumbargrade.cli.main import main
from lumbargrade.grading.schemas import SCHEMAS, schema_path, schema_text


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_shipped_schema_is_current(name: str) -> None:
    shipped = schema_path(name).read_text(encoding="utf-8")
    assert shipped == schema_text(name), "run `python tools/make_schemas.py`"
    jsonschema.Draft202012Validator.check_schema(json.loads(shipped))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_command_prints_the_schema(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    assert capsys.readouterr().out == schema_text(name)
