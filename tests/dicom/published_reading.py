"""The published reading rules, literally: what reading a series in the LSDC layout must equal.

Written from the specification and what the published code does, slowly and without any of the
project's code, so that tests can compare with it. It reads folders of undamaged files only, whose
names are numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from numpy.typing import NDArray


@dataclass(frozen=True)
class PublishedSeries:
    """A volume, uint8 (D, H, W), with the file number and the group of every slice."""

    pixels: NDArray[np.uint8]
    numbers: list[int]
    groups: list[int]


def read_published(folder: Path, plane: str) -> PublishedSeries:
    """Read a folder; ``plane`` is "sagittal" or "axial".

    Raises:
        ValueError: if two groups have the same position, which the published code cannot sort.
    """
    table = _table(folder)
    rows, columns = np.max([image.shape for image in table["image"]], axis=0)
    coordinate = 0 if plane == "sagittal" else 2
    groups = {}
    for _, group in table.groupby("axes"):
        leading = group["position"].iloc[0][coordinate]
        if leading in groups:
            raise ValueError("two groups at one position")
        ordered = group.sort_values("projection", kind="stable")
        groups[leading] = (ordered["number"].tolist(), _to_8bit(ordered["image"], rows, columns))
    parts = [groups[position] for position in sorted(groups)]
    return PublishedSeries(
        pixels=np.concatenate([pixels for _, pixels in parts]),
        numbers=[n for numbers, _ in parts for n in numbers],
        groups=[i for i, (numbers, _) in enumerate(parts) for _ in numbers],
    )


def _table(folder: Path) -> pd.DataFrame:
    """A row per file, in the order of the numbers that are the files' names."""
    rows = []
    for file in sorted(folder.glob("*.dcm"), key=lambda f: int(f.stem)):
        data = pydicom.dcmread(file)
        axes = np.array([float(v) for v in data.ImageOrientationPatient])
        position = np.array([float(v) for v in data.ImagePositionPatient])
        rows.append(
            {
                "number": int(file.stem),
                "axes": str([round(float(v), 3) for v in data.ImageOrientationPatient]),
                "position": position,
                "projection": float(np.sum(np.cross(axes[:3], axes[3:]) * position)),
                "image": data.pixel_array,
            }
        )
    return pd.DataFrame(rows)


def _to_8bit(images: pd.Series, rows: int, columns: int) -> NDArray[np.uint8]:
    """Pad to the full size by reflection, clip to the percentiles of all that, scale, truncate."""
    padded = [
        np.pad(i, [(0, rows - i.shape[0]), (0, columns - i.shape[1])], mode="reflect")
        for i in images
    ]
    values = np.stack(padded)
    low, high = np.percentile(values, (0.1, 99.9))
    values = np.clip(values, low, high)
    values = values - values.min()
    with np.errstate(invalid="ignore"):  # images of one value: 0 / 0, which becomes 0
        return np.asarray((values / values.max() * 255).astype(np.uint8))
