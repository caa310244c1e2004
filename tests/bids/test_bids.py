"""NIfTI files in BIDS names are the same study as the DICOM files of the same images."""

from __future__ import annotations

import gzip
import json
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hospital_exports as made
from lumbargrade.bids.derivatives import subject_of
from lumbargrade.bids.names import BidsName, sidecars_of
from lumbargrade.bids.nifti import ras_affine, volume_of
from lumbargrade.bids.read import acquisition_of, find_bids
from lumbargrade.cli.main import main
from lumbargrade.dicom.requests import Request
from lumbargrade.dicom.study import Study, read_study
from lumbargrade.domain.errors import BadDicom, BadInput
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.domain.volume import Volume

T1, T2, AXIAL = SeriesKind
NAMES = {T1: "acq-sag_T1w", T2: "acq-sag_T2w", AXIAL: "acq-ax_T2w"}

#: All ways to store an image: the order of its axes, and which of them run the other way.
STORED = [
    (order, flips) for order in permutations(range(3)) for flips in product((1, -1), repeat=3)
]


def affine_of(slices: list) -> np.ndarray:
    """Column, row and slice number to RAS mm, from the DICOM headers (PS3.3 C.7.6.2.1.1)."""
    row, column = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    dy, dx = map(float, slices[0].PixelSpacing)
    first, last = (np.array(s.ImagePositionPatient, float) for s in (slices[0], slices[-1]))
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * dx, column * dy, (last - first) / (len(slices) - 1), first])
    return np.diag([-1, -1, 1, 1]) @ affine


def write_nifti(path: Path, slices: list, stored=((0, 1, 2), (1, 1, 1)), **sidecar: object) -> Path:
    """An image with its axes in another order and direction, and its sidecar."""
    order, flips = stored
    values = np.stack([s.pixel_array.T for s in slices], axis=-1)
    image = nibabel.Nifti1Image(values.astype(np.int16), affine_of(slices))
    turn = np.column_stack([np.argsort(order), np.array(flips)])
    image = image.as_reoriented(turn)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    image.to_filename(path)
    if sidecar:
        path.with_name(path.name.removesuffix(".nii.gz") + ".json").write_text(json.dumps(sidecar))
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> made.Study:
    """The series of a phantom whose slices are one stack with even gaps."""
    study = made.phantom_study(tmp_path_factory.mktemp("phantom"))
    kept = {}
    for name, slices in study.items():
        first = slices[0].ImageOrientationPatient
        kept[name] = [s for s in slices if s.ImageOrientationPatient == first]
    return kept


