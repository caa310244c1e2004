"""Random changes of grey values: brightness, contrast, blur and noise."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from lumbargrade.config import AugmentConfig

Image = NDArray[np.uint8]

#: Odd kernel sizes of the three blurs, pixels.
KERNELS = (3, 5)

#: Range of the variance of the noise, grey values squared (of 0..255).
NOISE_VARIANCE = (10.0, 50.0)


class Filter(Protocol):
    """A blur or noise whose parameters have been drawn."""

    def apply(self, image: Image) -> None:
        """Change an image uint8 (D, h, w) in place."""


@dataclass(frozen=True)
class MotionBlur:
    """Mean along a line through each pixel: length in pixels, angle in radians."""

    size: int
    angle: float

    def kernel(self) -> NDArray[np.float32]:
        """Return a line through the middle of (size, size), with bilinear weights, sum 1.

        It is symmetric about its middle, so that it moves no point.
        """
        radius = self.size // 2
        steps = np.linspace(-radius, radius, 8 * self.size + 1)[:, None]
        along = steps * np.array([np.sin(self.angle), np.cos(self.angle)])
        grid = np.arange(-radius, radius + 1)
        near = np.maximum(0, 1 - np.abs(along[:, :, None] - grid))
        kernel = np.einsum("si,sj->ij", near[:, 0], near[:, 1])
        return np.asarray(kernel / kernel.sum(), np.float32)

    def apply(self, image: Image) -> None:
        kernel = self.kernel()
        for plane in image:
            cv2.filter2D(plane, -1, kernel, dst=plane)


@dataclass(frozen=True)
class MedianBlur:
    """Median of a square of this many pixels."""

    size: int

    def apply(self, image: Image) -> None:
        for plane in image:
            cv2.medianBlur(plane, self.size, dst=plane)


@dataclass(frozen=True)
class GaussianBlur:
    """Gaussian kernel of this many pixels; sigma follows from it as OpenCV does."""

    size: int

    def apply(self, image: Image) -> None:
        for plane in image:
            cv2.GaussianBlur(plane, (self.size, self.size), 0, dst=plane)


@dataclass(frozen=True)
class Noise:
    """Independent Gaussian noise of every pixel, grey values; fixed by its seed."""

    sigma: float
    seed: int

    def apply(self, image: Image) -> None:
        """Add rounded Gaussian noise in place, saturating at 0 and 255.

        Noise added to integers and rounded is rounded noise added to integers, so 16 random bits
        per pixel look up one of 65,536 equally likely rounded values (the quantiles of the
        distribution, out to 4.3 sigma). This costs a fifth of drawing floats.
        """
        bits = np.random.Generator(np.random.SFC64(self.seed))
        words = bits.integers(0, 2**64, size=-(-image.size // 4), dtype=np.uint64)
        index = words.view(np.uint16)[: image.size]
        values = np.take(np.rint(_quantiles() * self.sigma).astype(np.int16), index)
        flat = image.reshape(-1, image.shape[-1])
        cv2.add(flat, values.reshape(flat.shape), dst=flat, dtype=cv2.CV_8U)


@lru_cache(maxsize=1)
def _quantiles() -> NDArray[np.float64]:
    """Standard normal quantiles at the middles of 65,536 equal shares."""
    return np.asarray(ndtri((np.arange(65536) + 0.5) / 65536), np.float64)


@dataclass(frozen=True)
class IntensityDraw:
    """The change of grey values of a sample, the same for all its slices.

    Attributes:
        contrast: factor.
        brightness: added after the factor, as a share of 255.
        filter: one blur or noise, or None.
    """

    contrast: float = 1.0
    brightness: float = 0.0
    filter: Filter | None = None


def draw_intensity(rng: np.random.Generator, config: AugmentConfig) -> IntensityDraw:
    """Draw brightness, contrast, and one of three blurs or noise."""
    contrast, brightness = 1.0, 0.0
    if rng.random() < config.brightness_contrast:
        contrast += rng.uniform(-config.brightness_limit, config.brightness_limit)
        brightness += rng.uniform(-config.brightness_limit, config.brightness_limit)
    chosen = _draw_filter(rng) if rng.random() < config.blur_or_noise else None
    return IntensityDraw(float(contrast), float(brightness), chosen)


def _draw_filter(rng: np.random.Generator) -> Filter:
    kind, size = int(rng.integers(4)), int(rng.choice(KERNELS))
    if kind == 0:
        return MotionBlur(size, float(rng.uniform(0, np.pi)))
    if kind == 1:
        return MedianBlur(size)
    if kind == 2:
        return GaussianBlur(size)
    return Noise(float(np.sqrt(rng.uniform(*NOISE_VARIANCE))), int(rng.integers(2**63)))


def apply_intensity(draw: IntensityDraw, image: Image) -> None:
    """Change an image uint8 (D, h, w) in place; nothing else is random."""
    if draw.contrast != 1 or draw.brightness != 0:
        level = np.arange(256) * draw.contrast + 255 * draw.brightness
        table = np.clip(np.rint(level), 0, 255).astype(np.uint8)
        flat = image.reshape(-1, image.shape[-1])
        cv2.LUT(flat, table, dst=flat)
    if draw.filter is not None:
        draw.filter.apply(image)
