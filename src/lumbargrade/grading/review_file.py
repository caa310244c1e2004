"""Read and write a reader's review of a result: accepted and overruled findings, wording, shift.

A review is a JSON file that `report.html` exports and `lumbargrade review` applies. Its keys are
the attributes of `Review`; its JSON Schema is ``data/review.schema.json``. An example, with one of
its 25 findings::

    {"format": 1, "lumbargrade": "0.2.0", "study_id": "1.2.3", "fingerprint": "0f3a...",
     "reader": "A. Reader", "time": "2026-03-01T09:30:00Z", "shift": 0, "summary": "",
     "findings": [
      {"finding": "spinal_canal_stenosis_l4_l5", "status": "overruled",
       "grade_before": "moderate", "grade_after": "severe",
       "reader": "A. Reader", "time": "2026-03-01T09:28:41Z", "comment": "no CSF left"}],
     "levels": [{"level": "l4_l5", "text": "Severe spinal canal stenosis."}]}

All 25 findings are listed once, also those that nobody reviewed. Levels are named as after the
shift, everywhere in the file: with the shift 1, the disc that the result calls L4/L5 is ``l5_s1``.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from lumbargrade import __version__
from lumbargrade.domain.errors import BadInput
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    Grade,
    Level,
    Target,
    grade_from_name,
    target_from_column,
)
from lumbargrade.files.structures import read_plain, structured
from lumbargrade.files.writing import write_text

#: Version of the JSON layout; bumped when older programs could misread a newer file.
FORMAT = 1

#: Names are moved by at most this many levels.
MOST_SHIFT = 1

#: Largest number of characters of a name, of a comment and of a text.
MOST_NAME, MOST_COMMENT, MOST_TEXT = 64, 2000, 10_000

#: Metadata of a field that holds the name of a grade, or None.
GRADE_OR_NULL = {"schema": {"enum": [*(g.column for g in Grade), None]}}


class Status(StrEnum):
    """What the reader decided about a finding."""

    ACCEPTED = "accepted"
    OVERRULED = "overruled"
    UNREVIEWED = "unreviewed"


@dataclass(frozen=True)
class ReviewedFinding:
    """What a reader decided about a finding: one line of the audit.

    Attributes:
        finding: its name, for example ``left_neural_foraminal_narrowing_l4_l5``.
        status: accepted, overruled or unreviewed; accepted and unreviewed findings have the same
            grade before and after, overruled findings have another one.
        grade_before: grade of the result, named as after the shift: normal_mild, moderate, severe,
            or null if the finding is not graded.
        grade_after: the reader's grade; null if it is not graded, for example because the reader
            finds the images too poor.
        reader: who decided; empty if unreviewed.
        time: when, as ISO 8601 with time zone; empty if unreviewed.
        comment: why, or empty.

    Raises:
        ValueError: if these contradict each other.
    """

    finding: str = field(metadata={"schema": {"enum": [t.column for t in FINDINGS]}})
    status: Status
    grade_before: str | None = field(metadata=GRADE_OR_NULL)
    grade_after: str | None = field(metadata=GRADE_OR_NULL)
    reader: str = field(metadata={"schema": {"maxLength": MOST_NAME}})
    time: str
    comment: str = field(metadata={"schema": {"maxLength": MOST_COMMENT}})

    def __post_init__(self) -> None:
        name = self.target.column
        changed = self.before is not self.after
        if changed != (self.status is Status.OVERRULED):
            raise ValueError(
                f"{name} is {self.status}, with the grades {self.grade_before} before and "
                f"{self.grade_after} after; only an overruled finding changes its grade"
            )
        _require_plain(f"reader of {name}", self.reader, MOST_NAME)
        _require_plain(f"comment of {name}", self.comment, MOST_COMMENT)
        if self.status is Status.UNREVIEWED:
            if self.reader or self.time:
                raise ValueError(f"{name} is unreviewed but has a reader or a time")
        else:
            if not self.reader.strip():
                raise ValueError(f"{name} is {self.status} without the name of a reader")
            _require_time(name, self.time)

    @property
    def target(self) -> Target:
        return target_from_column(self.finding)

    @property
    def before(self) -> Grade | None:
        return None if self.grade_before is None else grade_from_name(self.grade_before)

    @property
    def after(self) -> Grade | None:
        return None if self.grade_after is None else grade_from_name(self.grade_after)


@dataclass(frozen=True)
class LevelText:
    """The reader's wording of a level.

    Attributes:
        level: the level, for example ``l4_l5``.
        text: the text that replaces the draft; lines end with a line feed.
    """

    level: Level
    text: str = field(metadata={"schema": {"maxLength": MOST_TEXT}})

    def __post_init__(self) -> None:
        _require_plain(f"text of {self.level}", self.text, MOST_TEXT, lines=True)


@dataclass(frozen=True)
class Review:
    """A reader's review of the result of a study.

    Attributes:
        format: version of the layout of this file.
        lumbargrade: version of the program that wrote the reviewed result.
        study_id: the study of the result.
        fingerprint: fingerprint of the result, as in its ``findings.json``.
        reader: who made the review.
        time: when it was exported, as ISO 8601 with time zone.
        shift: levels by which the reader moved the names of the result: 1 names every disc one
            level lower, so that what was L4/L5 becomes L5/S1; -1 one level higher; usually 0.
        summary: the reader's text on the whole study; may be empty.
        findings: all 25 findings, each once, in any order.
        levels: wording of the levels that the reader edited; the other levels keep the draft.

    Raises:
        ValueError: if a finding is missing or duplicate, or a text is too long.
    """

    format: int = field(metadata={"schema": {"const": FORMAT}})
    lumbargrade: str
    study_id: str
    fingerprint: str
    reader: str = field(metadata={"schema": {"minLength": 1, "maxLength": MOST_NAME}})
    time: str
    shift: int = field(metadata={"schema": {"minimum": -MOST_SHIFT, "maximum": MOST_SHIFT}})
    summary: str = field(metadata={"schema": {"maxLength": MOST_TEXT}})
    findings: tuple[ReviewedFinding, ...] = field(
        metadata={"schema": {"minItems": len(FINDINGS), "maxItems": len(FINDINGS)}}
    )
    levels: tuple[LevelText, ...] = field(metadata={"schema": {"maxItems": len(Level)}})

    def __post_init__(self) -> None:
        counts = Counter(f.finding for f in self.findings)
        for target in FINDINGS:
            if counts[target.column] != 1:
                found = "is missing" if not counts[target.column] else "is duplicate"
                raise ValueError(f"the finding {target.column} {found}")
        if len({text.level for text in self.levels}) < len(self.levels):
            raise ValueError("a level has two texts")
        if not self.reader.strip():
            raise ValueError("no name of a reader")
        _require_plain("reader", self.reader, MOST_NAME)
        _require_plain("summary", self.summary, MOST_TEXT, lines=True)
        _require_time("the review", self.time)
        if abs(self.shift) > MOST_SHIFT:
            raise ValueError(f"shift {self.shift}: not from {-MOST_SHIFT} to {MOST_SHIFT}")

    @property
    def by_target(self) -> dict[Target, ReviewedFinding]:
        """The findings by target, as named after the shift."""
        return {f.target: f for f in self.findings}

    @property
    def texts(self) -> dict[Level, str]:
        """The reader's wording by level."""
        return {text.level: text.text for text in self.levels}


