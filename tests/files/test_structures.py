"""Plain data of files becomes typed values, or an error that names every wrong key."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumbargrade.domain.errors import BadInput, BadModel, Problem, UsageError
from lumbargrade.domain.findings import ModelSource
from lumbargrade.files.structures import parse_plain, plain, read_plain, structured


def test_every_wrong_key_is_named_with_its_path() -> None:
    data = {"what": 1, "fatal": "yes", "other": 2}
    with pytest.raises(BadInput) as error:
        structured(data, Problem, "p.json", "problem", BadInput)
    said = str(error.value)
    assert said.startswith("p.json: ")
    for part in ("got 1 @ problem.what", "got 'yes' @ problem.fatal", "extra fields found (other)"):
        assert part in said
    assert "missing advice, file, series, study @ problem" in said
    assert structured(plain(Problem("x")), Problem, "p.json", "problem") == Problem("x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[1]", "not a table"),
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_what_is_no_table_of_keys_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BadModel, match=rf"a\.json: {message}"):
        read_plain(tmp_path / "a.json", BadModel)
    with pytest.raises(UsageError, match="here: not valid TOML"):
        parse_plain("a = ", "here")
    (tmp_path / "b.toml").write_bytes(b"\xff")
    for name, said in (("b.toml", "UTF-8"), ("c.toml", "cannot be read")):
        with pytest.raises(UsageError, match=said):
            read_plain(tmp_path / name)


def test_a_model_has_one_text() -> None:
    for model in (ModelSource("cpu-small/canal", 2), ModelSource("odd#name", -1)):
        assert ModelSource.parse(str(model)) == model
    for text in ("canal", "#1", "canal#", "canal#x", "canal#1.5"):
        with pytest.raises(ValueError, match="is not the name of a model"):
            ModelSource.parse(text)


def test_a_model_with_the_key_of_version_0_1_is_read() -> None:
    old = {"recipe": "r", "fold": 1, "validation_fold_only": True}
    assert structured(old, ModelSource, "f.json", "model") == ModelSource("r", 1)
    with pytest.raises(UsageError, match=r"extra fields found .other"):
        structured(old | {"other": 1}, ModelSource, "f.json", "model")
