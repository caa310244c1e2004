"""Read and write blend files (TOML): members with models, weights and calibration per condition.

One file holds everything that `submit` and `grade` need. Unknown keys are errors. The package ships
the blends of the published submissions, whose models are named by recipe and found among those that
are given with the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Literal

import tomli_w

from lumbargrade import __version__
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import Condition
from lumbargrade.files.structures import ADDED_LATER, plain, read_plain, structured
from lumbargrade.files.writing import write_text
from lumbargrade.grading.model_record import ModelRecord, record_of
from lumbargrade.inference.model_folder import read_meta
from lumbargrade.scoring.any_severe import AnySevere
from lumbargrade.scoring.blend_weights import Origin
from lumbargrade.scoring.calibration import Calibration

#: Version of the layout; bumped when older programs could misread a newer file.
FORMAT = 1

_HEADER = """\
# Written by `lumbargrade blend`. Weights and calibration were fitted to out-of-fold predictions.
# Losses: lower is better. Paths are relative to this file.
"""


#: Folder of the blends of published submissions, in the package.
_SHIPPED = "grading/data/blends"


@dataclass(frozen=True)
class NamedModels:
    """Models that are named by recipe.

    Attributes:
        recipe: name of the recipe.
        folds: one model of each.
    """

    recipe: str
    folds: tuple[int, ...]


@dataclass(frozen=True)
class TwoStageMember:
    """The released two-stage networks (`lumbargrade.team_two_stage`).

    Attributes:
        set_name: which set.
        networks: names that choose among them (`Choice.networks`); empty for all.
        as_published: faults to reproduce (`Faults.of`).
    """

    set_name: Literal["8620", "666"]
    networks: tuple[str, ...] = field(default=(), metadata=ADDED_LATER)
    as_published: tuple[str, ...] = field(default=(), metadata=ADDED_LATER)


@dataclass(frozen=True)
class BlendMember:
    """A member of a blend: models whose predictions are averaged, or the two-stage networks.

    Attributes:
        name: its name in the weights.
        flip: whether it was measured, and is used, with flip averaging.
        models: its models, with digests, so that other models are refused.
        guides: models that only place points.
        named: instead of ``models``: models by recipe, found among those given with the file.
        two_stage: instead of ``models``: the two-stage networks among those given with the file.
    """

    name: str
    flip: bool
    models: tuple[ModelRecord, ...]
    guides: tuple[ModelRecord, ...] = ()
    named: tuple[NamedModels, ...] = field(default=(), metadata=ADDED_LATER)
    two_stage: TwoStageMember | None = None

    def __post_init__(self) -> None:
        ways = [bool(self.models), bool(self.named), self.two_stage is not None]
        if sum(ways) > 1:
            raise ValueError(f"{self.name}: give only one of models, named and two_stage")

    @property
    def takes_models(self) -> bool:
        """Whether its models are found among those given with the file."""
        return bool(self.named) or self.two_stage is not None


@dataclass(frozen=True)
class Measured:
    """Out-of-fold figures of a blend.

    Attributes:
        findings: number of graded findings.
        members: weighted log loss of each member.
        blend: weighted log loss of the blend, with weights fitted to other studies.
        log_loss: unweighted log loss of the blend's probabilities.
        calibrated: the same after a calibration fitted to other studies; None if not measured.
    """

    findings: int
    members: dict[str, float]
    blend: float
    log_loss: float
    calibrated: float | None = None


@dataclass(frozen=True)
class ConditionBlend:
    """Weights and calibration of one condition.

    Attributes:
        weights: member -> weight; weights sum to 1, and members that lack the condition have none.
        origin: how the weights were chosen.
        calibration: calibration from the blend's probabilities to frequencies.
        measured: out-of-fold figures; None in a published blend, which is then not calibrated.
        spare: members with weight 0 that are used if all others lack a finding. Other members with
            weight 0 are not run.
    """

    weights: dict[str, float]
    origin: Origin
    calibration: Calibration
    measured: Measured | None = None
    spare: tuple[str, ...] = field(default=(), metadata=ADDED_LATER)

    def needs(self, member: str) -> bool:
        """Return whether the predictions of a member are used."""
        return self.weights.get(member, 0) > 0 or member in self.spare

    def __post_init__(self) -> None:
        values = self.weights.values()
        if not all(math.isfinite(w) and w >= 0 for w in values) or abs(sum(values) - 1) > 1e-6:
            raise ValueError(f"weights must be 0 or more and sum to 1: {self.weights}")


@dataclass(frozen=True)
class Blend:
    """Content of a blend file.

    Attributes:
        format: version of the layout.
        folds: fingerprint of the folds that all models were trained on.
        members: all members.
        conditions: weights and calibration of each condition that a member grades.
        any_severe: correction of canal probabilities for the official score.
        lumbargrade: version of this package that wrote the file.
        about: what a user must know of it.
    """

    format: int
    folds: str
    members: tuple[BlendMember, ...]
    conditions: dict[Condition, ConditionBlend]
    any_severe: AnySevere = field(default_factory=AnySevere)
    lumbargrade: str = __version__
    about: str = field(default="", metadata=ADDED_LATER)

    @property
    def takes_models(self) -> bool:
        """Whether models must be given with the file."""
        return any(member.takes_models for member in self.members)

    @property
    def calibrated(self) -> bool:
        """Whether calibrations were fitted."""
        return any(entry.measured is not None for entry in self.conditions.values())

    def __post_init__(self) -> None:
        names = [m.name for m in self.members]
        if len(set(names)) < len(names):
            raise ValueError(f"duplicate member names: {', '.join(names)}")
        for condition, entry in self.conditions.items():
            if unknown := sorted({*entry.weights, *entry.spare} - set(names)):
                raise ValueError(f"{condition}: weights of unknown members {', '.join(unknown)}")


def write_blend(path: Path, blend: Blend) -> None:
    """Write a blend file atomically, with model paths relative to it if possible."""
    text = tomli_w.dumps(plain(_moved(blend, path.parent, inwards=True)))
    write_text(path, f"{_HEADER}\n{text}")


def shipped_blends() -> dict[str, Path]:
    """Return the blends of published submissions by name."""
    folder = Path(str(resources.files("lumbargrade"))) / _SHIPPED
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_blend(path: Path) -> Blend:
    """Read a blend file; its model paths are resolved against its folder.

    Args:
        path: the file, or if there is none, the name of a shipped blend.

    Raises:
        UsageError: if the file is missing, not TOML, of another format, or has wrong keys.
    """
    if not path.is_file():
        shipped = shipped_blends()
        if str(path) not in shipped:
            raise UsageError(
                f"{path}: no such blend file (`lumbargrade blend` writes one), and no published "
                f"blend, which are {', '.join(shipped)}"
            )
        path = shipped[str(path)]
    content = read_plain(path)
    if content.get("format") != FORMAT:
        raise UsageError(
            f"{path}: not a blend file of format {FORMAT} (`lumbargrade blend` writes one)"
        )
    return _moved(structured(content, Blend, path, "blend"), path.parent, inwards=False)


def named_records(
    member: BlendMember, folders: Sequence[Path], asked_by: str
) -> tuple[ModelRecord, ...]:
    """Find the models that a member of a blend names by recipe.

    Raises:
        UsageError: if one is missing, or there are two of it.
    """
    metas = {folder: read_meta(folder) for folder in folders}

    def found(named: NamedModels, fold: int) -> ModelRecord:
        same = [p for p, m in metas.items() if (m.recipe.name, m.fold) == (named.recipe, fold)]
        if len(same) != 1:
            count = "holds no model" if not same else f"holds {len(same)} models"
            raise UsageError(
                f"{asked_by}: --models {count} of {named.recipe} fold {fold}, and the member "
                f"{member.name} needs one"
            )
        return record_of(same[0], metas[same[0]])

    return tuple(found(named, fold) for named in member.named for fold in named.folds)


def _moved(blend: Blend, folder: Path, *, inwards: bool) -> Blend:
    def moved(models: tuple[ModelRecord, ...]) -> tuple[ModelRecord, ...]:
        return tuple(m.relative_to(folder) if inwards else m.seen_from(folder) for m in models)

    members = [replace(m, models=moved(m.models), guides=moved(m.guides)) for m in blend.members]
    return replace(blend, members=tuple(members))
