"""What each folder of difficult real files gives: a volume, several, or a refusal and its reason.

The truth of each folder was established from its headers (and from the purpose it was collected
for): gantry tilt is a sheared stack; "not a volume" is one CT position imaged four times; "slice
count" has two slices, which are FLAIR by their inversion time (2200 ms); "slice increment" lacks
slices; "slice orientation" is a sagittal and an axial pair under one SeriesInstanceUID; the Siemens
files are mosaics, whose position is that of the sheet and not of any slice.
"""

from __future__ import annotations

import copy
import shutil

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames

import hospital_exports as made
from lumbargrade.dicom.reader import read_series
from lumbargrade.dicom.study import Study, read_study
from lumbargrade.domain.errors import BadDicom
from lumbargrade.domain.vocabulary import SeriesKind

FAILING = "dicom2nifti_failing"
SHEARED = "sheared stack"

#: folder -> for each volume: kind, shape, mm between planes, words that its notes must contain.
VOLUMES = {
    f"{FAILING}/gantrytilting/001": [(None, (4, 512, 512), [4.851] * 3, [SHEARED])],
    f"{FAILING}/slicecount/001": [(None, (2, 256, 256), [1.0], ["FLAIR by echo time 394 ms"])],
    f"{FAILING}/sliceincrement/001": [
        (None, (4, 512, 512), [5.0, 5.0, 10.0], ["missing between instances 9 and 10"])
    ],
    f"{FAILING}/sliceincrement/002": [
        (None, (4, 512, 512), [0.7497, 0.7497, 1.4994], ["between instances 3 and 5", SHEARED])
    ],
    f"{FAILING}/sliceorientation/001": [
        (SeriesKind.SAGITTAL_T2, (2, 288, 288), [3.3], ["split into 2 volumes"]),
        (SeriesKind.AXIAL_T2, (2, 288, 288), [4.4], ["split into 2 volumes"]),
    ],
}

#: folder -> the reason for which it is refused.
REFUSED = {
    f"{FAILING}/notavolume/001": "all 4 images are at one place",
    "dcm_qa_ts/In": "mosaic of many slices",
    "cornerstone_wado": "all 7 images are at one place|contains 2 studies",
}

#: single files of the last folder -> the reason for which each is refused.
REFUSED_FILES = {
    "CT0012.fragmented_no_bot_jpeg_baseline.51": "12-bit precision",
    "US-YBR_FULL_422-EVRLE": "colour image",
    "no-pixel-data": "contains no image",
    "no-pixel-spacing": "colour image",
    "CTImage.dcm_JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55": "not supported",
    "CTImage.dcm_JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53": "not supported",
    "CTImage.dcm_JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51": "12-bit precision",
}

#: the same image in lossy syntaxes: greatest difference after scaling, in grey values.
LOSSY_FILES = {
    "CTImage.dcm_JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91": 40,
    "CTImage.dcm_JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81": 2,
    "CTImage.dcm_JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50": 40,
}

LOSSLESS_FILES = (
    "CTImage",
    "CTImage.dcm_BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2",
    "CTImage.dcm_DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99",
    "CTImage.dcm_JPEG2000LosslessOnlyTransferSyntax_1.2.840.10008.1.2.4.90",
    "CTImage.dcm_JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80",
    "CTImage.dcm_JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70",
    "CTImage.dcm_JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57",
    "CTImage.dcm_LittleEndianExplicitTransferSyntax_1.2.840.10008.1.2.1",
    "CTImage.dcm_LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2",
    "CTImage.dcm_RLELosslessTransferSyntax_1.2.840.10008.1.2.5",
)


@pytest.fixture(scope="module")
def zoo(shared):
    return shared / "realdata/dicom_zoo"


def volumes(study: Study):
    return [*study.volumes, *study.other]


def test_the_tables_name_every_folder_and_file(zoo):
    folders = {str(p.parent.relative_to(zoo)) for p in zoo.rglob("*.dcm")}
    assert folders == VOLUMES.keys() | REFUSED.keys()
    files = {p.stem for p in (zoo / "cornerstone_wado").glob("*.dcm")}
    assert files == REFUSED_FILES.keys() | LOSSY_FILES.keys() | set(LOSSLESS_FILES)


