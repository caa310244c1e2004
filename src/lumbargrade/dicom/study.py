"""Read a study from any folder tree of DICOM files; identify the kind of each series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom import Dataset

from lumbargrade.dicom.choice import SeriesChoice
from lumbargrade.dicom.find import FoundStudy
from lumbargrade.dicom.opening import read_head
from lumbargrade.dicom.requests import NOTHING, Request
from lumbargrade.dicom.scan import Scan, scan
from lumbargrade.dicom.scope import require_one_patient
from lumbargrade.dicom.volumes import read_chosen
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.files.timing import stage


@dataclass(frozen=True)
class Study:
    """The readable images of one study.

    Attributes:
        study_id: StudyInstanceUID (in LSDC files this is the study id), or the folder's name.
        volumes: those of the three kinds, ordered by kind and id.
        problems: every file that could not be used, and notes on what is unusual.
        other: excluded volumes, such as localizers.
        reasons: why each of them is excluded.
        heads: series id -> header of its first image, without pixels and private elements; a series
            whose header cannot be parsed again has none. Results copy patient and study from it.
        choices: for each volume, whether it is graded, and why (see `dicom.choice`); by id.
    """

    study_id: str
    volumes: tuple[Volume, ...]
    problems: tuple[Problem, ...] = ()
    other: tuple[Volume, ...] = field(default=())
    reasons: tuple[str, ...] = ()
    heads: Mapping[str, Dataset] = field(default_factory=dict, compare=False, repr=False)
    choices: tuple[SeriesChoice, ...] = ()

    @property
    def used(self) -> tuple[Volume, ...]:
        """The volumes that are graded: all, unless others of their kind are better."""
        left_out = {c.series_id for c in self.choices if not c.chosen}
        return tuple(v for v in self.volumes if v.series_id not in left_out)

    def of(self, kind: SeriesKind) -> tuple[Volume, ...]:
        """The volumes of a kind."""
        return tuple(v for v in self.volumes if v.kind is kind)


def read_study(
    path: Path | str,
    *,
    kinds: Mapping[str, SeriesKind] | None = None,
    request: Request = NOTHING,
) -> Study:
    """Read a study: a folder in the LSDC layout, any folder tree of DICOM files, or one file.

    A series is in the LSDC layout if the name of its folder is in ``kinds`` or in its
    SeriesInstanceUID, as in the published images. It is read by the rules for that layout, so
    volume and numbers are the same as in `prepare` and `submit`. Any other series is read by the
    rules for a DICOM export (see `lumbargrade.dicom.rules`).

    Args:
        path: folder or file; the headers decide which files belong together.
        kinds: series id -> kind (the LSDC descriptions table). Other series are identified from
            their headers (see `lumbargrade.dicom.kinds`).
        request: series to use and header values to replace, such as
            ``Request.parse(["t2=4"], ["ContrastBolusAgent="])``.

    Raises:
        BadDicom: if no series can be used, if the files belong to several studies, or if a request
            fits no series.

    Examples:
        >>> study = read_study("STUDY")
        >>> for volume in study.volumes:
        ...     print(volume.kind, volume.pixels.shape)
        Sagittal T1 (4, 40, 32)
        Sagittal T2/STIR (4, 40, 32)
        Axial T2 (4, 40, 32)
    """
    found = scan(path, kinds, request)
    if found.archives:
        raise BadDicom(f"{found.archives[0]}: a zip file; unpack it, or use `lumbargrade grade`")
    studies = sorted({s.study_id for s in found.series})
    if len(studies) > 1:
        listed = ", ".join(studies[:5])
        raise BadDicom(f"{path}: contains {len(studies)} studies ({listed}); give one of them")
    return _assembled(found, str(path), request)


def read_found(found: FoundStudy) -> Study:
    """Decode a study from `find_studies`.

    Raises:
        BadDicom: if no series can be used.
    """
    with stage("read the images"):
        study = _assembled(found.current(), f"study {found.study_id}", found.request)
    return replace(study, problems=(*found.problems, *study.problems))


def _assembled(found: Scan, name: str, request: Request) -> Study:
    """Decode the series of one study.

    Args:
        found: its series.
        name: name of the study in the error.
        request: what the user decides.

    Raises:
        BadDicom: if no series can be used, the request fits none, or the images are of several
            patients.
    """
    if not any(series.kind for series in found.series):
        require_one_patient(found.series)
    read, wrong = read_chosen(found.series, request)
    problems = [*found.problems, *wrong]
    if not read:
        listed = "; ".join(dict.fromkeys(p.what for p in problems)) or "no DICOM files"
        raise BadDicom(f"{name}: no usable series ({listed[:400]})")
    heads = _heads(found, [volume for volume, _ in read])
    return study_of(found.series[0].study_id, read, problems, heads)


def study_of(
    study_id: str,
    read: Sequence[tuple[Volume, SeriesChoice]],
    problems: Iterable[Problem],
    heads: Mapping[str, Dataset],
) -> Study:
    """Put the volumes of a study together, and note the decisions.

    Args:
        study_id: the study.
        read: volumes with decisions; see `dicom.volumes`.
        problems: of its images.
        heads: see `Study`.
    """
    known = [volume for volume, _ in read if volume.kind is not None]
    other = [volume for volume, _ in read if volume.kind is None]
    notes = [
        Problem(what, study_id, choice.series_id, fatal=False)
        for _, choice in read
        if (what := _decision(choice, read)) is not None
    ]
    # so that names and order of the files do not matter
    known.sort(key=lambda v: v.series_id)
    volumes = tuple(v for kind in SeriesKind for v in known if v.kind is kind)
    choices = {c.series_id: c for _, c in read}
    reasons = tuple(choices[v.series_id].reason for v in other)
    ordered = tuple(choices[i] for i in sorted(choices))
    return Study(study_id, volumes, (*problems, *notes), tuple(other), reasons, heads, ordered)


def _decision(choice: SeriesChoice, read: Sequence[tuple[Volume, SeriesChoice]]) -> str | None:
    """What is said of a series; None if all of its kind are used."""
    if choice.kind is None:
        return f"excluded: {choice.reason}"
    if all(c.chosen for _, c in read if c.kind is choice.kind):
        return None
    return f"{'used' if choice.chosen else 'not used'} as {choice.kind}: {choice.reason}"


def _heads(found: Scan, volumes: Iterable[Volume]) -> dict[str, Dataset]:
    """The header of the first image of each volume, by series id."""
    # UIDs of images may be those of other series too
    files = {(s.series_id, h.path.name, h.sop_uid): h.path for s in found.series for h in s.headers}
    heads: dict[str, Dataset] = {}
    for volume in volumes:
        first = (volume.slices[0].file, volume.slices[0].sop_instance_uid)
        whole, _, _ = volume.series_id.rpartition("#")  # of a series that was split
        head = read_head(files.get((volume.series_id, *first)) or files[(whole, *first)])
        if head is not None:
            heads[volume.series_id] = head
    return heads
