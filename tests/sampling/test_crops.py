"""Crops in millimetres, the same way up whatever the scanner stored; sides are mirror images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumbargrade.domain.geometry import SlicePlane, apply_homography
from lumbargrade.domain.vocabulary import Side
from lumbargrade.domain.volume import Volume
from lumbargrade.sampling.crops import Crop, CropGrid, View, cut_crop, empty_crop
from made_stacks import AXIAL, SAGITTAL, make_series, make_stack, turned

GRID = CropGrid(size=33, mm=33.0, neighbours=1)
SHAPE = (70, 64)
VIEWS = [
    pytest.param(View.sagittal, SAGITTAL, id="sagittal"),
    pytest.param(View.axial, AXIAL, id="axial"),
]


def spot_volume(axes, spots, spacing=(1.0, 1.0), count=5, gap=4.0) -> Volume:
    """Every slice shows a bright spot, 2 mm wide, where it is nearest to each point."""
    slices = make_stack(axes, (3.0, -4.0, 5.0), count, gap, shape=SHAPE, spacing=spacing)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    image = np.zeros((count, *SHAPE))
    for z, s in enumerate(slices):
        at = s.plane.to_patient(np.dstack([x, y]))
        for spot in spots:
            foot = s.plane.to_patient(s.plane.from_patient(spot)[:2])
            image[z] += np.exp(-((at - foot) ** 2).sum(-1) / (2 * 2.0**2))
    return make_series(slices, pixels=np.rint(200 * image / image.max()).astype(np.uint8))


def centre_of(image: np.ndarray) -> tuple[float, float]:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weight = np.where(image > 10, image, 0).astype(float)
    return (x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.6, 1.3), (1.4, 0.5)])
@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(("view", "axes"), VIEWS)
def test_what_lies_at_the_centre_is_in_the_middle_of_every_slice(view, axes, side, spacing):
    spot = np.array([4.3, -2.2, 6.1])
    volume = spot_volume(turned(8, -5, 6) @ axes, [spot], spacing)
    crop = cut_crop(volume, 2, spot, GRID, view(side))
    assert crop.valid.all()
    assert sorted(crop.zs.tolist()) == [1, 2, 3]
    for image in crop.image:
        assert centre_of(image) == pytest.approx((16, 16), abs=0.15)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.6, 1.3), (1.4, 0.5)])
@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(("view", "axes"), VIEWS)
def test_columns_and_rows_go_where_the_view_says_and_are_measured_in_mm(view, axes, side, spacing):
    grid = CropGrid(size=66, mm=33.0, neighbours=0)  # half a millimetre per pixel
    centre = np.array([3.0, -4.0, 5.0])
    for direction, expected in ((view(side).columns, (16, 0)), (view(side).rows, (0, 16))):
        volume = spot_volume(axes, [centre + 8 * direction], spacing)
        (image,) = cut_crop(volume, 2, centre, grid, view(side)).image
        away = np.subtract(centre_of(image), 32.5)
        assert away == pytest.approx(expected, abs=0.3)


def test_views_are_told_from_anatomy():
    left, right = (View.sagittal(s) for s in Side)
    assert left.columns.tolist() == right.columns.tolist() == [0, 1, 0]  # to the back
    assert left.rows.tolist() == right.rows.tolist() == [0, 0, -1]  # downwards
    assert left.slices.tolist() == [1, 0, 0]  # to the patient's left: the lateral side
    assert right.slices.tolist() == [-1, 0, 0]
    left, right = (View.axial(s) for s in Side)
    assert left.columns.tolist() == [1, 0, 0]
    assert right.columns.tolist() == [-1, 0, 0]
    assert left.rows.tolist() == right.rows.tolist() == [0, 1, 0]
    assert left.slices.tolist() == right.slices.tolist() == [0, 0, -1]


@settings(max_examples=40)
@given(
    st.sampled_from([(View.sagittal, SAGITTAL), (View.axial, AXIAL)]),
    st.sampled_from(list(Side)),
    st.tuples(*[st.floats(-40, 40)] * 3),
    st.floats(0.3, 2),
    st.floats(0.3, 2),
    st.floats(-180, 180),
    st.floats(0.5, 2),
)
def test_crop_pixels_to_native_pixels_and_back(kind, side, angles, dy, dx, turn, zoom):
    """The map is a similarity in millimetres, and the middle is the projected centre."""
    view, axes = kind
    slices = make_stack(turned(*angles) @ axes, (0, 0, 0), 3, shape=(8, 8), spacing=(dy, dx))
    centre = np.array([2.0, 1.0, -3.0])
    grid = CropGrid(16, 24.0, 1)
    crop = cut_crop(make_series(slices), 1, centre, grid, view(side), turn=turn, zoom=zoom)
    corners = np.array([[0.0, 0], [15, 0], [0, 15], [15, 15]])
    for z, matrix in zip(crop.zs, crop.to_native, strict=True):
        native = apply_homography(matrix, corners)
        back = apply_homography(np.linalg.inv(matrix), native)
        np.testing.assert_allclose(back, corners, atol=1e-6)
        plane = slices[z].plane
        patient = plane.to_patient(native)
        for other, pixels in ((1, 15), (2, 15), (3, 15 * np.sqrt(2))):
            length = np.linalg.norm(patient[other] - patient[0])
            assert length == pytest.approx(pixels * grid.spacing / zoom, rel=1e-6)
        middle = apply_homography(matrix, np.array([7.5, 7.5]))
        np.testing.assert_allclose(middle, plane.from_patient(centre)[:2], atol=1e-6)


def textured(axes, seed: int = 0) -> Volume:
    slices = make_stack(axes, (3.0, -4.0, 5.0), 5, 4.0, shape=SHAPE, spacing=(0.9, 1.1))
    pixels = np.random.default_rng(seed).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    return make_series(slices, pixels=pixels)


def with_planes(volume: Volume, pixels: np.ndarray, change) -> Volume:
    slices = tuple(replace(s, plane=change(s.plane), shape=pixels.shape[1:]) for s in volume.slices)
    return replace(volume, pixels=np.ascontiguousarray(pixels), slices=slices)


def backwards(volume: Volume) -> Volume:
    return replace(volume, pixels=volume.pixels[::-1], slices=volume.slices[::-1])


def columns_flipped(volume: Volume) -> Volume:
    def change(p: SlicePlane) -> SlicePlane:
        first = p.to_patient((SHAPE[1] - 1, 0))
        return replace(p, position=tuple(first), row=tuple(-np.array(p.row)))

    return with_planes(volume, volume.pixels[:, :, ::-1], change)


def rows_flipped(volume: Volume) -> Volume:
    def change(p: SlicePlane) -> SlicePlane:
        first = p.to_patient((0, SHAPE[0] - 1))
        return replace(p, position=tuple(first), column=tuple(-np.array(p.column)))

    return with_planes(volume, volume.pixels[:, ::-1], change)


def transposed(volume: Volume) -> Volume:
    def change(p: SlicePlane) -> SlicePlane:
        return replace(p, row=p.column, column=p.row, spacing=p.spacing[::-1])

    return with_planes(volume, volume.pixels.transpose(0, 2, 1), change)


def alike(one: Crop, other: Crop) -> None:
    assert (one.valid == other.valid).all()
    difference = np.abs(one.image.astype(int) - other.image.astype(int))
    # cv2 rounds a position to 1/32 of a pixel, either way
    assert difference.mean() < 2.5
    assert one.image.std() > 30


@pytest.mark.parametrize("stored", [backwards, columns_flipped, rows_flipped, transposed])
@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize(("view", "axes"), VIEWS)
def test_the_crop_is_the_same_however_the_volume_is_stored(view, axes, side, stored):
    volume = textured(turned(6, 4, -3) @ axes)
    centre = (5.0, -3.0, 4.0)
    other = stored(volume)
    middle = 1
    same = other.slice_of_instance(volume.slices[middle].instance_number)
    settings_ = {"offset": (4.0, 0.0), "turn": 7.0, "zoom": 1.1}
    one = cut_crop(volume, middle, centre, GRID, view(side), **settings_)
    two = cut_crop(other, same, centre, GRID, view(side), **settings_)
    assert (one.valid == two.valid).all()
    assert (one.image != two.image).mean() < 1e-3  # the last bits of a matrix may round otherwise
    assert one.image.std() > 30
    instances = [
        [v.slices[z].instance_number for z in c.zs] for v, c in ((volume, one), (other, two))
    ]
    assert instances[0] == instances[1]


@pytest.mark.parametrize("stored", [lambda v: v, backwards, columns_flipped])
@pytest.mark.parametrize(("view", "axes"), VIEWS)
def test_a_right_crop_is_the_left_crop_of_the_mirrored_patient(view, axes, stored):
    volume = textured(turned(6, 4, -3) @ axes)

    def mirror(p: SlicePlane) -> SlicePlane:
        flip = np.array([-1.0, 1, 1])
        vectors = {n: tuple(flip * getattr(p, n)) for n in ("position", "row", "column")}
        return replace(p, **vectors)

    patient = stored(with_planes(volume, volume.pixels, mirror))
    same = patient.slice_of_instance(volume.slices[1].instance_number)
    right = cut_crop(volume, 1, (5.0, -3.0, 4.0), GRID, view(Side.RIGHT), offset=(4, 0))
    left = cut_crop(patient, same, (-5.0, -3.0, 4.0), GRID, view(Side.LEFT), offset=(4, 0))
    if patient.slices[0].instance_number == 1 and stored is not columns_flipped:
        assert (left.image == right.image).all()
    alike(left, right)
    other = cut_crop(volume, 1, (5.0, -3.0, 4.0), GRID, view(Side.LEFT), offset=(4, 0))
    assert np.abs(other.image.astype(int) - right.image).mean() > 20


def test_slices_beyond_the_end_of_the_stack_are_not_there():
    volume = textured(AXIAL)
    grid = CropGrid(16, 16.0, 2)
    crop = cut_crop(volume, 0, (3, -4, 5), grid, View.axial(Side.LEFT))
    # from top to bottom; slice 0 is the lowest
    assert crop.zs.tolist() == [2, 1, 0, -1, -1]
    assert crop.valid.tolist() == [True, True, True, False, False]
    assert (crop.image[3:] == 0).all()
    assert (crop.image[:3].reshape(3, -1).max(axis=1) > 0).all()
    back = crop.reversed()
    assert back.zs.tolist() == [-1, -1, 0, 1, 2]
    assert (back.image[2:] == crop.image[2::-1]).all()


def test_slices_of_another_stack_are_no_neighbours():
    lower = make_stack(count=2, middle=(0, 0, -2.0), group=0)
    upper = make_stack(turned(x=5), count=3, middle=(0, 0, 5.0), group=1, first=10)
    volume = make_series([*lower, *upper])
    crop = cut_crop(volume, 1, (0, 0, 0), CropGrid(8, 8.0, 2), View.axial(Side.LEFT))
    assert crop.zs.tolist() == [-1, -1, 1, 0, -1]


def test_a_crop_that_leaves_the_image_is_black_there():
    volume = make_series(make_stack(), pixels=np.full((5, 60, 50), 200, np.uint8))
    edge = np.array([24.5, 0, 0])  # the image ends in the middle of the crop
    crop = cut_crop(volume, 2, edge, CropGrid(16, 16.0, 0), View.axial(Side.LEFT))
    assert (crop.image[0, :, :7] == 200).all()
    assert (crop.image[0, :, 9:] == 0).all()


def test_an_offset_a_turn_and_a_zoom():
    centre = np.array([3.0, -4.0, 5.0])
    volume = spot_volume(AXIAL, [np.add(centre, (6, 0, 0))])
    view, grid = View.axial(Side.LEFT), CropGrid(65, 65.0, 0)

    def spot(**change):
        return np.subtract(
            centre_of(cut_crop(volume, 2, centre, grid, view, **change).image[0]), 32
        )

    assert spot() == pytest.approx((6, 0), abs=0.2)
    assert spot(offset=(6.0, 0.0)) == pytest.approx((0, 0), abs=0.2)
    assert spot(offset=(0.0, 3.0)) == pytest.approx((6, -3), abs=0.2)
    assert spot(zoom=2.0) == pytest.approx((12, 0), abs=0.3)
    assert np.abs(spot(turn=90.0)) == pytest.approx((0, 6), abs=0.2)
    assert spot(turn=90.0) == pytest.approx(-spot(turn=-90.0), abs=0.2)


def test_an_empty_crop_has_nothing_valid():
    crop = empty_crop(GRID)
    assert crop.image.shape == (3, 33, 33)
    assert not crop.valid.any()
    assert (crop.zs == -1).all()
    assert crop.series_id == ""
