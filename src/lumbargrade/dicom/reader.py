"""Read the images of a series into one volume, by the rules for its layout.

Scaling to uint8 is bit for bit that of the published system; integers are scaled by a table.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumbargrade.dicom.duplicates import split_same_file
from lumbargrade.dicom.opening import file_problem
from lumbargrade.dicom.pixels import Pixels, read_pixels, release
from lumbargrade.dicom.rules import (
    LSDC,
    ReadingRules,
    Stack,
    oddities,
    one_place,
    single_place,
    spatial_stacks,
)
from lumbargrade.dicom.scan import FoundSeries, scan_folder
from lumbargrade.dicom.slices import SliceHeader
from lumbargrade.domain.errors import BadDicom, Problem
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume, VolumeSlice, padded


@dataclass(frozen=True)
class SeriesResult:
    """A series that was read.

    Attributes:
        volume: all usable slices.
        problems: every file that could not be used, and notes on what is unusual.
        digest: of all pixels before scaling.
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
    stacks, pixels = _decode(spatial_stacks(kept, found.kind, found.rules), noted, found)
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
    volume = Volume(
        _scaled(pixels, found.rules),
        tuple(slices),
        found.study_id,
        found.series_id,
        found.kind,
        stacks[0][0].frame_of_reference,
    )
    return SeriesResult(volume, tuple(noted), _digest(pixels))


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


def _digest(groups: Sequence[Sequence[Pixels]]) -> bytes:
    digest = hashlib.sha256()
    for group in groups:
        for image in group:
            digest.update(np.ascontiguousarray(image).data)
    return digest.digest()


def _decode(
    stacks: Sequence[Stack], noted: list[Problem], found: FoundSeries
) -> tuple[list[Stack], list[list[Pixels]]]:
    """Slices with their pixels; slices that cannot be decoded are reported in ``noted``."""
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
                noted.append(file_problem(header.path, error, found.study_id, found.series_id))
                continue
            headers.append(header)
            images.append(image)
            for text in warnings:
                warned.setdefault(text, header.path)
        if headers:
            kept.append(headers)
            decoded.append(images)
    noted += [found.note(f"decoder: {text}", path) for text, path in warned.items()]
    return kept, decoded


def _scaled(groups: Sequence[Sequence[Pixels]], rules: ReadingRules) -> NDArray[np.uint8]:
    """All slices as one array (D, H, W); each group is scaled by its own percentiles."""
    height, width = np.max([image.shape for group in groups for image in group], axis=0)
    if rules.pad_before_scaling:
        groups = [[padded(image, height, width) for image in group] for group in groups]
    # otherwise padding comes after scaling, so that padded pixels do not change the contrast
    images = [padded(i, height, width) for group in groups for i in to_uint8(group)]
    return np.stack(images)


#: Percentiles that become 0 and 255.
PERCENTILES = (0.1, 99.9)


def to_uint8(stack: Sequence[Pixels]) -> list[NDArray[np.uint8]]:
    """Clip images to their common 0.1 and 99.9 percentiles, scale to 0..255 and truncate.

    Percentiles are interpolated linearly. Constant images become 0.
    """
    kinds = {p.dtype for p in stack}
    kind = kinds.pop()
    if not kinds and kind.kind in "iu" and kind.itemsize <= 2:
        return _by_table(stack, kind)
    values = np.concatenate([p.ravel() for p in stack])
    low, high = np.percentile(values, PERCENTILES)
    return [_scale(p, low, high) for p in stack]


def _scale(values: Pixels, low: float, high: float) -> NDArray[np.uint8]:
    span = high - low
    if span <= 0:
        return np.zeros(values.shape, np.uint8)
    scaled: NDArray[np.float64] = (np.clip(values, low, high) - low) / span * 255
    return scaled.astype(np.uint8)


def _by_table(stack: Sequence[Pixels], kind: np.dtype[np.generic]) -> list[NDArray[np.uint8]]:
    unsigned = np.dtype(f"u{kind.itemsize}")
    size = 1 << (8 * kind.itemsize)
    # as unsigned numbers, negative values follow the positive ones; `order` sorts them first
    views = [p.astype(kind.newbyteorder("="), copy=False).view(unsigned) for p in stack]
    possible = np.arange(size, dtype=unsigned).view(kind.newbyteorder("="))
    counts = np.zeros(size, np.int64)
    for view in views:
        counts += np.bincount(view.ravel(), minlength=size)
    order = np.argsort(possible, kind="stable")
    low, high = _percentiles(possible[order], np.cumsum(counts[order]))
    table = _scale(possible, low, high)
    return [np.take(table, v) for v in views]


def _percentiles(values: Pixels, below: NDArray[np.int64]) -> tuple[float, float]:
    """Like ``numpy.percentile``, from sorted values and cumulative counts of pixels."""
    last = int(below[-1]) - 1
    found = []
    for q in PERCENTILES:
        at = (q / 100) * last
        i = int(at)
        a, b = (
            float(values[np.searchsorted(below, k, side="right")]) for k in (i, min(i + 1, last))
        )
        # numpy has the same two branches; they differ in the last bit
        t = at - i
        found.append(b - (b - a) * (1 - t) if t >= 0.5 else a + (b - a) * t)
    return found[0], found[1]
