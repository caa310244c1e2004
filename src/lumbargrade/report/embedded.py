"""Images of a study inside its page: upright slices as JPEG, within a budget of bytes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.upright import Upright, pose_of
from lumbargrade.domain.volume import Volume

#: Largest size of a page, and of its images in base64, bytes. The rest is for findings, outlines
#: and the viewer.
MOST_BYTES, IMAGE_BYTES = 8_000_000, 6_800_000

#: Ways to store slices, best first: longest side in pixels, and JPEG quality. The first one is used
#: whose bytes fit.
_WAYS = ((768, 92), (640, 85), (512, 80), (384, 75), (256, 70), (192, 60), (128, 50))


@dataclass(frozen=True, eq=False)
class Shown:
    """A series as the page shows it.

    Attributes:
        volume: the upright volume.
        upright: its turns from the stored volume.
        stored: the volume as stored.
    """

    volume: Volume
    upright: Upright
    stored: Volume

    @classmethod
    def of(cls, volume: Volume) -> Shown:
        upright = Upright.of(volume, pose_of(volume.kind))
        return cls(upright.volume(volume), upright, volume)

    def place(self, z: int) -> int:
        """Return the upright place of a stored slice."""
        return int(np.flatnonzero(self.upright.maps.zs == z)[0])


@dataclass(frozen=True)
class Embedded:
    """The images of a page.

    Attributes:
        blocks: per series, a JPEG in base64 per line; empty for series that found no room.
        side: longest side of the stored slices, pixels; smaller slices keep their size.
        quality: JPEG quality.
        reduced: whether any slice is larger than ``side``.
    """

    blocks: tuple[str, ...]
    side: int
    quality: int
    reduced: bool


def embed(series: Sequence[Shown], most: int = IMAGE_BYTES) -> Embedded:
    """Store the slices of all series as well as fits into ``most`` bytes.

    If even the smallest images do not fit, the last series are left out.
    """
    largest = max((max(s.shape) for one in series for s in one.volume.slices), default=0)
    for side, quality in _WAYS:
        blocks = [_block(one.volume, side, quality) for one in series]
        if sum(map(len, blocks)) <= most:
            return Embedded(tuple(blocks), side, quality, largest > side)
    side, quality = _WAYS[-1]
    room, kept = most, []
    for block in blocks:
        kept.append(block if len(block) <= room else "")
        room -= len(kept[-1])
    return Embedded(tuple(kept), side, quality, largest > side)


def _block(volume: Volume, side: int, quality: int) -> str:
    return "\n".join(
        b64encode(
            _jpeg(_small(volume.pixels[z, : s.shape[0], : s.shape[1]], side), quality)
        ).decode()
        for z, s in enumerate(volume.slices)
    )


def _small(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Reduce an image whose longest side is larger."""
    share = side / max(image.shape)
    if share >= 1:
        return np.ascontiguousarray(image)
    height, width = (max(1, round(n * share)) for n in image.shape)
    reduced = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, np.uint8)


def _jpeg(image: NDArray[np.uint8], quality: int) -> bytes:
    done, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"an image of {image.shape} cannot be stored as JPEG")
    return bytes(coded)
