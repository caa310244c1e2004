"""A result as HTML, which notebooks show by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Protocol

from lumbargrade.domain.numbering import Numbering
from lumbargrade.domain.vocabulary import TARGETS, Condition, Grade, Level, Target, plain_name

_SYMBOLS = {Grade.NORMAL_MILD: "○", Grade.MODERATE: "◐", Grade.SEVERE: "●"}
#: Colours of the symbols, which colour-blind people can tell apart on white and on black.
_COLOURS = {Grade.NORMAL_MILD: "#2a86bf", Grade.MODERATE: "#b08800", Grade.SEVERE: "#d4501f"}


class Graded(Protocol):
    """What is shown of a finding; see `Finding`."""

    @property
    def grade(self) -> Grade: ...

    @property
    def shown(self) -> tuple[float, float, float]: ...

    @property
    def by_reader(self) -> Grade | None: ...


def findings_html(
    study_id: str,
    findings: Mapping[Target, Graded],
    absent: Mapping[Target, str],
    numbering: Numbering | None,
    notes: Iterable[str],
) -> str:
    """Return the grid of findings: a row per condition and side, a column per level.

    Each cell has the grade and its probability; its tooltip has all probabilities, or the reason
    why it is not graded. All text is escaped, because ids and reasons may come from DICOM files.

    Args:
        study_id: the study.
        findings: by target.
        absent: why other targets are not graded.
        numbering: how the levels were named, if this is known.
        notes: further lines below the grid.
    """
    levels = "".join(f"<th>{level.label}</th>" for level in Level)
    rows = []
    for condition in Condition:
        for side in dict.fromkeys(t.side for t in TARGETS[condition]):
            targets = [t for t in TARGETS[condition] if t.side is side]
            cells = "".join(_cell(t, findings, absent) for t in targets)
            rows.append(f"<tr><th>{plain_name(targets[0].sided_condition)}</th>{cells}</tr>")
    lines = [f"{len(findings)} findings graded, {len(absent)} not graded"]
    if numbering is not None:
        sure = "" if numbering.certain else ", uncertain"
        lines.append(f"numbering: {numbering.confidence:.0%}{sure} ({numbering.reason})")
    listed = "".join(f"<li>{escape(line)}</li>" for line in (*lines, *notes))
    title = f"Study {escape(study_id)}"
    table = f"<thead><tr><th>{title}</th>{levels}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return (
        f"<div><table>{table}</table><ul>{listed}</ul>"
        "<p>Research software, not a medical device.</p></div>"
    )


def _cell(target: Target, found: Mapping[Target, Graded], absent: Mapping[Target, str]) -> str:
    finding = found.get(target)
    if finding is None:
        reason = absent.get(target, "")
        text = "not graded" if reason else "–"
        return f'<td title="{escape(reason)}">{text}</td>'
    grade = finding.grade
    shares = ", ".join(f"{g.label} {p:.1%}" for g, p in zip(Grade, finding.shown, strict=True))
    by = "reader" if finding.by_reader is not None else f"{finding.shown[grade]:.0%}"
    symbol = f'<span style="color:{_COLOURS[grade]}">{_SYMBOLS[grade]}</span>'
    return f'<td title="{shares}">{symbol} {grade.label} ({by})</td>'
