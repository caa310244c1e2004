"""From labelled canal points to the axial slices that labels name: phantoms and the real study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.config import CropConfig
from lumbargrade.dicom.reader import read_series
from lumbargrade.domain.point import Point
from lumbargrade.domain.views import StackCut, cut_level, find_spaces, spine_directions
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    TARGETS,
    Condition,
    Level,
    SeriesKind,
    Side,
    Target,
)
from lumbargrade.domain.volume import Volume
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.lsdc.tables import read_tables
from lumbargrade.sampling.study import cut_study
from lumbargrade.sampling.study_rows import StudyRow, study_rows

REAL = "100206310"
CANAL = TARGETS[Condition.CANAL]


@dataclass(frozen=True)
class Labelled:
    """A study with its labels: target -> series, native voxel and patient point."""

    volumes: dict[str, Volume]
    labels: Mapping[Target, tuple[str, tuple[float, float, float], tuple[float, float, float]]]

    @property
    def axial(self) -> list[Volume]:
        return [v for v in self.volumes.values() if v.kind is SeriesKind.AXIAL_T2]

    @property
    def centres(self) -> np.ndarray:
        nowhere = ("", (np.nan,) * 3, (np.nan,) * 3)
        return np.array([self.labels.get(t, nowhere)[2] for t in CANAL])

    def recess(self, level: Level, side: Side):
        return self.labels.get(Target(Condition.SUBARTICULAR, level, side))


def labelled(store: VolumeStore, row: StudyRow) -> Labelled:
    volumes = {s.series_id: store.volume(s.study_id, s.series_id) for s in row.series}
    return Labelled(volumes, {t: (p.series_id, p.voxel, p.patient) for t, p in row.truth.items()})


@pytest.fixture(scope="module")
def phantoms(phantom_store: Path) -> list[Labelled]:
    store = VolumeStore.open(phantom_store)
    return [labelled(store, row) for row in study_rows(store, FINDINGS)]


@pytest.fixture(scope="module")
def real(shared: Path) -> Labelled:
    folder = shared / "realdata" / "rsna2024"
    tables = read_tables(folder)
    volumes = {}
    for s in tables.series:
        if s.study_id == REAL:
            path = folder / "train_images" / s.study_id / s.series_id
            one = read_series(path, study_id=REAL, series_id=s.series_id, kind=s.kind)
            volumes[s.series_id] = one.volume
    labels = {}
    for p in tables.points:
        if p.study_id == REAL:
            volume = volumes[p.series_id]
            voxel = (p.x, p.y, float(volume.slice_of_instance(p.instance_number)))
            patient = tuple(volume.to_patient(voxel).tolist())
            labels[p.target] = (p.series_id, voxel, patient)
    return Labelled(volumes, labels)


def stacks(study: Labelled) -> Iterator[tuple[Level, StackCut | None]]:
    """The best stack of each level that has a canal point."""
    directions = spine_directions(study.centres)
    for level, centre, along in zip(Level, study.centres, directions, strict=True):
        if np.isfinite(centre).all():
            cut = cut_level(centre, study.axial, along=along)
            yield level, cut.stacks[0] if cut.covered else None


def offsets(study: Labelled) -> list[int]:
    """Slices from the chosen one to the labelled one, at every level that is labelled there."""
    found = []
    for level, stack in stacks(study):
        left, right = study.recess(level, Side.LEFT), study.recess(level, Side.RIGHT)
        if stack is None:
            assert left is None
            assert right is None
            continue
        for label in (left, right):
            if label is not None:
                assert label[0] == stack.series_id
                found.append(int(stack.nearest.z - label[1][2]))
        if left and right:  # columns of an axial slice grow to the patient's left
            assert right[1][0] < stack.nearest.x < left[1][0]
    return found


def test_the_slice_of_every_level_of_a_phantom_is_the_labelled_one_or_its_neighbour(phantoms):
    found = [offset for study in phantoms for offset in offsets(study)]
    assert len(found) > 30
    assert max(map(abs, found)) <= 1


def test_the_slice_of_every_level_of_the_real_study_is_the_labelled_one_or_its_neighbour(real):
    found = offsets(real)
    assert len(found) == 10
    assert [abs(o) for o in found[::2]] == [0, 1, 1, 0, 0]
    assert found[::2] == found[1::2]


def test_series_of_the_real_study_share_a_space_though_no_two_share_a_frame(real):
    frames = {v.frame_of_reference for v in real.volumes.values()}
    assert len(frames) == len(real.volumes) == 3
    spaces = find_spaces(list(real.volumes.values()))
    assert set(spaces.of_series.values()) == {0}
    assert spaces.problems == ()


def test_in_slices_stored_the_other_way_round_the_same_slice_is_found(phantoms):
    study = phantoms[0]
    (volume,) = study.axial
    backwards = replace(volume, pixels=volume.pixels[::-1], slices=volume.slices[::-1])
    for centre in study.centres:
        one, other = cut_level(centre, [volume]), cut_level(centre, [backwards])
        (a,), (b,) = one.stacks, other.stacks
        assert volume.slices[a.nearest.z] == backwards.slices[b.nearest.z]
        assert [c.distance for c in a.slices] == pytest.approx([c.distance for c in b.slices])


def test_a_level_below_the_axial_stack_is_not_covered(phantoms):
    """The lower part of a phantom's stack is taken away."""
    study = phantoms[0]
    (volume,) = study.axial
    middles = [cut_level(c, [volume]).stacks[0].nearest.z for c in study.centres[1:3]]
    upwards = volume.slices[-1].plane.position[2] > volume.slices[0].plane.position[2]
    z = np.arange(len(volume.slices))
    kept = z[z > np.mean(middles)] if upwards else z[z < np.mean(middles)]
    short = replace(
        volume, pixels=volume.pixels[kept], slices=tuple(volume.slices[z] for z in kept)
    )
    cuts = [cut_level(c, [short]) for c in study.centres]
    assert [c.covered for c in cuts] == [True, True, False, False, False]
    distance = [min(abs(s.plane.from_patient(c)[2]) for s in short.slices) for c in study.centres]
    assert [c.nearest for c in cuts] == pytest.approx(distance)


