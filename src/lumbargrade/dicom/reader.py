"""A series folder to one volume, by the rules for its layout, with geometry for every slice."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumbargrade.dicom.copies import split_same_file
from lumbargrade.dicom.opening import file_problem, image_files
from lumbargrade.dicom.pixels import Pixels, read_pixels, release, to_uint8
from lumbargrade.dicom.places import partition
from lumbargrade.dicom.rules import LSDC, ReadingRules
from lumbargrade.dicom.slice_order import Stack, oddities, single_place, spatial_stacks
from lumbargrade.dicom.slices import SliceHeader, read_headers
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume, VolumeSlice, padded


@dataclass(frozen=True)
class SeriesResult:
    """A series that was read.

    Attributes:
        volume: all usable slices.
        problems: every file that could not be used, and what is odd about the rest.
        digest: of the values of all pixels before they were scaled.
    """

    volume: Volume
    problems: tuple[Problem, ...]
    digest: bytes = b""


@dataclass(frozen=True)
class SeriesName:
    """Who a series is, in volumes and in problems.

    Attributes:
        study_id, series_id: as in the tables, or DICOM UIDs.
        kind: which of the three kinds, or None where unknown.
        origin: the folder, for messages.
    """

    study_id: str
    series_id: str
    kind: SeriesKind | None
    origin: Path

    def file_problem(self, path: Path, error: BadDicom) -> Problem:
        return file_problem(path, error, self.study_id, self.series_id)

    def copies(self, headers: Iterable[SliceHeader]) -> list[Problem]:
        """Notes on images that count once because others are the same."""
        return [self.note("is a copy of another file", h.path) for h in headers]

    def remarks(self, headers: Sequence[SliceHeader]) -> list[Problem]:
        """What is unusual about files that could be read, once for all of them."""
        files: dict[str, dict[Path, None]] = {}
        for header in headers:
            for what in header.remarks:
                files.setdefault(what, {})[header.path] = None
        return [
            self.note(f"{what} ({len(paths)} files)" if len(paths) > 1 else what, next(iter(paths)))
            for what, paths in files.items()
        ]

    def note(self, what: str, path: Path | None = None, *, fatal: bool = False) -> Problem:
        file = "" if path is None else str(path)
        return Problem(what, self.study_id, self.series_id, file, fatal=fatal)


def read_series(
    folder: Path | str,
    *,
    series_id: str | None = None,
    study_id: str | None = None,
    kind: SeriesKind | None = None,
    rules: ReadingRules = LSDC,
) -> SeriesResult:
    """Read the DICOM files of a folder as one series.

    All orientation groups are concatenated in one volume, ``pixels`` (D, H, W) uint8, smaller
    slices continued by reflection at the bottom and right. By the LSDC rules, this is bit for bit
    the volume that the published system makes of the folder, in the same order of slices, with the
    same groups and numbers; `lumbargrade.dicom.rules` names what is treated differently.

    Files of another series than most are left out and reported, as are files that cannot be used;
    copies of an image count once. No pixel is decoded before its header is accepted.

    Args:
        folder: the series folder; its subfolders are not searched.
        series_id, study_id: default to the folder's name and its parent's.
        kind: decides the order of orientation groups; guessed from the orientation where None.
        rules: how slices are numbered, grouped and scaled.

    Raises:
        BadDicom: if there is no usable slice, or if all slices lie in one place.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadDicom(f"{folder}: no such series folder")
    name = SeriesName(study_id or folder.parent.name, series_id or folder.name, kind, folder)
    headers: list[SliceHeader] = []
    problems: list[Problem] = []
    for path in image_files(folder, recursive=False):
        usable, errors = read_headers(path)
        headers += usable
        problems += [name.file_problem(path, error) for error in errors]
    headers, strangers = _own_series(headers)
    problems += [
        name.note(f"belongs to another series ({h.series_uid})", h.path, fatal=True)
        for h in strangers
    ]
    result = build_series(rules.numbered(headers), problems, name, rules)
    release_all(headers)
    return result


