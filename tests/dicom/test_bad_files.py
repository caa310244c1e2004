"""Files that cannot be used: each named with its reason, the rest read, never a traceback."""

from __future__ import annotations

import shutil
import struct

import numpy as np
import pydicom
import pytest
from dicom_files import AXIAL, SAGITTAL, made_slice, save, save_stack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from lumbargrade.dicom.inspect import summarise_folder
from lumbargrade.dicom.reader import read_series
from lumbargrade.dicom.rules import EXPORT
from lumbargrade.dicom.study import read_study
from lumbargrade.domain.errors import BadDicom, NothingDone

SPOILED = {
    "has no pixel data": lambda d: delattr(d, "PixelData"),
    "has no PixelSpacing": lambda d: delattr(d, "PixelSpacing"),
    "has no ImageOrientationPatient": lambda d: delattr(d, "ImageOrientationPatient"),
    "has no ImagePositionPatient": lambda d: delattr(d, "ImagePositionPatient"),
    "is a colour image": lambda d: setattr(d, "PhotometricInterpretation", "RGB"),
    "has 60000 rows and 60000 columns": lambda d: d.update({"Rows": 60000, "Columns": 60000}),
    "has 0 rows and 20 columns": lambda d: setattr(d, "Rows", 0),
    "is a multi-frame image": lambda d: setattr(d, "NumberOfFrames", 3),
    "is a mosaic": lambda d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]),
    "is not positive": lambda d: setattr(d, "PixelSpacing", [0, 0.5]),
    "is not two perpendicular unit vectors": lambda d: setattr(
        d, "ImageOrientationPatient", [1, 0, 0, 1, 0, 0]
    ),
    "is not 3 finite numbers": lambda d: setattr(d, "ImagePositionPatient", [1, 2]),
    "cannot decode its pixels": lambda d: setattr(d, "PixelData", d.PixelData[:400]),
    "is zero": lambda d: d.update({"RescaleSlope": "0", "RescaleIntercept": "0"}),
}


@pytest.mark.parametrize("reason", SPOILED)
def test_one_spoiled_slice_is_reported_and_the_rest_is_read(tmp_path, reason):
    folder = save_stack(tmp_path / "s", 4, spoil=SPOILED[reason], spoiled=2)
    for result in (read_series(folder), read_study(folder)):
        (problem,) = [p for p in result.problems if p.fatal]
        assert reason in problem.what
        assert problem.file.endswith("2.dcm")
    # the sagittal normal points to the patient's right, so the order is that of the instances
    assert [s.instance_number for s in read_series(folder).volume.slices] == [1, 3, 4]


@pytest.mark.parametrize("reason", SPOILED)
def test_a_series_of_only_such_files_is_refused(tmp_path, reason):
    folder = save_stack(tmp_path / "s", 1, spoil=SPOILED[reason], spoiled=1)
    for read in (read_series, read_study):
        with pytest.raises(BadDicom, match=reason):
            read(folder)
    assert any(reason in p.what for p in summarise_folder(folder).problems)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("9.dcm", b"", "empty file"),
        ("9.dcm", b"garbage " * 100, "not a DICOM file"),
        ("9.dcm", b"\0" * 128 + b"DICM" + bytes(range(256)), ""),
    ],
)
def test_garbage_is_reported_and_the_rest_is_read(tmp_path, name, content, reason):
    folder = save_stack(tmp_path / "s")
    (folder / name).write_bytes(content)
    result = read_series(folder)
    assert len(result.volume.slices) == 4
    (problem,) = result.problems
    assert problem.fatal
    assert reason in problem.what
    assert name in problem.file


def test_files_that_are_no_images_cost_nothing(tmp_path):
    folder = save_stack(tmp_path / "s")
    for name in ("DICOMDIR", ".DS_Store", "Thumbs.db"):
        (folder / name).write_text("x")
    assert read_series(folder).problems == ()
    (folder / "readme.txt").write_text("hello")
    (problem,) = read_series(folder).problems
    assert not problem.fatal


