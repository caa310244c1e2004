"""What `inspect` prints of DICOM images: a table of the series of each study, and problems."""

from __future__ import annotations

from collections.abc import Iterator

from lumbargrade.dicom.inspect import FolderSummary, SeriesSummary
from lumbargrade.report.text import counted, text_table

_COLUMNS = ("series", "description", "kind", "plane", "size", "pixels", "gap", "used", "why")


def inspected_text(summary: FolderSummary) -> str:
    """Return the text of a summary."""
    return "\n".join(_lines(summary))


def _lines(summary: FolderSummary) -> Iterator[str]:
    studies = counted(len(summary.studies), "study", "studies")
    volumes = counted(len(summary.series), "volume", "volumes")
    yield f"{summary.path}: {studies}, {volumes}"
    for study in summary.studies:
        own = [s for s in summary.series if s.study_id == study]
        yield f"\nstudy {study}"
        yield text_table(_COLUMNS, [_row(series) for series in own])
        kinds = ((s, f", {s.kind.value}" if s.kind else "") for s in own)
        yield from (f"  series {s.number}{kind}: {s.series_id}" for s, kind in kinds if s.number)
        yield from (f"  {_name(s)}: {caution}" for s in own for caution in s.cautions)
    if summary.problems:
        fatal = sum(p.fatal for p in summary.problems)
        remarks = counted(len(summary.problems), "remark", "remarks")
        yield f"\n{remarks}, {fatal} of them about lost images"
        yield from (f"  {'lost' if p.fatal else 'note'}: {p}" for p in summary.problems)


def _name(series: SeriesSummary) -> str:
    return series.number or series.series_id


def _row(series: SeriesSummary) -> tuple[str, ...]:
    depth, rows, columns = series.shape
    stacks = f" in {len(series.stacks)} stacks" if len(series.stacks) > 1 else ""
    why = series.reason
    if series.kind is not None and series.identified != why:
        why = f"{why} ({series.identified})"
    return (
        _name(series),
        series.description,
        series.kind.value if series.kind else "none",
        series.orientation,
        f"{depth}{stacks} x {rows} x {columns}",
        f"{series.spacing[0]:.3g} x {series.spacing[1]:.3g} mm",
        " / ".join(f"{gap:.2f}" for gap in series.gaps) + (" mm" if series.gaps else ""),
        "yes" if series.chosen else "no",
        why,
    )
