"""A study goes through four groups of stub networks; published faults are kept or mended."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lumbargrade.domain.errors import NothingDone, UsageError
from lumbargrade.domain.vocabulary import TARGETS, Condition, SeriesKind
from lumbargrade.grading.predictor import Predictor
from lumbargrade.team_two_stage import groups
from lumbargrade.team_two_stage.choice import Choice
from lumbargrade.team_two_stage.faults import KEYS, Faults
from lumbargrade.team_two_stage.flow import GRADES, StudyFlow
from lumbargrade.team_two_stage.members import Member, SetName, load_members
from lumbargrade.team_two_stage.predictor import TwoStage
from lumbargrade.team_two_stage.progress import Progress
from lumbargrade.team_two_stage.series import read_case
from lumbargrade.team_two_stage.state import member_key
from stub_flows import by_group, case_of, predict, severe_logit
from stub_networks import Outputs, StubNetworks, level_logits, made_study, made_volume


@pytest.mark.parametrize(
    ("set_name", "canal", "foraminal", "subarticular"),
    [
        ("8620", 0.5896 * 1 + 0.4104 * 3, 0.09 * 1 + 0.91 * 2, 0.38 * 1 + 0.62 * 4),
        ("666", 0.55 * 1 + 0.45 * 3, 0.10 * 1 + 0.90 * 2, 0.38 * 1 + 0.62 * 4),
    ],
)
def test_groups_are_joined_by_their_logits(
    set_name: SetName, canal: float, foraminal: float, subarticular: float
) -> None:
    """All 25 findings are graded, and each condition has the published share of each group."""
    found = predict(Choice(set_name))
    assert len(found.findings) == 25
    assert not found.absent
    notes = {p.what for p in found.problems}
    assert notes == {
        "the two-stage networks read its 8-bit pixels, because its files cannot be read again"
    }
    assert severe_logit(found, Condition.CANAL) == pytest.approx(canal)
    assert severe_logit(found, Condition.FORAMINAL) == pytest.approx(foraminal)
    assert severe_logit(found, Condition.SUBARTICULAR) == pytest.approx(subarticular)
    names = {f"team-two-stage/{set_name}-{group}#-1" for group in GRADES}
    assert {str(s) for s in found.sources} == names


@pytest.mark.parametrize(
    ("set_name", "networks"),
    [("8620", 100 + 3 + 1 + 5 + 5 + 20 + 10), ("666", 95 + 3 + 1 + 5 + 20 + 10 + 10)],
)
def test_each_set_runs_its_own_networks_once(set_name: SetName, networks: int) -> None:
    """Every network of the set is opened once, the first stage of a group before the group."""
    stubs = StubNetworks()
    TwoStage(stubs, Choice(set_name)).predict("study", made_study())
    assert len(stubs.opened) == len(set(stubs.opened)) == networks
    order = [m.group for m in TwoStage(stubs, Choice(set_name)).members]
    assert order.index("axial_level") < order.index("axial_2d") < order.index("axial")


def test_networks_of_a_group_have_their_published_weights() -> None:
    """The exchanged weight gives the axial pvt_v2_b1 networks 52.6 % of their group."""

    def grade(member: Member) -> float:
        return float(member.network == "axial-pvt_v2_b1-z3")

    def share(faults: Faults) -> float:
        choice = Choice(networks=("axial",), faults=faults)
        found = TwoStage(StubNetworks(grade), choice).predict("study", made_study())
        return severe_logit(found, Condition.SUBARTICULAR)

    assert share(Faults(exchanged_weight=True)) == pytest.approx(0.526, abs=5e-4)
    assert share(Faults()) == pytest.approx(0.0987451411551922, abs=1e-6)


def test_places_are_in_our_voxels_and_in_the_patient() -> None:
    """Points of the 512 frame are mapped by half-pixel centres; slices to those of our volume."""
    found = predict().findings
    canal = found[TARGETS[Condition.CANAL][0]].point
    assert canal is not None
    # 80 columns and 64 rows; the published order of slices is the reverse of ours
    assert canal.voxel == pytest.approx((0.5 * 80 + 80 / 1024 - 0.5, 0.2 * 64 + 64 / 1024 - 0.5, 5))
    assert canal.instance_number == 6
    assert canal.patient == pytest.approx((0, -100 + 4 * canal.x, 100 - 4 * canal.y))
    left, right = (found[TARGETS[Condition.SUBARTICULAR][i]].point for i in (0, 5))
    assert left is not None
    assert right is not None
    assert left.x == pytest.approx((300 + 0.5) * 80 / 512 - 0.5)
    assert right.x == pytest.approx((212 + 0.5) * 80 / 512 - 0.5)
    assert left.patient is not None
    assert right.patient is not None
    assert left.patient[0] > right.patient[0], "the patient's left is +x"
    assert left.instance_number == 3, "(0 + 1) / 6 of 12 slices"


def flow_of(faults: Faults | None = None, **counts: int) -> StudyFlow:
    """A study through all networks of the first stage."""
    case = case_of("study", made_study(**counts), large=True)
    members = Choice().of(load_members())
    flow = StudyFlow(case, members, faults=faults or Faults())
    networks = StubNetworks()
    for member in members:
        if member.group not in GRADES:
            flow.run(member, networks.open(member))
    return flow


def test_t1_crops_are_also_read_mirrored() -> None:
    """The logits are the mean of a crop's and of its mirror image's."""
    seen = []

    def network(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(inputs["image"])
        return {"logits": np.full((1, 2, 5, 3), float(len(seen)))}

    flow = flow_of()
    member = next(m for m in flow.members if m.crop == (3, 72, 128))
    logits = groups.t1(flow, member, network)  # type: ignore[arg-type]
    assert (logits == 1.5).all()
    assert logits.shape == (2, 5, 3)
    assert seen[0].shape == (1, 10, 3, 128, 128)
    np.testing.assert_array_equal(seen[0][..., ::-1], seen[1])
    # 72 rows are stretched to 128, so each is there once or twice
    assert (seen[0][0, 0, 0, 0] == seen[0][0, 0, 0, 1]).all()


def test_axial_crops_of_the_right_are_mirrored_and_t2_lies_beside() -> None:
    """Right crops are mirrored; the T2 slices of each side go from the centre outwards."""
    flow = flow_of()
    crops = groups.axial_crops(flow, 3)
    assert crops.shape == (10, 3, 1, 128, 128)
    series = flow.axial[0]
    assert series.large is not None
    z = int(np.round(flow.axial_levels[0, 1, 0, 0] * series.depth))
    x, y = (int(np.round(at * 720 / 512 - 104)) for at in (212.0, 250.0))
    cut = series.large[z - 1 : z + 2, y - 64 : y + 64, x - 64 : x + 64]
    np.testing.assert_array_equal(crops[5, :, 0], cut[..., ::-1])
    five = groups.axial_crops(flow, 5)
    assert five.shape == (10, 5, 3, 128, 128)
    np.testing.assert_array_equal(five[0, 0, 0], five[0, 0, 1])
    np.testing.assert_array_equal(five[0, 1, 0], five[0, 0, 1])
    np.testing.assert_array_equal(five[0, 4, 2], five[0, 4, 1])
    sides = groups.beside(flow)
    assert sides.shape == (10, 4, 128, 128)
    np.testing.assert_array_equal(sides[0, 0], sides[5, 0])
    assert (sides[0, 1] != sides[5, 1]).any()
    assert flow.case.t2 is not None
    middle = flow.case.t2.slices[6]  # 0.5 of 12 slices
    rows = middle[int(np.round(0.2 * 512)) - 32 :][:64:1, 192:320]
    np.testing.assert_array_equal(sides[0, 0, ::2], rows)
    np.testing.assert_array_equal(sides[0, 1, ::2, 0], flow.case.t2.slices[7][70:134, 192])


def test_fused_networks_see_ten_slices_and_six_of_each_series() -> None:
    """Canal crops serve three conditions; each axial series adds six slices of each level."""
    flow = flow_of(axial=2)
    sagittal = groups.fused_sagittal(flow)
    assert sagittal.shape == (25, 5, 128, 128)
    np.testing.assert_array_equal(sagittal[:5], sagittal[15:20])
    np.testing.assert_array_equal(sagittal[:5], sagittal[20:])
    # left and right foramina are at the same place, but in other slices
    assert (sagittal[5:10] != sagittal[10:15]).any()
    axial = groups.fused_axial(flow)
    assert axial.shape == (5, 12, 3, 256, 256)
    inner = flow.axial[1].slices[:, 128:384, 128:384]
    np.testing.assert_array_equal(axial[0, 6, 1], inner[1], "the second series' level begins at 1")


def test_the_published_windows_of_three_series_are_one_key() -> None:
    """Two series have the same levels with and without the fault; the third has not."""
    for count, same in ((2, True), (3, False)):
        mended = flow_of(axial=count, depth=6).axial_levels
        published = flow_of(Faults(third_series_window=True), axial=count, depth=6).axial_levels
        np.testing.assert_allclose(mended[:2], published[:2])
        assert np.allclose(mended, published) is same


def test_of_several_axial_series_the_confidence_decides() -> None:
    """Rounded, the first good one is taken; not rounded, the best."""
    flow = flow_of(axial=2)
    level = next(m for m in flow.members if m.group == "axial_level")
    one = level_logits(12)[0]
    flow.outputs[member_key(level)] = np.concatenate([one, one + 3])  # the second is surer

    def series(faults: Faults) -> set[str]:
        flow.faults = faults
        places = flow.places(Condition.SUBARTICULAR)
        assert places is not None
        return {s.volume.series_id for s, _ in places}

    assert series(Faults()) == {"axial_t2-0"}
    assert series(Faults(rounded_confidence=False)) == {"axial_t2-1"}


def test_the_level_network_reads_series_as_listed_or_from_the_head() -> None:
    """Only its input is in that order; what it says of a series stays with the series."""
    low, high = made_volume(SeriesKind.AXIAL_T2, "low", 4), made_volume(SeriesKind.AXIAL_T2, "high")
    moved = [
        replace(s, plane=replace(s.plane, position=(0.0, 0.0, s.plane.position[2] - 200)))
        for s in low.slices
    ]
    case = read_case("study", [replace(low, slices=tuple(moved)), high], large=False)
    level = next(m for m in load_members() if m.group == "axial_level")

    def surest(kept: bool, first: int) -> list[bool]:
        """Whether every level is sure in each series, if only the first slices read are sure."""

        def network(inputs: Outputs) -> Outputs:
            logits = np.where(np.arange(len(inputs["image"])) < first, 3.0, -3.0)
            return {"sides": logits[None, :, None, None] * np.ones((2, 5))}

        flow = StudyFlow(case, [level], faults=Faults(file_order=kept))
        flow.run(level, network)
        assert [s.volume.series_id for s in flow.axial] == ["low", "high"]
        sure = (flow.axial_levels[..., 1] > 0.5).reshape(2, 10)
        assert (sure == sure[:, :1]).all()
        return sure[:, 0].tolist()

    assert surest(True, 4) == [True, False]
    assert surest(False, 12) == [False, True]


def test_short_series_are_stretched_or_fail() -> None:
    """Three slices are graded; as published, the crops of five fail."""
    found = predict(depth=3)
    assert len(found.findings) == 25
    with pytest.raises(NothingDone, match="short_series_fail"):
        predict(Choice(faults=Faults(short_series_fail=True)), depth=3)
    assert len(predict(Choice(faults=Faults(short_series_fail=True)), depth=5).findings) == 25


def test_only_the_first_sagittal_series_is_read() -> None:
    """A second T1 series changes nothing; all axial series are read."""
    case = read_case("study", made_study(t1=2, axial=3), large=False)
    assert case.t1 is not None
    assert case.t1.volume.series_id == "sagittal_t1-0"
    assert [s.volume.series_id for s in case.axial] == [f"axial_t2-{i}" for i in range(3)]


def test_faults_are_named_one_by_one() -> None:
    """Every key changes one fault; all are those of the published code."""
    assert {key for key in KEYS if getattr(Faults(), key)} == {"rounded_confidence", "file_order"}
    assert all(getattr(Faults.as_published(), key) for key in KEYS)
    assert Faults.of(["all"]) == Faults.as_published()
    assert Faults.of(["exchanged-weight", "no-file-order"]) == Faults(
        exchanged_weight=True, file_order=False
    )
    assert Faults.of([]) == Faults()
    with pytest.raises(UsageError, match="--as-published windows: unknown"):
        Faults.of(["windows"])


def test_networks_are_chosen_by_group_name_and_fold() -> None:
    """One fold of one group needs one fold of its first stage, or all if it has no such fold."""
    members = load_members()
    chosen = Choice(networks=("t2", "fold3")).of(members)
    assert {(m.group, m.fold) for m in chosen} == {("sagittal_3d_both", 3), ("t2", 3)}
    assert len(chosen) == 1 + 6
    axial = Choice(networks=("axial-pvt_v2_b1-z3", "fold4")).of(members)
    assert [m.fold for m in axial if m.group == "axial_level"] == [0], "there is no other"
    assert [m.network for m in axial if m.group == "axial"] == ["axial-pvt_v2_b1-z3"]
    with pytest.raises(UsageError, match="--networks fuse-nothing: not in set 666"):
        Choice("666", ("fuse-nothing",)).of(members)
    with pytest.raises(UsageError, match="no network of set 8620 is left"):
        Choice(networks=("fold7",)).of(members)


def test_fused_networks_alone_grade_and_place_everything() -> None:
    """With --networks fused, places are the centres of its crops."""
    found = predict(Choice(networks=("fused",)))
    assert len(found.findings) == 25
    assert all(f.point is not None for f in found.findings.values())
    assert severe_logit(found, Condition.FORAMINAL) == pytest.approx(1)
    left, right = (found.findings[TARGETS[Condition.FORAMINAL][i]].point for i in (0, 5))
    assert left is not None
    assert left.patient is not None
    assert right is not None
    assert right.patient is not None
    assert left.patient[0] > right.patient[0], "the patient's left is +x"


def test_a_sweep_opens_each_network_once_and_resumes(tmp_path: Path) -> None:
    """Networks run over all studies; what is known is not run again unless it changes."""
    studies = {f"study/{i}": made_study(axial=i, depth=5) for i in range(2)}
    unread = [(name, lambda volumes=volumes: volumes) for name, volumes in studies.items()]

    def broken() -> list[object]:
        raise OSError("gone")

    choice, progress = Choice(networks=("t2", "fold1", "axial")), Progress(tmp_path / "kept")
    first = StubNetworks(by_group)
    system = TwoStage(first, choice, progress)
    studies_of_run = [*unread, ("broken", broken)]
    system.sweep(studies_of_run, until=0)  # type: ignore[arg-type]
    assert not first.opened, "the time was over before it began"
    system.sweep(studies_of_run)  # type: ignore[arg-type]
    assert sorted(first.opened) == sorted(member_key(m) for m in system.members)
    again = StubNetworks(by_group)
    warm = TwoStage(again, choice, progress)
    alone = TwoStage(StubNetworks(by_group), choice)
    for name, volumes in studies.items():
        assert warm.predict(name, volumes).findings == alone.predict(name, volumes).findings
    assert not again.opened
    # another series, or other weights of the first stage: everything runs again
    warm.predict("study/1", made_study(axial=2, depth=5))
    assert len(again.opened) == len(warm.members)
    other = StubNetworks(by_group, version="retrained")
    TwoStage(other, choice, progress).predict("study/1", studies["study/1"])
    assert len(other.opened) == len(warm.members)


def test_one_network_is_in_memory_at_a_time(tmp_path: Path) -> None:
    """A sweep, and a prediction, let go of a network before the next one is opened."""
    alive: list[weakref.ref[object]] = []

    class Watched(StubNetworks):
        def open(self, member: Member) -> Callable[[Outputs], Outputs]:
            assert not any(ref() is not None for ref in alive), "one is still in memory"
            network = super().open(member)
            alive.append(weakref.ref(network))
            return network

    choice = Choice(networks=("t2", "fold1"))
    volumes = made_study(depth=5)
    system = TwoStage(Watched(), choice, Progress(tmp_path / "kept"))
    system.sweep([("a", lambda: volumes)])
    replace(system, progress=None).predict("a", volumes)
    assert len(alive) == 2 * len(system.members)


def test_the_two_stage_system_is_a_predictor() -> None:
    """It says what it grades, and what it is changes with its networks and their use."""
    system = TwoStage(StubNetworks(), Choice(networks=("t1", "t2")))
    assert isinstance(system, Predictor)
    assert system.conditions == {Condition.CANAL, Condition.FORAMINAL}
    assert system.kinds == set(SeriesKind)
    same = TwoStage(StubNetworks(), Choice(networks=("t1", "t2")))
    assert system.fingerprint() == same.fingerprint()
    faults = replace(system, choice=replace(system.choice, faults=Faults.as_published()))
    weights = replace(system, networks=StubNetworks(version="retrained"))
    prints = {s.fingerprint() for s in (system, faults, weights)}
    assert len(prints) == 3