def test_files_of_another_series_are_left_out(tmp_path):
    folder = save_stack(tmp_path / "s")
    save(made_slice(9, (50.0, 0, 0), series="stranger"), folder / "9.dcm")
    result = read_series(folder)
    assert len(result.volume.slices) == 4
    (problem,) = result.problems
    assert "belongs to another series" in problem.what
    assert problem.fatal


def test_a_copy_of_an_image_counts_once(tmp_path):
    folder = save_stack(tmp_path / "s")
    shutil.copy(folder / "2.dcm", folder / "copy of 2.dcm")
    result = read_series(folder)
    assert len(result.volume.slices) == 4
    assert [p.what for p in result.problems] == ["is a duplicate of another file"]


def test_duplicate_instance_numbers_are_reported_and_every_slice_keeps_its_place(tmp_path):
    folder = save_stack(tmp_path / "s")
    save(made_slice(2, (-26.0, -30.0, 40.0)), folder / "5.dcm")
    result = read_series(folder, rules=EXPORT)
    assert [s.instance_number for s in result.volume.slices] == [1, 2, 3, 4, 2]
    assert "duplicate instance numbers: 2" in [p.what for p in result.problems]


def test_one_slice_is_a_volume_with_a_note(tmp_path):
    study = read_study(save_stack(tmp_path / "s", 1, SeriesDescription="T1 sag"))
    (volume,) = study.volumes
    assert volume.pixels.shape == (1, 24, 20)
    assert "has one slice" in [p.what for p in study.problems]


def test_missing_slices_are_noted_with_their_neighbours(tmp_path):
    folder = save_stack(tmp_path / "s", 6)
    (folder / "4.dcm").unlink()
    (problem,) = read_series(folder).problems
    assert "missing between instances 3 and 5" in problem.what
    assert not problem.fatal


def test_thickness_and_slice_spacing_are_not_needed(tmp_path):
    data = save_stack(tmp_path / "s")
    assert "SliceThickness" not in pydicom.dcmread(data / "1.dcm")
    np.testing.assert_allclose(read_series(data).volume.to_patient((0, 0, 1)), (-14, -30, 40))


def test_two_stacks_of_different_size_are_padded_by_reflection(tmp_path):
    folder = save_stack(tmp_path / "s", 3, AXIAL)
    small = np.arange(20 * 16, dtype=np.uint16).reshape(20, 16)
    tilted = (1.0, 0.0, 0.0, 0.0, 0.8, 0.6)
    save(made_slice(7, (-10.0, -30.0, 140.0), tilted, pixels=small), folder / "7.dcm")
    volume = read_series(folder).volume
    assert volume.slices[3].shape == (20, 16)
    assert volume.pixels.shape == (4, 24, 20)
    np.testing.assert_array_equal(volume.pixels[3, 20:], volume.pixels[3, 18:14:-1])
    np.testing.assert_array_equal(volume.pixels[3, :, 16:], volume.pixels[3, :, 14:10:-1])


def test_values_follow_rescale_sign_and_inverse_grey(tmp_path):
    ramp = np.arange(480, dtype=np.int16).reshape(24, 20) - 200
    plain = read_series(save_stack(tmp_path / "a", 2, pixels=ramp)).volume.pixels
    assert plain[0, 0, 0] == 0
    assert plain[0, -1, -1] == 255
    inverse = save_stack(tmp_path / "b", 2, pixels=ramp, PhotometricInterpretation="MONOCHROME1")
    dark = read_series(inverse).volume.pixels
    assert np.abs(255 - dark.astype(int) - plain).max() <= 1
    doubled = made_slice(2, (-14.0, -30.0, 40.0), pixels=ramp, RescaleSlope="2")
    doubled.RescaleIntercept = "10"
    save(doubled, tmp_path / "b" / "2.dcm")
    first = save(made_slice(1, (-10.0, -30.0, 40.0), pixels=ramp), tmp_path / "b" / "1.dcm")
    mixed = read_series(first.parent).volume.pixels
    values = np.stack([ramp, ramp * 2.0 + 10])
    low, high = np.percentile(values, (0.1, 99.9))
    expected = ((np.clip(values, low, high) - low) / (high - low) * 255).astype(np.uint8)
    np.testing.assert_array_equal(mixed, expected)