@pytest.fixture(scope="module", params=["phantom", "real"])
def study(request: pytest.FixtureRequest, phantoms: list[Labelled]) -> Labelled:
    return phantoms[1] if request.param == "phantom" else request.getfixturevalue("real")


def test_crops_around_labelled_points_hold_the_labels_of_every_view(study):
    """Cut around sagittal labels alone, an axial crop shows the recess that it is cut for."""
    guides = [
        Point(t, series, -1, voxel, patient)
        for t, (series, voxel, patient) in study.labels.items()
        if t.condition is not Condition.SUBARTICULAR
    ]
    crops = cut_study(list(study.volumes.values()), guides, CropConfig())
    for kind in SeriesKind:
        assert crops.covered[kind].all()
    kinds = {Condition.FORAMINAL: SeriesKind.SAGITTAL_T1, Condition.CANAL: SeriesKind.SAGITTAL_T2}
    for target, (series, voxel, _) in study.labels.items():
        kind = kinds.get(target.condition, SeriesKind.AXIAL_T2)
        place = TARGETS[target.condition].index(target)
        crop = crops.views[kind][place]
        assert crop.series_id == series
        assert round(voxel[2]) in crop.zs
        at = int(np.flatnonzero(crop.zs == round(voxel[2]))[0])
        xy1 = np.linalg.inv(crop.to_native[at]) @ [voxel[0], voxel[1], 1]
        middle = (crop.image.shape[-1] - 1) / 2
        if kind is SeriesKind.AXIAL_T2:
            assert np.abs(xy1[:2] - middle).max() < 0.8 * middle
        else:
            assert xy1[:2] == pytest.approx([middle, middle], abs=1e-3)
            assert crop.zs[len(crop.zs) // 2] == round(voxel[2])
