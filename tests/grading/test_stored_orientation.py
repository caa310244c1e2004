"""A study gives the same findings however its series are stored: pixels, slices, numbers, files."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid

from known_points import CONDITIONS, NoEngine
from lumbargrade.config import ViewName
from lumbargrade.dicom.study import Study, read_study
from lumbargrade.dicom.variants import WAYS, Way
from lumbargrade.domain.findings import Finding, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import FINDINGS, SeriesKind, Target
from lumbargrade.domain.volume import Volume
from lumbargrade.grading.members import Member, load_member
from lumbargrade.inference.base import Engine
from lumbargrade.inference.model_folder import ModelMeta
from lumbargrade.inference.series import SeriesInference, SeriesScores
from lumbargrade.lsdc.tables import read_tables
from lumbargrade.phantom.dataset import Settings, make_dataset
from lumbargrade.sampling.series import Sample
from lumbargrade.validation.held_out import true_points
from small_models import grade_unchecked, save_small_model, small_recipe
from stored_otherwise import read_series_files, write_study

CPU = "cpu"
T1, T2, AXIAL = SeriesKind
AGAIN = "T2 again"
#: Descriptions that tell the kind of a series in an export.
DESCRIPTIONS = {T1: "T1 TSE SAG", T2: "T2 TSE SAG", AXIAL: "T2 TSE TRA"}
TASKS = {
    "foraminal": {},
    "canal": {},
    "subarticular": {},
    "two_stage": {},
    "t1": {"view": "sagittal_t1"},
    "t2": {"view": "sagittal_t2"},
    "axial": {"view": "axial_t2"},
}

#: Parts of parameter names -> factor that makes an untrained network say something: points spread
#: over the image, and probabilities that differ from finding to finding.
SHARPER = {
    "points": 1e4,
    "point.weight": 1e4,
    "slices": 100.0,
    "grade.3.weight": 100.0,
    ".4.weight": 5.0,
}

Slices = Mapping[str, list[FileDataset]]


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Member]:
    """Untrained members of every task whose heatmaps have peaks, so that points follow images."""
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name, options in TASKS.items():
        task = "keypoints" if options else name
        save_small_model(folder / name, task, **options)  # type: ignore[arg-type]
        found[name] = load_member(folder / name, CPU)
        with torch.no_grad():
            for key, weight in found[name].engine.network.named_parameters():
                weight.mul_(next((f for part, f in SHARPER.items() if part in key), 1.0))
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    make_dataset(folder, Settings(1, 3, 0, "train", "explicit"))
    return folder


@pytest.fixture(scope="module")
def labelled(data: Path) -> list[Point]:
    """The labelled points of the phantom, in the patient; series as in the export."""
    (study,) = (data / "train_images").iterdir()
    kinds = {v.series_id: v.kind for v in read_lsdc(data, study).volumes}
    points = labelled_points(data, read_lsdc(data, study))
    return [replace(p, series_id=series_uid(kinds[p.series_id].name)) for p in points]


def read_lsdc(data: Path, folder: Path) -> Study:
    """A study in the LSDC layout, by the tables of a data set."""
    kinds = {s.series_id: s.kind for s in read_tables(data).series}
    return read_study(folder, kinds=kinds)


def labelled_points(data: Path, study: Study) -> list[Point]:
    """The labelled points of a study of a data set, in the patient."""
    points = read_tables(data).points
    return [point for volume in study.volumes for point, _ in true_points(points, volume)]


def series_uid(name: str) -> str:
    return str(generate_uid(entropy_srcs=[name]))


@pytest.fixture(scope="module")
def export(data: Path) -> Slices:
    """The phantom as a hospital exports it, with images and pixels that are not square.

    Of the T2, every second column is left out; of the T1, some rows at the top; of the axial
    series, every second row of an image that has lost columns on one side. The T2 was scanned a
    second time, with a little more noise, so that there are two series to choose from.
    """
    tables = read_tables(data)
    found = {}
    for entry in tables.series:
        folder = data / "train_images" / entry.study_id / entry.series_id
        found[entry.kind.name] = [exported(d, entry.kind) for d in read_series_files(folder)]
    found[AGAIN] = [again(d) for d in found[T2.name]]
    return found


def again(data: FileDataset) -> FileDataset:
    data = copy.deepcopy(data)
    data.SeriesInstanceUID = series_uid(AGAIN)
    data.SOPInstanceUID = f"{data.SOPInstanceUID}.2"
    noise = np.random.default_rng(int(data.InstanceNumber)).integers(0, 9, data.pixel_array.shape)
    data.PixelData = (data.pixel_array + noise).astype(np.uint16).tobytes()
    data["PixelData"].VR = "OW"
    return data


def exported(data: FileDataset, kind: SeriesKind) -> FileDataset:
    data = copy.deepcopy(data)
    data.StudyInstanceUID = generate_uid(entropy_srcs=["study"])
    data.SeriesInstanceUID = series_uid(kind.name)
    data.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame"])
    data.SeriesDescription = DESCRIPTIONS[kind]
    pixels, (dy, dx) = data.pixel_array, data.PixelSpacing
    position = np.array(data.ImagePositionPatient, float)
    if kind is T2:
        pixels, dx = pixels[:, ::2], 2 * dx
    elif kind is T1:
        pixels = pixels[12:]
        position += 12 * float(dy) * np.array(data.ImageOrientationPatient[3:], float)
    else:
        pixels, dy = pixels[::2, :-30], 2 * dy
    data.Rows, data.Columns = pixels.shape
    data.PixelSpacing = [dy, dx]
    data.ImagePositionPatient = [f"{v:.10f}"[:16] for v in position]
    data.PixelData = np.ascontiguousarray(pixels).tobytes()
    data["PixelData"].VR = "OW"
    return data


def ways_of(number: int) -> dict[str, Way]:
    """Way ``number`` of the sagittal T2; the others are stored independently of it."""
    return {
        T2.name: WAYS[number],
        AGAIN: WAYS[(3 * number + 9) % len(WAYS)],
        T1.name: WAYS[(5 * number + 3) % len(WAYS)],
        AXIAL.name: WAYS[(11 * number + 6) % len(WAYS)],
    }


class SeenPoints(SeriesInference):
    """Places each point at one place of the network input, as a network that sees it there does."""

    def __init__(self, view: ViewName, volume: Volume, points: list[Point]) -> None:
        recipe = small_recipe("keypoints", view)
        super().__init__(recipe, CONDITIONS[view], SeriesKind[view.upper()], "3d", graded=False)
        patient = {p.target: p.patient for p in points if p.series_id == volume.series_id}
        voxels = volume.from_patient([patient[t] for t in self.targets])
        self.seen = self.sample(volume).maps.from_native(voxels)

    def run(self, engine: Engine, sample: Sample, *, flip: bool = False) -> SeriesScores:
        return SeriesScores(np.full(self.seen.shape, np.nan), self.seen[:, :2], self.seen[:, 2])


def seeing(volumes: Sequence[Volume], points: list[Point]) -> list[Member]:
    """A first stage that sees the labelled points, from a T1 and a T2 that has them."""
    views: tuple[tuple[SeriesKind, ViewName], ...] = ((T1, "sagittal_t1"), (T2, "sagittal_t2"))
    marked = {p.series_id for p in points}
    found = []
    for kind, view in views:
        (volume,) = [v for v in volumes if v.kind is kind and v.series_id in marked]
        seen = SeenPoints(view, volume, points)
        found.append(Member(Path(view), ModelMeta(seen.recipe, fold=0), seen, NoEngine()))
    return found


@pytest.fixture(scope="module")
def guides(first_study: Study, labelled: list[Point]) -> list[Member]:
    return seeing(first_study.volumes, labelled)


@dataclass(frozen=True)
class Outcome:
    """All that is said of a study: by each network alone, and by all of them in one."""

    alone: dict[str, StudyPrediction]
    together: StudyPrediction

    @classmethod
    def of(
        cls,
        study: Study,
        members: Mapping[str, Member],
        guides: list[Member],
        points: list[Point],
    ) -> Outcome:
        volumes = study.volumes
        alone = {}
        for name, m in members.items():
            for found in m.predict(study.study_id, volumes, points, flip=True):
                series = dict.fromkeys(p.series_id for p in found.points.values())
                alone[" ".join([name, *series])] = found
        return cls(alone, grade_unchecked(study, members.values(), guides=guides))


def assert_same_findings(one: StudyPrediction, other: StudyPrediction, *, numbered: bool) -> None:
    assert set(one.findings) == set(other.findings)
    for target in FINDINGS:
        assert_same(one.findings[target], other.findings[target], numbered=numbered)


def assert_same(one: Finding, other: Finding, *, numbered: bool) -> None:
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)
    assert (one.point is None) == (other.point is None)
    if one.point is not None and other.point is not None:
        assert one.point.series_id == other.point.series_id
        np.testing.assert_allclose(one.point.patient, other.point.patient, atol=0.01)
        if numbered:
            assert one.point.instance_number == other.point.instance_number


def assert_in_place(finding: Finding, study: Study) -> None:
    """The voxel and the instance of a finding are those of the files as they are stored."""
    place = finding.point
    assert place is not None
    (volume,) = [v for v in study.volumes if v.series_id == place.series_id]
    z = volume.slice_of_instance(place.instance_number)
    assert abs(z - place.z) <= 0.5 + 1e-6
    np.testing.assert_allclose(
        volume.to_patient((place.x, place.y, place.z)), place.patient, atol=1e-6
    )


def assert_same_prediction(one: StudyPrediction, other: StudyPrediction) -> None:
    np.testing.assert_allclose(
        one.probability_rows(FINDINGS), other.probability_rows(FINDINGS), atol=1e-5
    )
    placed = (p.point_rows(FINDINGS, patient=True) for p in (one, other))
    np.testing.assert_allclose(*placed, atol=0.01)
    assert series_of(one) == series_of(other)


def series_of(prediction: StudyPrediction) -> dict[Target, str]:
    return {target: p.series_id for target, p in prediction.points.items()}


def assert_same_outcome(
    one: Outcome, other: Outcome, study: Study, ways: Mapping[str, Way]
) -> None:
    assert set(one.alone) == set(other.alone)
    for name, prediction in one.alone.items():
        assert_same_prediction(prediction, other.alone[name])
    for finding in other.together.findings.values():
        assert_in_place(finding, study)
    numbered = not any(way.numbers for way in ways.values())
    assert_same_findings(one.together, other.together, numbered=numbered)


@pytest.fixture(scope="module")
def first_study(export: Slices, tmp_path_factory: pytest.TempPathFactory) -> Study:
    return read_study(write_study(tmp_path_factory.mktemp("first"), export, {}, shuffle=0))


@pytest.fixture(scope="module")
def first(
    first_study: Study,
    members: dict[str, Member],
    guides: list[Member],
    labelled: list[Point],
) -> Outcome:
    return Outcome.of(first_study, members, guides, labelled)


def test_there_is_something_to_compare(first: Outcome) -> None:
    """Points and probabilities differ, crops are cut at every level, all findings are graded."""
    for prediction in first.alone.values():
        placed = prediction.point_rows(list(prediction.points), patient=True)
        assert (np.ptp(placed, axis=0) > 10).all()
        if prediction.findings:
            said = prediction.probability_rows(list(prediction.findings))
            assert np.ptp(said, axis=0).max() > 1e-5
    for finding in first.together.findings.values():
        assert finding.point is not None


@pytest.mark.parametrize("number", range(len(WAYS)))
def test_every_way_to_store_a_study_gives_the_same_findings(
    number: int,
    first: Outcome,
    export: Slices,
    members: dict[str, Member],
    guides: list[Member],
    labelled: list[Point],
    tmp_path: Path,
) -> None:
    ways = ways_of(number)
    study = read_study(write_study(tmp_path, export, ways, shuffle=number + 1))
    found = Outcome.of(study, members, guides, labelled)
    assert_same_outcome(first, found, study, ways)


REAL = "100206310"


@dataclass(frozen=True)
class RealStudy:
    """The labelled real study, and what is said of it as it is."""

    data: Path
    slices: Slices
    points: list[Point]
    guides: list[Member]
    outcome: Outcome


@pytest.fixture(scope="module")
def real(shared: Path, members: dict[str, Member]) -> RealStudy:
    data = shared / "realdata" / "rsna2024"
    folder = data / "train_images" / REAL
    study = read_lsdc(data, folder)
    points = labelled_points(data, study)
    guides = seeing(study.volumes, points)
    slices = {f.name: read_series_files(f) for f in sorted(folder.iterdir())}
    return RealStudy(data, slices, points, guides, Outcome.of(study, members, guides, points))


@pytest.mark.parametrize("number", range(len(WAYS)))
def test_the_real_study_gives_the_same_findings_however_it_is_stored(
    number: int, real: RealStudy, members: dict[str, Member], tmp_path: Path
) -> None:
    """In the LSDC layout: volumes stay in their published form, and samples are brought upright."""
    ways = {name: WAYS[(number + 5 * i) % len(WAYS)] for i, name in enumerate(real.slices)}
    study = read_lsdc(real.data, write_study(tmp_path / REAL, real.slices, ways))
    found = Outcome.of(study, members, real.guides, real.points)
    assert_same_outcome(real.outcome, found, study, ways)
