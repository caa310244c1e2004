"""Write results as BIDS derivatives: findings as JSON and TSV, outlines as label maps.

See "Derived datasets" of BIDS 1.10. Several runs may use one folder of derivatives; each study has
its own files in it, and its findings come last.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumbargrade import __version__
from lumbargrade.bids.names import BidsName, stem_of
from lumbargrade.bids.nifti import ras_affine
from lumbargrade.dicom.study import Study
from lumbargrade.domain.errors import Problem
from lumbargrade.domain.outlines import Structure
from lumbargrade.domain.series_outlines import SeriesOutlines
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.files.writing import atomic_path, write_text
from lumbargrade.grading.findings_file import write_findings
from lumbargrade.grading.findings_tables import COLUMNS, findings_rows
from lumbargrade.grading.graded import GradedStudy

BIDS_VERSION = "1.10.0"

#: Label of the files of this package.
_DESC = "desc-lumbargrade"

#: BIDS has no suffix for findings; validators pass over these files.
_IGNORED = "*_findings.json\n*_findings.tsv\n"

#: Entities of a series that has no BIDS name.
_ACQUISITIONS = {
    SeriesKind.SAGITTAL_T1: ("sag", "T1w"),
    SeriesKind.SAGITTAL_T2: ("sag", "T2w"),
    SeriesKind.AXIAL_T2: ("ax", "T2w"),
}


def subject_of(study_id: str) -> str:
    """Subject and session in names: those of a study in BIDS names, else a label from its id."""
    if BidsName.parse(f"{study_id}_T2w") is not None:
        return study_id
    label = re.sub(r"[^A-Za-z0-9]+", "x", study_id).strip("x")
    return f"sub-{label[:64] or 'x'}"


def findings_path(folder: Path, study_id: str) -> Path:
    """The file that is there once the derivatives of a study are complete."""
    subject = subject_of(study_id)
    return folder.joinpath(*subject.split("_"), "anat", f"{subject}_{_DESC}_findings.json")


def write_derivatives(
    folder: Path, study: Study, graded: GradedStudy, sources: Mapping[str, Path]
) -> tuple[Problem, ...]:
    """Write the derivatives of a study; return notes on outlines that cannot be written.

    Args:
        folder: of the derived data set; gets ``dataset_description.json``.
        study: its series.
        graded: its result, with outlines if the models outline.
        sources: series id -> NIfTI file; label maps of such series are on the grid of the file.

    Raises:
        OSError: if a file cannot be written.
        UsageError: if nibabel is not installed.
    """
    findings = findings_path(folder, graded.prediction.study_id)
    findings.parent.mkdir(parents=True, exist_ok=True)
    _describe(folder, graded.about)
    volumes = {v.series_id: v for v in study.volumes}
    notes = []
    for outlines in graded.prediction.outlines:
        if (volume := volumes.get(outlines.series_id)) is not None:
            stem = _stem(volume, volumes)
            source = sources.get(volume.series_id)
            if not _write_labels(findings.parent, stem, volume, outlines, source):
                what = "its slices are not evenly spaced, so no label map is written for BIDS"
                notes.append(Problem(what, study.study_id, volume.series_id, fatal=False))
    _write_table(findings.with_suffix(".tsv"), COLUMNS, findings_rows(graded))
    write_findings(findings, graded)
    return tuple(notes)


def _describe(folder: Path, about: str) -> None:
    """Write what belongs to all studies, unless it is there."""
    description = {
        "Name": "Grades of lumbar stenosis by lumbargrade",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "lumbargrade", "Version": __version__, "Description": about}],
    }
    text = json.dumps(description, indent=1) + "\n"
    path = folder / "dataset_description.json"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    ignored = folder / ".bidsignore"
    if not ignored.exists():
        write_text(ignored, _IGNORED)
    table = folder / f"{_DESC}_dseg.tsv"
    if not table.exists():
        rows = [[int(s), s.name.lower()] for s in Structure if s is not Structure.OTHER]
        _write_table(table, ("index", "name"), rows)


def _stem(volume: Volume, volumes: Mapping[str, Volume]) -> str:
    """Entities and suffix of a series: its BIDS name, or one from its kind."""
    if BidsName.parse(stem_of(volume.series_id)) is not None:
        return stem_of(volume.series_id)
    assert volume.kind is not None  # only such volumes are graded
    plane, suffix = _ACQUISITIONS[volume.kind]
    alike = [i for i, v in volumes.items() if v.kind is volume.kind]
    run = f"_run-{alike.index(volume.series_id) + 1}" if len(alike) > 1 else ""
    return f"{subject_of(volume.study_id)}_acq-{plane}{run}_{suffix}"


def _write_labels(
    folder: Path, stem: str, volume: Volume, outlines: SeriesOutlines, source: Path | None
) -> bool:
    """Write a label map per stack on the grid of the series; whether all stacks have one."""
    entities, _, suffix = stem.rpartition("_")
    groups = sorted({s.group for s in volume.slices})
    complete = True
    for number, group in enumerate(groups, start=1):
        affine = ras_affine(volume, group)
        if affine is None:
            complete = False
            continue
        chunk = f"_chunk-{number}" if len(groups) > 1 else ""
        # the weighting tells series apart that differ in it only
        weighting = suffix.removesuffix("w")
        name = f"{entities}{chunk}_{_DESC}{weighting}_dseg"
        zs = [z for z, s in enumerate(volume.slices) if s.group == group]
        shape = volume.slices[zs[0]].shape
        labels = np.zeros((shape[1], shape[0], len(zs)), np.uint8)
        for place, z in enumerate(zs):
            if z in set(outlines.outlined):
                labels[:, :, place] = outlines.label_map(volume, z).T
        if source is not None:
            labels, affine = _on_grid_of(source, labels, affine)
        _save(folder / f"{name}.nii.gz", labels, affine)
        sidecar = {
            "Description": "What the networks outline; desc-lumbargrade_dseg.tsv names the labels",
            "Manual": False,
            "SpatialReference": "orig",
            "SourceSeries": volume.series_id,
        }
        write_text(folder / f"{name}.json", json.dumps(sidecar, indent=1) + "\n")
    return complete


def _on_grid_of(
    source: Path, labels: NDArray[np.uint8], affine: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The labels with the axes in the order and direction of a NIfTI file, and its affine."""
    import nibabel

    to_ras = np.asarray(nibabel.Nifti1Image.from_filename(source).affine, np.float64)
    turn = nibabel.orientations.io_orientation(np.linalg.inv(to_ras) @ affine)
    return np.asarray(nibabel.orientations.apply_orientation(labels, turn), np.uint8), to_ras


def _save(path: Path, labels: NDArray[np.uint8], affine: NDArray[np.float64]) -> None:
    import nibabel

    image = nibabel.Nifti1Image(labels, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    image.header.set_intent("label")
    with atomic_path(path) as temporary:
        # without a time, so that the same result is the same file
        temporary.write_bytes(gzip.compress(image.to_bytes(), mtime=0))


def _write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    lines = [columns, *rows]
    text = "\n".join("\t".join(map(_cell, line)) for line in lines)
    write_text(path, text + "\n")


def _cell(value: object) -> str:
    """A cell of a TSV; absent values are n/a."""
    text = "" if value is None else re.sub(r"\s+", " ", str(value)).strip()
    return text or "n/a"