def release_all(headers: Iterable[SliceHeader]) -> None:
    """Free what was kept of multi-frame files, when all their frames are decoded."""
    for header in headers:
        release(header)


def _own_series(headers: list[SliceHeader]) -> tuple[list[SliceHeader], list[SliceHeader]]:
    """Files of the series that most files belong to, and the others."""
    counts = Counter(h.series_uid for h in headers)
    if len(counts) < 2:
        return headers, []
    own = counts.most_common(1)[0][0]
    parts = partition(headers, lambda h: h.series_uid == own)
    return (parts[0], parts[1]) if parts[0][0].series_uid == own else (parts[1], parts[0])


def build_series(
    headers: Sequence[SliceHeader],
    problems: Sequence[Problem],
    name: SeriesName,
    rules: ReadingRules,
) -> SeriesResult:
    """Group, order, decode and scale slices to one volume.

    Args:
        headers: numbered by the rules.
        problems: found so far; they come first in the result.
        name: ids and kind of the series.
        rules: how slices are grouped and scaled.

    Raises:
        BadDicom: if no slice can be used, or if all slices lie in one place.
    """
    noted = list(problems)
    kept, copies = split_same_file(headers)
    noted += name.copies(copies)
    noted += name.remarks(kept)
    if single_place(kept):
        raise BadDicom(f"{name.origin}: {len(kept)} images at one place are not a volume")
    stacks, pixels = _decode(spatial_stacks(kept, name.kind, rules), noted, name)
    if not stacks:
        lost = [p.what for p in noted if p.fatal] or [p.what for p in noted]
        reasons = "; ".join(dict.fromkeys(lost)) or "it has no files"
        raise BadDicom(f"{name.origin}: no usable slice ({reasons[:300]})")
    noted += [name.note(what) for what in oddities(stacks, name.kind, rules)]
    slices = [
        VolumeSlice(h.instance_number, h.plane, group, h.shape, h.path.name, h.sop_uid)
        for group, stack in enumerate(stacks)
        for h in stack
    ]
    volume = Volume(
        _scaled(pixels, rules),
        tuple(slices),
        name.study_id,
        name.series_id,
        name.kind,
        stacks[0][0].frame_of_reference,
    )
    return SeriesResult(volume, tuple(noted), _digest(pixels))


def _digest(groups: Sequence[Sequence[Pixels]]) -> bytes:
    digest = hashlib.sha256()
    for group in groups:
        for image in group:
            digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def _decode(
    stacks: Sequence[Stack], noted: list[Problem], name: SeriesName
) -> tuple[list[Stack], list[list[Pixels]]]:
    """The slices whose pixels can be read, with them; the others are added to ``noted``."""
    kept: list[Stack] = []
    decoded: list[list[Pixels]] = []
    warned: dict[str, Path] = {}
    for stack in stacks:
        headers: Stack = []
        images: list[Pixels] = []
        for header in stack:
            try:
                image, warnings = read_pixels(header)
            except BadDicom as error:
                noted.append(name.file_problem(header.path, error))
                continue
            headers.append(header)
            images.append(image)
            for text in warnings:
                warned.setdefault(text, header.path)
        if headers:
            kept.append(headers)
            decoded.append(images)
    noted += [name.note(f"decoder: {text}", path) for text, path in warned.items()]
    return kept, decoded


def _scaled(groups: Sequence[Sequence[Pixels]], rules: ReadingRules) -> NDArray[np.uint8]:
    """Groups of slices as one array (D, H, W), each group scaled by its own percentiles."""
    height, width = np.max([image.shape for group in groups for image in group], axis=0)
    if rules.pad_before_scaling:
        groups = [[padded(image, height, width) for image in group] for group in groups]
    # otherwise padding comes after scaling: invented pixels must not change the contrast
    images = [padded(i, height, width) for group in groups for i in to_uint8(group)]
    return np.stack(images)
