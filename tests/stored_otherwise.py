"""The same DICOM slices stored in another way: pixels turned, headers changed to match."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset

from lumbargrade.dicom.variants import Way, load, turn


def stored(data: FileDataset, way: Way) -> FileDataset:
    """A copy of one slice stored in another way; where its pixels lie in the patient stays."""
    data = copy.deepcopy(data)
    turn(data, way)
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
    found = [load(p) for p in folder.glob("*.dcm")]
    return sorted(found, key=lambda d: int(d.InstanceNumber))
