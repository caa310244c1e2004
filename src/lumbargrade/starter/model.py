"""The starter as a predictor: it needs no folder of models, no torch and no training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lumbargrade.domain.findings import ModelSource, StudyPrediction
from lumbargrade.domain.vocabulary import Condition, SeriesKind
from lumbargrade.domain.volume import Volume
from lumbargrade.starter.weights_file import SHIPPED, Figure, Weights, open_weights

#: Largest number of levels by which a user can move the names of the discs.
MOST_SHIFT = 2


@dataclass(frozen=True)
class Starter:
    """The networks and rules that come with the package (a `Predictor`).

    Attributes:
        weights: the networks and their manifest.
        shift: levels by which the user moves the names of the discs; see `Numbering`.
    """

    weights: Weights
    shift: int = 0

    flips = False
    calibrated = False

    @property
    def sources(self) -> list[ModelSource]:
        return [ModelSource(r.recipe, -1) for r in self.weights.manifest.files.values()]

    @property
    def conditions(self) -> set[Condition]:
        return set(Condition)

    @property
    def kinds(self) -> set[SeriesKind]:
        return set(SeriesKind)

    @property
    def about(self) -> str:
        manifest = self.weights.manifest
        phantoms = sorted({r.phantoms for r in manifest.files.values()})
        figures = [
            *manifest.evaluation,
            *(f for r in manifest.files.values() for f in r.evaluation),
        ]
        return (
            "Graded by the starter, whose networks were trained on synthetic phantoms only "
            f"({', '.join(phantoms)}), never on patients. {_evaluated(figures)}"
        )

    def predict(self, study_id: str, volumes: Sequence[Volume]) -> StudyPrediction:
        raise NotImplementedError

    def fingerprint(self) -> str:
        digests = (r.sha256 for r in self.weights.manifest.files.values())
        return "|".join(("starter", str(self.shift), *digests))


def open_starter(weights: Path = SHIPPED, *, shift: int = 0) -> Starter:
    """Open the starter.

    Args:
        weights: folder of its networks.
        shift: levels by which the names of the discs are moved down; negative: up.

    Raises:
        BadModel: if a file is absent or damaged.
    """
    return Starter(open_weights(weights), shift)


def _evaluated(figures: Sequence[Figure]) -> str:
    if not figures:
        return "It was not evaluated on any images of patients."
    texts = (f"{f.measure} {f.value:g} ({f.cases} cases, {f.data})" for f in figures)
    return f"What it was evaluated on: {'; '.join(texts)}."