@pytest.fixture(scope="module")
def dicom(base: made.Study, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return read_study(made.save(tmp_path_factory.mktemp("dicom"), made.export_of(base, "bids")))


@pytest.fixture(scope="module")
def dataset(base: made.Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bids")
    (root / "dataset_description.json").write_text('{"Name": "test", "BIDSVersion": "1.10.0"}')
    anat = root / "sub-01" / "ses-02" / "anat"
    for kind, name in (("sagt1", NAMES[T1]), ("sagt2", NAMES[T2]), ("axt2", NAMES[AXIAL])):
        times = {"EchoTime": float(base[kind][0].EchoTime) / 1e3, "SliceThickness": 4.0}
        write_nifti(anat / f"sub-01_ses-02_{name}.nii.gz", base[kind], **times)
    return root


def nearest(first: Volume, second: Volume) -> float:
    """Largest distance, mm, between the places of equal voxels, which must have equal values."""
    assert first.pixels.shape == second.pixels.shape
    depth, height, width = first.pixels.shape
    worst = 0.0
    for z in range(depth):
        corners = np.array([[x, y, z] for x in (0, width - 1) for y in (0, height - 1)], float)
        there = second.from_patient(first.to_patient(corners))
        back = np.rint(there)
        worst = max(worst, float(np.abs(second.to_patient(back) - first.to_patient(corners)).max()))
        for (x, y, _), (a, b, c) in zip(corners.astype(int), back.astype(int), strict=True):
            assert first.pixels[z, y, x] == second.pixels[c, b, a]
    return worst


def test_a_study_is_that_of_its_dicom_files(dataset: Path, dicom: Study) -> None:
    (found,), problems = find_bids(dataset.rglob("*.nii.gz"))
    assert not problems
    assert found.study_id == "sub-01_ses-02"
    study = found.read()
    assert {v.kind: v.series_id for v in study.volumes} == {
        kind: f"sub-01_ses-02_{name}" for kind, name in NAMES.items()
    }
    for kind in SeriesKind:
        (ours,), (theirs,) = study.of(kind), dicom.of(kind)
        assert nearest(theirs, ours) < 1e-3
        assert ours.pixels.shape == theirs.pixels.shape
        np.testing.assert_array_equal(np.sort(ours.pixels.ravel()), np.sort(theirs.pixels.ravel()))


@pytest.mark.parametrize("stored", STORED[::5])
def test_every_way_to_store_an_image_gives_the_same_volume(
    base: made.Study, dicom: Study, tmp_path: Path, stored
) -> None:
    for kind, name in (("sagt2", NAMES[T2]), ("axt2", NAMES[AXIAL])):
        path = write_nifti(tmp_path / f"sub-01_{name}.nii.gz", base[kind], stored)
        (volume,) = find_bids([path])[0][0].read().volumes
        (theirs,) = dicom.of({"sagt2": T2, "axt2": AXIAL}[kind])
        assert nearest(theirs, volume) < 1e-3
        first = volume.slices[0].plane
        back = ras_affine(volume, 0)
        assert back is not None
        x, y, z, _ = back @ (3, 5, 0, 1)
        np.testing.assert_allclose(first.to_patient([3, 5]), (-x, -y, z), atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-25, 25)] * 3),
    zooms=st.tuples(st.floats(0.3, 1.0), st.floats(0.3, 1.0), st.floats(2.0, 6.0)),
    origin=st.tuples(*[st.floats(-300, 300)] * 3),
    stored=st.sampled_from(STORED),
)
def test_points_are_those_of_the_affine(tmp_path_factory, angles, zooms, origin, stored) -> None:
    """Any rotation, voxel size and place: voxels are where the file says."""
    path = tmp_path_factory.mktemp("any") / "sub-1_T2w.nii"
    rng = np.random.default_rng(0)
    a, b, c = np.radians(angles)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turn = turn @ [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    turn = turn @ [[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]]
    affine = np.eye(4)
    # sagittal: columns to the back (-y), rows to the feet (-z), slices to the left (-x)
    affine[:3, :3] = turn @ np.array([[0, 0, -1.0], [-1, 0, 0], [0, -1, 0]]) @ np.diag(zooms)
    affine[:3, 3] = origin
    values = rng.integers(0, 1000, (12, 9, 5)).astype(np.int16)
    brightest = tuple(rng.integers(0, values.shape).tolist())
    values[brightest] = 9000
    image = nibabel.Nifti1Image(values, affine)
    order, flips = stored
    image = image.as_reoriented(np.column_stack([np.argsort(order), np.array(flips)]))
    image.header.set_xyzt_units("mm")
    image.to_filename(path)
    volume = volume_of(path, "s", "v", None)
    assert volume.pixels.shape in {(5, 9, 12), (5, 12, 9)}
    z, y, x = np.unravel_index(volume.pixels.argmax(), volume.pixels.shape)
    expected = np.diag([-1, -1, 1]) @ (affine @ (*brightest, 1))[:3]
    np.testing.assert_allclose(volume.to_patient([x, y, z]), expected, atol=1e-3)


def test_names() -> None:
    name = BidsName.parse("sub-01_ses-02_acq-sag_run-1_T2w.nii.gz")
    assert name is not None
    assert (name.subject, name.suffix, name.entities["acq"]) == ("sub-01_ses-02", "T2w", "sag")
    assert name.stem == "sub-01_ses-02_acq-sag_run-1_T2w"
    for bad in ("image.nii.gz", "T2w.nii", "ses-1_T2w.nii", "sub-1_sub-2_T2w.nii", "sub-_T2w.nii"):
        assert BidsName.parse(bad) is None
    assert subject_of("1.2.840.5") == "sub-1x2x840x5"
    assert subject_of("sub-01_ses-02") == "sub-01_ses-02"
    assert subject_of("../..") == "sub-x"


def test_sidecars_are_inherited(tmp_path: Path) -> None:
    anat = tmp_path / "data" / "sub-1" / "ses-1" / "anat"
    anat.mkdir(parents=True)
    files = ["data/T2w.json", "data/acq-sag_T2w.json", "data/acq-ax_T2w.json", "data/T1w.json"]
    files += [
        "T2w.json",
        "data/sub-1/sub-1_T2w.json",
        "data/sub-1/ses-1/anat/sub-1_ses-1_acq-sag_T2w.json",
    ]
    for file in files:
        (tmp_path / file).write_text("{}")
    image = anat / "sub-1_ses-1_acq-sag_T2w.nii.gz"
    name = BidsName.parse(image.name)
    assert name is not None
    found = [str(p.relative_to(tmp_path)) for p in sidecars_of(image, name)]
    assert found == [files[0], files[1], files[5], files[6]]


def test_times_of_sidecars_are_seconds_and_an_agent_excludes(dataset: Path) -> None:
    name = BidsName.parse("sub-1_ce-gad_T1w.nii")
    assert name is not None
    about = acquisition_of(name, {"EchoTime": 0.011, "RepetitionTime": 0.6, "Modality": "MR"})
    assert (about.echo_time, about.repetition_time) == (11.0, 600.0)
    assert about.agent == "ce-gad"
    assert about.description == "T1"


def test_files_that_cannot_be_used_are_named(base: made.Study, tmp_path: Path) -> None:
    anat = tmp_path / "sub-1" / "anat"
    good = write_nifti(anat / "sub-1_acq-sag_T2w.nii.gz", base["sagt2"])
    (anat / "sub-1_acq-broken_T2w.nii.gz").write_bytes(gzip.compress(b"no image" * 100))
    (anat / "sub-1_acq-cut_T2w.nii.gz").write_bytes(good.read_bytes()[:2000])
    image = nibabel.load(good)
    several = np.stack([image.get_fdata()] * 2, axis=-1).astype(np.int16)
    nibabel.Nifti1Image(several, image.affine).to_filename(anat / "sub-1_acq-4d_T2w.nii.gz")
    nowhere = nibabel.Nifti1Image(several[..., 0], image.affine)
    nowhere.set_sform(image.affine, code=0)
    nowhere.set_qform(image.affine, code=0)
    nowhere.to_filename(anat / "sub-1_acq-nowhere_T2w.nii.gz")
    (anat / "sub-1_T1rho.nii.gz").write_bytes(b"")
    (anat / "other.nii.gz").write_bytes(b"")
    (study,), problems = find_bids(anat.glob("*.nii.gz"))
    assert [(Path(p.file).name, p.fatal) for p in problems] == [
        ("other.nii.gz", True),
        ("sub-1_T1rho.nii.gz", False),
    ]
    read = study.read()
    assert [v.series_id for v in read.volumes] == ["sub-1_acq-sag_T2w"]
    whys = {p.series.split("_")[1]: p.what for p in read.problems if p.fatal}
    assert whys.keys() == {"acq-broken", "acq-cut", "acq-4d", "acq-nowhere"}
    assert "three dimensions" in whys["acq-4d"]
    assert "no orientation" in whys["acq-nowhere"]
    good.unlink()
    with pytest.raises(BadDicom, match="no usable image"):
        study.read()


def test_a_header_that_announces_too_much_is_refused_before_it_is_read(
    base: made.Study, tmp_path: Path
) -> None:
    path = write_nifti(tmp_path / "sub-1_T2w.nii.gz", base["sagt2"])
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[42:48] = np.array([4000, 4000, 4000], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(BadInput, match=r"has shape \(4000, 4000, 4000\); at most"):
        volume_of(path, "s", "v", None)


def test_an_image_without_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sub-1_T2w.nii"
    nibabel.save(nibabel.Nifti1Image(np.full((4, 8, 8), np.nan, "f4"), np.eye(4)), path)
    with pytest.raises(BadInput, match="no voxel with a number"):
        volume_of(path, "s", "v", None)


def test_header_values_for_nifti_files_are_refused_in_words(dataset: Path) -> None:
    (found,), _ = find_bids(dataset.rglob("*.nii.gz"), Request.parse((), ["EchoTime=90"]))
    assert any("--set has no effect on NIfTI files" in p.what for p in found.read().problems)


def test_a_series_can_be_requested(dataset: Path) -> None:
    request = Request.parse(["t2=sub-01_ses-02_acq-sag_T1w", "t1=sub-01_ses-02_acq-sag_T2w"])
    (found,), _ = find_bids(dataset.rglob("*.nii.gz"), request)
    kinds = {v.series_id.rpartition("_")[2]: v.kind for v in found.read().used if v.kind.sagittal}
    assert kinds == {"T1w": T2, "T2w": T1}
    (found,), _ = find_bids(dataset.rglob("*.nii.gz"), Request.parse(["t2=nothing"]))
    with pytest.raises(BadDicom, match="no such series; the study has the series"):
        found.read()


@pytest.fixture(scope="module")
def graded(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    command = ["grade", str(dataset), "--out", str(out / "results"), "--no-check-points"]
    assert main([*command, "--no-pictures", "--bids", str(out / "derivatives")]) == 0
    return out


def test_grade_writes_derivatives(graded: Path, dataset: Path) -> None:
    folder = graded / "derivatives"
    description = json.loads((folder / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "lumbargrade"
    anat = folder / "sub-01" / "ses-02" / "anat"
    findings = json.loads((anat / "sub-01_ses-02_desc-lumbargrade_findings.json").read_text())
    assert findings["study_id"] == "sub-01_ses-02"
    table = (anat / "sub-01_ses-02_desc-lumbargrade_findings.tsv").read_text().splitlines()
    assert len(table) == 26
    assert {line.count("\t") for line in table} == {table[0].count("\t")}
    assert all(cell for line in table for cell in line.split("\t"))
    ignored = (folder / ".bidsignore").read_text().split()
    for path in anat.glob("*_findings.*"):
        assert any(path.match(pattern) for pattern in ignored)
    assert (folder / "desc-lumbargrade_dseg.tsv").read_text().startswith("index\tname\n1\tbody\n")


def test_label_maps_are_on_the_grid_of_the_images(graded: Path, dataset: Path) -> None:
    maps = sorted((graded / "derivatives").rglob("*_dseg.nii.gz"))
    assert maps
    for path in maps:
        labels = nibabel.load(path)
        acquisition = "ax" if "acq-ax" in path.name else "sag"
        weighting = "T1w" if "T1_dseg" in path.name else "T2w"
        (source,) = dataset.rglob(f"*acq-{acquisition}_{weighting}.nii.gz")
        image = nibabel.load(source)
        assert labels.shape == image.shape
        np.testing.assert_allclose(labels.affine, image.affine, atol=1e-4)
        assert labels.get_data_dtype() == np.uint8


def test_results_with_their_derivatives_are_kept(graded: Path, dataset: Path) -> None:
    (findings,) = (graded / "results").glob("*/findings.json")
    first = findings.stat().st_mtime_ns
    command = ["grade", str(dataset), "--out", str(graded / "results"), "--no-check-points"]
    command += ["--no-pictures", "--bids", str(graded / "derivatives")]
    assert main(command) == 0
    assert findings.stat().st_mtime_ns == first
    (derived,) = (graded / "derivatives").rglob("*_findings.json")
    derived.unlink()
    assert main(command) == 0
    assert derived.exists()
    assert findings.stat().st_mtime_ns != first


def test_inspect_lists_the_images(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(dataset), "--json"]) == 0
    out = capsys.readouterr().out
    said = json.loads(out.splitlines()[-1])
    assert {s["kind"] for s in said["series"]} == {k.value for k in SeriesKind}
    assert "sub-01_ses-02_acq-sag_T2w" in out


def test_a_file_of_another_kind_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "sub-1_T2w.nii").write_bytes(b"x" * 400)
    with pytest.raises(BadInput, match=r"not a NIfTI image, or damaged|damaged or unreadable"):
        volume_of(tmp_path / "sub-1_T2w.nii", "s", "v", None)
