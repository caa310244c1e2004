"""What a study must be to be graded, and what makes its grades less certain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lumbargrade.dicom.choice import Candidate
from lumbargrade.dicom.scan import FoundSeries
from lumbargrade.dicom.slices import PATIENT
from lumbargrade.domain.errors import BadDicom
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume

#: Pixels larger than this, mm, do not show the canal and the foramina: a quarter of the depth of a
#: canal without stenosis, more than half of the width of a foramen.
UNUSABLE_PIXEL = 4.0

#: Usual images have pixels, slice distances and slices up to these, mm; twice the usual values.
_PIXEL, _GAP, _THICK = 1.3, 6.5, 6.5
#: Usual sagittal series cover at least this much from head to feet, and from left to right, mm.
_HEIGHT, _WIDTH = 150.0, 35.0
#: Noise above this fraction of the grey range hides small structures.
_NOISE = 0.06


def require_one_patient(found: Sequence[FoundSeries]) -> None:
    """Check that the images of one study are of one patient. Names may be spelt in several ways.

    Raises:
        BadDicom: if they have several PatientIDs or birth dates; the text has no patient data.
    """
    for place, tag in enumerate(PATIENT):
        if tag == "PatientName":
            continue
        series: dict[str, list[str]] = {}
        for one in found:
            for value in {h.patient[place].strip().casefold() for h in one.headers} - {""}:
                series.setdefault(value, []).append(one.headers[0].series_number or one.series_id)
        if len(series) > 1:
            named = sorted(sorted(set(numbers)) for numbers in series.values())
            parts = " and ".join(f"series {', '.join(numbers)}" for numbers in named)
            raise BadDicom(
                f"images of {len(series)} patients in one study: {tag} differs between {parts}; "
                f"sort the images, or give --set {tag}=VALUE if you know that it is one patient"
            )


def several_names(found: Sequence[FoundSeries]) -> bool:
    """Whether images of one study have several PatientNames."""
    place = PATIENT.index("PatientName")
    names = {_letters(h.patient[place]) for one in found for h in one.headers} - {""}
    return len(names) > 1


def _letters(name: str) -> str:
    return "".join(sorted(c for c in name.casefold() if c.isalnum()))


def repeated_uids(volumes: Iterable[Volume]) -> dict[str, int]:
    """Series id -> number of its images whose SOPInstanceUID others of the series have too.

    Some anonymisers number the images of each series anew, so other series do not count.

    Args:
        volumes: of a study, without duplicates; the parts of a series that was split are one
            series.
    """
    files: dict[str, dict[str, set[tuple[str, str]]]] = {}
    for volume in volumes:
        uids = files.setdefault(volume.series_id.partition("#")[0], {})
        for s in volume.slices:
            # the frames of a file share its UID
            uids.setdefault(s.sop_instance_uid, set()).add((volume.series_id, s.file))
    counts = {
        series: sum(len(places) for uid, places in uids.items() if uid and len(places) > 1)
        for series, uids in files.items()
    }
    return {series: count for series, count in counts.items() if count}


def unusable(candidate: Candidate) -> str:
    """Why the images of a series are too poor to be graded; empty if they are not."""
    if candidate.pixel > UNUSABLE_PIXEL:
        return f"quality too low: pixels of {candidate.pixel:.1f} mm"
    return ""


def cautions(candidate: Candidate, thickness: float | None) -> list[str]:
    """What makes the grades of a series less certain.

    Args:
        candidate: a volume that is graded.
        thickness: SliceThickness, mm, if it is known.
    """
    c = candidate
    notes = []
    if c.pixel > _PIXEL:
        notes.append(f"pixels of {c.pixel:.2f} mm (usually up to {_PIXEL} mm)")
    if len(c.volume.slices) == 1:
        notes.append("a single slice")
    elif c.gap > _GAP:
        notes.append(f"slices {c.gap:.1f} mm apart (usually up to {_GAP} mm)")
    if thickness is not None and thickness > _THICK:
        notes.append(f"slices of {thickness:.1f} mm (usually up to {_THICK} mm)")
    sagittal = c.volume.kind is not SeriesKind.AXIAL_T2
    if sagittal and c.height < _HEIGHT:
        notes.append(f"{c.height:.0f} mm from head to feet (usually {_HEIGHT:.0f} mm or more)")
    if sagittal and len(c.volume.slices) > 1 and c.width < _WIDTH:
        notes.append(f"{c.width:.0f} mm from left to right (usually {_WIDTH:.0f} mm or more)")
    if c.noise > _NOISE:
        notes.append(f"noise of {c.noise:.0%} of the grey range")
    return notes