def write_review(path: Path, review: Review) -> None:
    """Write a review atomically."""
    write_text(path, json.dumps(asdict(review), indent=1) + "\n")


def read_review(path: Path) -> Review:
    """Read a review.

    Raises:
        BadInput: if it cannot be read, is another kind of file, is damaged, or has another format.
    """
    data = read_plain(path, BadInput)
    if "shift" not in data or data.get("format") != FORMAT:
        raise BadInput(
            f"{path}: not a review of format {FORMAT} (it has the format {data.get('format')!r}); "
            f"export it again from the report.html of lumbargrade {__version__}"
        )
    return structured(data, Review, f"{path}: not a review, or damaged", "review", BadInput)


def _require_time(what: str, text: str) -> None:
    try:
        zone = datetime.fromisoformat(text).tzinfo
    except ValueError:
        zone = None
    if zone is None:
        raise ValueError(
            f"time {text[:40]!r} of {what}: not a time with zone such as 2026-03-01T09:30:00Z"
        )


def _require_plain(what: str, text: str, most: int, *, lines: bool = False) -> None:
    """Require a text that is short enough and has no control characters."""
    if len(text) > most:
        raise ValueError(f"{what}: {len(text)} characters, more than {most}")
    allowed = "\n\t" if lines else ""
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in allowed for c in text):
        raise ValueError(f"{what}: it contains control characters")
