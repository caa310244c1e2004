"""`report.html`: the one page of a study, with images, findings, draft wording and review.

The page is a template with data blocks and a viewer (`report/viewer`), which are inlined when the
page is written. It needs no network, and its content security policy lets only this script run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from lumbargrade.dicom.study import Study
from lumbargrade.domain.errors import BadInput
from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.numbering import Numbering
from lumbargrade.domain.views import find_spaces
from lumbargrade.domain.vocabulary import FINDINGS, Grade, SeriesKind
from lumbargrade.files.structures import structured
from lumbargrade.files.writing import write_text
from lumbargrade.grading.findings_file import NOTICE
from lumbargrade.grading.graded import GradedStudy
from lumbargrade.grading.review_file import FORMAT as REVIEW_FORMAT
from lumbargrade.grading.review_file import Review
from lumbargrade.report.embedded import MOST_BYTES, Embedded, Shown, embed
from lumbargrade.report.layers import (
    findings_of,
    heat_of,
    measurements_of,
    outlines_of,
    places_of,
    window_of,
)
from lumbargrade.report.page import Section, environment, script_hash
from lumbargrade.report.text import counted, grouped
from lumbargrade.report.wording import ORDER, Wording, measured_texts

#: Name of the page in the folder of a study.
REPORT_FILE = "report.html"

#: Confidence from which another numbering is named in the header.
_MENTIONED = 0.01

#: Parts of the viewer in the order in which they are joined.
SCRIPTS = (
    *("geometry", "images", "page", "review", "draw", "pane", "workspace"),
    *("findings", "wording", "print", "main"),
)

_SCOPE = (
    "It grades spinal canal, neural foraminal and subarticular stenosis at five disc levels. It "
    "looks for nothing else: no fracture, tumour, infection, or disease of cord and nerves."
)


@dataclass(frozen=True)
class _Head:
    """Facts in the header of the page."""

    study_id: str
    date: str
    model: str
    graded: str
    numbering: str
    numbering_warns: bool
    images: str
    images_warn: bool
    scope: str


def write_report(
    path: Path,
    study: Study,
    graded: GradedStudy,
    sections: Sequence[Section],
    wording: Wording,
    *,
    images: bool = True,
    review: Review | None = None,
) -> None:
    """Write the page of a study atomically.

    Args:
        path: the page.
        study: its series, for the images.
        graded: the findings; the outlines are those of its prediction.
        sections: collapsible tables below the report.
        wording: words of the draft report.
        images: whether the page has the images; without them it is small.
        review: a reader's review that the page starts with.
    """
    found = [Shown.of(v) for kind in _ORDER for v in study.of(kind)] if images else []
    embedded = embed(found)
    left_out = [s for s, block in zip(found, embedded.blocks, strict=True) if not block]
    series = [s for s, block in zip(found, embedded.blocks, strict=True) if block]
    blocks = [block for block in embedded.blocks if block]
    data = {**_data(study, graded, series, wording), "with_images": images}
    script, style = _static("js"), _static("css")
    html = (
        environment()
        .get_template("report.html")
        .render(
            style=Markup(style),
            style_hash=script_hash(style),
            script=Markup(script),
            script_hash=script_hash(script),
            head=_head(study, graded),
            warnings=_warnings(graded.prediction),
            notes=[*_notes(graded.prediction), *_image_notes(embedded, left_out)],
            has_outlines=any(s["outlines"] for s in data["series"]),
            has_heat=any(s["heat"] for s in data["series"]),
            folder=path.parent.name,
            sections=sections,
            data=json_block(data),
            review=json_block(None if review is None else asdict(review)),
            images=[Markup(block) for block in blocks],
            time=graded.time,
            version=graded.version,
            notice=NOTICE,
        )
    )
    write_text(path, html)


_ORDER = (SeriesKind.SAGITTAL_T2, SeriesKind.SAGITTAL_T1, SeriesKind.AXIAL_T2)


def with_review(page: str, review: Review) -> str:
    """Return a page that starts with another review.

    Raises:
        ValueError: if it is not a page of `write_report`.
    """
    before, _, after = _block(page, "review")
    return f"{before}{json_block(asdict(review))}{after}"


def wording_of(page: str) -> Wording:
    """Return the words that a page was written with.

    Raises:
        ValueError: if it is not a page of `write_report`.
    """
    _, data, _ = _block(page, "study")
    return structured(json.loads(data)["wording"], Wording, REPORT_FILE, "wording", BadInput)


def _block(page: str, name: str) -> tuple[str, str, str]:
    """Return a page's text before a JSON block, the block, and the text after it."""
    start = f'<script type="application/json" id="{name}">'
    before, found, after = page.partition(start)
    data, end, rest = after.partition("</script>")
    if not found or not end:
        raise ValueError("not a report.html of this program")
    return before + start, data, end + rest


