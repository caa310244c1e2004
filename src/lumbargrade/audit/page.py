"""The page of an audit: a card per suspect, with a picture and the proposed corrections."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumbargrade.audit.picture import draw_suspect
from lumbargrade.audit.records import Chain, Suspect, chains_of
from lumbargrade.audit.result import COUNT_COLUMNS, Audit, Entry, write_tables
from lumbargrade.domain.errors import BadStore
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.lsdc.corrections import Fix
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.lsdc.tables import LsdcTables
from lumbargrade.report.drawing import save_image
from lumbargrade.report.page import Block, Card, Section, Table, Text, write_page
from lumbargrade.report.problems import problem_table

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


def write_audit(
    out: Path, audit: Audit, tables: LsdcTables, store: VolumeStore | None = None
) -> None:
    """Write ``index.html``, ``pictures/`` and the tables.

    Args:
        store: if given, the pictures show slices behind the points.
    """
    write_tables(out, audit, tables.grades)
    chains = {
        (c.series_id, c.condition): c for cond in Condition for c in chains_of(cond, tables.points)
    }
    summary: list[Block] = [Table(COUNT_COLUMNS, audit.counts())]
    if audit.problems:
        summary += [Text("What could not be checked:"), problem_table(audit.problems)]
    sections = [Section("Summary", summary)]
    for condition in Condition:
        blocks: list[Block] = [
            _card(e, _picture(out, e, chains.get((e.suspect.series_id or 0, condition)), store))
            for e in audit.entries
            if e.suspect.condition is condition
        ]
        if blocks:
            sections.append(Section(condition.value.replace("_", " "), blocks))
    lead = _LEAD if store is not None else _NO_IMAGES + _LEAD
    title = f"Labels of {tables.folder.name} that look wrong"
    write_page(out / "index.html", title, sections, lead)


def _card(entry: Entry, picture: str) -> Card:
    suspect = entry.suspect
    series = f", series {suspect.series_id}" if suspect.series_id else ""
    where = f"study {suspect.study_id}{series}, {suspect.names}"
    lines = [
        f"{c.fix} {c.target.side or ''} {c.target.level.label}".replace("  ", " ")
        + (
            ""
            if c.fix is Fix.DROP
            else f" to ({c.x:.0f}, {c.y:.0f}) on instance {c.instance_number}"
        )
        for c in entry.corrections
    ]
    if suspect.corrections and not entry.corrections:
        lines = ["resolve the other entry for this series first"]
    title = f"{entry.number}. {suspect.check.words}"
    text = f"{where}: {suspect.reason} (score {suspect.score:.1f})."
    return Card(f"e{entry.number}", title, text, picture, lines)


def _picture(out: Path, entry: Entry, chain: Chain | None, store: VolumeStore | None) -> str:
    """Draw an entry; the picture's path relative to the page, "" where there is no point."""
    if chain is None:
        return ""
    pixels, caption = _slice(entry.suspect, chain, store) if store is not None else (None, "")
    name = f"pictures/{entry.number}.{'png' if pixels is None else 'jpg'}"
    save_image(out / name, draw_suspect(entry.suspect, chain, pixels, caption))
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
