"""Every study is predicted by grading networks of its own fold, in the published folds."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from lsdc_layout import write_lsdc
from lumbargrade.cli.main import main
from lumbargrade.domain.errors import BadTable
from lumbargrade.team_two_stage.choice import Choice
from lumbargrade.team_two_stage.members import load_members
from lumbargrade.validation.two_stage import read_folds, shuffled_folds
from tiny_two_stage import make_tiny, write_tiny_models

#: The validation parts of scikit-learn 1.9's KFold(5, shuffle=True, random_state=666) of 12 rows,
#: and the SHA-256 of those of 1,975 rows as JSON.
KFOLD_12 = [[0, 1, 11], [7, 8, 10], [3, 5], [4, 9], [2, 6]]
KFOLD_1975 = "6592673b84c53e970ebe4effd4c20977f2583b5c592bdacba8cc554327393cb8"


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Canal networks of set 8620, folds 1 and 3, whose logit for severe is their fold."""
    folder = tmp_path_factory.mktemp("team") / "TEAM"
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        for fold in (1, 3):
            members = Choice(networks=("t2", f"fold{fold}")).of(load_members())
            write_tiny_models(folder, members, float(fold))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_lsdc(folder, 2, depth=5, shape=(40, 48))
    return folder


def write_folds(path: Path, *rows: tuple[str, str]) -> Path:
    path.write_text("study_id,level,fold\n" + "".join(f"{s},0,{f}\n" for s, f in rows))
    return path


def test_a_study_is_judged_by_its_own_fold(
    team: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each study has the probabilities of the networks that have not seen it, and their names."""
    make_tiny(monkeypatch)
    folds = write_folds(tmp_path / "folds.csv", ("1000", "1.0"), ("1000", "1.0"), ("1007", "3.0"))
    out = tmp_path / "OUT"
    line = ["validate", str(team), "--data", str(data), "--folds", str(folds), "--out", str(out)]
    assert main([*line, "--networks", "t2"]) == 0
    with (out / "oof.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {r["study_id"]: r["models"] for r in rows} == {
        "1000": "team-two-stage/8620-t2#1",
        "1007": "team-two-stage/8620-t2#3",
    }
    assert len(rows) == 10
    for row in rows:
        logit = 0.4104 * 0 + float(row["fold"])
        expected = np.exp(logit) / (2 + np.exp(logit))
        assert float(row["severe"]) == pytest.approx(expected, abs=1e-6)
    printed = capsys.readouterr().out
    assert "mean of folds" in printed
    assert "fold 3" in printed
    # noise is graded 0, 1 or 2 by its study; the losses are those of the predictions in the file
    with (out / "scores.csv").open() as file:
        scores = {row[""]: row for row in csv.DictReader(file)}
    losses = []
    for row in rows:
        grade = row["true_grade"]
        if row["study_id"] == "1007" and grade:
            weight = {"normal_mild": 1, "moderate": 2, "severe": 4}[grade]
            losses.append((weight, -np.log(float(row[grade]))))
    weights, values = np.array(losses).T
    assert float(scores["fold 3"]["canal"]) == pytest.approx(
        (weights * values).sum() / weights.sum()
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--data", "{data}"], "set 8620: give --folds folds_t2s_each.csv"),
        (["--folds", "{folds}"], "give --data, a folder in the LSDC layout"),
        (["--data", "{data}", "--folds", "{folds}", "--networks", "fold1"], "name no fold"),
        (["--data", "{data}", "--folds", "{folds}", "--two-stage-set", "666"], "omit --folds"),
    ],
)
def test_wrong_options_are_named(
    team: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    says: str,
) -> None:
    folds = write_folds(tmp_path / "folds.csv", ("1000", "1"))
    words = [o.format(data=data, folds=folds) for o in options]
    assert main(["validate", str(team), "--out", str(tmp_path / "OUT"), *words]) == 2
    assert says in capsys.readouterr().err


def test_a_table_of_folds_is_read_strictly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A study has one fold, from 0 to 4; another number of studies is said."""
    path = tmp_path / "folds.csv"
    assert read_folds(write_folds(path, ("7", "4.0"), ("8", "0"))) == {"7": 4, "8": 0}
    assert "1/0/0/0/1 studies in folds 0 to 4, the published file has 393/396" in caplog.text
    caplog.clear()
    published = [393, 396, 395, 399, 392]
    rows = [(f"{f}{i:04d}", str(f)) for f, count in enumerate(published) for i in range(count)]
    with caplog.at_level(logging.WARNING):
        assert len(read_folds(write_folds(path, *rows))) == 1975
    assert not caplog.text
    with pytest.raises(BadTable, match="row 3: study 7 is in fold 1, but in fold 4 above"):
        read_folds(write_folds(path, ("7", "4"), ("7", "1")))
    for wrong in ("5", "1.5", "-1", ""):
        with pytest.raises(BadTable, match="row 2"):
            read_folds(write_folds(path, ("7", wrong)))


@pytest.mark.parametrize(("count", "expected"), [(12, KFOLD_12), (1975, KFOLD_1975)])
def test_folds_of_set_666_are_those_of_scikit_learn(count: int, expected: object) -> None:
    folds = shuffled_folds([str(i) for i in range(count)])
    parts = [sorted(int(s) for s, fold in folds.items() if fold == f) for f in range(5)]
    if isinstance(expected, str):
        assert hashlib.sha256(json.dumps(parts).encode()).hexdigest() == expected
    else:
        assert parts == expected
