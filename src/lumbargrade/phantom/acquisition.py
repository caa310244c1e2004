"""Faults and settings of scanners as the training stream draws them, applied to painted planes.

`randomisation.toml` has the ranges with their reasons. Everything that a whole series shares is
drawn once (`draw_series`); noise and texture are drawn for each slice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from lumbargrade.phantom.ranges import Draws
from lumbargrade.phantom.render import STIR, T1, T2, contrast_values
from lumbargrade.phantom.tissue import Image, Tissue

#: Tissues whose signal is wholly or partly fat, with their share of it.
_FATTY = {
    Tissue.FAT: 1.0,
    Tissue.EPIDURAL_FAT: 1.0,
    Tissue.MARROW: 0.5,
    Tissue.SKIN: 0.3,
}


@dataclass(frozen=True, slots=True)
class Look:
    """What the slices of one series have in common.

    Attributes:
        values: brightness per `Tissue`.
        fat: brightness of the fat in each tissue, if fat is shifted against water.
        shift: that shift along the rows, pixels.
        blur: point spread, pixels.
        step: coarseness of the matrix, stored pixels.
        noise, texture: of additive noise and of tissue texture.
        shading: smooth field of the coils and the saturation band, (H, W).
        ghost: strength and distance (pixels) of a ghost, and its axis; strength 0 for none.
        wrap: pixels that wrap around along the rows of the image.
        gamma, clip: of the stored values.
        warp: maps for `cv2.remap`, or None.
    """

    values: Image
    blur: float
    step: float
    noise: float
    texture: float
    shading: Image
    gamma: float
    clip: tuple[float, float]
    fat: Image | None = None
    shift: float = 0.0
    ghost: tuple[float, int, int] = (0.0, 0, 0)
    wrap: int = 0
    warp: tuple[Image, Image] | None = field(default=None, repr=False)


_ORDERINGS = {"t1": T1, "t2": T2, "stir": STIR}


def draw_values(draws: Draws, ordering: str | None = None) -> Image:
    """Draw the brightness of the tissues: T1-, T2-, STIR-like, or any ordering.

    Args:
        draws: of the part ``image``.
        ordering: ``t1``, ``t2``, ``stir`` or ``any``; None draws it.
    """
    rng = draws.rng
    if ordering is None:
        u = rng.random()
        ordering = next((n for n in _ORDERINGS if u < draws.table[n].high), "any")
    if ordering in _ORDERINGS:
        values = contrast_values(_ORDERINGS[ordering])
    else:
        values = rng.uniform(0.02, 1.0, len(Tissue)).astype(np.float32)
        values[Tissue.EPIDURAL_FAT] = values[Tissue.FAT] * rng.uniform(0.8, 1.1)
    values = values * np.exp(rng.normal(0, draws.number("tissue_jitter"), len(Tissue)))
    values = np.where(values > 0, values + rng.uniform(0, 0.04), 0)
    values[Tissue.AIR] = rng.uniform(0, 0.01)
    return np.asarray(values, np.float32)


def draw_series(
    draws: Draws,
    shape: tuple[int, int],
    depth: Image,
    height: Image,
    front: Image,
    pixel: float,
    ordering: str | None = None,
) -> Look:
    """Draw what the slices of a series share.

    Args:
        draws: of the part ``image``.
        shape: (H, W).
        depth: mm in front of the skin of the back, (H, W).
        height: mm above the middle of the field, (H, W).
        front: mm in front of the spine, (H, W).
        pixel: mm.
        ordering: of the tissues' brightness, see `draw_values`.
    """
    rng = draws.rng
    shading = _shading(draws, depth, height, front)
    values = draw_values(draws, ordering)
    fat = None
    if draws.happens("chemical_chance"):
        fat = np.array([values[t] * _FATTY.get(t, 0) for t in Tissue], np.float32)
    ghost = (0.0, 0, 0)
    if draws.happens("ghost_chance"):
        ghost = (draws.number("ghost"), int(rng.integers(8, 60)), int(rng.integers(2)))
    warp = None
    size = draws.number("elastic") / pixel
    if size > 0.5:
        warp = _warp(rng, shape, size)
    gamma = draws.table["gamma"]
    return Look(
        values=values,
        fat=fat,
        shift=draws.number("chemical") / pixel,
        blur=draws.number("blur"),
        step=draws.number("low_matrix") if rng.random() < 0.5 else 1.0,
        noise=draws.table["noise"].high * rng.random() ** 2,
        texture=draws.number("texture"),
        shading=shading,
        ghost=ghost,
        wrap=int(rng.integers(8, 40)) if draws.happens("wrap_chance") else 0,
        gamma=float(np.exp(rng.uniform(np.log(gamma.low), np.log(gamma.high)))),
        clip=(draws.number("clip_low"), draws.number("clip_high")),
        warp=warp,
    )


def _shading(draws: Draws, depth: Image, height: Image, front: Image) -> Image:
    coil = np.exp(-np.clip(depth, 0, None) / draws.number("coil_depth"))
    along = (height - draws.number("coil_centre")) / draws.number("coil_length")
    coil = coil * np.exp(-(along**2))
    coil = draws.number("coil_floor") + coil
    if draws.happens("saturation_chance"):
        edge = draws.rng.uniform(4, 30)
        coil = coil * (1 - (1 - draws.number("saturation")) * np.clip((front - edge) / 12, 0, 1))
    slow = cv2.resize(
        draws.rng.standard_normal((5, 5)).astype(np.float32),
        coil.shape[::-1],
        interpolation=cv2.INTER_CUBIC,
    )
    return np.asarray(coil / coil.max() * (1 + 0.1 * slow), np.float32)


def _warp(rng: np.random.Generator, shape: tuple[int, int], size: float) -> tuple[Image, Image]:
    coarse = rng.standard_normal((2, 7, 6)).astype(np.float32) * np.float32(size / 1.5)
    dx, dy = (cv2.resize(c, shape[::-1], interpolation=cv2.INTER_CUBIC) for c in coarse)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    return np.asarray(x + dx), np.asarray(y + dy)


def acquire_slice(
    look: Look, image: Image, fat: Image | None, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Turn a painted plane (H, W) into what the scanner would store, before it is scaled.

    Args:
        look: what the series shares.
        image: the painted plane, in the warped frame.
        fat: the fat in it, if fat is shifted against water.
        rng: of noise and texture.
    """
    shape = image.shape
    if fat is not None:
        move = np.array([[1, 0, look.shift], [0, 1, 0]], np.float32)
        moved = cv2.warpAffine(fat, move, shape[::-1], borderMode=cv2.BORDER_REPLICATE)
        image = image - fat + moved
    grain = rng.standard_normal((3, *shape), np.float32)
    texture = cv2.GaussianBlur(grain[0], (0, 0), 0.8)
    image = image * (1 + np.float32(1.6 * look.texture) * texture)
    image = cv2.GaussianBlur(image, (0, 0), look.blur)
    image = image * look.shading
    strength, distance, axis = look.ghost
    if strength:
        image = image + np.float32(strength) * np.roll(image, distance, axis)
    if look.wrap:
        image = image.copy()
        image[:, : look.wrap] += image[:, -look.wrap :]
    top = np.float32(np.percentile(image[::4, ::4], 99))
    noise = grain[1:] * (np.float32(look.noise) * top)
    image = np.sqrt((image + noise[0]) ** 2 + noise[1] ** 2)
    if look.step > 1:
        small = (int(shape[1] / look.step), int(shape[0] / look.step))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(image, np.float32)


def store(look: Look, images: Image, inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Scale the slices of a series (D, H, W) to uint8; pixels that are not ``inside`` are 0."""
    scaled = stored_share(look, images, images[:, inside][:, ::3])
    return np.asarray(np.where(inside, np.rint(scaled * 255), 0), np.uint8)


def stored_share(look: Look, images: Image, known: Image) -> Image:
    """Scale images to 0..1 between percentiles of the ``known`` pixels, with a gamma."""
    low, high = np.percentile(known, look.clip)
    return np.asarray(np.clip((images - low) / max(high - low, 1e-6), 0, 1) ** look.gamma)
