"""The recipes command: every experiment is listed, and what it shows can be read back."""

from __future__ import annotations

import json
import tomllib

import pytest

from lumbargrade.cli.main import main
from lumbargrade.config import (
    load_any_recipe,
    recipe_names,
    recipe_to_dict,
    starter_recipe_names,
)

NAMES = (*recipe_names(), *starter_recipe_names())


def test_all_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    assert len(recipe_names()) >= 9
    assert all(name in out for name in NAMES)


def test_epochs_say_what_the_last_phase_starts_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (bugged,) = [line for line in lines if line.startswith("one-stage-nfn-bugged/")]
    assert "40/40/30/45/45, then from 28/32/25/40/40 to 100" in bugged
    (canal,) = [line for line in lines if line.startswith("one-stage-scs/effnet_b4")]
    assert " 37 " in canal
    assert "from" not in canal


@pytest.mark.parametrize("name", NAMES)
def test_a_shown_recipe_is_toml_with_every_setting(name: str, capsys) -> None:
    assert main(["recipes", name, "--json"]) == 0
    settings = json.loads(capsys.readouterr().out)
    assert settings == json.loads(json.dumps(recipe_to_dict(load_any_recipe(name))))
    assert main(["recipes", name]) == 0
    shown = tomllib.loads(capsys.readouterr().out)
    assert shown == _without_none(settings)


def _without_none(value):
    if isinstance(value, dict):
        return {k: _without_none(v) for k, v in value.items() if v is not None}
    return value


def test_json_list_holds_every_recipe(capsys) -> None:
    assert main(["recipes", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == list(NAMES)


def test_an_unknown_recipe_is_a_usage_error(capsys) -> None:
    assert main(["recipes", "no-such"]) == 2
    assert "no recipe 'no-such'" in capsys.readouterr().err
