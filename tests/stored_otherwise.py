"""The same DICOM slices stored in another way: pixels turned, headers changed to match."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset


@dataclass(frozen=True)
class Way:
    """How a series is stored, from how it is: transposed, then columns and rows reversed."""

    transpose: bool = False
    columns: bool = False
    rows: bool = False
    numbers: bool = False
    """whether the instance numbers run the other way"""

    @property
    def mirrored(self) -> bool:
        """Whether the slices then face the other way, so that readers order them so."""
        return (self.transpose + self.columns + self.rows) % 2 == 1


#: Eight ways in the plane, half of which face the other way; each numbered in either direction.
WAYS = tuple(Way(*each) for each in product((False, True), repeat=4))


def decimal(value: float) -> str:
    """A DICOM decimal string of at most 16 characters."""
    return f"{value:.12f}"[:16]


def stored(data: FileDataset, way: Way) -> FileDataset:
    """One slice stored in another way; where its pixels lie in the patient stays."""
    data = copy.deepcopy(data)
    pixels = data.pixel_array
    axes = np.array(data.ImageOrientationPatient, float)
    row, column = axes[:3], axes[3:]
    position = np.array(data.ImagePositionPatient, float)
    dy, dx = (float(v) for v in data.PixelSpacing)
    if way.transpose:
        pixels, row, column, dy, dx = pixels.T, column, row, dx, dy
    if way.columns:
        position, row = position + row * dx * (pixels.shape[1] - 1), -row
        pixels = pixels[:, ::-1]
    if way.rows:
        position, column = position + column * dy * (pixels.shape[0] - 1), -column
        pixels = pixels[::-1]
    data.Rows, data.Columns = pixels.shape
    data.PixelData = np.ascontiguousarray(pixels).tobytes()
    data["PixelData"].VR = "OW"
    data.ImageOrientationPatient = [decimal(v) for v in (*row, *column)]
    data.ImagePositionPatient = [decimal(v) for v in position]
    data.PixelSpacing = [decimal(dy), decimal(dx)]
    return data


def write_study(
    folder: Path,
    series: Mapping[str, list[FileDataset]],
    ways: Mapping[str, Way],
    *,
    shuffle: int | None = None,
) -> Path:
    """Write a study's series, each stored in a way of its own.

    Args:
        folder: of the study.
        series: name -> slices; in the order of their instance numbers.
        ways: name -> how it is stored; as it is where nothing is said.
        shuffle: None names files by instance number in a folder per series (the LSDC layout);
            a seed puts all of them in one folder, in an order drawn from it.
    """
    files = []
    for name, slices in series.items():
        way = ways.get(name, Way())
        count = len(slices)
        for i, one in enumerate(slices, start=1):
            data = stored(one, way)
            data.InstanceNumber = count + 1 - i if way.numbers else i
            files.append((name, data))
    numbers = np.arange(len(files))
    if shuffle is not None:
        numbers = np.random.default_rng(shuffle).permutation(numbers)
    for number, (name, data) in zip(numbers.tolist(), files, strict=True):
        path = folder / f"IM{number:04d}" if shuffle is not None else folder / name
        if shuffle is None:
            path = path / f"{data.InstanceNumber}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        data.save_as(path, enforce_file_format=True)
    return folder


def read_series_files(folder: Path) -> list[FileDataset]:
    """All slices of a folder, uncompressed, by instance number."""
    found = [pydicom.dcmread(p) for p in folder.glob("*.dcm")]
    for data in found:
        if data.file_meta.TransferSyntaxUID.is_compressed:
            data.decompress()
    return sorted(found, key=lambda d: int(d.InstanceNumber))
