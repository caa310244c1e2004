"""Which of the released networks are used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.team_two_stage.faults import Faults
from lumbargrade.team_two_stage.flow import GRADES, needed_groups
from lumbargrade.team_two_stage.members import Member, SetName


@dataclass(frozen=True)
class Choice:
    """Which networks are used, and how.

    Attributes:
        set_name: the complete set: 8620, which the published notebook runs, or 666.
        networks: groups (`flow.GRADES`), names of networks, and folds (``fold0``): of the grading
            networks, those that are in a named group or have a named network are used, and of
            those the named folds; empty for all. The first stage that they need is added.
        faults: which published faults are reproduced.
        conditions: what is graded; networks that grade nothing else are not used.
    """

    set_name: SetName = "8620"
    networks: tuple[str, ...] = ()
    faults: Faults = field(default_factory=Faults)
    conditions: tuple[Condition, ...] = tuple(Condition)

    def of(self, members: Sequence[Member]) -> tuple[Member, ...]:
        """Return the members that are used, in the order in which they run.

        Raises:
            UsageError: if a name is unknown in the set, or nothing is left that grades.
        """
        mine = [m for m in members if self.set_name in m.sets]
        graders = [m for m in mine if set(GRADES.get(m.group, ())) & set(self.conditions)]
        folds = {name for name in self.networks if name.startswith("fold")}
        names = [name for name in self.networks if name not in folds]
        known = {*GRADES, *(m.network for m in graders)}
        if unknown := [n for n in names if n not in known]:
            raise UsageError(
                f"--networks {unknown[0]}: not in set {self.set_name}; give fold0 to fold4 and "
                f"some of {', '.join(sorted(known))}"
            )
        if names:
            graders = [m for m in graders if m.group in names or m.network in names]
        graders = _of_folds(graders, folds)
        if not graders:
            raise UsageError(
                f"--networks {' '.join(self.networks)}: no network of set {self.set_name} is left; "
                "there are the folds fold0 to fold4"
            )
        groups = needed_groups({m.group for m in graders}, self.set_name)
        first = [m for m in mine if m.group in groups and m.group not in GRADES]
        by_group = {
            g: _of_folds([m for m in first if m.group == g], folds, least=True) for g in groups
        }
        return tuple(m for g in groups for m in (*by_group[g], *_in(graders, g)))


def _in(members: Iterable[Member], group: str) -> list[Member]:
    return [m for m in members if m.group == group]


def _of_folds(
    members: Sequence[Member], folds: Iterable[str], *, least: bool = False
) -> list[Member]:
    """The members of some folds; all if no fold is given, or with ``least`` if none has one."""
    wanted = set(folds)
    found = [m for m in members if not wanted or f"fold{m.fold}" in wanted]
    return list(members) if least and not found else found
