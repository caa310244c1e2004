"""Render an anatomy as a scanner would: contrast, blur, coil sensitivity, noise, matrix size.

`Contrast` is the brightness of each tissue, `Faults` the effects of the scanner. Both can be given,
or sampled for a kind of series, so the same anatomy can be rendered in any contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.phantom.anatomy import L1, SACRUM, Anatomy
from lumbargrade.phantom.paint import paint
from lumbargrade.phantom.tissue import Image, Tissue

T1 = {
    Tissue.FAT: 0.95, Tissue.MUSCLE: 0.27, Tissue.MARROW: 0.52, Tissue.CORTEX: 0.06,
    Tissue.ANNULUS: 0.24, Tissue.NUCLEUS: 0.30, Tissue.LIGAMENT: 0.13, Tissue.CSF: 0.15,
    Tissue.ROOT: 0.27, Tissue.CORD: 0.34, Tissue.EPIDURAL_FAT: 0.9, Tissue.JOINT: 0.2,
    Tissue.VESSEL: 0.07, Tissue.BOWEL: 0.28, Tissue.KIDNEY: 0.33, Tissue.SKIN: 0.4,
}  # fmt: skip
T2 = {
    Tissue.FAT: 0.72, Tissue.MUSCLE: 0.16, Tissue.MARROW: 0.36, Tissue.CORTEX: 0.05,
    Tissue.ANNULUS: 0.13, Tissue.NUCLEUS: 0.52, Tissue.LIGAMENT: 0.08, Tissue.CSF: 0.95,
    Tissue.ROOT: 0.30, Tissue.CORD: 0.34, Tissue.EPIDURAL_FAT: 0.66, Tissue.JOINT: 0.5,
    Tissue.VESSEL: 0.06, Tissue.BOWEL: 0.28, Tissue.KIDNEY: 0.5, Tissue.SKIN: 0.3,
}  # fmt: skip
STIR = {
    Tissue.FAT: 0.09, Tissue.MUSCLE: 0.20, Tissue.MARROW: 0.15, Tissue.CORTEX: 0.04,
    Tissue.ANNULUS: 0.10, Tissue.NUCLEUS: 0.45, Tissue.LIGAMENT: 0.07, Tissue.CSF: 0.95,
    Tissue.ROOT: 0.32, Tissue.CORD: 0.38, Tissue.EPIDURAL_FAT: 0.10, Tissue.JOINT: 0.55,
    Tissue.VESSEL: 0.10, Tissue.BOWEL: 0.3, Tissue.KIDNEY: 0.6, Tissue.SKIN: 0.2,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contrast:
    """Brightness of each tissue, 0 to about 1; ``values`` is indexed by `Tissue`."""

    name: str
    values: Image


@dataclass(frozen=True, slots=True)
class Faults:
    """Effects of the scanner.

    Attributes:
        noise: standard deviation of the complex noise, as a share of the brightest tissue.
        blur: in-plane blur, pixels of the acquired matrix.
        coil_depth: decay length of the signal with distance from the surface coil, mm.
        coil_floor: share of the signal that remains far from the coil.
        shading: strength of a slow random variation of brightness.
        marrow_noise: strength of the fine texture of tissue.
        front: share of the signal in front of the spine, which a saturation band lowers.
        gain: stored value of brightness 1.
    """

    noise: float
    blur: float
    coil_depth: float
    coil_floor: float
    shading: float
    marrow_noise: float
    front: float
    gain: float


def contrast_values(table: dict[Tissue, float]) -> Image:
    """A table of brightness as an array; missing tissues are black."""
    return np.array([table.get(t, 0.0) for t in Tissue], np.float32)


def sample_contrast(rng: np.random.Generator, kind: SeriesKind) -> Contrast:
    """Sample the contrast of a kind of series; 35 % of sagittal T2 series are fat-suppressed."""
    if kind is SeriesKind.SAGITTAL_T1:
        name, table = "T1", T1
    elif kind is SeriesKind.SAGITTAL_T2 and rng.random() < 0.35:
        name, table = "STIR", STIR
    else:
        name, table = "T2", T2
    values = contrast_values(table) * np.exp(rng.normal(0, 0.1, len(Tissue)))
    floor = rng.uniform(0, 0.03)
    values[Tissue.AIR] = 0
    return Contrast(name, (values + floor * (values > 0)).astype(np.float32))


def sample_faults(rng: np.random.Generator, kind: SeriesKind) -> Faults:
    """Sample the faults of a kind of series."""
    return Faults(
        noise=float(rng.uniform(0.008, 0.035)),
        blur=float(rng.uniform(0.4, 0.8)),
        coil_depth=float(rng.uniform(60, 160)),
        coil_floor=float(rng.uniform(0.25, 0.7)),
        shading=float(rng.uniform(0.02, 0.12)),
        marrow_noise=float(rng.uniform(0.02, 0.07)),
        front=float(rng.uniform(0.1, 0.5) if kind.sagittal and rng.random() < 0.7 else 1.0),
        gain=float(rng.uniform(450, 1400)) * (1.4 if kind is SeriesKind.SAGITTAL_T1 else 1.0),
    )


def acquire(
    anatomy: Anatomy,
    plane: SlicePlane,
    shape: tuple[int, int],
    contrast: Contrast,
    faults: Faults,
    rng: np.random.Generator,
    *,
    pixel: float = 1.1,
) -> Image:
    """Render one slice as acquired and stored, float32 of ``shape``, 0 to 4095.

    Args:
        anatomy: the patient.
        plane: the slice as stored.
        shape: (rows, columns) as stored.
        contrast: brightness of the tissues.
        faults: effects of the scanner.
        rng: for noise and texture.
        pixel: mm of a pixel of the acquired matrix, from which the stored one is interpolated.
    """
    coarse, small = acquired_matrix(plane, shape, pixel)
    image = paint(anatomy, coarse, small, contrast.values).image
    grain = rng.standard_normal((2, *small), np.float32)
    image *= 1 + np.float32(faults.marrow_noise) * grain[0, ::-1]
    image = np.asarray(cv2.GaussianBlur(image, (0, 0), faults.blur), np.float32)
    image *= _sensitivity(anatomy, coarse, small, faults, rng)
    grain *= np.float32(faults.noise)
    image += grain[0]
    # cv2.magnitude is faster, but its last bit depends on the memory address of the array.
    image = np.sqrt(image * image + grain[1] * grain[1])
    stored = interpolated(image, coarse.spacing[1] / plane.spacing[1], shape)
    return np.asarray(np.clip(stored * faults.gain, 0, 4095), np.float32)


def acquired_matrix(
    plane: SlicePlane, shape: tuple[int, int], pixel: float
) -> tuple[SlicePlane, tuple[int, int]]:
    """Return the plane and shape of the matrix with pixels of ``pixel`` mm behind a stored one."""
    step = max(pixel / min(plane.spacing), 1.0)
    small = (int(np.ceil(shape[0] / step)) + 1, int(np.ceil(shape[1] / step)) + 1)
    dy, dx = plane.spacing
    return SlicePlane(plane.position, plane.row, plane.column, (dy * step, dx * step)), small


def interpolated(image: Image, step: float, shape: tuple[int, int]) -> Image:
    """Interpolate an image of the acquired matrix to ``shape``; its pixels are ``step`` larger."""
    matrix = np.array([[1 / step, 0, 0], [0, 1 / step, 0]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    stored = cv2.warpAffine(
        image, matrix, (shape[1], shape[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(stored, np.float32)


def _sensitivity(
    anatomy: Anatomy,
    plane: SlicePlane,
    shape: tuple[int, int],
    faults: Faults,
    rng: np.random.Generator,
) -> Image:
    """Sensitivity of the surface coil times a slow random field, enlarged from a coarse grid."""
    rows, columns = np.mgrid[0 : shape[0] : 9j, 0 : shape[1] : 9j]
    points = plane.to_patient(np.stack([columns, rows], -1))
    ys = np.array([b.wall[1] for b in anatomy.bodies[L1 : SACRUM + 1]])
    depth = ys.mean() + anatomy.back - points[..., 1]
    coil = faults.coil_floor + (1 - faults.coil_floor) * np.exp(
        -np.clip(depth - 25, 0, None) / faults.coil_depth
    )
    before = np.clip((depth - anatomy.back - 55) / 25, 0, 1)
    coil *= 1 - (1 - faults.front) * before
    slow = 1 + faults.shading * cv2.GaussianBlur(rng.standard_normal((9, 9)), (0, 0), 1.5) * 3
    field = (coil / coil.max() * 1.25 * slow).astype(np.float32)
    return np.asarray(cv2.resize(field, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
