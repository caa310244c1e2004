"""Outlines on a grid, drawn on the native pixels of a slice."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.domain.geometry import apply_homography
from lumbargrade.domain.outlines import Structure
from lumbargrade.domain.series_outlines import SeriesOutlines
from made_series import make_volume

STRUCTURES = (Structure.OTHER, Structure.DISC, Structure.SAC)
VOLUME = make_volume(3, 60, 50)


def one_grid(structure: Structure, share: float, box: tuple[slice, slice]) -> np.ndarray:
    """Probabilities (3, 32, 32) times 255 of a structure inside a box, of nothing outside it."""
    stored = np.zeros((len(STRUCTURES), 32, 32), np.uint8)
    stored[0] = 255
    stored[(STRUCTURES.index(structure), *box)] = round(255 * share)
    stored[(0, *box)] = 255 - round(255 * share)
    return stored


@given(
    scale=st.floats(0.6, 3),
    turned=st.booleans(),
    mirrored=st.booleans(),
    corner=st.tuples(st.floats(-20, 30), st.floats(-20, 30)),
    box=st.tuples(st.integers(2, 12), st.integers(16, 29)),
)
def test_a_structure_lies_where_its_grid_lies(scale, turned, mirrored, corner, box) -> None:
    to_native = np.diag([-scale if mirrored else scale, scale, 1.0])
    if turned:
        to_native = to_native[[1, 0, 2]]
    to_native[:2, 2] = corner
    inside = slice(*box)
    outlines = SeriesOutlines(
        VOLUME.series_id,
        STRUCTURES,
        np.array([1]),
        one_grid(Structure.SAC, 1.0, (inside, inside))[None],
        to_native[None],
    )
    assert outlines.outlined == [1]
    labels = outlines.label_map(VOLUME, 1)
    assert labels.shape == (60, 50)
    pixels = np.stack(np.indices(labels.shape)[::-1], axis=-1)
    grid = apply_homography(np.linalg.inv(to_native), pixels)
    well_inside = ((grid > box[0]) & (grid < box[1] - 1)).all(axis=-1)
    well_outside = ((grid < box[0] - 1) | (grid > box[1])).any(axis=-1)
    assert (labels[well_inside] == Structure.SAC).all()
    assert (labels[well_outside] == Structure.OTHER).all()
    assert not outlines.label_map(VOLUME, 0).any()


def test_where_two_grids_overlap_the_surer_one_counts() -> None:
    whole, left = (slice(0, 32), slice(0, 32)), (slice(0, 32), slice(0, 10))
    grids = [
        one_grid(Structure.DISC, 0.8, whole),
        one_grid(Structure.SAC, 0.9, left),  # sure of nothing on the right, which says little
    ]
    for order in (grids, grids[::-1]):
        outlines = SeriesOutlines(
            "100", STRUCTURES, np.array([2, 2]), np.stack(order), np.stack([np.eye(3)] * 2)
        )
        labels = outlines.label_map(VOLUME, 2)
        assert (labels[:31, :9] == Structure.SAC).all()
        assert (labels[:31, 11:31] == Structure.DISC).all()
