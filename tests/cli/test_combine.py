"""`combine`: submission files blended by condition, and every file that does not fit named."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.cli.main import main
from lumbargrade.domain.vocabulary import FINDINGS, Condition, Grade
from lumbargrade.scoring.official import official_score
from lumbargrade.scoring.submissions import SUBMISSION_COLUMNS, read_solution, read_submission

STUDIES = ("1000", "99", "200")
Lines = list[list[object]]


def write_file(path: str, seed: int, *, change: Callable[[Lines], None] | None = None) -> Path:
    """A complete submission of drawn numbers that do not sum to 1."""
    rng = np.random.default_rng(seed)
    lines: Lines = [
        [f"{study}_{t.column}", *rng.uniform(0.01, 2, 3).tolist()]
        for study in STUDIES
        for t in FINDINGS
    ]
    if change is not None:
        change(lines)
    with Path(path).open("w", newline="") as stream:
        csv.writer(stream).writerows([SUBMISSION_COLUMNS, *lines])
    return Path(path)


def write_truth(path: str, studies: tuple[str, ...]) -> Path:
    with Path(path).open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["study_id", *(t.column for t in FINDINGS)])
        for n, study in enumerate(studies):
            labels = [Grade((n + i) % 3).label for i in range(len(FINDINGS))]
            table.writerow([study, *labels])
    return Path(path)


@pytest.fixture(autouse=True)
def _here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")


def normalised(row: tuple[float, float, float]) -> np.ndarray:
    return np.array(row) / sum(row)


def test_the_published_blend_by_hand(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    a, b = read_submission(write_file("a.csv", 1)), read_submission(write_file("b.csv", 2))
    weights = ["--weights", "foraminal=0.75,0.25"]
    assert main(["combine", "a.csv", "b.csv", *weights, "--out", "out.csv", "--json"]) == 0
    out = read_submission("out.csv")
    for study in STUDIES:
        for target in FINDINGS:
            if target.condition is Condition.FORAMINAL:
                mine = 0.75 * normalised(a[study][target]) + 0.25 * normalised(b[study][target])
                assert out[study][target] == pytest.approx(mine, rel=1e-12)
            else:
                assert out[study][target] == a[study][target]
    with Path("out.csv").open(newline="") as lines:
        ids = [row["row_id"] for row in csv.DictReader(lines)]
    assert ids == [f"{s}_{t.column}" for s in ("99", "200", "1000") for t in FINDINGS]

    *table, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    assert told == json.loads(Path("out.csv.json").read_text())
    assert (told["path"], told["studies"], told["rows"], told["scores"]) == ("out.csv", 3, 75, None)
    assert told["files"] == [
        {"path": name, "sha256": hashlib.sha256(Path(name).read_bytes()).hexdigest()}
        for name in ("a.csv", "b.csv")
    ]
    assert told["weights"] == {
        "spinal_canal_stenosis": [1, 0],
        "neural_foraminal_narrowing": [0.75, 0.25],
        "subarticular_stenosis": [1, 0],
    }
    assert ["neural", "foraminal", "narrowing", "0.7500", "0.2500"] in [x.split() for x in table]
    for words in ("spinal canal stenosis", "subarticular stenosis"):
        assert f"{words}: no weights given, taken from a.csv alone" in caplog.text
    assert "neural foraminal narrowing: no weights" not in caplog.text


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([], dict.fromkeys(Condition, (0.5, 0.5))),
        (["3", "1"], dict.fromkeys(Condition, (0.75, 0.25))),
        (
            ["1", "1", "canal=0,2", "neural_foraminal_narrowing=1,4"],
            {
                Condition.CANAL: (0, 1),
                Condition.FORAMINAL: (0.2, 0.8),
                Condition.SUBARTICULAR: (0.5, 0.5),
            },
        ),
    ],
    ids=["none", "one per file", "by condition"],
)
def test_weights_hold_for_the_conditions_they_name(
    weights: list[str],
    expected: dict[Condition, tuple[float, float]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    a, b = read_submission(write_file("a.csv", 1)), read_submission(write_file("b.csv", 2))
    options = ["--weights", *weights] if weights else []
    assert main(["combine", "a.csv", "b.csv", *options, "--out", "out.csv"]) == 0
    for study, found in read_submission("out.csv").items():
        for target, row in found.items():
            v, w = expected[target.condition]
            mixed = v * normalised(a[study][target]) + w * normalised(b[study][target])
            assert normalised(row) == pytest.approx(mixed, rel=1e-12)
    assert "no weights given" not in caplog.text


def test_the_order_of_rows_in_the_files_does_not_matter() -> None:
    write_file("a.csv", 1)
    write_file("b.csv", 2)
    rows = {p: Path(p).read_text().splitlines() for p in ("a.csv", "b.csv")}
    assert main(["combine", "a.csv", "b.csv", "--out", "one.csv"]) == 0
    for path, (header, *lines) in rows.items():
        Path(path).write_text("\n".join([header, *lines[::-1]]) + "\n")
    assert main(["combine", "a.csv", "b.csv", "--out", "two.csv"]) == 0
    assert Path("one.csv").read_bytes() == Path("two.csv").read_bytes()


def test_scores_of_the_files_and_of_the_result_stand_beside_each_other(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for folder in ("x", "y"):
        Path(folder).mkdir()
    files = [write_file("x/s.csv", 1), write_file("y/s.csv", 2)]
    truth = write_truth("train.csv", (*STUDIES, "7"))
    line = ["combine", *map(str, files), "--out", "out.csv", "--truth", str(truth), "--json"]
    assert main(line) == 0
    said = capsys.readouterr().out
    scores = json.loads(said.splitlines()[-1])["scores"]
    solution = {s: g for s, g in read_solution(truth).items() if s in STUDIES}
    for path, found in zip(
        [*files, "out.csv"], [*scores["files"], scores["combined"]], strict=True
    ):
        theirs = official_score(solution, read_submission(path))
        assert found["official"] == pytest.approx(theirs.score, rel=1e-12)
        assert found["any_severe_canal"] == pytest.approx(theirs.any_severe, rel=1e-12)
        assert f"{theirs.score:.4f}" in said
    assert "scored on 3 of the 4 studies of train.csv" in caplog.text
    assert "x/s.csv" in said.splitlines()[0]  # two files of one name are told apart


def test_a_file_given_twice_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    a = read_submission(write_file("a.csv", 1))
    Path("copy.csv").write_bytes(Path("a.csv").read_bytes())
    assert main(["combine", "a.csv", "copy.csv", "--out", "out.csv"]) == 0
    assert "copy.csv: same content as a.csv" in caplog.text
    for study, found in read_submission("out.csv").items():
        for target, row in found.items():
            assert row == pytest.approx(normalised(a[study][target]), rel=1e-12)


def drop(lines: Lines) -> None:
    del lines[30]


def other_study(lines: Lines) -> None:
    for line in lines[:25]:
        line[0] = str(line[0]).replace("1000_", "1001_")


def no_rows(lines: Lines) -> None:
    lines.clear()


def negative(lines: Lines) -> None:
    lines[3][2] = -0.1


def zero(lines: Lines) -> None:
    lines[3][1:] = [0, 0, 0]


def twice(lines: Lines) -> None:
    lines.append(lines[5])


ROW = FINDINGS[5].column
BAD = [
    (drop, f"bad.csv: row 99_{ROW} is missing"),
    (other_study, f"bad.csv: row 1001_{FINDINGS[0].column}: study 1001 is not in good.csv"),
    (no_rows, "bad.csv: no rows"),
    (negative, "bad.csv, row 5, moderate: -0.1 is not a probability"),
    (zero, "bad.csv, row 5: all three probabilities are zero"),
    (twice, f"bad.csv, row 77: duplicate row_id 1000_{ROW}, also in row "),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[change.__name__ for change, _ in BAD])
def test_a_file_that_does_not_fit_is_named_with_its_row(
    change: Callable[[Lines], None], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_file("good.csv", 1)
    write_file("bad.csv", 2, change=change)
    assert main(["combine", "good.csv", "bad.csv", "--out", "out.csv"]) == 3
    assert message in capsys.readouterr().err
    assert main(["combine", "bad.csv", "good.csv", "--out", "out.csv"]) == 3
    assert "bad.csv" in capsys.readouterr().err
    assert not list(Path().glob("out.csv*"))


def test_a_study_that_only_the_first_file_has_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    write_file("more.csv", 1)
    write_file("less.csv", 2, change=lambda lines: lines.__delitem__(slice(0, 25)))
    assert main(["combine", "more.csv", "less.csv", "--out", "out.csv"]) == 3
    assert f"less.csv: row 1000_{FINDINGS[0].column} is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "0 submissions given; give two or more"),
        (["a.csv"], 2, "1 submissions given; give two or more"),
        (["a.csv", "absent.csv"], 3, "absent.csv: no such file"),
        (["a.csv", "b.csv", "--weights", "1"], 2, "1 weights for 2 files"),
        (["a.csv", "b.csv", "--weights", "canal=1,2,3"], 2, "3 weights for 2 files"),
        (["a.csv", "b.csv", "--weights", "canal=2,-1"], 2, "not negative"),
        (["a.csv", "b.csv", "--weights", "1e308", "1e308"], 2, "1e308 1e308: give finite weights"),
        (["a.csv", "b.csv", "--weights", "1_0", "1"], 2, "--weights 1_0 1: not numbers"),
        (["a.csv", "b.csv", "--weights", "\u0663", "1"], 2, "not numbers"),
        (["a.csv", "b.csv", "--weights", "canal="], 2, "--weights canal=: not numbers"),
        (["a.csv", "pipe"], 3, "pipe: not a file; a submission from a pipe must be saved first"),
        (["a.csv", "b.csv", "--weights", "left_subarticular=1,1"], 2, "'left_subarticular' is not"),
        (["a.csv", "b.csv", "--out", "../here/b.csv"], 2, "would replace the input ../here/b.csv"),
        (["a.csv", "s.csv.json", "--out", "s.csv"], 2, "would replace the input s.csv.json"),
        (["a.csv", "b.csv", "--out", "t.csv"], 2, "t.csv.findings.csv holds the findings of"),
        (["a.csv", "b.csv", "--truth", "few.csv"], 3, "study 1000 is not in few.csv"),
        (["a.csv", "b.csv", "--truth", "b.csv"], 3, "b.csv: missing columns: study_id"),
    ],
)
def test_what_cannot_be_combined_is_refused_and_nothing_is_written(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for seed, name in enumerate(("a.csv", "b.csv", "s.csv.json")):
        write_file(name, seed)
    write_truth("few.csv", ("99", "200"))
    Path("t.csv.findings.csv").touch()
    before = {p.name: p.read_bytes() for p in Path().iterdir()}
    os.mkfifo("pipe")
    assert main(["combine", *arguments]) == code
    assert message in capsys.readouterr().err.replace("\n", " ")
    Path("pipe").unlink()
    assert {p.name: p.read_bytes() for p in Path().iterdir()} == before


@pytest.mark.parametrize("weights", [[0.25, 0.75], [1e-320, 1e-320], [1.0, 5e-324]])
def test_the_smallest_numbers_are_not_lost(weights: list[float]) -> None:
    def least(lines: Lines) -> None:
        for line in lines:
            line[1:] = [5e-324, 0, 0]

    write_file("a.csv", 1, change=least)
    write_file("b.csv", 2, change=least)
    texts = [repr(w) for w in weights]
    assert main(["combine", "a.csv", "b.csv", "--weights", *texts, "--out", "out.csv"]) == 0
    assert {normalised(p)[0] for f in read_submission("out.csv").values() for p in f.values()} == {
        1
    }


def test_a_row_is_counted_as_a_spreadsheet_does(capsys: pytest.CaptureFixture[str]) -> None:
    """Empty lines are rows; a study must have an id."""
    write_file("a.csv", 1)
    lines = Path("a.csv").read_text().splitlines()
    Path("b.csv").write_text("\n".join([lines[0], "", "", lines[1], f"_{ROW},1,0,0"]))
    assert main(["combine", "a.csv", "b.csv", "--out", "out.csv"]) == 3
    assert f"b.csv, row 5, row_id: '_{ROW}' names no study" in capsys.readouterr().err
