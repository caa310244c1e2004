"""The released checkpoints of the two-stage system: what each is, and its weight in its group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

from lumbargrade.files.structures import parse_plain, structured

#: Name of the system; its networks are ``team-two-stage/<network>``.
RECIPE = "team-two-stage"

_FILE = "team_two_stage/data/members.toml"

#: What a network is used for. The first stage finds levels and points; its parts are named after
#: the view, the dimensions of the network, and the sagittal series on which it finds them. The
#: groups of the second stage grade: all 25 findings; foramina on T1; canal on T2; recesses on axial
#: T2.
Group = Literal[
    "sagittal_2d_t1",
    "sagittal_2d_t2",
    "sagittal_3d_both",
    "sagittal_3d_t1",
    "sagittal_3d_t2",
    "axial_3d",
    "axial_level",
    "axial_2d",
    "fused",
    "t1",
    "t2",
    "axial",
]

#: The groups of the second stage.
SECOND_STAGE: tuple[Group, ...] = ("fused", "t1", "t2", "axial")

#: The complete sets, named after the seed of their folds.
SetName = Literal["8620", "666"]


@dataclass(frozen=True)
class Member:
    """One released checkpoint.

    Attributes:
        group: what it is used for.
        sets: the sets that use it; empty if nothing published reads what it finds.
        roots: folders of the release that may hold ``folder``; the first that does is used.
        folder: folder of the file, relative to a root.
        file: name of the file in the folder.
        network: name of its structure, see `networks.build_network`.
        fold: fold of the studies that it was not trained on.
        crop: slices, rows and columns of its crops before they are resized; None if the network
            takes no such crops.
        weight: published weight in its group, before division by the sum of its group.
        meant_weight: the weight that was meant; it differs from ``weight`` for one network.
    """

    group: Group
    sets: tuple[SetName, ...]
    roots: tuple[str, ...]
    folder: str
    file: str
    network: str
    fold: int
    crop: tuple[int, int, int] | None
    weight: float
    meant_weight: float

    @property
    def slices(self) -> int | None:
        """Number of slices of its crops; None if the network takes no such crops."""
        return None if self.crop is None else self.crop[0]

    @property
    def model_folder(self) -> str:
        """Where its model lies in a folder of models: stage or set, released folder, fold."""
        stage = self.sets[0] if self.group in SECOND_STAGE else "first-stage"
        return f"{stage}/{self.folder}/fold{self.fold}"


@dataclass(frozen=True)
class _Checkpoints:
    """An entry of ``data/members.toml``: the folds of one network."""

    group: Group
    sets: tuple[SetName, ...]
    roots: tuple[str, ...]
    folder: str
    file: str
    folds: tuple[int, ...]
    network: str
    crop: tuple[int, int, int] | None = None
    weight: float | None = None
    meant_weight: float | None = None

    def members(self) -> Iterator[Member]:
        weight = 1.0 if self.weight is None else self.weight
        for fold in self.folds:
            yield Member(
                self.group,
                self.sets,
                self.roots,
                self.folder,
                self.file.format(fold=fold),
                self.network,
                fold,
                self.crop,
                weight,
                weight if self.meant_weight is None else self.meant_weight,
            )


@dataclass(frozen=True)
class _Table:
    checkpoints: tuple[_Checkpoints, ...]


@cache
def load_members() -> tuple[Member, ...]:
    """Return all 250 released checkpoints, in the order of ``data/members.toml``."""
    text = resources.files("lumbargrade").joinpath(_FILE).read_text("utf-8")
    table = structured(parse_plain(text, _FILE), _Table, _FILE, "table of checkpoints")
    return tuple(member for entry in table.checkpoints for member in entry.members())
