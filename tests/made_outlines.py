"""Outlines of known geometry made up for tests: a sagittal and an axial slice of a spine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.path import Path
from numpy.typing import ArrayLike, NDArray

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.outlines import Segment, Structure
from lumbargrade.domain.vocabulary import Level, SeriesKind, Side
from lumbargrade.starter.bodies import Landmarks
from lumbargrade.starter.outlined import Outlined

Array = NDArray[np.float64]

#: Pixels are divided into this many parts along each side, to draw soft edges.
_FINE = 6


def drawn(polygons: list[Array], shape: tuple[int, int], mm: float) -> Array:
    """The share of each pixel that the polygons (P, 2), mm, cover."""
    fine = np.zeros((shape[0] * _FINE, shape[1] * _FINE), bool)
    for polygon in polygons:
        at = (np.asarray(polygon) / mm + 0.5) * _FINE - 0.5
        low = np.maximum(np.floor(at.min(0)).astype(int), 0)
        high = np.minimum(np.ceil(at.max(0)).astype(int) + 1, fine.shape[::-1])
        if (high <= low).any():
            continue
        x, y = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
        inside = Path(at).contains_points(np.column_stack([x.ravel(), y.ravel()]))
        fine[low[1] : high[1], low[0] : high[0]] |= inside.reshape(x.shape)
    return fine.reshape(shape[0], _FINE, shape[1], _FINE).mean(axis=(1, 3))


def turn(degrees: float) -> Array:
    """A rotation in the slice."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


@dataclass(frozen=True)
class Spine:
    """A sagittal slice of a spine from T12/L1 to S1.

    Attributes:
        heights: front, back height of the six discs, T12/L1 to L5/S1, mm.
        slips: how far the body above each disc lies in front, mm.
        body: depth and height of the bodies, mm.
        sac: antero-posterior diameter of the sac, mm.
        angle: turn of the whole slice, degrees.
        shift: of the whole slice, mm.
        mm: side of a pixel.
    """

    heights: tuple[tuple[float, float], ...] = ((8.0, 6.0),) * 6
    slips: tuple[float, ...] = (0.0,) * 6
    body: tuple[float, float] = (34.0, 26.0)
    sac: float = 13.0
    angle: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    mm: float = 1.5
    size: int = 192
    foramen: tuple[float, float] = (5.0, 9.0)

    def polygons(self) -> tuple[list[Array], list[Array], Array]:
        """Seven bodies T12 to S1 and six discs, (4, 2) each from front top on; and the sac."""
        depth, height = self.body
        bodies, discs = [], []
        front, across = np.array([0.0, 0.0]), np.array([1.0, 0.0])
        for i in range(7):
            feet = np.array([-across[1], across[0]])
            body = np.array(
                [
                    front,
                    front + depth * across,
                    front + depth * across + height * feet,
                    front + height * feet,
                ]
            )
            bodies.append(body)
            if i == 6:
                break
            fore, rear = self.heights[i]
            # the lower endplate is turned so that its ends are fore and rear below the upper one
            angle = np.degrees(np.arcsin((rear - fore) / depth))
            bottom = body[3] + (fore + rear) / 2 * feet + depth / 2 * across
            across = turn(angle) @ across
            low = bottom - depth / 2 * across
            discs.append(np.array([body[3], body[2], low + depth * across, low]))
            front = low + self.slips[i] * across
        back = np.array([np.mean(b[1:3], axis=0) for b in bodies])
        feet = np.gradient(back, axis=0)
        feet /= np.linalg.norm(feet, axis=1)[:, None]
        rear = np.column_stack([feet[:, 1], -feet[:, 0]])
        sac = np.concatenate([back + 3 * rear, (back + (3 + self.sac) * rear)[::-1]])
        every = np.concatenate([*bodies, sac])
        centre = (every.min(0) + every.max(0)) / 2
        middle = self.mm * (self.size - 1) / 2

        def placed(points: Array) -> Array:
            return (points - centre) @ turn(self.angle).T + middle + np.array(self.shift)

        return [placed(b) for b in bodies], [placed(d) for d in discs], placed(sac)

    def outlined(self, plane: SlicePlane | None = None, image: bool = True) -> Outlined:
        bodies, discs, sac = self.polygons()
        shape = (self.size, self.size)
        masks = {
            Structure.BODY: drawn(bodies[:6], shape, self.mm),
            Structure.SACRUM: drawn(bodies[6:], shape, self.mm),
            Structure.DISC: drawn(discs, shape, self.mm),
            Structure.SAC: drawn([sac], shape, self.mm),
            Structure.FORAMEN: drawn([self.hole(level) for level in range(5)], shape, self.mm),
        }
        grey = 0.8 * masks[Structure.SAC] + 0.2 * masks[Structure.DISC]
        grey += 0.4 * (masks[Structure.BODY] + masks[Structure.SACRUM])
        return Outlined(
            masks,
            plane or sagittal_plane(self.mm),
            SeriesKind.SAGITTAL_T2,
            "7",
            3,
            np.ones(shape, bool),
            grey if image else None,
        )

    def hole(self, level: int) -> Array:
        """An ellipse (P, 2) behind the sac, standing along the spine as a foramen does."""
        _, discs, _ = self.polygons()
        centres = np.array([d.mean(axis=0) for d in discs])
        feet = centres[min(level + 2, 5)] - centres[level]
        feet /= np.linalg.norm(feet)
        rear = np.array([feet[1], -feet[0]])
        centre = discs[level + 1].mean(axis=0) + 45 * rear
        t = np.linspace(0, 2 * np.pi, 200)[:-1, None]
        a, b = self.foramen
        return centre + a * np.cos(t) * rear + b * np.sin(t) * feet

    def landmarks(self, at: Outlined, off: ArrayLike = (0.0, 0.0)) -> Landmarks:
        """The landmarks as a network would find them, ``off`` mm beside the truth."""
        _, discs, _ = self.polygons()
        segments = [Segment(Segment.T12_L1 + i) for i in range(6)]
        centres = {s: d.mean(axis=0) for s, d in zip(segments, discs, strict=True)}
        canals = {}
        for i, level in enumerate(Level):
            d = discs[i + 1]
            rear = d[1] + d[2] - d[0] - d[3]
            canals[level] = d[1:3].mean(0) + rear / np.linalg.norm(rear) * (3 + self.sac / 2)

        def lps(point: Array) -> tuple[float, float, float]:
            return at.to_patient([point + np.asarray(off)])[0]

        return Landmarks(
            {s: lps(c) for s, c in centres.items()},
            {level: lps(c) for level, c in canals.items()},
            {
                (level, side): lps(self.hole(i).mean(0))
                for i, level in enumerate(Level)
                for side in Side
            },
        )


def sagittal_plane(mm: float, x: float = 0.0) -> SlicePlane:
    """An upright sagittal plane: columns to the back, rows to the feet."""
    return SlicePlane((x, -120.0, 130.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (mm, mm))
