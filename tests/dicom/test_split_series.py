"""What is in one series, and what of several series is one: by geometry, values and numbers."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from dicom_files import AXIAL, SAGITTAL, made_slice, save, save_stack
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileDataset

import hospital_exports as made
from lumbargrade.dicom.places import PARALLEL, Orientation, orientation_of, parallel
from lumbargrade.dicom.reader import read_series
from lumbargrade.dicom.rules import EXPORT
from lumbargrade.dicom.slices import SliceHeader, read_headers
from lumbargrade.dicom.study import Study, read_study
from lumbargrade.domain.errors import BadDicom
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume

T1, T2, AXIAL_T2 = SeriesKind


def uids(images: Iterable[FileDataset]) -> set[str]:
    return {str(d.SOPInstanceUID) for d in images}


def images_of(volume: Volume) -> set[str]:
    return {s.sop_instance_uid for s in volume.slices}


def told(study: Study) -> list[str]:
    assert not [str(p) for p in study.problems if p.fatal]
    return [p.what for p in study.problems]


def with_values(data: FileDataset, values: dict[str, object]) -> None:
    for keyword, value in values.items():
        setattr(data, keyword, value)


_NOTHING = ("nothing", "the same")

TELLING = {
    "time": ({"AcquisitionTime": "101500"}, {"AcquisitionTime": "102200"}),
    "acquisition number": ({"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}),
    "echo": ({"EchoNumbers": 1}, {"EchoNumbers": 2}),
    "time point": ({"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}),
    "kind": (
        {"ImageType": ["ORIGINAL", "PRIMARY", "M"]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "R"]},
    ),
    "series number": ({"SeriesNumber": 3}, {"SeriesNumber": 8}),
    "description": ({}, {"SeriesDescription": "T2 TSE SAG FS"}),
    "nothing": ({}, {}),
}


@pytest.mark.parametrize(
    ("value", "numbers"),
    # the same numbers and nothing else to tell them apart: refused, see below
    [p for p in product(TELLING, ("after", "interleaved", "the same")) if p != _NOTHING],
)
def test_a_series_scanned_twice_is_two_volumes(base, tmp_path, value, numbers):
    """Told apart by a header value, or at last by instance numbers, and never mixed."""
    study = made.export_of(base, "twice")
    first = study["sagt2"]
    second = made.again(first, "second", made.brighter)
    for i, (one, two) in enumerate(zip(first, second, strict=True)):
        with_values(one, TELLING[value][0])
        with_values(two, TELLING[value][1])
        if numbers == "after":
            two.InstanceNumber = one.InstanceNumber + len(first)
        elif numbers == "interleaved":
            one.InstanceNumber, two.InstanceNumber = 2 * i + 1, 2 * i + 2
    study["sagt2"] = second + first
    read = read_study(made.save(tmp_path, study))
    volumes = read.of(T2)
    assert sorted(map(images_of, volumes), key=sorted) == sorted(
        [uids(first), uids(second)], key=sorted
    )
    assert "was split into 2 volumes" in told(read)


def test_each_slice_at_a_time_of_its_own_twice_is_two_volumes(base, tmp_path):
    study = made.export_of(base, "times")
    first = study["sagt2"]
    second = made.again(first, "second", made.brighter)
    for i, data in enumerate([*first, *second]):
        data.AcquisitionTime = f"10{i:02d}00.5"
        data.InstanceNumber = 1 + i % len(first)
    study["sagt2"] = first + second
    random.Random(1).shuffle(study["sagt2"])
    volumes = read_study(made.save(tmp_path, study)).of(T2)
    assert sorted(map(len, map(images_of, volumes))) == [15, 15]
    assert uids(first) in [images_of(v) for v in volumes]


def test_an_acquisition_that_was_broken_off_is_set_aside(base, tmp_path):
    study = made.export_of(base, "broken off")
    whole = study["sagt2"]
    begun = made.again(whole[:3], "begun", made.brighter)
    for i, data in enumerate([*begun, *whole], start=1):
        data.InstanceNumber = i
    study["sagt2"] = begun + whole
    read = read_study(made.save(tmp_path, study))
    (volume,) = read.of(T2)
    assert images_of(volume) == uids(whole)
    assert [images_of(v) for v in read.other] == [uids(begun)]
    assert "excluded: repeats 3 of 15 slices" in told(read)


def test_stations_of_one_series_are_volumes(base, tmp_path):
    """The same planes further up the spine, in one series without a word about it."""
    study = made.export_of(base, "stations")
    lower = study["sagt2"]

    def up(data):
        made.brighter(data)
        place = np.array(data.ImagePositionPatient, float)
        place -= 240 * np.array(data.ImageOrientationPatient[3:], float)
        data.ImagePositionPatient = [round(float(v), 4) for v in place]

    upper = made.again(lower, "upper", up)
    study["sagt2"] = [d for pair in zip(lower, upper, strict=True) for d in pair]
    for i, data in enumerate(study["sagt2"], start=1):
        data.InstanceNumber = i
    volumes = read_study(made.save(tmp_path, study)).of(T2)
    assert sorted(map(images_of, volumes), key=sorted) == sorted(
        [uids(lower), uids(upper)], key=sorted
    )


def test_repeated_images_that_nothing_tells_apart_are_named(base, tmp_path):
    study = made.export_of(base, "twice")
    study["sagt2"] += made.again(study["sagt2"], "second", made.brighter)
    read = read_study(made.save(tmp_path, study))
    assert not read.of(T2)
    (problem,) = [p for p in read.problems if p.fatal]
    assert "no header value separates them" in problem.what


def test_a_copy_is_an_original_image_if_there_is_one(base, tmp_path):
    """Pixels that are the same, once called derived and with the lower number."""
    study = made.export_of(base, "copies")

    def derived(data):
        data.ImageType = ["DERIVED", "SECONDARY"]
        data.InstanceNumber = 0

    copies = made.again(study["sagt2"], "copies", derived)
    study["sagt2"] = copies + study["sagt2"]
    originals = uids(study["sagt2"]) - uids(copies)
    read = read_study(made.save(tmp_path, study))
    (volume,) = read.of(T2)
    assert images_of(volume) == originals
    assert told(read).count("is a duplicate of another file") == len(copies)


def test_a_scout_is_named_with_its_reason(base, tmp_path):
    study = made.export_of(base, "scout")
    study["sagt2"].append(made.moved(study["sagt2"][7], "scout", 110.0))
    read = read_study(made.save(tmp_path, study))
    assert "excluded: scout: images outside the regular stack: 1" in told(read)


def test_missing_slices_are_no_scouts(tmp_path):
    """A stack that lacks four slices before its last is one volume with a note."""
    folder = save_stack(tmp_path / "s", 15, SeriesDescription="T2")
    for number in (11, 12, 13, 14):
        (folder / f"{number}.dcm").unlink()
    read = read_study(folder)
    (volume,) = read.of(T2)
    assert len(volume.slices) == 11
    assert any("missing between instances 10 and 15" in what for what in told(read))


def test_an_unevenly_spaced_stack_stays_whole(tmp_path):
    gaps = [4.0, 3.1, 4.6, 3.9, 5.2, 2.7, 4.1, 3.3]
    for i, x in enumerate(np.cumsum(gaps)):
        save(made_slice(i, (float(-x), 0, 0), SeriesDescription="T2"), tmp_path / f"{i}.dcm")
    (volume,) = read_study(tmp_path).of(T2)
    assert len(volume.slices) == len(gaps)


@pytest.mark.parametrize("distance", [22.0, 30.0, 45.0])
def test_parallel_axial_stacks_of_three_slices_stay_one_series(tmp_path, distance):
    """One stack at every disc, all at the same angle."""
    for disc in range(5):
        for i in range(3):
            number = 3 * disc + i
            place = (0.0, 0.0, distance * disc + 3.0 * i)
            data = made_slice(number, place, AXIAL, SeriesDescription="T2")
            save(data, tmp_path / f"{number}.dcm")
    read = read_study(tmp_path)
    (volume,) = read.of(AXIAL_T2)
    assert [s.instance_number for s in volume.slices] == list(range(15))
    assert not read.other


@pytest.mark.parametrize("places", [[-90.0, -86.0], [150.0], [-90.0, 150.0, 155.0]])
def test_images_far_off_at_either_end_are_set_aside(tmp_path, places):
    stack = [4.0 * i for i in range(12)]
    for i, x in enumerate([*places, *stack]):
        save(made_slice(i, (x, 0.0, 0.0), SeriesDescription="T2"), tmp_path / f"{i}.dcm")
    read = read_study(tmp_path)
    (volume,) = read.of(T2)
    assert sorted(s.plane.position[0] for s in volume.slices) == stack
    assert sum(len(v.slices) for v in read.other) == len(places)


# joining


def one_by_one(slices: Iterable[FileDataset], case: str) -> None:
    for i, data in enumerate(slices):
        data.SeriesInstanceUID = made.uid(case, i)


def test_single_images_of_two_echo_times_are_two_series(base, tmp_path):
    """Same words, same places; only the echo time differs, and no number helps."""
    study = made.export_of(base, "echoes")

    def shorter(data):
        made.brighter(data)
        data.EchoTime = "82"

    second = made.again(study["sagt2"], "second", shorter)
    study["second"] = second
    one_by_one([*study["sagt2"], *second], "echoes")
    for data in (*study["sagt2"], *second):
        del data.SeriesNumber
    volumes = read_study(made.save(tmp_path, study)).of(T2)
    assert sorted(map(images_of, volumes), key=sorted) == sorted(
        [uids(study["sagt2"]), uids(second)], key=sorted
    )


def test_stacks_that_overlap_under_one_description_stay_two_series(base, tmp_path):
    study = made.export_of(base, "stacks")
    study["second"] = made.again(study["axt2"], "second", made.brighter)
    for data in study["second"]:
        data.SeriesInstanceUID, data.SeriesNumber = made.uid("second series"), 9
    volumes = read_study(made.save(tmp_path, study)).of(AXIAL_T2)
    assert [len(v.slices) for v in volumes] == [21, 21]


def test_single_images_that_only_look_alike_are_not_joined(tmp_path):
    """Scouts: each the first image of a series of its own, here and there."""
    for i, x in enumerate((0.0, 7.0, 90.0)):
        data = made_slice(1, (x, 0, 0), series=f"s{i}", SeriesNumber=i, SeriesDescription="T2")
        save(data, tmp_path / f"{i}.dcm")
    assert [len(v.slices) for v in read_study(tmp_path).of(T2)] == [1, 1, 1]


def test_images_that_are_joined_are_told(base, tmp_path):
    study = made.export_of(base, "joined")
    one_by_one(study["sagt2"], "joined")
    assert "was joined from series with one image each (15 images)" in told(
        read_study(made.save(tmp_path, study))
    )


# planes and angles


@pytest.mark.parametrize("tilt", [0, 20, 44, 46, 48, 59, -48, -59])
def test_a_slice_across_the_spine_is_axial_up_to_60_degrees(tilt):
    y, z = np.sin(np.radians(tilt)), np.cos(np.radians(tilt))
    for sign in (1, -1):
        assert orientation_of([0.05, sign * y, sign * z]) is Orientation.AXIAL


@pytest.mark.parametrize("tilt", [0, 15, 29, -29])
def test_a_slice_along_the_spine_is_coronal(tilt):
    y, z = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    assert orientation_of([0.1, y, z]) is Orientation.CORONAL
    assert orientation_of([0.8, 0.4 * y, 0.4 * z]) is Orientation.SAGITTAL


@pytest.mark.parametrize("tilt", [35.0, 48.0, 57.0])
def test_a_steep_lumbosacral_stack_belongs_to_its_axial_series(base, tmp_path, tilt):
    study = made.export_of(base, "steep")
    stacks: dict[str, list[FileDataset]] = {}
    for data in study["axt2"]:
        stacks.setdefault(str(data.ImageOrientationPatient), []).append(data)
    low = min(stacks.values(), key=lambda s: float(s[0].ImagePositionPatient[2]))
    row, column = np.array(low[0].ImageOrientationPatient, float).reshape(2, 3)
    now = np.degrees(np.arctan2(column[2], column[1]))
    for data in low:
        made.turned(data, row, tilt - now)
    (volume,) = read_study(made.save(tmp_path, study)).of(AXIAL_T2)
    assert len(volume.slices) == 21
    assert len({s.group for s in volume.slices}) == len(stacks)
    columns = np.array([s.plane.column for s in volume.slices])
    assert np.degrees(np.arctan2(columns[:, 2], columns[:, 1])).max() == pytest.approx(tilt, abs=1)


def headers_at(angles: Iterable[tuple[float, float, float]], folder: Path) -> list[SliceHeader]:
    """Axial slices turned about the three axes, degrees."""
    found = []
    for i, turns in enumerate(angles):
        data = made_slice(i + 1, (0.0, 0.0, 4.0 * i), AXIAL)
        for axis, angle in zip(np.eye(3), turns, strict=True):
            made.turned(data, axis, angle)
        (header,), _ = read_headers(save(data, folder / f"{i}.dcm"))
        found.append(header)
    return found


@settings(max_examples=60)
@given(data=st.data())
def test_slices_are_grouped_by_angle_and_not_by_order(tmp_path_factory, data):
    """Jitter below the tolerance never splits a stack; a real difference always does."""
    folder = tmp_path_factory.mktemp("angles")
    stacks = data.draw(st.integers(1, 4))
    jitter = st.floats(-0.3, 0.3).map(lambda a: a * PARALLEL)
    angles = [
        (3 * PARALLEL * stack + data.draw(jitter), data.draw(jitter), data.draw(jitter) / 2)
        for stack in range(stacks)
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    which = [round(x / (3 * PARALLEL)) for x, _, _ in angles]
    headers = headers_at(angles, folder)
    expected = {frozenset(h for h, w in zip(headers, which, strict=True) if w == s) for s in which}
    for _ in range(3):
        assert set(map(frozenset, parallel(headers))) == expected
        headers = data.draw(st.permutations(headers))


def test_a_chain_of_small_steps_is_not_one_stack(tmp_path):
    headers = headers_at([(0.4 * PARALLEL * i, 0, 0) for i in range(12)], tmp_path)
    for order in (headers, headers[::-1]):
        groups = parallel(order)
        assert len(groups) > 1
        for group in groups:
            numbers = [h.instance_number for h in group]
            assert max(numbers) - min(numbers) <= 2 / 0.4


@pytest.mark.parametrize("jitter", [4e-6, 1e-4, 1e-3])
def test_slices_whose_axes_jitter_are_one_stack_in_order(tmp_path, jitter):
    """Far from the scanner's centre, where the corner of a turned slice moves by its gap."""
    rng = np.random.default_rng(0)
    places = np.arange(12) * 1.0
    for i in rng.permutation(12).tolist():
        row = np.array([0.0005 + rng.uniform(-jitter, jitter), 1.0, 0.0])
        data = made_slice(
            i + 1,
            (float(places[i]), 300.0, 400.0),
            (*(row / np.linalg.norm(row)).tolist(), 0.0, 0.0, -1.0),
            SeriesDescription="T2",
        )
        save(data, tmp_path / f"{i}.dcm")
    (volume,) = read_study(tmp_path).of(T2)
    assert [s.group for s in volume.slices] == [0] * 12
    assert [s.instance_number for s in volume.slices] == list(range(12, 0, -1))
    (alone,) = {tuple(s.instance_number for s in read_series(tmp_path, rules=EXPORT).volume.slices)}
    assert alone == tuple(range(12, 0, -1))


def test_images_at_one_place_are_no_volume(tmp_path):
    for i in range(3):
        save(made_slice(i, (0.0, 0.0, 0.0), SAGITTAL), tmp_path / f"{i}.dcm")
    with pytest.raises(BadDicom, match="all 3 images are at one place"):
        read_study(tmp_path)
