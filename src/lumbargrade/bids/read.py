"""Find studies among NIfTI files in BIDS names, and read them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lumbargrade.bids.names import BidsName, sidecars_of
from lumbargrade.bids.nifti import plane_named, volume_of
from lumbargrade.dicom.find import READER, files_fingerprint
from lumbargrade.dicom.header import Acquisition, cleaned
from lumbargrade.dicom.kinds.classify import classify
from lumbargrade.dicom.requests import NOTHING, Request, SeriesLabel
from lumbargrade.dicom.study import Study, study_of
from lumbargrade.dicom.volumes import ReadVolume, decide
from lumbargrade.domain.errors import BadDicom, BadInput, Problem

#: Suffixes of images that may be graded, with what they say of the weighting.
SUFFIXES = {"T1w": "T1", "T2w": "T2", "inplaneT1": "T1", "inplaneT2": "T2"}

#: Bumped when the same files give another study than before.
BIDS_VERSION = 1
#: A larger sidecar is not read.
_LARGEST = 1 << 20


@dataclass(frozen=True)
class BidsStudy:
    """The images of one subject and session; they have not been read.

    Attributes:
        study_id: such as ``sub-01_ses-02``.
        images: its files, absolute and sorted.
        request: which series the user wants.
    """

    study_id: str
    images: tuple[Path, ...]
    request: Request = field(default=NOTHING)

    @property
    def folder(self) -> Path:
        """The deepest folder that contains all its images."""
        return Path(os.path.commonpath([image.parent for image in self.images]))

    def fingerprint(self) -> str:
        """SHA-256 of paths, sizes and modification times of images and sidecars, and the reader.

        Raises:
            BadDicom: if a file no longer exists.
        """
        files = (f for i in self.images for f in (i, *sidecars_of(i, _name(i))))
        return files_fingerprint(f"{READER}bids {BIDS_VERSION}{self.request.fingerprint}", files)

    def read(self) -> Study:
        """Read all images.

        Raises:
            BadDicom: if none can be used, or a request fits none.
            UsageError: if nibabel is not installed.
        """
        problems: list[Problem] = []
        read: list[tuple[ReadVolume, tuple[str, ...]]] = []
        for image in self.images:
            try:
                read.append(_read(image, self.study_id))
            except BadInput as error:
                what = str(error).removeprefix(f"{image}: ")
                problems.append(Problem(what, self.study_id, _name(image).stem, str(image)))
        if not read:
            listed = "; ".join(dict.fromkeys(p.what for p in problems))
            raise BadDicom(f"study {self.study_id}: no usable image ({listed[:400]})")
        if self.request.headers:
            what = "--set has no effect on NIfTI files; change their sidecars"
            problems.append(Problem(what, self.study_id, fatal=False))
        labels = [SeriesLabel(_id(r), _id(r), r.number, r.description) for r, _ in read]
        wanted = self.request.kinds(labels)
        volumes = []
        for one, remarks in read:
            problems += [Problem(what, self.study_id, _id(one), fatal=False) for what in remarks]
            kind = wanted.get(_id(one))
            volume = one.volume if kind is None else replace(one.volume, kind=kind)
            volumes.append(replace(one, volume=volume, requested=kind is not None))
        return study_of(self.study_id, decide(volumes), problems, {})


def _id(read: ReadVolume) -> str:
    return read.volume.series_id


def find_bids(
    images: Iterable[Path], request: Request = NOTHING
) -> tuple[list[BidsStudy], list[Problem]]:
    """Sort NIfTI files into studies by their names; return problems of other files.

    Args:
        images: NIfTI files.
        request: which series the user wants.
    """
    found: dict[tuple[Path, str], list[Path]] = {}
    problems = []
    for image in sorted(path.resolve() for path in images):
        name = BidsName.parse(image.name)
        if name is None:
            what = "is not named as in BIDS; rename it, for example sub-01_acq-sag_T2w.nii.gz"
            problems.append(Problem(what, file=str(image)))
        elif name.suffix not in SUFFIXES:
            what = f"no T1w or T2w image ({cleaned(name.suffix)})"
            problems.append(Problem(what, file=str(image), fatal=False))
        else:
            found.setdefault((_root(image), name.subject), []).append(image)
    studies = [BidsStudy(s, tuple(files), request) for (_, s), files in sorted(found.items())]
    return studies, problems


def _root(image: Path) -> Path:
    """The folder of the data set: that above ``sub-``; the file's folder if there is none."""
    inside = [p for p in image.parents if p.name.startswith("sub-")]
    return inside[-1].parent if inside else image.parent