@pytest.mark.parametrize("folder", VOLUMES)
def test_folder_gives_correct_volumes(zoo, folder):
    study = read_study(zoo / folder)
    notes = " ".join(p.what for p in study.problems)
    found = volumes(study)
    assert len(found) == len(VOLUMES[folder])
    assert not any(p.fatal for p in study.problems)
    for volume, (kind, shape, gaps, words) in zip(found, VOLUMES[folder], strict=True):
        assert volume.kind == kind
        assert volume.pixels.shape == shape
        projections = [s.plane.projection for s in volume.slices]
        np.testing.assert_allclose(np.diff(projections), gaps, atol=2e-3)
        assert all(w in notes for w in words)
        for z, s in enumerate(volume.slices):
            header = pydicom.dcmread(zoo / folder / s.file, stop_before_pixels=True)
            assert s.instance_number == header.InstanceNumber
            np.testing.assert_allclose(
                volume.to_patient((0, 0, z)), np.array(header.ImagePositionPatient), atol=1e-6
            )


@pytest.mark.parametrize("folder", REFUSED)
@pytest.mark.parametrize("read", [read_study, read_series])
def test_folder_is_refused_with_its_reason(zoo, folder, read):
    with pytest.raises(BadDicom, match=REFUSED[folder]):
        read(zoo / folder)


@pytest.mark.parametrize("name", REFUSED_FILES)
def test_file_is_refused_with_its_reason(zoo, name):
    with pytest.raises(BadDicom, match=REFUSED_FILES[name]):
        read_study(zoo / "cornerstone_wado" / f"{name}.dcm")


@pytest.mark.parametrize("name", LOSSLESS_FILES + tuple(LOSSY_FILES))
def test_every_other_transfer_syntax_gives_the_same_slice(zoo, name):
    reference = pydicom.dcmread(zoo / "cornerstone_wado" / f"{LOSSLESS_FILES[-3]}.dcm")
    values = reference.pixel_array.astype(float)
    low, high = np.percentile(values, (0.1, 99.9))
    expected = ((np.clip(values, low, high) - low) / (high - low) * 255).astype(np.uint8)
    (volume,) = volumes(read_study(zoo / "cornerstone_wado" / f"{name}.dcm"))
    difference = np.abs(volume.pixels[0].astype(int) - expected.astype(int)).max()
    assert difference <= LOSSY_FILES.get(name, 0)
    np.testing.assert_allclose(volume.to_patient((0, 0, 0)), reference.ImagePositionPatient)


def test_a_path_of_odd_characters_reaches_the_decoder_of_its_own_process(zoo, tmp_path):
    """The lossless JPEG file is decoded in a child, which is told the path."""
    name = next(n for n in LOSSLESS_FILES if n.endswith("4.57"))
    odd = tmp_path / "two\nlines \udcff"
    odd.mkdir()
    shutil.copy(zoo / "cornerstone_wado" / f"{name}.dcm", odd / "1.dcm")
    (there,) = volumes(read_study(odd))
    (expected,) = volumes(read_study(zoo / "cornerstone_wado" / f"{name}.dcm"))
    np.testing.assert_array_equal(there.pixels, expected.pixels)


def test_frames_of_an_enhanced_file_reach_the_decoder_of_its_own_process(zoo, tmp_path):
    """Lossless JPEG again: three frames in one file are the slices that three files give."""
    name = next(n for n in LOSSLESS_FILES if n.endswith("4.57"))
    data = pydicom.dcmread(zoo / "cornerstone_wado" / f"{name}.dcm")
    (stream,) = generate_frames(data.PixelData, number_of_frames=1)
    slices = [copy.deepcopy(data) for _ in range(3)]
    for i, single in enumerate(slices):
        single.ImagePositionPatient = [0, 0, 5 * i]
        single.EchoTime = 100
        del single.RescaleSlope, single.RescaleIntercept
        single.save_as(tmp_path / f"single-{i}.dcm", enforce_file_format=True)
    (expected,) = volumes(read_study(tmp_path))
    whole = made.enhanced(slices, pixels=encapsulate([stream] * 3))
    whole.save_as(tmp_path / "whole.ima", enforce_file_format=True)
    (volume,) = volumes(read_study(tmp_path / "whole.ima"))
    assert len(volume.slices) == 3
    np.testing.assert_array_equal(volume.pixels, expected.pixels)


def test_a_series_of_two_planes_read_as_lsdc_keeps_both_as_groups(zoo):
    result = read_series(zoo / f"{FAILING}/sliceorientation/001")
    assert [s.group for s in result.volume.slices] == [0, 0, 1, 1]
    notes = " ".join(p.what for p in result.problems)
    assert "mixes axial and sagittal slices" in notes
    assert "duplicate instance numbers: 1, 2" in notes
