"""Guides and the crops of a study: which point, which series, which slice, and what is random."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lumbargrade.config import AugmentConfig, CropConfig
from lumbargrade.domain.point import NOWHERE, Point
from lumbargrade.domain.upright import Turn
from lumbargrade.domain.views import find_spaces
from lumbargrade.domain.vocabulary import TARGETS, Condition, Level, SeriesKind, Side, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.sampling.guides import CENTRE, LEFT, RIGHT, TO_FORAMEN, guide_for
from lumbargrade.sampling.study import CropDraw, cut_study, draw_crops
from made_stacks import AXIAL, SAGITTAL, make_series, make_stack, stored, turned

T1, T2, AX = SeriesKind
CONFIG = CropConfig(
    axial_size=16, axial_mm=32, sagittal_size=16, sagittal_mm=32, lateral_mm=8, neighbours=1
)
CANAL, FORAMINAL, SUBARTICULAR = (TARGETS[c] for c in (Condition.CANAL, Condition.FORAMINAL,
    Condition.SUBARTICULAR))  # fmt: skip


def centre_of(level: Level) -> np.ndarray:
    return np.array([1.0, 2.0, 70.0 - 35 * list(Level).index(level)])


def guide(target: Target, series: str, shift=(0, 0, 0)) -> Point:
    beside = {None: 0.0, Side.LEFT: 14.0, Side.RIGHT: -15.0}[target.side]
    at = np.sum([centre_of(target.level), (beside, 0, 0), shift], axis=0)
    return Point(target, series, -1, NOWHERE, tuple(at.tolist()))


def noisy(slices, series, kind, frame="f") -> Volume:
    shape = (len(slices), *slices[0].shape)
    rng = np.random.default_rng(sum(map(ord, series)))
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    return make_series(slices, series, kind, frame, pixels=pixels)


def study(frames=("f", "f", "f")) -> list[Volume]:
    sagittal = make_stack(SAGITTAL, (0, 0, 0), 13, 4.0, shape=(200, 80))
    axial = make_stack(AXIAL, (0, 0, 0), 45, 4.0, shape=(80, 80))
    return [
        noisy(sagittal, "t1", T1, frames[0]),
        noisy(sagittal, "t2", T2, frames[1]),
        noisy(axial, "ax", AX, frames[2]),
    ]


ALL = [guide(t, "t2") for t in CANAL] + [guide(t, "t1") for t in FORAMINAL]


def guide_in(series, points, volumes=None):
    return guide_for(series, points, find_spaces(volumes or study()))


def test_canal_points_give_the_centre_and_foraminal_points_the_sides():
    for series in ("t1", "t2", "ax"):
        found = guide_in(series, ALL)
        for i, level in enumerate(Level):
            centre = centre_of(level)
            np.testing.assert_allclose(found[i, CENTRE], centre)
            np.testing.assert_allclose(found[i, LEFT], np.add(centre, (14, 0, 0)))
            np.testing.assert_allclose(found[i, RIGHT], centre - (15, 0, 0))


def test_what_a_view_does_not_give_comes_from_the_others():
    without_t1 = guide_in("ax", ALL[:5])
    np.testing.assert_allclose(
        without_t1[:, LEFT] - without_t1[:, CENTRE], [[TO_FORAMEN, 0, 0]] * 5
    )
    np.testing.assert_allclose(
        without_t1[:, CENTRE] - without_t1[:, RIGHT], [[TO_FORAMEN, 0, 0]] * 5
    )
    without_t2 = guide_in("ax", ALL[5:])
    np.testing.assert_allclose(without_t2[:, CENTRE], [centre_of(v) - [0.5, 0, 0] for v in Level])
    left_alone = guide_in("ax", [p for p in ALL[5:] if p.target.side is Side.LEFT])
    assert np.isnan(left_alone[:, [CENTRE, RIGHT]]).all()
    recesses = [guide(t, "ax", (0, 3, 0)) for t in SUBARTICULAR]
    np.testing.assert_allclose(
        guide_in("ax", recesses)[:, CENTRE], [np.add(centre_of(v), (-0.5, 3, 0)) for v in Level]
    )
    assert np.isnan(guide_in("ax", [])).all()


def test_points_of_another_space_do_not_count():
    volumes = study(("f", "f", "other"))
    assert np.isnan(guide_in("ax", ALL, volumes)).all()
    assert np.isfinite(guide_in("t2", ALL, volumes)).all()
    assert np.isnan(guide_in("t2", [replace(p, series_id="gone") for p in ALL])).all()


def test_every_crop_is_centred_on_its_own_point():
    volumes = {v.series_id: v for v in study()}
    crops = cut_study(list(volumes.values()), ALL, CONFIG)
    expected = {
        T1: [guide(t, "t1").patient for t in FORAMINAL],
        T2: [centre_of(v) for v in Level] * 2,
        AX: [
            centre_of(level) + ([8, 0, 0] if side is Side.LEFT else [-8, 0, 0])
            for side in Side
            for level in Level
        ],
    }
    for kind, points in expected.items():
        assert crops.covered[kind].all()
        assert crops.images(kind).shape == (10, 3, 16, 16)
        assert crops.valid(kind).all()
        for crop, point in zip(crops.views[kind], points, strict=True):
            plane = volumes[crop.series_id].slices[crop.zs[1]].plane
            x, y, distance = plane.from_patient(point)
            assert abs(distance) <= 2
            middle = crop.to_native[1] @ [7.5, 7.5, 1]
            np.testing.assert_allclose(middle[:2], (x, y), atol=1e-9)
    assert all(cut is not None and cut.covered for cut in crops.cuts)


def test_left_and_right_crops_of_the_canal_are_the_same_slices_back_to_front():
    crops = cut_study(study(), ALL, CONFIG).views[T2]
    for left, right in zip(crops[:5], crops[5:], strict=True):
        assert (left.image == right.image[::-1]).all()
        assert (left.zs == right.zs[::-1]).all()
        assert len(set(left.zs.tolist())) == 3


def test_views_that_are_not_there_are_empty_and_masked():
    volumes = study()
    crops = cut_study(volumes[:2], ALL, CONFIG)
    assert not crops.covered[AX].any()
    assert not crops.valid(AX).any()
    assert crops.cuts == (None,) * 5
    assert crops.covered[T1].all()
    only = cut_study(volumes, ALL, CONFIG, kinds=(AX,))
    assert list(only.views) == [AX]
    nothing = cut_study(volumes, [], CONFIG)
    assert not any(nothing.covered[k].any() for k in SeriesKind)


def test_of_two_series_of_a_kind_the_one_with_most_points_is_used():
    volumes = study()
    twin = replace(volumes[1], series_id="t2b")
    points = [replace(p, series_id="t2b") if p.series_id == "t2" else p for p in ALL]
    for order in ([*volumes, twin], [twin, *volumes]):
        assert {c.series_id for c in cut_study(order, points, CONFIG).views[T2]} == {"t2b"}
        assert {c.series_id for c in cut_study(order, ALL, CONFIG).views[T2]} == {"t2"}


def test_axial_series_share_the_levels_and_a_tilt_costs_in_whichever_series_it_is():
    sagittal, upper = study()[:2], make_stack(count=20, middle=(0, 0, 50), shape=(80, 80))
    lower = make_stack(count=20, middle=(0, 0, -40), shape=(80, 80))
    both = [*sagittal, noisy(upper, "up", AX), noisy(lower, "low", AX)]
    found = cut_study(both, ALL, CONFIG).views[AX][:5]
    assert [c.series_id for c in found] == ["up", "up", "low", "low", "low"]

    at = centre_of(Level.L3_L4)
    askew = noisy(make_stack(turned(x=30), at, 1, shape=(80, 80)), "askew", AX)
    flat = noisy(make_stack(AXIAL, np.add(at, (0, 0, 1)), 1, shape=(80, 80)), "flat", AX)
    for order in ([askew, flat], [flat, askew]):
        crops = cut_study([*sagittal, *order], ALL, CONFIG)
        assert crops.views[AX][2].series_id == "flat"
        cut = crops.cuts[2]
        assert cut is not None
        assert [s.series_id for s in cut.stacks] == ["flat", "askew"]


def test_a_level_between_stacks_is_not_covered_and_the_nearest_distance_is_known():
    short = noisy(make_stack(count=5, middle=(0, 0, 0), shape=(80, 80)), "ax", AX)
    crops = cut_study([*study()[:2], short], ALL, CONFIG)
    assert crops.covered[AX].tolist() == [False, False, True, False, False] * 2
    assert [None if c is None else c.nearest for c in crops.cuts] == pytest.approx(
        [62, 27, 0, 27, 62]
    )


def test_a_point_beside_the_image_has_no_crop():
    points = [p if p.target is not CANAL[1] else replace(p, patient=(1.0, 90.0, 35.0)) for p in ALL]
    crops = cut_study(study(), points, CONFIG)
    assert crops.covered[T2].tolist() == [True, False, True, True, True] * 2


def same(one: CropDraw, other: CropDraw) -> bool:
    arrays = all((getattr(one, n) == getattr(other, n)).all() for n in ("shift", "turn", "zoom"))
    return arrays and one.dropped == other.dropped


AUGMENT = AugmentConfig(drop_view=0.4, rotation=10, scale_min=-0.1, scale_max=0.2)


def draw(seed: int, config: AugmentConfig = AUGMENT, jitter=(1.0, 2.0, 3.0)) -> CropDraw:
    return draw_crops(np.random.default_rng(seed), config, jitter)


def test_augmentation_follows_from_the_seed():
    assert same(draw(3), draw(3))
    assert not same(draw(3), draw(4))
    one, again, other = (cut_study(study(), ALL, CONFIG, draw=draw(s)) for s in (5, 5, 6))
    plain = cut_study(study(), ALL, CONFIG)
    for kind in SeriesKind:
        assert (one.images(kind) == again.images(kind)).all()
    assert any((one.images(k) != other.images(k)).any() for k in SeriesKind)
    assert any((one.images(k) != plain.images(k)).any() for k in SeriesKind)


def test_draws_stay_in_their_ranges_and_one_view_is_always_kept():
    draws = [draw(s) for s in range(200)]
    assert max(np.abs(d.turn).max() for d in draws) <= 10
    assert min(d.zoom.min() for d in draws) >= 0.9
    assert max(d.zoom.max() for d in draws) <= 1.2
    np.testing.assert_allclose(
        np.std([d.shift for d in draws], axis=(0, 1, 2)), (1, 2, 3), rtol=0.1
    )
    counts = np.bincount([len(d.dropped) for d in draws], minlength=4)
    assert (counts[:3] > 0).all()
    assert counts[3] == 0
    assert all(len(draw(s, replace(AUGMENT, drop_view=1.0)).dropped) == 2 for s in range(9))
    assert all(not draw(s, replace(AUGMENT, drop_view=0.0)).dropped for s in range(9))


def test_a_dropped_view_is_masked_and_the_others_stay():
    one = next(d for d in map(draw, range(50)) if d.dropped == {AX})
    crops = cut_study(study(), ALL, CONFIG, draw=one)
    assert not crops.covered[AX].any()
    assert crops.covered[T1].all()
    assert crops.covered[T2].all()


def test_a_shift_moves_the_crop_and_nothing_else():
    still = draw(0, replace(AUGMENT, drop_view=0.0, rotation=0, scale_min=0, scale_max=0))
    calm = replace(
        still,
        shift=np.tile([0.0, 3.0, -2.0], (5, 3, 1)),
        intensity=draw(0, AugmentConfig(brightness_contrast=0, blur_or_noise=0)).intensity,
    )
    moved = cut_study(study(), ALL, CONFIG, draw=calm)
    points = [replace(p, patient=tuple(np.add(p.patient, (0, 3, -2)).tolist())) for p in ALL]
    expected = cut_study(study(), points, CONFIG)
    for kind in SeriesKind:
        assert (moved.images(kind) == expected.images(kind)).all()


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("turn", [Turn(), Turn(columns=True), Turn(rows=True), Turn(True)])
def test_levels_midway_between_two_slices_are_cut_alike_however_the_series_are_stored(
    turn: Turn, *, backwards: bool
) -> None:
    """Two models on neighbouring slices agree on a point in the middle between them."""
    volumes = [
        noisy(make_stack(SAGITTAL, (0, 0, 0), 12, 4.0, shape=(200, 80)), "t1", T1),
        noisy(make_stack(SAGITTAL, (0, 0, 0), 12, 4.0, shape=(200, 80)), "t2", T2),
        noisy(make_stack(AXIAL, (0, 0, 0), 44, 4.0, shape=(80, 80)), "ax", AX),
    ]
    middles = [Point(t, "t2", -1, NOWHERE, (0.0, 2.0, 80.0 - 40 * i)) for i, t in enumerate(CANAL)]
    for volume, axis in ((volumes[1], 0), (volumes[2], 2)):
        places = np.array([s.plane.position[axis] for s in volume.slices])
        gaps = np.abs(places - middles[0].patient[axis])
        assert np.sort(gaps)[:2].tolist() == [2, 2]
    other = [stored(v, turn, backwards=backwards) for v in volumes]
    one, same = (cut_study(each, middles, CONFIG) for each in (volumes, other))
    for kind in SeriesKind:
        assert one.covered[kind].all()
        assert (one.images(kind) != same.images(kind)).mean() < 1e-3