def _name(image: Path) -> BidsName:
    name = BidsName.parse(image.name)
    assert name is not None  # find_bids takes no others
    return name


def _read(image: Path, study_id: str) -> tuple[ReadVolume, tuple[str, ...]]:
    """Read an image with its sidecars; return notes too.

    Raises:
        BadInput: if it cannot be used.
    """
    name = _name(image)
    said, remarks = _sidecar(image, name)
    volume = volume_of(image, study_id, name.stem, plane_named(name.entities.get("acq", "")))
    about = acquisition_of(name, said)
    verdict = classify(about, volume.slices[0].plane.normal)
    read = ReadVolume(
        replace(volume, kind=verdict.kind),
        verdict.reason,
        _text(said, "SeriesNumber"),
        about.description,
        verdict.fat_suppressed,
        thickness=about.thickness,
    )
    return read, (*remarks, *verdict.remarks)


def _sidecar(image: Path, name: BidsName) -> tuple[dict[str, Any], list[str]]:
    """What the JSON files say, and notes on those that cannot be read."""
    said: dict[str, Any] = {}
    remarks = []
    for path in sidecars_of(image, name):
        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError("too large")
            content = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("not an object")
            said |= content
        except (OSError, ValueError, RecursionError) as error:
            remarks.append(f"{path.name} cannot be read ({' '.join(str(error).split())[:100]})")
    return said, remarks


def acquisition_of(name: BidsName, said: Mapping[str, Any]) -> Acquisition:
    """How an image was acquired, by its sidecar and name. Times of BIDS are seconds.

    Without SeriesDescription, the suffix and the label of ``acq`` take its place.
    """
    weighting = SUFFIXES[name.suffix]
    labels = " ".join((weighting, name.entities.get("acq", ""))).strip()
    agent = _text(said, "ContrastBolusIngredient")
    if label := name.entities.get("ce"):
        agent = agent or f"ce-{label}"
    return Acquisition(
        modality={"MRI": "MR"}.get(_text(said, "Modality"), _text(said, "Modality")) or "MR",
        description=_text(said, "SeriesDescription") or labels,
        protocol=_text(said, "ProtocolName") or weighting,
        body_part=_text(said, "BodyPartExamined") or _text(said, "BodyPart"),
        echo_time=_milliseconds(said, "EchoTime"),
        repetition_time=_milliseconds(said, "RepetitionTime"),
        inversion_time=_milliseconds(said, "InversionTime"),
        sequence=frozenset(_texts(said, "ScanningSequence")),
        image_type=_texts(said, "ImageType"),
        agent=agent,
        thickness=_number(said, "SliceThickness"),
    )


def _text(said: Mapping[str, Any], key: str) -> str:
    value = said.get(key)
    return cleaned(str(value)) if isinstance(value, str | int | float) else ""


def _texts(said: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = said.get(key)
    if isinstance(value, str):  # dcm2niix joins values with underscores or backslashes
        return tuple(cleaned(part) for part in value.replace("\\", "_").split("_") if part)
    return tuple(cleaned(str(v)) for v in value) if isinstance(value, list) else ()


def _number(said: Mapping[str, Any], key: str) -> float | None:
    value = said.get(key)
    return float(value) if isinstance(value, int | float) and value == value else None


def _milliseconds(said: Mapping[str, Any], key: str) -> float | None:
    value = _number(said, key)
    return None if value is None else value * 1e3
