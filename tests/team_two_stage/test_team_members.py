"""The table of released checkpoints is the published one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lumbargrade.team_two_stage.members import Member, load_members
from lumbargrade.team_two_stage.networks import NETWORKS

STAGES = {
    "fused 25": "fused",
    "T1 foraminal 10": "t1",
    "T2 canal 5": "t2",
    "axial subarticular 10": "axial",
}


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, list[dict[str, Any]]]:
    file = shared / "reference/two-stage/members.json"
    if not file.is_file():
        pytest.skip("no reference data of the two-stage system")
    content: dict[str, list[dict[str, Any]]] = json.loads(file.read_text())
    return content


def _files(pattern: str) -> list[str]:
    before, _, rest = pattern.partition("{")
    if not rest:
        return [pattern]
    span, _, after = rest.partition("}")
    first, _, last = span.partition("..")
    return [f"{before}{i}{after}" for i in range(int(first), int(last) + 1)]


def test_the_second_stage_is_as_published(published: dict[str, list[dict[str, Any]]]) -> None:
    expected = Counter(
        (
            (entry["root"],), entry["folder"], file, fold, entry["network"],
            STAGES[entry["stage"]], (entry["set"],), entry["weight"], entry.get("crop"),
        )
        for entry in published["second_stage"]
        for fold, file in enumerate(_files(entry["file"]))
    )  # fmt: skip
    ours = Counter(
        (
            m.roots, m.folder, m.file, m.fold, m.network, m.group, m.sets, m.weight,
            m.crop and " x ".join(map(str, m.crop)),
        )
        for m in load_members()
        if m.group in STAGES.values()
    )  # fmt: skip
    assert ours == expected


def test_the_first_stage_is_as_published(published: dict[str, list[dict[str, Any]]]) -> None:
    sets = {
        "8620 and 666": ("8620", "666"),
        "8620": ("8620",),
        "666 (8620: only its list of series)": ("666",),
        "computed, read by nothing published": (),
    }
    expected = Counter(
        (
            tuple(entry["root"].split(", else ")), entry["folder"], file, entry["network"],
            sets[entry["used_by"]],
        )
        for entry in published["first_stage"]
        for file in _files(entry["file"])
    )  # fmt: skip
    first = [m for m in load_members() if m.group not in STAGES.values()]
    assert Counter((m.roots, m.folder, m.file, m.network, m.sets) for m in first) == expected
    assert all(f"fold_{m.fold}_" in m.file for m in first)


def test_groups_have_the_published_numbers_of_networks() -> None:
    def count(set_name: str) -> dict[str, int]:
        used = [m for m in load_members() if m.sets == (set_name,) and m.group in STAGES.values()]
        return Counter(m.group for m in used)

    assert count("8620") == {"fused": 25, "t1": 20, "t2": 30, "axial": 25}
    assert count("666") == {"fused": 20, "t1": 25, "t2": 30, "axial": 20}
    assert len(load_members()) == 250
    assert {m.network for m in load_members()} == set(NETWORKS)


def test_one_weight_is_not_what_was_meant() -> None:
    mistaken = [m for m in load_members() if m.weight != m.meant_weight]
    assert {(m.network, m.sets) for m in mistaken} == {("axial-pvt_v2_b1-z3", ("8620",))}
    axial = [m for m in load_members() if m.group == "axial" and m.sets == ("8620",)]
    assert sum(m.meant_weight for m in axial if m.fold == 0) == pytest.approx(1)
    assert sum(m.weight for m in mistaken) / sum(m.weight for m in axial) == pytest.approx(
        0.526, abs=5e-4
    )


def test_crops_fit_the_networks() -> None:
    def slices(member: Member) -> int:
        return int(member.network[-1])

    crops = [m for m in load_members() if m.network[-3:-1] == "-z"]
    assert crops
    assert all(m.slices == slices(m) for m in crops)
