"""Pictures: the right slice, the right place, the right colour, labels inside the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lumbargrade.domain.geometry import SlicePlane
from lumbargrade.domain.upright import Turn, Upright
from lumbargrade.domain.vocabulary import TARGETS, Condition, Grade
from lumbargrade.domain.volume import Volume, VolumeSlice
from lumbargrade.report import drawing as overlay
from lumbargrade.report.drawing import COLOURS, PANEL, Mark, direction_letter, draw_series
from made_stacks import stored

CANAL = TARGETS[Condition.CANAL]
FORAMINAL = TARGETS[Condition.FORAMINAL]


def flat_volume(depth: int = 7, height: int = 90, width: int = 80, value: int = 0) -> Volume:
    """A volume of one grey value, sagittal, upright, from the patient's left to the right."""
    slices = tuple(
        VolumeSlice(
            instance_number=100 + z,
            plane=SlicePlane((-4.0 * z, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (1.0, 1.0)),
            group=0,
            shape=(height, width),
        )
        for z in range(depth)
    )
    return Volume(np.full((depth, height, width), value, np.uint8), slices, "1", "2")


def ring(x: float, y: float, z: float, grade: Grade | None = Grade.SEVERE, i: int = 0) -> Mark:
    return Mark(CANAL[i], x, y, z, grade, 0.8)


def cross(x: float, y: float, z: float, grade: Grade | None = Grade.SEVERE, i: int = 0) -> Mark:
    return Mark(CANAL[i], x, y, z, grade, true=True)


def centre_of(picture: np.ndarray, colour: tuple[int, int, int]) -> tuple[float, float]:
    """Middle of the box around all pixels of a colour, x and y."""
    y, x = np.nonzero((picture == colour).all(axis=2))
    return (x.min() + x.max()) / 2, (y.min() + y.max()) / 2


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.integers(40, 120), st.integers(40, 120))
def test_a_points_pixel_is_inside_the_shown_part(
    u: float, v: float, width: int, height: int
) -> None:
    mark = cross(u * (width - 1), v * (height - 1), 3)
    window = overlay._window([mark], (height, width))
    x, y = window.place(mark)
    assert 0 <= x <= window.size[0]
    assert 0 <= y <= window.size[1]
    back = x / window.scale + window.left - 0.5, y / window.scale + window.top - 0.5
    assert back == pytest.approx((mark.x, mark.y), abs=1e-6)
    picture = draw_series(flat_volume(height=height, width=width), [], [mark])
    assert picture.shape == (*window.size[::-1], 3)


def test_a_bright_spot_lies_under_its_cross() -> None:
    volume = flat_volume()
    volume.pixels[3, 40:43, 30:33] = 200
    spot = draw_series(volume, [], [Mark(CANAL[0], 31, 41, 3, None, true=True)])
    cross_x, cross_y = centre_of(spot, (170, 170, 170))
    plain = volume.pixels[3]
    window = overlay._window([cross(31, 41, 3)], plain.shape)
    want = (31.5 - window.left) * window.scale, (41.5 - window.top) * window.scale
    assert (cross_x, cross_y) == pytest.approx(want, abs=1.5)
    around = spot[round(want[1]) - 14 : round(want[1]) - 10, round(want[0])]
    assert around.min() > 120


@pytest.mark.parametrize("grade", list(Grade))
def test_the_colour_is_the_grades(grade: Grade) -> None:
    picture = draw_series(flat_volume(), [ring(40, 45, 3, grade)])
    for other in Grade:
        assert (picture == COLOURS[other]).all(axis=2).any() == (other is grade)


def test_points_on_three_slices_give_three_panels_with_their_own_marks() -> None:
    marks = [
        ring(40, 45, z, grade, i) for i, (z, grade) in enumerate(zip((1, 3, 5), Grade, strict=True))
    ]
    picture = draw_series(flat_volume(), marks)
    panels = np.array_split(picture, 3, axis=1)
    for panel, grade in zip(panels, Grade, strict=True):
        assert (panel == COLOURS[grade]).all(axis=2).sum() > 50
        others = [o for o in Grade if o is not grade]
        assert not any((panel == COLOURS[o]).all(axis=2).any() for o in others)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-2, 12), max_size=8), st.integers(1, 4))
