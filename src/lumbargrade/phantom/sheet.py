"""A picture of samples of the training stream, with their labels."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.outlines import AXIAL_STRUCTURES, Structure
from lumbargrade.files.writing import atomic_path
from lumbargrade.phantom.stream import OUTSIDE, axial_sample, sagittal_sample

#: Samples of each view on a sheet.
SAMPLES = 6
#: Colour (blue, green, red) of each structure.
COLOURS: dict[Structure, tuple[int, int, int]] = {
    Structure.BODY: (230, 160, 60),
    Structure.SACRUM: (200, 90, 170),
    Structure.DISC: (90, 200, 90),
    Structure.SAC: (60, 210, 240),
    Structure.FORAMEN: (70, 80, 240),
    Structure.FACET: (200, 200, 120),
}
_SIDE = 240


def sheet(seed: int, first: int) -> NDArray[np.uint8]:
    """Draw sagittal samples, axial samples, and the labels of each below it.

    Args:
        seed: of the stream.
        first: number of the first sample of each view.

    Returns:
        Blue, green and red, uint8 (height, width, 3).
    """
    sagittal, axial = [], []
    for number in range(first, first + SAMPLES):
        s = sagittal_sample(seed, number)
        middle = len(s.images) // 2
        sagittal.append((s.images[middle], s.structures[middle]))
        a = axial_sample(seed, number)
        axial.append((a.image, np.array(AXIAL_STRUCTURES, np.uint8)[a.structures]))
    rows = [
        np.hstack([_enlarged(tile(image, labels)) for image, labels in samples])
        for samples in (sagittal, axial)
        for tile in (_grey, labelled)
    ]
    return np.asarray(np.vstack(rows), np.uint8)


def write_sheet(path: Path, seed: int, first: int) -> None:
    """Write a sheet of samples as PNG or JPEG.

    Raises:
        UsageError: if the name of the file ends in neither .png nor .jpg.
    """
    if path.suffix not in (".png", ".jpg"):
        raise UsageError(f"--sheet {path}: the name must end in .png or .jpg")
    _, encoded = cv2.imencode(path.suffix, sheet(seed, first))
    with atomic_path(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def labelled(image: NDArray[np.uint8], structures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Colour the structures of a grey image (H, W); outside the field it is black, (H, W, 3)."""
    colours = np.full((OUTSIDE + 1, 3), 255, np.uint8)
    for structure, colour in COLOURS.items():
        colours[structure] = colour
    drawn = _grey(image, structures).astype(np.float32)
    mixed = np.where(
        np.isin(structures, list(COLOURS))[..., None],
        0.5 * drawn + 0.5 * colours[structures],
        drawn,
    )
    return np.asarray(np.rint(mixed), np.uint8)


def _grey(image: NDArray[np.uint8], structures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(image[..., None], 3, axis=2)


def _enlarged(tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height = round(tile.shape[0] * _SIDE / tile.shape[1])
    return np.asarray(cv2.resize(tile, (_SIDE, height), interpolation=cv2.INTER_LINEAR), np.uint8)
