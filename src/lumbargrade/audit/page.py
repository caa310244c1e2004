"""What `audit` leaves behind: a page to work through, the suspects, proposed corrections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lumbargrade.audit.chain import Chain, chains_of
from lumbargrade.audit.picture import draw_suspect
from lumbargrade.audit.suspect import Check, Suspect, settle
from lumbargrade.audit.table import write_contradicted, write_corrections, write_suspects
from lumbargrade.domain.errors import BadStore, Problem
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.lsdc.corrections import Correction
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.lsdc.tables import LsdcTables
from lumbargrade.report.drawing import save_image
from lumbargrade.report.page import Block, Card, Section, Table, Text, write_page
from lumbargrade.report.problems import problem_table
from lumbargrade.report.text import text_table

_HEADER = ("condition", "check", "suspects", "with a correction")
_LEAD = (
    "Each entry is a label that something contradicts, the most suspicious first. Crosses are "
    "labels, orange those in question; green rings are proposed places. Rows of corrections.csv "
    "carry the number of their entry: delete those that you do not agree with, then run "
    "`lumbargrade prepare DATA --label-fixes corrections.csv`."
)
_NO_IMAGES = (
    "No images were looked at: distances are in spacings, the usual distance between the discs of "
    "the series (axial: between left and right), of which a sagittal series is some nine high. "
)


@dataclass(frozen=True)
class AuditResult:
    """What was found and written.

    Attributes:
        suspects: in the order of their numbers, from 1.
        points: how many labelled points were looked at.
        corrections: rows of ``corrections.csv``.
        problems: what could not be checked.
    """

    suspects: Sequence[Suspect]
    points: int
    corrections: int
    problems: Sequence[Problem]

    def counts(self) -> list[list[object]]:
        """Per condition and check: suspects, and those with a correction."""
        settled = settle(self.suspects)
        total = Counter((s.condition, s.check) for s in self.suspects)
        corrected = Counter(
            (self.suspects[n - 1].condition, self.suspects[n - 1].check) for n in settled
        )
        return [
            [condition.value, check.words, total[condition, check], corrected[condition, check]]
            for condition in Condition
            for check in Check
            if total[condition, check]
        ]

    def text(self) -> str:
        table = text_table(_HEADER, self.counts())
        return (
            f"{self.points:,} points, {len(self.suspects):,} suspects, "
            f"{self.corrections:,} proposed corrections\n\n{table}"
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            "points": self.points,
            "suspects": len(self.suspects),
            "corrections": self.corrections,
            "counts": [dict(zip(_HEADER, row, strict=True)) for row in self.counts()],
            "problems": len(self.problems),
        }


def write_audit(
    out: Path,
    tables: LsdcTables,
    suspects: Sequence[Suspect],
    problems: Sequence[Problem],
    store: VolumeStore | None = None,
) -> AuditResult:
    """Write ``index.html``, ``pictures/``,
    ``suspects.csv``, ``corrections.csv`` and
    ``contradicted.csv``.

    Args:
        suspects: the most suspicious first.
        problems: what could not be checked; shown on the page.
        store: where it is given, slices stand behind the points.
    """
    ordered = sorted(suspects, key=lambda s: (list(Condition).index(s.condition), _last(s)))
    count = write_corrections(out / "corrections.csv", ordered)
    write_suspects(out / "suspects.csv", ordered)
    write_contradicted(out / "contradicted.csv", ordered, tables.grades)
    result = AuditResult(ordered, len(tables.points), count, problems)
    chains = {
        (c.series_id, c.condition): c for cond in Condition for c in chains_of(cond, tables.points)
    }
    settled = settle(ordered)
    sections = [Section("Summary", [Table(_HEADER, result.counts()), *_shown(problems)])]
    for condition in Condition:
        blocks: list[Block] = []
        for number, suspect in enumerate(ordered, start=1):
            if suspect.condition is condition:
                chain = chains.get((suspect.series_id or 0, condition))
                picture = _picture(out, number, suspect, chain, store)
                blocks.append(_card(number, suspect, settled.get(number, ()), picture))
        if blocks:
            sections.append(Section(condition.value.replace("_", " "), blocks))
    lead = _LEAD if store is not None else _NO_IMAGES + _LEAD
    write_page(
        out / "index.html", f"Labels of {tables.folder.name} that look wrong", sections, lead
    )
    return result


def _last(suspect: Suspect) -> int:
    """Wrong labels first, then missing ones, then grades; stable within."""
    return {Check.MISSING: 1, Check.GRADE: 2}.get(suspect.check, 0)


def _shown(problems: Sequence[Problem]) -> list[Block]:
    return [Text("What could not be checked:"), problem_table(problems)] if problems else []


def _card(number: int, suspect: Suspect, corrections: Sequence[Correction], picture: str) -> Card:
    series = f", series {suspect.series_id}" if suspect.series_id else ""
    where = f"study {suspect.study_id}{series}, {suspect.names}"
    lines = [
        f"{c.fix} {c.target.side or ''} {c.target.level.label}".replace("  ", " ")
        + ("" if c.fix == "drop" else f" to ({c.x:.0f}, {c.y:.0f}) on instance {c.instance_number}")
        for c in corrections
    ]
    if suspect.corrections and not corrections:
        lines = ["settle the other entry of this series first"]
    title = f"{number}. {suspect.check.words}"
    text = f"{where}: {suspect.reason} (score {suspect.score:.1f})."
    return Card(f"e{number}", title, text, picture, lines)


def _picture(
    out: Path, number: int, suspect: Suspect, chain: Chain | None, store: VolumeStore | None
) -> str:
    if chain is None:
        return ""
    pixels, caption = _slice(suspect, chain, store) if store is not None else (None, "")
    name = f"pictures/{number}.png" if pixels is None else f"pictures/{number}.jpg"
    save_image(out / name, draw_suspect(suspect, chain, pixels, caption))
    return name


def _slice(
    suspect: Suspect, chain: Chain, store: VolumeStore
) -> tuple[NDArray[np.uint8] | None, str]:
    """The slice of the first label in question (or of the first that there is)."""
    first = next((chain.targets.index(t) for t in suspect.targets if t in chain.marked), None)
    i = int(chain.there[0]) if first is None else first
    try:
        volume = store.volume(chain.study_id, chain.series_id)
        instance = int(chain.instances[i])
        z = volume.slice_of_instance(instance)
    except (BadStore, KeyError):
        return None, "no image"
    return np.asarray(volume.pixels[z]), f"instance {instance}"
