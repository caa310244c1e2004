"""Draft wording of a report: a text per level, from grades and the words of a TOML file.

The page of a study (`report.html`) makes the same drafts from the same words while its reader
overrules findings; a test compares both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Formatter

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.measurement import Quality, Quantity
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    Condition,
    Grade,
    Level,
    Side,
    Target,
    grade_from_name,
)
from lumbargrade.files.structures import parse_plain, read_plain, structured
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.review_file import Status

#: Decimals of a measured value by unit.
DIGITS: Mapping[str, int] = {"mm": 1, "mm2": 0, "degrees": 0, "ratio": 2}

#: Conditions in the order of the text of a level.
ORDER = (Condition.CANAL, Condition.SUBARTICULAR, Condition.FORAMINAL)

#: Keys of ``[sides]``.
BOTH = "both"

_PROGRAM = "lumbargrade {}"


@dataclass(frozen=True)
class Grades:
    """The word for each grade."""

    normal_mild: str
    moderate: str
    severe: str


@dataclass(frozen=True)
class Sides:
    """The word for each side, and for both."""

    left: str
    right: str
    both: str


@dataclass(frozen=True)
class Phrases:
    """A phrase per condition."""

    spinal_canal_stenosis: str
    neural_foraminal_narrowing: str
    subarticular_stenosis: str


@dataclass(frozen=True)
class Wording:
    """The words of a draft report; ``wording.toml`` is the default, with a comment per key.

    Attributes:
        language: BCP 47 tag of the texts.
        report_from: name of the smallest grade that is mentioned.
        title: first line of the report.
        separator: between findings of a level.
        level: text of a level with findings; ``{findings}``.
        nothing: text of a level without findings.
        not_assessed: names what has no grade; ``{findings}``.
        footer: last line of a reviewed report; ``{program}``, ``{reader}``, ``{date}``,
            ``{reviewed}`` and ``{total}``.
        unreviewed: last line of a report that nobody reviewed; ``{program}``.
        grades, sides: words.
        findings: phrase of a finding; ``{grade}``, ``{side}`` and ``{measured}``.
        names: phrase of what is not assessed; ``{side}``.
        measured: phrase per quantity; ``{value}``.

    Raises:
        ValueError: if a text has an unknown name in braces or is too long, or the grade or a
            quantity is unknown.
    """

    language: str
    report_from: str
    title: str
    separator: str
    level: str
    nothing: str
    not_assessed: str
    footer: str
    unreviewed: str
    grades: Grades
    sides: Sides
    findings: Phrases
    names: Phrases
    measured: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        grade_from_name(self.report_from)
        for quantity in self.measured:
            if quantity not in tuple(Quantity):
                raise ValueError(f"measured: unknown quantity {quantity!r}")
        for key, text, names in self._texts():
            _require(key, text, names)

    def _texts(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Every text with its key and the names that it may have in braces."""
        said = ("program", "reader", "date", "reviewed", "total")
        found: list[tuple[str, str, tuple[str, ...]]] = [
            ("language", self.language, ()),
            ("title", self.title, ()),
            ("separator", self.separator, ()),
            ("level", self.level, ("findings",)),
            ("nothing", self.nothing, ()),
            ("not_assessed", self.not_assessed, ("findings",)),
            ("footer", self.footer, said),
            ("unreviewed", self.unreviewed, ("program",)),
        ]
        for name, words in (("grades", self.grades), ("sides", self.sides)):
            found += [(f"{name}.{key}", text, ()) for key, text in vars(words).items()]
        for condition in Condition:
            side = ("side",) if condition.sided else ()
            phrase, name = getattr(self.findings, condition), getattr(self.names, condition)
            found.append((f"findings.{condition}", phrase, ("grade", *side, "measured")))
            found.append((f"names.{condition}", name, side))
        found += [(f"measured.{key}", text, ("value",)) for key, text in self.measured.items()]
        return found

    @property
    def threshold(self) -> Grade:
        """The smallest grade that is mentioned."""
        return grade_from_name(self.report_from)


#: Longest text of a wording.
_LONGEST = 400


def _require(key: str, text: str, names: tuple[str, ...]) -> None:
    if len(text) > _LONGEST:
        raise ValueError(f"{key}: {len(text)} characters, more than {_LONGEST}")
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"{key}: {error} in {text!r}") from None
    for literal, name, form, conversion in parts:
        if "{" in literal or "}" in literal:
            raise ValueError(f"{key}: braces only around a name, in {text!r}")
        if name is not None and (name not in names or form or conversion):
            known = ", ".join(f"{{{n}}}" for n in names) or "none"
            raise ValueError(f"{key}: unknown name {{{name}}} in {text!r}; known: {known}")


