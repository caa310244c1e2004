"""A study without T1, T2 or axial series is graded by the networks that have what they need."""

from __future__ import annotations

import pytest

from lumbargrade.domain.errors import NothingDone
from lumbargrade.domain.vocabulary import KIND_OF, TARGETS, Condition
from lumbargrade.team_two_stage.choice import Choice
from lumbargrade.team_two_stage.faults import Faults
from stub_flows import predict, severe_logit


@pytest.mark.parametrize(
    ("gone", "canal", "foraminal", "subarticular"),
    [
        ("t1", 0.5896 * 1 + 0.4104 * 3, None, 0.38 * 1 + 0.62 * 4),
        ("t2", None, 0.09 * 1 + 0.91 * 2, 4),
        ("axial", 3, 2, None),
    ],
)
def test_a_missing_view_leaves_findings_to_the_other_groups(
    gone: str, canal: float | None, foraminal: float | None, subarticular: float | None
) -> None:
    """What no group can see is absent with the reason; the rest is graded, and a note says how."""
    found = predict(**{gone: 0})
    expected = zip(
        (Condition.CANAL, Condition.FORAMINAL, Condition.SUBARTICULAR),
        (canal, foraminal, subarticular),
        strict=True,
    )
    for condition, logit in expected:
        if logit is None:
            reasons = {found.absent[t] for t in TARGETS[condition]}
            assert reasons == {f"no usable {KIND_OF[condition]} series"}
        else:
            assert severe_logit(found, condition) == pytest.approx(logit)
    kind = {"t1": "Sagittal T1", "t2": "Sagittal T2/STIR", "axial": "Axial T2"}[gone]
    notes = [p.what for p in found.problems if "graded without" in p.what]
    assert len(notes) == 1
    assert notes[0].startswith(f"graded without {kind}: the fused networks")


@pytest.mark.parametrize(
    ("networks", "gone", "says"),
    [
        ("t1", "axial", None),
        ("fused", "axial", "the fused networks were left out"),
        ("t2", "t1", "points on T2 were found beside black slices in its place"),
        ("axial", "t1", "points on T2 were found beside black slices in its place"),
        ("axial", "t2", "the axial networks read grey T2 crops in its place"),
        ("t1", "t2", None),
    ],
)
def test_a_note_is_about_the_networks_that_are_used(
    networks: str, gone: str, says: str | None
) -> None:
    """It says what stood for the missing view, and nothing of networks that were not chosen."""
    found = predict(Choice(networks=(networks,)), **{gone: 0})
    notes = [p.what.split(": ")[1] for p in found.problems if "graded without" in p.what]
    assert notes == ([] if says is None else [says])


def test_as_published_axial_networks_alone_read_grey_crops() -> None:
    choice = Choice(networks=("axial",), faults=Faults(missing_views_fail=True))
    found = predict(choice, axial=0)
    assert len(found.findings) == 10
    assert any("read grey crops in its place, as published" in p.what for p in found.problems)


def test_as_published_a_missing_view_is_black_or_stops_the_study() -> None:
    """Without T1 or T2 all 25 findings are graded; without axial series nothing is."""
    choice = Choice(faults=Faults(missing_views_fail=True))
    for gone in ("t1", "t2"):
        found = predict(choice, **{gone: 0})
        assert len(found.findings) == 25
        assert any("black and grey images in its place" in p.what for p in found.problems)
    with pytest.raises(NothingDone, match="no usable Axial T2 series"):
        predict(choice, axial=0)
