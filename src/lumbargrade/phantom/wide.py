"""Series of phantom studies that look as varied as the samples of the training stream.

The geometry of a study does not change: only the brightness of its tissues and the faults of the
scanner, which are drawn from the table of ranges (`randomisation.toml`) for each series. T1 series
stay T1-like; T2 series stay T2- or STIR-like as planned, since graders may trust the kind of a
series. The share ``foreign_chance`` of the series has any ordering of tissues.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lumbargrade.phantom.acquisition import stored_share
from lumbargrade.phantom.anatomy import Anatomy
from lumbargrade.phantom.ranges import Draws
from lumbargrade.phantom.render import acquired_matrix, interpolated
from lumbargrade.phantom.stream import acquire_part, draw_look, draw_offsets, paint_parts
from lumbargrade.phantom.study import SeriesPlan

#: Largest stored value, of 12 bits.
_BRIGHTEST = 4095


def acquire_wide(
    anatomy: Anatomy, series: SeriesPlan, rng: np.random.Generator
) -> list[NDArray[np.float32]]:
    """Render a series with a look of its own.

    Args:
        anatomy: the patient.
        series: planes and kind; its ``contrast`` names the ordering of tissues, and neither its
            brightness nor its ``faults`` are used.
        rng: of everything random.

    Returns:
        One image per plane as stored, float32 (rows, columns), 0 to 4095.
    """
    draws = Draws(rng, "image")
    foreign = draws.happens("foreign_chance")
    ordering = "any" if foreign else series.contrast.name.lower()
    middle = series.planes[len(series.planes) // 2]
    coarse, small = acquired_matrix(middle, series.shape, series.pixel)
    pixel = coarse.spacing[0]
    # labels are points of the anatomy, so the image must not be distorted
    look = replace(draw_look(draws, anatomy, coarse, small, pixel, ordering), warp=None)
    offsets = draw_offsets(draws, series.thickness)
    images = np.empty((len(series.planes), *small), np.float32)
    for k, plane in enumerate(series.planes):
        acquired, _ = acquired_matrix(plane, series.shape, series.pixel)
        (part,) = paint_parts(anatomy, [acquired], small, look, offsets)
        images[k], _, _ = acquire_part(look, part, rng)
    shares = stored_share(look, images, images[:, ::2, ::2]) * np.float32(_BRIGHTEST)
    step = pixel / middle.spacing[0]
    stored = [interpolated(np.asarray(s, np.float32), step, series.shape) for s in shares]
    return [np.asarray(np.clip(image, 0, _BRIGHTEST), np.float32) for image in stored]
