"""The images of a series to one volume, by the rules for its layout, with every slice's geometry.

Scaling to uint8 is bit for bit that of the published system, by table where values are integers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumbargrade.dicom.copies import split_same_file
from lumbargrade.dicom.opening import file_problem
from lumbargrade.dicom.pixels import Pixels, read_pixels, release
from lumbargrade.dicom.rules import (
    LSDC,
    ReadingRules,
    Stack,
    oddities,
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
        problems: every file that could not be used, and what is odd about the rest.
        digest: of the values of all pixels before they were scaled.
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
    """Group, order, decode and scale the images of a series to one volume.

    Raises:
        BadDicom: if no slice can be used, or if all slices lie in one place.
    """
    kept, copies = split_same_file(found.headers)
    noted = [*found.problems, *copy_notes(found, copies), *_remarks(found, kept)]
    if single_place(kept):
        raise BadDicom(f"{found.origin}: {len(kept)} images at one place are not a volume")
    stacks, pixels = _decode(spatial_stacks(kept, found.kind, found.rules), noted, found)
    if not stacks:
        lost = [p.what for p in noted if p.fatal] or [p.what for p in noted]
        reasons = "; ".join(dict.fromkeys(lost)) or "it has no files"
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


def copy_notes(found: FoundSeries, copies: Iterable[SliceHeader]) -> list[Problem]:
    """Notes on images that count once because others are the same."""
    return [found.note("is a copy of another file", h.path) for h in copies]


def _remarks(found: FoundSeries, headers: Sequence[SliceHeader]) -> list[Problem]:
    """What is unusual about files that could be read, once for all of them."""
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
    """Groups of slices as one array (D, H, W), each group scaled by its own percentiles."""
    height, width = np.max([image.shape for group in groups for image in group], axis=0)
    if rules.pad_before_scaling:
        groups = [[padded(image, height, width) for image in group] for group in groups]
    # otherwise padding comes after scaling: invented pixels must not change the contrast
    images = [padded(i, height, width) for group in groups for i in to_uint8(group)]
    return np.stack(images)


#: Percentiles that become 0 and 255.
PERCENTILES = (0.1, 99.9)


def to_uint8(stack: Sequence[Pixels]) -> list[NDArray[np.uint8]]:
    """Clip images to their common 0.1 and 99.9 percentiles and scale to 0..255, truncating.

    Percentiles interpolate linearly. Images that are all one value become 0.
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
    # seen as unsigned, negative values follow the positive ones; `order` puts them first again
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
    """As ``numpy.percentile``, from sorted values and the count of pixels up to each."""
    last = int(below[-1]) - 1
    found = []
    for q in PERCENTILES:
        at = (q / 100) * last
        i = int(at)
        a, b = (
            float(values[np.searchsorted(below, k, side="right")]) for k in (i, min(i + 1, last))
        )
        # both branches as numpy has them: they differ in the last bit
        t = at - i
        found.append(b - (b - a) * (1 - t) if t >= 0.5 else a + (b - a) * t)
    return found[0], found[1]