def json_block(value: Any) -> Markup:
    """JSON that no parser of HTML can take for a tag, whatever its texts are."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


@cache
def _static(kind: str) -> str:
    """The viewer's script or style, joined."""
    folder = files("lumbargrade.report").joinpath("viewer")
    if kind == "css":
        return folder.joinpath("report.css").read_text(encoding="utf-8")
    parts = [folder.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return '(() => {\n"use strict";\n' + "\n".join(parts) + "\n})();\n"


def _data(
    study: Study, graded: GradedStudy, series: Sequence[Shown], wording: Wording
) -> dict[str, Any]:
    prediction = graded.prediction
    spaces = find_spaces(study.volumes).of_series
    places = places_of(series, prediction)
    return {
        "study_id": prediction.study_id,
        "fingerprint": graded.fingerprint,
        "version": graded.version,
        "review_format": REVIEW_FORMAT,
        "series": [
            {
                "index": i,
                "kind": one.volume.kind.name.lower() if one.volume.kind else "",
                "space": spaces[one.stored.series_id],
                "images": f"images-{i}",
                "window": window_of(one, [p for p in places.values() if p["series"] == i]),
                "slices": _slices(one),
                "outlines": outlines_of(one, prediction.outlines),
                "heat": heat_of(one, prediction.heat_maps),
                "measurements": measurements_of(one, prediction.measurements),
            }
            for i, one in enumerate(series)
        ],
        "places": places,
        "findings": findings_of(prediction, measured_texts(wording, graded)),
        "absent": {t.column: reason for t, reason in prediction.absent.items()},
        "order": list(ORDER),
        "wording": asdict(wording),
    }


def _slices(one: Shown) -> list[dict[str, Any]]:
    found = []
    for s in one.volume.slices:
        plane = s.plane
        dy, dx = plane.spacing
        height, width = s.shape
        found.append(
            {
                "number": s.instance_number,
                "p": np.round(plane.position, 3).tolist(),
                "r": np.round(plane.row, 6).tolist(),
                "c": np.round(plane.column, 6).tolist(),
                "s": [round(dx, 5), round(dy, 5)],
                "w": width,
                "h": height,
            }
        )
    return found


def _head(study: Study, graded: GradedStudy) -> _Head:
    prediction = graded.prediction
    counts = [(g, sum(f.grade is g for f in prediction.findings.values())) for g in reversed(Grade)]
    said = [f"{count} {g.label.lower()}" for g, count in counts if count]
    total = f"{len(prediction.findings)} of {len(FINDINGS)} graded"
    numbering = prediction.numbering
    slices = {kind: sum(len(v.slices) for v in study.of(kind)) for kind in _ORDER}
    return _Head(
        study_id=prediction.study_id,
        date=_study_date(study),
        model=_model(graded),
        graded=": ".join([total, *([", ".join(said)] if said else [])]),
        numbering="" if numbering is None else _numbering(numbering),
        numbering_warns=numbering is not None and not numbering.certain,
        images=", ".join(f"{count or 'no'} {kind.value}" for kind, count in slices.items()),
        images_warn=not all(slices.values()),
        scope=_SCOPE,
    )


def _numbering(numbering: Numbering) -> str:
    said = f"{numbering.confidence:.0%} sure"
    if numbering.runner_up and numbering.runner_up_confidence >= _MENTIONED:
        said += f" ({numbering.runner_up}: {numbering.runner_up_confidence:.0%})"
    return said


def _model(graded: GradedStudy) -> str:
    sources = graded.prediction.sources
    if graded.about:
        return f"starter of lumbargrade {graded.version}, trained on phantoms only"
    models = counted(len(sources), "model", "models")
    return f"{models} of your own, lumbargrade {graded.version}"


def _study_date(study: Study) -> str:
    """Date of the study as year-month-day; empty if the headers have none."""
    for head in study.heads.values():
        text = str(head.get("StudyDate") or "")
        if len(text) == 8 and text.isdecimal():
            return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return ""


def _warnings(prediction: StudyPrediction) -> list[str]:
    """What a reader must see before the findings."""
    numbering = prediction.numbering
    if numbering is None:
        return []
    found = []
    if not numbering.certain:
        found.append(
            "Numbering uncertain: the levels may be named wrongly. Compare the images with a view "
            "of the whole spine."
        )
    if numbering.lumbar_bodies != 5:
        found.append(
            f"This spine seems to have {numbering.lumbar_bodies} lumbar vertebral bodies. The "
            "lowest disc above the sacrum is called L5/S1."
        )
    if numbering.shift:
        found.append(
            f"The user moved the names by {numbering.shift:+d} (`--shift-levels "
            f"{numbering.shift}`); the confidence is that before the move."
        )
    return found


def _notes(prediction: StudyPrediction) -> list[str]:
    """Problems of the images in a line each."""
    found = []
    for problem, count in grouped(prediction.problems):
        where = f"series {problem.series}: " if problem.series else ""
        more = f" ({count} files)" if count > 1 else ""
        found.append(f"{where}{problem.what}{more}")
    return found


def _image_notes(images: Embedded, left_out: Sequence[Shown]) -> list[str]:
    found = [
        f"series {one.stored.series_id} is not shown: the page would exceed "
        f"{MOST_BYTES // 1_000_000} MB"
        for one in left_out
    ]
    if images.reduced:
        found.append(f"images are reduced to {images.side} pixels so that the page stays small")
    return found
