"""Read the images of a series into one volume, by the rules for its layout."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.dicom.duplicates import split_same_file
from lumbargrade.dicom.opening import file_problem
from lumbargrade.dicom.pixels import read_pixels, release, rooms_for
from lumbargrade.dicom.rules import (
    LSDC,
    ReadingRules,
    Stack,
    oddities,
    one_place,
    single_place,
    spatial_stacks,
)
from lumbargrade.dicom.scaling import Grey, Image, scaled_volume
from lumbargrade.dicom.scan import FoundSeries, scan_folder
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume, VolumeSlice


@dataclass(frozen=True)
class SeriesResult:
    """A series that was read.

    Attributes:
        volume: all usable slices.
        problems: every file that could not be used, and notes on what is unusual.
        digest: of all pixels; equal for duplicates. See `scaled_volume`.
    """

    volume: Volume
    problems: tuple[Problem, ...]
    digest: bytes = b""


def read_series(
    folder: Path | str,
    *,
    series_id: str | None = None,
    study_id: str | None = None,
    kind: SeriesKind | None = None,
    rules: ReadingRules = LSDC,
) -> SeriesResult:
    """Read the DICOM files of a folder as one series.

    All orientation groups are concatenated into one volume, ``pixels`` (D, H, W) uint8. Smaller
    slices are padded by reflection at the bottom and right. By the LSDC rules, volume, slice order,
    groups and numbers are bit for bit those of the published system; `lumbargrade.dicom.rules`
    lists the exceptions.

    Files that cannot be used, and files that belong to another series than most files, are excluded
    and reported. Of duplicate images, one is used. Pixels are decoded only after the header has
    been accepted.

    Args:
        folder: the series folder; its subfolders are not searched.
        series_id, study_id: default to the names of the folder and of its parent.
        kind: decides the order of orientation groups; if None, the orientation decides.
        rules: how slices are numbered, grouped and scaled.

    Raises:
        BadDicom: if no slice can be used, or if all slices are at one place.
    """
    folder = Path(folder)
    found = scan_folder(
        folder,
        study_id=study_id or folder.parent.name,
        series_id=series_id or folder.name,
        kind=kind,
        rules=rules,
    )
    result = build_volume(found)
    release(found.headers)
    return result


def build_volume(found: FoundSeries) -> SeriesResult:
    """Group, order, decode and scale the images of a series into one volume.

    Raises:
        BadDicom: if no slice can be used, or if all slices are at one place.
    """
    kept, copies = split_same_file(found.headers)
    noted = [*found.problems, *duplicate_notes(found, copies), *_remarks(found, kept)]
    if single_place(kept):
        raise BadDicom(f"{found.origin}: {one_place(kept)}")
    stacks, images = _decode(spatial_stacks(kept, found.kind, found.rules), noted, found)
    if not stacks:
        lost = [p.what for p in noted if p.fatal] or [p.what for p in noted]
        reasons = "; ".join(dict.fromkeys(lost)) or "no files"
        raise BadDicom(f"{found.origin}: no usable slice ({reasons[:300]})")
    noted += [found.note(what) for what in oddities(stacks, found.kind, found.rules)]
    slices = [
        VolumeSlice(h.instance_number, h.plane, group, h.shape, h.path.name, h.sop_uid)
        for group, stack in enumerate(stacks)
        for h in stack
    ]
    pixels, digest = scaled_volume(images, pad_before_scaling=found.rules.pad_before_scaling)
    volume = Volume(
        pixels,
        tuple(slices),
        found.study_id,
        found.series_id,
        found.kind,
        stacks[0][0].frame_of_reference,
        tuple(h.path for stack in stacks for h in stack),
    )
    return SeriesResult(volume, tuple(noted), digest)


def duplicate_notes(found: FoundSeries, copies: Iterable[SliceHeader]) -> list[Problem]:
    """Notes on duplicate images, which are not used."""
    return [found.note("is a duplicate of another file", h.path) for h in copies]


def _remarks(found: FoundSeries, headers: Sequence[SliceHeader]) -> list[Problem]:
    """Notes on unusual files that could be read; one note for all files with the same remark."""
    files: dict[str, dict[Path, None]] = {}
    for header in headers:
        for what in header.remarks:
            files.setdefault(what, {})[header.path] = None
    return [
        found.note(f"{what} ({len(paths)} files)" if len(paths) > 1 else what, next(iter(paths)))
        for what, paths in files.items()
    ]


def _decode(
    stacks: Sequence[Stack], noted: list[Problem], found: FoundSeries
) -> tuple[list[Stack], list[list[Image]]]:
    """Slices with their pixels; slices that cannot be decoded are reported in ``noted``."""
    kept: list[Stack] = []
    decoded: list[list[Image]] = []
    warned: dict[str, Path] = {}
    rooms = iter(rooms_for([h for stack in stacks for h in stack]))
    for stack in stacks:
        headers: Stack = []
        images: list[Image] = []
        for header in stack:
            try:
                pixels, warnings = read_pixels(header, next(rooms))
            except BadDicom as error:
                noted.append(file_problem(header.path, error, found.study_id, found.series_id))
                continue
            headers.append(header)
            images.append(Image(pixels, Grey(*header.rescale, header.inverse)))
            for text in warnings:
                warned.setdefault(text, header.path)
        if headers:
            kept.append(headers)
            decoded.append(images)
    noted += [found.note(f"decoder: {text}", path) for text, path in warned.items()]
    return kept, decoded