def test_folders_that_are_not_there_or_empty(tmp_path):
    for read in (read_series, read_study):
        with pytest.raises(BadDicom, match="no such"):
            read(tmp_path / "absent")
        with pytest.raises(BadDicom, match="no "):
            read(tmp_path)
    with pytest.raises(NothingDone):
        summarise_folder(tmp_path)


@pytest.fixture(scope="module")
def good_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    image = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    files = []
    for syntax in (None, RLELossless, JPEG2000Lossless, JPEGLSLossless):
        data = made_slice(1, (0.0, 0.0, 0.0), SAGITTAL, pixels=image)
        if syntax is not None:
            data.compress(syntax, generate_instance_uid=False)
        files.append(save(data, folder / f"{syntax}.dcm"))
    return files


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    which=st.integers(0, 3),
    kept=st.one_of(st.just(1.0), st.floats(0, 1)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
)
def test_damaged_files_are_read_or_refused_but_never_crash(
    good_files, tmp_path, which, kept, changes
):
    """Files cut short and with bytes changed anywhere behind the preamble: refused by name, or read
    in full."""
    content = bytearray(good_files[which].read_bytes())
    content = content[: round(kept * len(content))]
    for place, value in changes if len(content) > 132 else ():
        content[132 + round(place * (len(content) - 133))] = value
    path = tmp_path / "x.dcm"
    path.write_bytes(content)
    refusal, study = "", None
    try:
        study = read_study(path)
    except BadDicom as error:
        refusal = str(error)
    if study is None:
        assert "x.dcm" in refusal
        return
    volumes = study.volumes
    assert volumes or study.problems
    for volume in volumes:
        assert np.isfinite(volume.pixels).all()
        assert len(volume.pixels) == len(volume.slices)


def changed_bytes(path, old, new):
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def test_a_file_with_two_transfer_syntaxes_is_read_by_its_pixels(tmp_path):
    folder = save_stack(tmp_path / "s")
    before = read_series(folder).volume
    for path in sorted(folder.iterdir())[:2]:
        changed_bytes(path, b"1.2.840.10008.1.2.1\0", b"1.2.840.10008\\1.2.1\0")
    result = read_series(folder)
    np.testing.assert_array_equal(result.volume.pixels, before.pixels)
    assert all("does not fit the pixels" in p.what for p in result.problems)
    assert result.problems


def test_a_sequence_where_a_number_describes_the_pixels_costs_only_its_file(tmp_path):
    folder = save_stack(tmp_path / "s")
    bits = struct.pack("<HH2sHH", 0x0028, 0x0100, b"US", 2, 16)
    for name in ("1.dcm", "2.dcm"):  # an empty sequence
        changed_bytes(folder / name, bits, struct.pack("<HH2sHL", 0x0028, 0x0100, b"SQ", 0, 0))
    result = read_series(folder)
    assert len(result.volume.slices) == 2
    assert sorted(p.file[-5:] for p in result.problems if p.fatal) == ["1.dcm", "2.dcm"]


def test_truncated_files_are_never_taken_for_whole_ones(good_files, tmp_path):
    path = tmp_path / "x.dcm"
    for content in [f.read_bytes() for f in good_files]:
        for share in (0.3, 0.6, 0.9, 0.99):
            path.write_bytes(content[: int(share * len(content))])
            with pytest.raises(BadDicom):
                read_study(path)
