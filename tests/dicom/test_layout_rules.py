"""Odd series by the two sets of rules: LSDC as published bit for bit, any other as is right."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from dicom_files import AXIAL, SAGITTAL, made_slice, save
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from published_reading import read_published

from lumbargrade.dicom.reader import SeriesResult, read_series
from lumbargrade.dicom.rules import EXPORT, LSDC
from lumbargrade.dicom.study import read_study
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.lsdc.tables import read_series_table

KINDS = {"sagittal": SeriesKind.SAGITTAL_T1, "axial": SeriesKind.AXIAL_T2}

#: Orientations that are easily taken for one another: signs of zero, thousandths, lengths.
ORIENTATIONS = {
    "sagittal": [
        SAGITTAL,
        (-0.0, 1.0, 0.0, 0.0, 0.0, -1.0),
        (0.0, 1.0, -0.0, -0.0, 0.0, -1.0),
        (-0.0004, 1.0, 0.0, 0.0, 0.0, -1.0),
        (0.0005, 1.0, 0.0, 0.0, 0.0, -1.0),
        (0.0, 0.996, 0.0, 0.0, 0.0, -1.004),
        (0.1, 0.995, 0.0, 0.0, 0.0, -1.0),
    ],
    "axial": [
        AXIAL,
        (1.0, 0.0, 0.0, 0.0, 1.0, -0.0),
        (1.0, -0.0, 0.0, 0.0, 1.0, 0.0),
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0015),
        (1.0, 0.0, 0.0, 0.0, 1.0, 0.0005),
        (1.0, 0.0, 0.0, 0.0, 0.8, 0.6),
        (1.0, 0.0, 0.0, 0.0, 0.8, -0.6),
        SAGITTAL,
    ],
}

SHAPES = [(24, 20), (17, 20), (24, 13), (9, 31)]


@dataclass(frozen=True)
class MadeSlice:
    """One file: its number, the number its header has, its place and its pixels."""

    number: int
    header: int
    position: tuple[float, float, float]
    orientation: tuple[float, ...]
    pixels: np.ndarray


@st.composite
def odd_series(draw: st.DrawFn) -> tuple[str, list[MadeSlice]]:
    """(plane, slices): stacks that mix sizes, types, orientations, places and numbers."""
    plane = draw(st.sampled_from(list(ORIENTATIONS)))
    count = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    stacks = draw(st.lists(st.sampled_from(ORIENTATIONS[plane]), min_size=1, max_size=3))
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=2))
    kinds = draw(st.sampled_from([[np.uint16], [np.int16], [np.uint16, np.int16]]))
    spread = draw(st.sampled_from([1, 3, 500, 2000]))
    numbers = draw(st.permutations(range(1, 40)))[:count]
    slices = []
    for i, number in enumerate(numbers):
        kind = kinds[rng.integers(len(kinds))]
        low = 0 if kind is np.uint16 else -spread
        pixels = rng.integers(low, spread, shapes[rng.integers(len(shapes))], endpoint=True)
        if rng.random() < 0.2:
            pixels[:] = pixels[0, 0]
        x, y, z = np.round(rng.normal(0, 40, 3), int(rng.integers(0, 6))).tolist()
        orientation = stacks[rng.integers(len(stacks))]
        # some stacks are regular, so that slices of several lie between each other
        place = (4.0 * i, y, z) if plane == "sagittal" else (x, y, 4.0 * i)
        position = place if rng.random() < 0.5 else (x, y, z)
        slices.append(MadeSlice(number, i + 1, position, orientation, pixels.astype(kind)))
    return plane, slices


def write(folder: Path, slices: list[MadeSlice]) -> Path:
    """Write the files in an order that has nothing to do with their numbers."""
    for s in random.Random(0).sample(slices, len(slices)):
        data = made_slice(s.header, s.position, s.orientation, pixels=s.pixels)
        data.BitsStored, data.HighBit = 16, 15
        save(data, folder / f"{s.number}.dcm")
    return folder


def read_lsdc(folder: Path, plane: str) -> SeriesResult:
    return read_series(folder, kind=KINDS[plane], rules=LSDC)


def assert_as_published(folder: Path, plane: str) -> None:
    expected, volume = read_published(folder, plane), read_lsdc(folder, plane).volume
    assert [s.instance_number for s in volume.slices] == expected.numbers
    assert [s.group for s in volume.slices] == expected.groups
    assert volume.pixels.dtype == expected.pixels.dtype
    np.testing.assert_array_equal(volume.pixels, expected.pixels)


@settings(max_examples=120)
@given(series=odd_series())
def test_an_lsdc_series_is_the_published_volume_bit_for_bit(series):
    """Pixels, order of slices, groups and numbers, however odd the series is."""
    plane, slices = series
    assume(len({s.position for s in slices}) > 1 or len(slices) == 1)
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name) / "s", slices)
        try:
            read_published(folder, plane)
        except ValueError:
            assume(False)
        assert_as_published(folder, plane)


def test_the_reference_gives_the_real_volumes(shared):
    """The reference in these tests is right: it makes the volumes that the published code made."""
    data = shared / "realdata/rsna2024"
    known = json.loads((shared / "reference/volumes.json").read_text())
    for row in read_series_table(data / "train_series_descriptions.csv"):
        if (entry := known.get(f"{row.study_id}/{row.series_id}")) is None:
            continue
        folder = data / "train_images" / row.study_id / row.series_id
        found = read_published(folder, "sagittal" if row.kind.sagittal else "axial")
        assert hashlib.sha256(found.pixels.tobytes()).hexdigest() == entry["sha256"]
        assert found.numbers == entry["instance_numbers"]
        assert found.groups == entry["groups"]


def ramp(rows: int, columns: int, top: int = 4000) -> np.ndarray:
    return np.linspace(0, top, rows * columns).reshape(rows, columns).astype(np.uint16)


def test_percentiles_are_those_of_the_padded_slices_only_in_lsdc_series(tmp_path):
    small, large = ramp(9, 7), ramp(24, 20, top=300)
    slices = [
        MadeSlice(1, 1, (0.0, 0.0, 0.0), SAGITTAL, small),
        MadeSlice(2, 2, (9.0, 0.0, 0.0), (0.1, 0.995, 0.0, 0.0, 0.0, -1.0), large),
    ]
    folder = write(tmp_path / "s", slices)
    assert_as_published(folder, "sagittal")
    lsdc = read_lsdc(folder, "sagittal").volume.pixels
    export = read_series(folder, rules=EXPORT).volume.pixels
    low, high = np.percentile(small, (0.1, 99.9))
    real = ((np.clip(small, low, high) - low) / (high - low) * 255).astype(np.uint8)
    np.testing.assert_array_equal(export[0, :9, :7], real)
    assert (lsdc[0, :9, :7] != real).any()
    np.testing.assert_array_equal(export[1], lsdc[1])


def test_negative_zero_is_a_group_of_its_own_only_in_lsdc_series(tmp_path):
    slices = [
        MadeSlice(n, n, (0.0, 0.0, 4.0 * n), (1.0, 0.0, 0.0, 0.0, 1.0, zero), ramp(24, 20))
        for n, zero in enumerate((0.0, -0.0, 0.0, -0.0), start=1)
    ]
    folder = write(tmp_path / "s", slices)
    assert_as_published(folder, "axial")
    lsdc = read_lsdc(folder, "axial").volume.slices
    assert [(s.instance_number, s.group) for s in lsdc] == [(1, 0), (3, 0), (2, 1), (4, 1)]
    export = read_series(folder, kind=KINDS["axial"], rules=EXPORT).volume.slices
    assert [(s.instance_number, s.group) for s in export] == [(1, 0), (2, 0), (3, 0), (4, 0)]


def test_nested_stacks_follow_the_lowest_number_only_in_lsdc_series(tmp_path):
    """The outer stack reaches lower, but the slice with its lowest number lies above the inner."""
    tilted = (1.0, 0.0, 0.0, 0.0, 0.8, 0.6)
    outer = [MadeSlice(n, n, (0.0, 0.0, 40.0 - 10 * n), AXIAL, ramp(24, 20)) for n in (1, 2, 3, 4)]
    inner = [MadeSlice(n, n, (0.0, 0.0, 15.0 + n), tilted, ramp(24, 20)) for n in (5, 6)]
    folder = write(tmp_path / "s", outer + inner)
    assert_as_published(folder, "axial")
    lsdc = read_lsdc(folder, "axial").volume.slices
    assert [s.instance_number for s in lsdc] == [5, 6, 4, 3, 2, 1]
    export = read_series(folder, kind=KINDS["axial"], rules=EXPORT).volume.slices
    assert [s.instance_number for s in export] == [4, 3, 2, 1, 5, 6]


def test_slices_are_ordered_by_the_axes_as_the_file_gives_them_only_in_lsdc_series(tmp_path):
    """A row of length 0.9956 and one of 0.9964 are of one group; far out, their order differs."""
    rows = {1: (100.0, 0.9964), 2: (100.02, 0.9956), 3: (104.0, 0.996)}
    slices = [
        MadeSlice(n, n, (x, 0.0, 0.0), (0.0, length, 0.0, 0.0, 0.0, -1.0), ramp(24, 20))
        for n, (x, length) in rows.items()
    ]
    folder = write(tmp_path / "s", slices)
    assert_as_published(folder, "sagittal")
    # the normal points to the patient's right
    lsdc = read_lsdc(folder, "sagittal").volume.slices
    assert [s.instance_number for s in lsdc] == [3, 1, 2]
    export = read_series(folder, kind=KINDS["sagittal"], rules=EXPORT).volume.slices
    assert [s.instance_number for s in export] == [3, 2, 1]


def test_slices_at_one_place_follow_their_numbers(tmp_path):
    slices = [MadeSlice(n, 9 - n, (0.0, 0.0, 4.0), AXIAL, ramp(24, 20)) for n in (2, 1, 4)]
    slices.append(MadeSlice(3, 3, (0.0, 0.0, 0.0), AXIAL, ramp(24, 20)))
    folder = write(tmp_path / "s", slices)
    for rules, expected in ((LSDC, [3, 1, 2, 4]), (EXPORT, [3, 5, 7, 8])):
        volume = read_series(folder, kind=KINDS["axial"], rules=rules).volume
        assert [s.instance_number for s in volume.slices] == expected


def numbered(folder: Path, numbers: dict[str, int | None]) -> Path:
    """Files by name with their InstanceNumber, in spatial order."""
    for i, (name, number) in enumerate(numbers.items()):
        data = made_slice(i, (0.0, 0.0, 4.0 * i), AXIAL, InstanceNumber=number)
        save(data, folder / name)
    return folder


def notes(result: SeriesResult) -> list[str]:
    assert not any(p.fatal for p in result.problems)
    return [p.what for p in result.problems]


def test_the_file_name_counts_and_a_header_that_differs_is_noted_once(tmp_path):
    folder = numbered(tmp_path / "s", {"10.dcm": 1, "9.dcm": 2, "11.dcm": 11, "12.dcm": None})
    result = read_lsdc(folder, "axial")
    assert [s.instance_number for s in result.volume.slices] == [10, 9, 11, 12]
    assert notes(result) == [
        "InstanceNumber differs from the file name in 2 of 4 files, such as 10.dcm (1); "
        "the file name is used"
    ]
    export = read_series(folder, kind=KINDS["axial"], rules=EXPORT)
    assert [s.instance_number for s in export.volume.slices] == [1, 2, 11, 0]
    assert notes(export) == []


def test_a_file_name_that_is_no_number_is_noted_and_its_header_counts(tmp_path):
    names = {"IM-0001.dcm": 3, "1.2.840.dcm": 2, "7.dcm": 7, f"{10**18}.dcm": 1}
    result = read_lsdc(numbered(tmp_path / "s", names), "axial")
    assert [s.instance_number for s in result.volume.slices] == [3, 2, 7, 1]
    (note,) = notes(result)
    assert note.startswith("3 of 4 file names are not numbers, such as ")
    assert note.endswith("; their InstanceNumber is used")


def test_long_numbers_are_numbers_too(tmp_path):
    """As where an export numbers its files by time."""
    first = 20240131120000
    names = {f"{first + n}.dcm": 9 - n for n in range(4)}
    folder = numbered(tmp_path / "s", {**names, f"{10**18 - 1}.dcm": 12})
    assert_as_published(folder, "axial")


def test_a_copy_under_another_number_is_a_slice_of_an_lsdc_series(tmp_path):
    """Labels may name it; a copy under no number of its own is left out as elsewhere."""
    folder = numbered(tmp_path / "s", {"1.dcm": 1, "2.dcm": 2, "3.dcm": 3})
    shutil.copy(folder / "2.dcm", folder / "7.dcm")
    shutil.copy(folder / "2.dcm", folder / "copy of 2.dcm")
    result = read_lsdc(folder, "axial")
    assert [s.instance_number for s in result.volume.slices] == [1, 2, 7, 3]
    assert "is a duplicate of another file" in [p.what for p in result.problems]
    export = read_series(folder, kind=KINDS["axial"], rules=EXPORT)
    assert [s.instance_number for s in export.volume.slices] == [1, 2, 3]


@pytest.mark.parametrize("layout", ["LSDC", "export"])
def test_a_study_is_read_by_the_rules_of_its_layout(tmp_path, layout):
    """A series is in the LSDC layout if its UID is that of the study and its folder's name."""
    study, name = "100206310", "702807833"
    series = f"{study}.{name}" if layout == "LSDC" else "1.2.3"
    for number, zero in ((1, -0.0), (2, 0.0), (3, -0.0)):
        data = made_slice(
            number + 10,
            (0.0, 0.0, 4.0 * number),
            (1.0, 0.0, 0.0, 0.0, 1.0, zero),
            StudyInstanceUID=study,
            SeriesInstanceUID=series,
            SeriesDescription="T2",
        )
        save(data, tmp_path / study / name / f"{number}.dcm")
    (volume,) = read_study(tmp_path / study).of(SeriesKind.AXIAL_T2)
    found = [(s.instance_number, s.group) for s in volume.slices]
    if layout == "LSDC":
        assert found == [(1, 0), (3, 0), (2, 1)]
        assert_as_published(tmp_path / study / name, "axial")
    else:
        assert found == [(11, 0), (12, 0), (13, 0)]
