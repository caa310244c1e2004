"""The second stage: grade all 25 findings of a study from crops of all its views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import KIND_OF, TARGETS, Condition, Grade, SeriesKind
from lumbargrade.inference.base import MASK_STRIDE, Engine
from lumbargrade.inference.crops import (
    LevelInference,
    heatmap_name,
    input_names,
    output_names,
)
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.study_task import StudySample, StudyTask
from lumbargrade.models.task import Json, LossTerms, SampleMeta
from lumbargrade.networks import losses
from lumbargrade.networks.level_network import LevelOutput, build_level_network
from lumbargrade.sampling.study import PLACES
from lumbargrade.sampling.study_rows import StudyRow
from lumbargrade.scoring.local import any_severe, local_score


@dataclass(frozen=True, eq=False)
class StudyBatch:
    """B studies.

    Attributes:
        images: kind's name -> uint8 (B, 10, D, S, S).
        valid: kind's name -> bool (B, 10, D).
        xyz: kind's name -> float32 (B, 10, 3) true point of each crop: mask pixels and slice.
        annotated: kind's name -> bool (B, 10) whether the true point lies in the crop.
        grade: int64 (B, 25) in the order of the task's targets, -1 if not graded.
        samples: one per study.
    """

    images: Mapping[str, Tensor]
    valid: Mapping[str, Tensor]
    xyz: Mapping[str, Tensor]
    annotated: Mapping[str, Tensor]
    grade: Tensor
    samples: list[SampleMeta]

    @property
    def slices_seen(self) -> int:
        """Number of slices that the encoders see; those of T2 crops are counted for both sides."""
        return sum(int(valid.sum()) for valid in self.valid.values())

    def to(self, device: torch.device | str) -> StudyBatch:
        """Return the batch with its tensors on another device."""
        return replace(
            self,
            images={k: v.to(device, non_blocking=True) for k, v in self.images.items()},
            valid={k: v.to(device) for k, v in self.valid.items()},
            xyz={k: v.to(device) for k, v in self.xyz.items()},
            annotated={k: v.to(device) for k, v in self.annotated.items()},
            grade=self.grade.to(device),
        )


class TwoStageTask(StudyTask[StudyBatch, LevelOutput]):
    """Grade all 25 findings from T1, T2 and axial crops around every level."""

    inference: LevelInference

    def build_network(self, pretrained: bool | None = None) -> nn.Module:
        """Build an untrained network; ``pretrained`` None follows the recipe."""
        recipe = self.recipe
        return build_level_network(recipe.encoder, recipe.network, pretrained)

    def collate(self, samples: Sequence[StudySample]) -> StudyBatch:
        """Join samples into a batch; crops without slices are masked."""
        images = {k.name: np.stack([s.crops.images(k) for s in samples]) for k in SeriesKind}
        valid = {k.name: np.stack([s.crops.valid(k) for s in samples]) for k in SeriesKind}
        points = {k.name: np.stack([self._points(s, k) for s in samples]) for k in SeriesKind}
        grades = np.stack([s.grades for s in samples]).astype(np.int64)
        return StudyBatch(
            images={k: torch.from_numpy(v) for k, v in images.items()},
            valid={k: torch.from_numpy(v) for k, v in valid.items()},
            xyz={k: torch.from_numpy(np.nan_to_num(v)) for k, v in points.items()},
            annotated={k: torch.from_numpy(np.isfinite(v).all(axis=-1)) for k, v in points.items()},
            grade=torch.from_numpy(grades),
            samples=[SampleMeta(s.study_id) for s in samples],
        )

    def _points(self, sample: StudySample, kind: SeriesKind) -> NDArray[np.float32]:
        """Return the true points of a view's ten crops, (10, 3) mask pixels and slice, or NaN."""
        condition = next(c for c in Condition if KIND_OF[c] is kind)
        targets = [i for i, t in enumerate(self.targets) if t.condition is condition]
        found = np.full((len(PLACES), 3), np.nan, np.float32)
        for place in range(len(PLACES)):
            point = sample.point_in(kind, place, targets[place % len(targets)])
            if point is not None:
                found[place] = point / [MASK_STRIDE, MASK_STRIDE, 1]
        return found

    def forward(self, network: nn.Module, batch: StudyBatch) -> LevelOutput:
        """Run the network on a batch and return its output."""
        result: LevelOutput = network(batch.images, batch.valid)
        return result

    def loss(self, output: LevelOutput, batch: StudyBatch) -> LossTerms:
        """Add weighted cross-entropy (fused and per view), any-severe and heatmap losses.

        Features are pooled over the heatmaps, which are trained with the labelled points of each
        view.
        """
        config = self.recipe.loss
        weights = torch.tensor(config.class_weights, device=batch.grade.device)
        grades = self._seen_grades(output, batch.grade)
        parts = {
            condition.name.lower(): losses.grade_nll(log_probs, grades[condition], weights)
            for condition, log_probs in _by_condition(output).items()
        }
        total = config.grade * torch.stack(list(parts.values())).sum()
        if config.view_alone:
            parts["view_alone"] = self._view_loss(output, batch, weights)
            total = total + config.grade * config.view_alone * parts["view_alone"]
        parts["heatmap"] = torch.stack(
            [
                losses.crop_heatmap_loss(
                    output.heatmaps[k].flatten(0, 1),
                    batch.xyz[k].flatten(0, 1),
                    batch.annotated[k].flatten(),
                    config.heatmap_sigma,
                    config.heatmap_divergence,
                )
                for k in batch.images
            ]
        ).mean()
        total = total + config.heatmap * parts["heatmap"]
        if config.any_severe:
            severe = output.canal[..., Grade.SEVERE].exp()
            parts["any_severe"] = losses.any_severe_loss(severe, grades[Condition.CANAL], weights)
            total = total + config.any_severe * parts["any_severe"]
        graded = sum(int((g >= 0).sum()) for g in grades.values())
        return LossTerms(total, parts, {"graded": graded})

    def _view_loss(self, output: LevelOutput, batch: StudyBatch, weights: Tensor) -> Tensor:
        """Sum the weighted cross-entropy of each condition, graded from its own view only.

        This trains every encoder directly on its own labels, without fusion and sequence model.
        """
        split = torch.split(batch.grade, [len(TARGETS[c]) for c in self.inference.shown], dim=1)
        terms = []
        for at, (condition, grades) in enumerate(zip(self.inference.shown, split, strict=True)):
            kind = KIND_OF[condition].name
            both = grades if condition.sided else torch.cat([grades, grades], dim=1)
            both = both.masked_fill(~batch.valid[kind].any(dim=-1), -1)
            terms.append(losses.grade_nll(output.alone[kind][:, :, at], both, weights))
        return torch.stack(terms).sum()

    def _seen_grades(self, output: LevelOutput, grade: Tensor) -> dict[Condition, Tensor]:
        """Return the grades by condition; -1 if no view shows the level."""
        split = torch.split(grade, [len(TARGETS[c]) for c in self.inference.shown], dim=1)
        found = {}
        for condition, grades in zip(self.inference.shown, split, strict=True):
            found[condition] = grades.masked_fill(~_seen(output.seen, condition), -1)
        return found

    def outputs(self, network: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run a network on the crops of a study."""
        kinds = [k.name for k in SeriesKind]
        names = input_names()
        images = {k: inputs[name] for k, name in zip(kinds, names, strict=False)}
        valid = {k: inputs[name] for k, name in zip(kinds, names[len(kinds) :], strict=True)}
        return level_outputs(network(images, valid))

    def evaluate(
        self, rows: Sequence[StudyRow], predictions: Sequence[StudyPrediction]
    ) -> dict[str, float]:
        """Return the weighted log loss per condition, any severe, and their mean as ``score``."""
        return condition_scores(rows, predictions)

    def notes(
        self, engine: Engine, store: VolumeStore, rows: Sequence[StudyRow]
    ) -> dict[str, Json]:
        """Measure the value of each view: scores on the validation studies without it."""
        without: dict[str, Json] = {}
        for kind in self.kinds:
            found = [self.predict_sample(engine, self._without(store, row, kind)) for row in rows]
            scores = condition_scores(rows, found)
            without[kind.name.lower()] = {k: v for k, v in scores.items() if np.isfinite(v)}
        return {**super().notes(engine, store, rows), "without": without}

    def _without(self, store: VolumeStore, row: StudyRow, kind: SeriesKind) -> StudySample:
        volumes = [store.volume(s.study_id, s.series_id) for s in row.series]
        return self.sample_of(row, volumes, row.guides, dropped=(kind,))


def condition_scores(
    rows: Sequence[StudyRow], predictions: Sequence[StudyPrediction]
) -> dict[str, float]:
    """Return the weighted log loss per condition, any severe, and their mean as ``score``.

    Findings without a prediction are skipped.
    """
    grades = np.stack([row.grades for row in rows])
    targets = rows[0].targets
    probabilities = np.stack([p.probability_rows(targets) for p in predictions])
    scores: dict[str, float] = {}
    for condition in Condition:
        columns = [i for i, t in enumerate(targets) if t.condition is condition]
        g, p = grades[:, columns], probabilities[:, columns]
        known = (g >= 0) & np.isfinite(p).all(axis=-1)
        if known.any():
            scores[condition.name.lower()] = float(local_score(p[known], g[known]).weighted)
        if condition is Condition.CANAL and known.any():
            scores["any_severe"] = any_severe(p[..., Grade.SEVERE], g)
    score = float(np.mean(list(scores.values()))) if scores else float("nan")
    return {"score": score, **scores}


def level_outputs(output: LevelOutput) -> dict[str, Tensor]:
    """Return the outputs of a batch of one study by the names that `LevelInference` decodes."""
    log_probs = _by_condition(output).values()
    found = {name: p.exp() for name, p in zip(output_names(), log_probs, strict=True)}
    return found | {heatmap_name(k): output.heatmaps[k.name] for k in SeriesKind}


def _by_condition(output: LevelOutput) -> dict[Condition, Tensor]:
    return {
        Condition.CANAL: output.canal,
        Condition.FORAMINAL: output.foraminal,
        Condition.SUBARTICULAR: output.subarticular,
    }


def _seen(seen: Tensor, condition: Condition) -> Tensor:
    """Return which targets of a condition are shown by any view, from (B, 10) to (B, P)."""
    if condition.sided:
        return seen
    return seen.view(len(seen), 2, -1).any(dim=1)