def read_wording(path: Path) -> Wording:
    """Read the words of a draft report.

    Raises:
        UsageError: if the file cannot be read, is not TOML, or has a wrong key or text; each is
            named.
    """
    return structured(read_plain(path, UsageError), Wording, path, "wording", UsageError)


@cache
def default_wording() -> Wording:
    """The words that come with the package, in English."""
    text = files("lumbargrade.report").joinpath("wording.toml").read_text(encoding="utf-8")
    content = parse_plain(text, "wording.toml", UsageError)
    return structured(content, Wording, "wording.toml", "wording", UsageError)


def draft(wording: Wording, graded: GradedStudy) -> dict[Level, str]:
    """Return the draft text of every level, from the grades after a review if there was one.

    A finding of at least the grade `Wording.threshold` is mentioned. Both sides of a condition
    share a phrase if their grades are equal. Findings without a grade are listed as not assessed.
    """
    grades = {t: grade for t in FINDINGS if (grade := graded.grade(t)) is not None}
    measured = measured_texts(wording, graded)
    return {level: _level(wording, level, grades, measured) for level in Level}


def report_text(wording: Wording, graded: GradedStudy) -> str:
    """Return the whole report as plain text, with the reader's texts if there was a review."""
    review = graded.review
    texts = draft(wording, graded)
    footer = wording.unreviewed.format(program=_PROGRAM.format(graded.version))
    summary = ""
    if review is not None:
        texts |= review.texts
        summary = review.summary.strip()
        done = sum(f.status is not Status.UNREVIEWED for f in review.findings)
        if done:
            known = {t for t in FINDINGS if graded.grade(t) is not None}
            known |= {f.target for f in review.findings if f.status is not Status.UNREVIEWED}
            footer = wording.footer.format(
                program=_PROGRAM.format(graded.version),
                reader=review.reader,
                date=review.time[:10],
                reviewed=done,
                total=len(known),
            )
    lines = [wording.title, "", *(f"{v.label}: {texts[v]}" for v in Level)]
    return "\n".join([*lines, *(["", summary] if summary else []), "", footer, ""])


def measured_texts(wording: Wording, graded: GradedStudy) -> dict[Target, str]:
    """Return the phrase with the measured value of each finding whose quantity is mentioned."""
    found = {}
    for target, finding in graded.prediction.findings.items():
        opinion = finding.opinion
        if opinion is not None and opinion.quality is Quality.GOOD:
            phrase = wording.measured.get(opinion.quantity, "")
            value = f"{opinion.value:.{DIGITS[opinion.quantity.unit]}f}"
            found[target] = phrase.format(value=value)
    return found


def _level(
    wording: Wording,
    level: Level,
    grades: Mapping[Target, Grade],
    measured: Mapping[Target, str],
) -> str:
    said: list[str] = []
    missing: list[str] = []
    for condition in ORDER:
        targets = [t for t in FINDINGS if t.condition is condition and t.level is level]
        # right first, as in the image
        targets.sort(key=lambda t: t.side is Side.LEFT)
        named = [t for t in targets if grades.get(t, -1) >= wording.threshold]
        absent = [t for t in targets if t not in grades]
        name, phrase = getattr(wording.names, condition), getattr(wording.findings, condition)
        if len(named) == 2 and grades[named[0]] is grades[named[1]]:
            said.append(_phrase(wording, phrase, grades[named[0]], BOTH, ""))
        else:
            said += [
                _phrase(wording, phrase, grades[t], t.side, measured.get(t, "")) for t in named
            ]
        if len(absent) == 2:
            missing.append(name.format(side=wording.sides.both))
        else:
            missing += [name.format(side=_side(wording, t.side)) for t in absent]
    parts = []
    if said:
        parts.append(wording.level.format(findings=wording.separator.join(said)))
    elif any(t.level is level for t in grades):
        parts.append(wording.nothing)
    if missing:
        parts.append(wording.not_assessed.format(findings=wording.separator.join(missing)))
    return " ".join(_capital(part) for part in parts)


def _phrase(wording: Wording, phrase: str, grade: Grade, side: str | None, measured: str) -> str:
    word = getattr(wording.grades, grade.column)
    return phrase.format(grade=word, side=_side(wording, side), measured=measured)


def _side(wording: Wording, side: str | None) -> str:
    word: str = getattr(wording.sides, side) if side else ""
    return word


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
