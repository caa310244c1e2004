"""Reasons why a finding is absent: clauses that follow "not graded, because"."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lumbargrade.domain.views import LevelCut
from lumbargrade.domain.vocabulary import TARGETS, Condition, Level, SeriesKind, Target, plain_name

#: Separates the reasons of several models.
_BETWEEN = "; "


def no_series(kinds: Iterable[SeriesKind]) -> str:
    """Say that the study has no usable series of any of the kinds."""
    wanted = set(kinds)
    return f"no usable {' or '.join(k.value for k in SeriesKind if k in wanted)} series"


def no_point(level: Level, kind: SeriesKind) -> str:
    """Say that no point of the level was found in the series of a kind."""
    return f"no point of {level.label} was found in the {kind.value} series"


def no_slice(level: Level, cut: LevelCut) -> str:
    """Say that no axial slice reaches the level."""
    return f"no axial slice cuts {level.label} ({cut.shortfall})"


def not_finite(model: str) -> str:
    """Say that a model's output holds NaN or infinity."""
    return f"the output of {model} is not finite"


def no_model(condition: Condition) -> str:
    """Say that no given model grades the condition."""
    return f"none of the models grades {plain_name(condition)}"


def no_spine(what: str) -> str:
    """Say that the points of a study do not form a lumbar spine."""
    return f"the points found are not those of a lumbar spine: {what}"


def off_the_curve(level: Level, what: str) -> str:
    """Say that a point does not fit the points of the other levels."""
    return f"the point found for {level.label} does not fit the other levels: {what}"


def views_disagree(level: Level, first: str, second: str, gap: float) -> str:
    """Say that two views place a level at different heights, ``gap`` mm apart."""
    return f"{first} and {second} of {level.label} were found {gap:.0f} mm apart in height"


def sides_apart(target: Target, apart: float) -> str:
    """Say that the distance between left and right points (mm) is negative or implausible."""
    if apart < 0:
        how = f"the left point of {target.level.label} lies {-apart:.0f} mm to the right of the"
        return f"{how} right one"
    how = "only " if apart < 40 else ""
    return f"the left and right points of {target.level.label} are {how}{apart:.0f} mm apart"


def cut_off(level: Level, inside: float) -> str:
    """Say that a level lies outside its image, or ``inside`` mm from its edge."""
    if inside < 0:
        return f"{level.label} lies outside the image"
    return f"{level.label} is cut off: it lies {inside:.0f} mm from the edge of the image"


def uncertain_numbering(why: Iterable[str]) -> str:
    """Note that the levels of a study may be named wrongly."""
    return f"the numbering of the levels is uncertain: {'; '.join(why)}"


def joined(reasons: Iterable[str]) -> str:
    """Join the reasons of several models without duplicates."""
    parts = dict.fromkeys(p for reason in reasons for p in reason.split(_BETWEEN))
    return _BETWEEN.join(parts)


def by_reason(absent: Mapping[Target, str]) -> dict[str, list[Target]]:
    """Group absent findings by reason, in the order of ``absent``."""
    found: dict[str, list[Target]] = {}
    for target, reason in absent.items():
        found.setdefault(reason, []).append(target)
    return found


def named(targets: Iterable[Target]) -> str:
    """Name findings in words, such as "left and right subarticular stenosis at L4/L5, L5/S1"."""
    wanted = set(targets)
    parts = []
    for condition in Condition:
        sides: dict[tuple[Level, ...], list[str]] = {}
        for side in dict.fromkeys(t.side for t in TARGETS[condition]):
            found = [t.level for t in TARGETS[condition] if t.side is side and t in wanted]
            if found:
                sides.setdefault(tuple(found), []).append(side.value if side else "")
        for levels, names in sides.items():
            what = f"{' and '.join(names)} {plain_name(condition)}".strip()
            at = f" at {', '.join(v.label for v in levels)}" if len(levels) < len(Level) else ""
            parts.append(what + at)
    return ", ".join(parts)
