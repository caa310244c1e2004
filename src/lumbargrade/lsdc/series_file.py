"""Files of a series in the store: ``<series>.npy`` with pixels, ``<series>.json`` with the rest.

The JSON file is written last, so a series is complete if its JSON file exists. A series that could
not be read has a JSON file with its problems, and no pixels.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.errors import BadStore, Problem
from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume, VolumeSlice
from lumbargrade.files.structures import parse_plain, structured
from lumbargrade.files.writing import atomic_path, write_text


@dataclass(frozen=True, slots=True)
class SeriesRecord:
    """The content of the JSON file of a series.

    Attributes:
        signature: of the source files; the series is read again when it changes.
        shape: (D, H, W) of the pixels, or None where there are none.
        digest: sha256 of the pixels in C order, empty where there are none.
        slices: one per index of the first axis.
        frame_of_reference: FrameOfReferenceUID, empty where unknown.
        problems: what was wrong with the files.
    """

    signature: str
    shape: tuple[int, int, int] | None
    digest: str = ""
    slices: tuple[VolumeSlice, ...] = ()
    frame_of_reference: str = ""
    problems: tuple[Problem, ...] = ()


def series_paths(store: Path, study_id: str, series_id: str) -> tuple[Path, Path]:
    """Return the (pixels, JSON) files of a series."""
    folder = store / "volumes" / study_id
    return folder / f"{series_id}.npy", folder / f"{series_id}.json"


def write_series(
    store: Path,
    study_id: str,
    series_id: str,
    *,
    signature: str,
    volume: Volume | None,
    problems: tuple[Problem, ...],
) -> SeriesRecord:
    """Write a series so that a reader sees all or nothing of it.

    Raises:
        OSError: if it cannot be written; then there is no JSON file.
    """
    pixel_file, json_file = series_paths(store, study_id, series_id)
    # an older JSON file must not describe newer pixels if we are killed between the two writes
    json_file.unlink(missing_ok=True)
    if volume is None:
        pixel_file.unlink(missing_ok=True)
        record = SeriesRecord(signature, None, problems=problems)
    else:
        pixels = np.ascontiguousarray(volume.pixels)
        with atomic_path(pixel_file) as temporary:
            _save_pixels(temporary, pixels)
        depth, height, width = pixels.shape
        record = SeriesRecord(
            signature,
            (depth, height, width),
            hashlib.sha256(pixels.data).hexdigest(),
            volume.slices,
            volume.frame_of_reference,
            problems,
        )
    write_text(json_file, _to_json(record))
    return record


def read_record(store: Path, study_id: str, series_id: str) -> SeriesRecord | None:
    """Read the JSON file of a series; None if it is absent or damaged, so that it is read again."""
    pixel_file, json_file = series_paths(store, study_id, series_id)
    try:
        record = _from_json(json_file.read_text(encoding="utf-8"), json_file)
    except (FileNotFoundError, UnicodeDecodeError, BadStore):
        return None
    if record.shape is not None and not _has_size(pixel_file, record.shape):
        return None
    return record


def load_volume(store: Path, study_id: str, series_id: str, kind: SeriesKind) -> Volume:
    """Load a series with memory-mapped pixels.

    Raises:
        BadStore: if its files are missing or damaged.
    """
    record = read_record(store, study_id, series_id)
    advice = "run `lumbargrade prepare` again"
    if record is None or record.shape is None:
        raise BadStore(f"{store}: series {series_id} of study {study_id} is missing; {advice}")
    pixel_file, _ = series_paths(store, study_id, series_id)
    try:
        pixels = np.load(pixel_file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise BadStore(f"{pixel_file} cannot be read ({error}); {advice}") from None
    if pixels.shape != record.shape or pixels.dtype != np.uint8:
        raise BadStore(f"{pixel_file} holds {pixels.dtype} {pixels.shape}; delete it and {advice}")
    return Volume(pixels, record.slices, study_id, series_id, kind, record.frame_of_reference)


def _save_pixels(path: Path, pixels: NDArray[np.uint8]) -> None:
    # np.save hides the cause of a failed write; writing the bytes here keeps errno (disk full)
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream, np.lib.format.header_data_from_array_1_0(pixels)
        )
        stream.write(pixels.data)


def _has_size(pixel_file: Path, shape: tuple[int, int, int]) -> bool:
    try:
        return pixel_file.stat().st_size > int(np.prod(shape))
    except FileNotFoundError:
        return False


_PLANE = tuple(f.name for f in fields(SlicePlane))


def _to_json(record: SeriesRecord) -> str:
    """Return the record as text; the keys of a plane are among those of its slice."""
    data = asdict(record)
    data["slices"] = [{**s.pop("plane"), **s} for s in data["slices"]]
    return json.dumps(data, separators=(",", ":"))


def _from_json(text: str, path: Path) -> SeriesRecord:
    """Read the record of a text; raise BadStore if it is damaged."""
    data = parse_plain(text, path, BadStore, json_text=True)
    try:
        data["slices"] = [{"plane": {k: s.pop(k) for k in _PLANE}, **s} for s in data["slices"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise BadStore(f"{path}: damaged: {error}") from None
    return structured(data, SeriesRecord, path, "series", BadStore)
