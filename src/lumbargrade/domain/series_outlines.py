"""What is outlined in the slices of a series, on the grid where a network saw it and natively."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.outlines import Structure
from lumbargrade.domain.volume import Volume


@dataclass(frozen=True, eq=False, slots=True)
class SeriesOutlines:
    """The structures in some slices of a series.

    Attributes:
        series_id: the series.
        structures: what is outlined, in the order of the second axis; the first is `OTHER`.
        zs: (K,) index of each outlined slice in the volume; a slice may be there several times.
        probabilities: uint8 (K, P, h, w) on a grid, times 255.
        to_native: (K, 3, 3) affine maps from grid pixels (x, y) to native pixels of the slice.
    """

    series_id: str
    structures: Sequence[Structure]
    zs: NDArray[np.intp]
    probabilities: NDArray[np.uint8]
    to_native: FloatArray

    @property
    def outlined(self) -> list[int]:
        """The slices that are outlined, in ascending order."""
        return [int(z) for z in np.unique(self.zs)]

    def label_map(self, volume: Volume, z: int) -> NDArray[np.uint8]:
        """Return the most probable `Structure` of each pixel of a slice, uint8 (H, W).

        H and W are those of the slice's image. Pixels that no grid covers are `OTHER`. Where
        several grids cover a pixel, the one that is surest of a structure counts.

        Args:
            volume: the series.
            z: index of the slice.
        """
        height, width = volume.slices[z].shape
        best = np.zeros((height, width), np.uint8)
        labels = np.full((height, width), Structure.OTHER, np.uint8)
        for k in np.flatnonzero(self.zs == z):
            shares = np.stack(
                [
                    cv2.warpAffine(
                        share,
                        self.to_native[k, :2],
                        (width, height),
                        flags=cv2.INTER_LINEAR,
                        borderMode=cv2.BORDER_CONSTANT,
                        borderValue=255.0 if structure is Structure.OTHER else 0.0,
                    )
                    for structure, share in zip(self.structures, self.probabilities[k], strict=True)
                ]
            )
            winner = shares.argmax(axis=0)
            height_of_winner = shares.max(axis=0)
            found = np.array(self.structures, np.uint8)[winner]
            better = (found != Structure.OTHER) & (height_of_winner > best)
            labels[better], best[better] = found[better], height_of_winner[better]
        return labels
