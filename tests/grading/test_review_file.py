"""A review reads back exactly; one that contradicts itself is refused, with what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lumbargrade.domain.errors import BadInput
from lumbargrade.domain.vocabulary import FINDINGS, Grade, Level
from lumbargrade.grading.review_file import (
    FORMAT,
    LevelText,
    Review,
    ReviewedFinding,
    Status,
    read_review,
    write_review,
)
from lumbargrade.grading.schemas import schema_path

TIME = "2026-03-01T09:28:41.250Z"


def reviewed(number: int, target: str) -> ReviewedFinding:
    """The first finding is overruled, the second accepted, the others unreviewed."""
    if number == 0:
        return ReviewedFinding(
            *(target, Status.OVERRULED, "moderate", "severe", "A. Reader", TIME, "no CSF")
        )
    if number == 1:
        return ReviewedFinding(target, Status.ACCEPTED, None, None, "A. Reader", TIME, "")
    return ReviewedFinding(target, Status.UNREVIEWED, "severe", "severe", "", "", "")


def made() -> Review:
    findings = tuple(reviewed(i, t.column) for i, t in enumerate(FINDINGS))
    texts = (LevelText(Level.L4_L5, "Severe stenosis.\nSee\u00a0above."),)
    return Review(FORMAT, "0.2.0", "1.2", "f00d", "A. Reader", TIME, 1, "", findings, texts)


def test_a_review_reads_back_exactly_and_fits_its_schema(tmp_path: Path) -> None:
    path, review = tmp_path / "review.json", made()
    write_review(path, review)
    assert read_review(path) == review
    schema = json.loads(schema_path("review").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), schema)
    assert review.by_target[FINDINGS[0]].after is Grade.SEVERE
    assert review.by_target[FINDINGS[1]].before is None
    assert review.texts == {Level.L4_L5: "Severe stenosis.\nSee\u00a0above."}


def change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Something that sets a value in a review, such as ``findings.0.status``."""
    *parents, last = path.split(".")

    def apply(data: Any) -> None:
        for key in parents:
            data = data[int(key) if isinstance(data, list) else key]
        data[last] = value

    return apply


@pytest.mark.parametrize(
    ("apply", "message"),
    [
        (change("format", 99), r"not a review of format 1 \(it has the format 99\); export it"),
        (lambda d: d.pop("shift"), "not a review of format"),
        (change("findings.0.status", "accepted"), "only an overruled finding changes its grade"),
        (change("findings.2.status", "overruled"), "only an overruled finding changes its grade"),
        (change("findings.0.grade_after", "worst"), "worst"),
        (change("findings.0.time", "yesterday"), "not a time with zone"),
        (change("findings.0.time", "2026-03-01T09:28:41"), "not a time with zone"),
        (change("findings.1.reader", " "), "without the name of a reader"),
        (change("findings.2.reader", "A"), "unreviewed but has a reader"),
        (change("findings.1.finding", FINDINGS[0].column), f"{FINDINGS[0].column} is duplicate"),
        (lambda d: d["findings"].pop(), f"{FINDINGS[-1].column} is missing"),
        (change("shift", 5), "shift 5"),
        (change("shift", True), "shift"),
        (change("reader", ""), "no name of a reader"),
        (change("reader", "A" * 65), "65 characters, more than 64"),
        (change("summary", "\x1b[31m"), "control characters"),
        (change("levels.0.text", "a" * 10_001), "more than 10000"),
        (lambda d: d["levels"].append(d["levels"][0]), "two texts"),
        (change("extra", 1), "extra"),
    ],
)
def test_a_review_that_contradicts_itself_is_refused(
    tmp_path: Path, apply: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = tmp_path / "review.json"
    write_review(path, made())
    data = json.loads(path.read_text(encoding="utf-8"))
    apply(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(BadInput, match=message) as refused:
        read_review(path)
    assert str(path) in str(refused.value)