def test_no_other_choice_of_slices_is_nearer_to_the_points(zs: list[float], most: int) -> None:
    depth = 9
    chosen = overlay._nearest_slices(zs, depth, most)
    assert chosen == sorted(set(chosen))
    assert 1 <= len(chosen) <= most
    assert all(0 <= z < depth for z in chosen)

    def distance(slices: list[int]) -> float:
        return sum(min(abs(np.clip(z, 0, depth - 1) - s) for s in slices) for z in zs)

    rng = np.random.default_rng(0)
    for _ in range(20):
        other = sorted({round(v) for v in rng.choice(zs, most)}) if zs else [0]
        inside = [int(np.clip(z, 0, depth - 1)) for z in other]
        assert distance(chosen) <= distance(inside) + 1e-9


@given(st.lists(st.floats(-5, 200), max_size=6), st.integers(20, 150))
def test_the_shown_part_lies_in_the_image_and_holds_the_points(
    values: list[float], size: int
) -> None:
    first, length = overlay._span(values, size, size / 2)
    assert first >= 0
    assert length >= size / 2 - 0.5
    assert first + length <= size
    assert all(first <= v < first + length for v in values if 0 <= v <= size - 1)


def test_labels_say_what_is_predicted_and_what_is_true() -> None:
    predicted = [Mark(CANAL[3], 1, 1, 1, Grade.SEVERE, 0.614)]
    true = [cross(1, 1, 1, Grade.NORMAL_MILD, 3), cross(1, 1, 1, Grade.MODERATE, 4)]
    labels = overlay._labels(predicted, [*true, cross(1, 1, 1, None, 2)])
    assert labels == {predicted[0]: "L4/L5 severe 61%, true mild", true[1]: "L5/S1 true moderate"}


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 79), st.floats(0, 89), st.sampled_from(Grade))
def test_labels_stay_inside_the_picture(x: float, y: float, grade: Grade) -> None:
    written = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            overlay, "write_on", lambda draw, at, *rest: written.append((draw, at, rest[0]))
        )
        draw_series(flat_volume(), [ring(x, y, 3, grade)], [cross(x, y, 3, grade)])
    for draw, (left, top), text in written:
        assert left >= 0
        assert left + overlay.text_width(draw, text) <= draw.im.size[0]
        assert 0 <= top <= draw.im.size[1] - 14


def test_labels_of_neighbours_do_not_cover_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[float, float]] = []
    monkeypatch.setattr(overlay, "write_on", lambda draw, at, text, colour: written.append(at))
    marks = [Mark(t, 40, 40 + i, 3, Grade.SEVERE, 0.9) for i, t in enumerate(CANAL)]
    draw_series(flat_volume(), marks)
    tops = sorted(top for _, top in written[:5])
    assert min(np.diff(tops)) >= 16


def test_letters_say_which_way_the_patient_lies() -> None:
    assert direction_letter((1, 0.1, 0)) == "L"
    assert direction_letter((-1, 0.1, 0)) == "R"
    assert direction_letter((0, 0.9, 0.2)) == "P"
    assert direction_letter((0, -0.9, 0.2)) == "A"
    assert direction_letter((0.1, 0, 1)) == "H"
    assert direction_letter((0.1, 0, -1)) == "F"


def test_a_series_without_points_shows_its_middle_slice() -> None:
    volume = flat_volume(value=0)
    volume.pixels[3] = 77
    picture = draw_series(volume, [])
    assert max(picture.shape[:2]) == PANEL
    assert np.median(picture) == 77


def test_points_outside_the_image_do_not_break_the_picture() -> None:
    picture = draw_series(flat_volume(), [ring(-40, 500, 99)])
    assert picture.dtype == np.uint8
    assert max(picture.shape[:2]) == PANEL


def test_the_saved_picture_is_the_drawn_one(tmp_path: Path) -> None:
    picture = draw_series(flat_volume(value=30), [ring(40, 45, 3)])
    overlay.save_image(tmp_path / "deep" / "one.png", picture)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "deep" / "one.png")), picture)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("turn", [Turn(rows=True), Turn(columns=True), Turn(True, rows=True)])
def test_a_series_is_drawn_upright_whatever_way_it_is_stored(
    turn: Turn, *, backwards: bool
) -> None:
    volume = flat_volume()
    volume.pixels[:] = np.random.default_rng(0).integers(0, 256, volume.pixels.shape)
    marks = [Mark(t, 30 + i, 20 + 9 * i, 2.4, Grade.SEVERE, 0.8) for i, t in enumerate(CANAL)]
    other = stored(volume, turn, backwards=backwards)
    upright = Upright.of(other)
    points = upright.maps.to_native([(m.x, m.y, m.z) for m in marks]).tolist()
    moved = [replace(m, x=x, y=y, z=z) for m, (x, y, z) in zip(marks, points, strict=True)]
    assert not upright.unchanged
    expected = draw_series(volume, marks, marks[:1])
    assert (draw_series(other, moved, moved[:1]) == expected).all()
