"""The proof on phantoms: prevalence, one stage, two stages and their blend, to docs/results.md.

``make results`` (or ``python -m benchmarks.results``) does everything by the project's own commands
and goes on where it stopped. It makes phantom studies, trains the ``cpu-small`` recipes over some
folds, predicts every study by models that have not seen it, fits the blend and writes the page.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.common import ROOT, markdown_table, progress, wrapped

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    GRADE_WEIGHTS,
    Condition,
    Grade,
    SeriesKind,
    Target,
)
from lumbargrade.files.writing import write_text
from lumbargrade.grading.combine import combine, correct_any_severe
from lumbargrade.grading.predictions_file import read_predictions
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models.checkpoint import read_meta
from lumbargrade.scoring.local import prevalence, sample_losses
from lumbargrade.scoring.resampling import held_out_parts
from lumbargrade.validation.fit_blend import fit_blend, read_member

DOCUMENT = ROOT / "docs" / "results.md"

ONE_STAGE = ("foraminal", "canal", "subarticular")
KEYPOINTS = ("keypoints-t1", "keypoints-t2")
TWO_STAGE = "two-stage"

#: Resamples of the studies behind an interval.
RESAMPLES = 2000

#: Probabilities are kept this far from 0 and 1, as scikit-learn's log loss does.
CLIP = float(np.finfo(np.float64).eps)

ANY_SEVERE = "any severe canal"
OFFICIAL = "official score"

Probabilities = Mapping[int, Mapping[Target, tuple[float, float, float]]]


def lumbargrade(*arguments: object) -> None:
    """Run one command.

    Raises:
        RuntimeError: if it fails.
    """
    line = shlex.join(["lumbargrade", *map(str, arguments)])
    progress(f"$ {line}")
    command = [sys.executable, "-m", "lumbargrade.cli.main", *map(str, arguments)]
    done = subprocess.run(command, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"`{line}` ended with exit code {done.returncode}")


def trainings(recipes: Sequence[str], folds: Sequence[int], at: Path, *extra: object) -> None:
    """Train recipes over folds, two at a time, one thread each; what is finished stays."""
    jobs = [
        (
            *("train", f"cpu-small/{r}", "--store", at / "store", "--out", at / "runs"),
            *("--folds", f, "--train.threads", 1, "--pictures", 0, *extra),
        )
        for f in folds
        for r in recipes
    ]
    with ThreadPoolExecutor(2) as pool:
        for waiting in [pool.submit(lumbargrade, *job) for job in jobs]:
            waiting.result()


def completed(
    predictions: Mapping[str, StudyPrediction], store: VolumeStore, folds: Sequence[int]
) -> tuple[Probabilities, int]:
    """Probabilities of all 25 findings of the folds' studies, and how many were filled."""
    filled, found = 0, {}
    constants = {
        fold: prevalence({s: g for s, g in store.grades.items() if store.folds[s] != fold})
        for fold in folds
    }
    for study, fold in store.folds.items():
        if fold not in folds:
            continue
        constant = constants[fold]
        said = predictions[str(study)].findings if str(study) in predictions else {}
        found[study] = {t: said[t].probabilities if t in said else constant[t] for t in FINDINGS}
        filled += sum(t not in said for t in FINDINGS if t in store.grades[study])
    return found, filled


class Losses:
    """Loss and weight of every study in each part of the official score: resampling is fast.

    Attributes:
        names: parts: three conditions, then any severe.
        loss, weight: (S, parts); a part's score is sum of losses over sum of weights.
    """

    def __init__(self, probabilities: Probabilities, store: VolumeStore, studies: Sequence[int]):
        self.names = (*(c.value.replace("_", " ") for c in Condition), ANY_SEVERE)
        self.loss = np.zeros((len(studies), len(self.names)))
        self.weight = np.zeros_like(self.loss)
        for row, study in enumerate(studies):
            said, truth = probabilities[study], store.grades[study]
            for column, condition in enumerate(Condition):
                known = [(t, g) for t, g in truth.items() if t.condition is condition]
                if known:
                    weights = np.array([GRADE_WEIGHTS[g] for _, g in known])
                    each = sample_losses([said[t] for t, _ in known], [int(g) for _, g in known])
                    self.loss[row, column] = (weights * each).sum()
                    self.weight[row, column] = weights.sum()
            canal = [(t, g) for t, g in truth.items() if t.condition is Condition.CANAL]
            if canal:
                p = np.clip(max(said[t][Grade.SEVERE] for t, _ in canal), CLIP, 1 - CLIP)
                severe = any(g is Grade.SEVERE for _, g in canal)
                self.weight[row, -1] = max(GRADE_WEIGHTS[g] for _, g in canal)
                self.loss[row, -1] = -np.log(p if severe else 1 - p) * self.weight[row, -1]

    def scores(self, times: np.ndarray) -> np.ndarray:
        """Parts and, last, their mean, the official score; ``times`` (..., S) counts each study."""
        parts = (times @ self.loss) / (times @ self.weight)
        return np.concatenate([parts, parts.mean(axis=-1, keepdims=True)], axis=-1)


def compared(systems: Mapping[str, Probabilities], store: VolumeStore) -> dict[str, Any]:
    """Every system's scores with 95% bootstrap intervals by study, and paired differences.

    The same resamples serve every system, so a difference is of the same studies.
    """
    studies = sorted(next(iter(systems.values())))
    count = len(studies)
    times = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    found: dict[str, Any] = {"studies": count, "systems": {}, "gains": {}}
    sampled = {}
    for name, probabilities in systems.items():
        judged = Losses(probabilities, store, studies)
        sampled[name] = judged.scores(times)
        low, high = np.percentile(sampled[name], [2.5, 97.5], axis=0)
        value = judged.scores(np.ones(count))
        for part, v, lo, hi in zip((*judged.names, OFFICIAL), value, low, high, strict=True):
            cell = {"value": float(v), "low": float(lo), "high": float(hi)}
            found["systems"].setdefault(name, {})[part] = cell
    for better, worse in (("two stages", "one stage"), ("blend", "two stages")):
        if better in sampled and worse in sampled:
            low, high = np.percentile(sampled[worse] - sampled[better], [2.5, 97.5], axis=0)
            parts = list(found["systems"][better])
            found["gains"][f"{worse} - {better}"] = {
                part: {"low": float(lo), "high": float(hi)}
                for part, lo, hi in zip(parts, low, high, strict=True)
            }
    return found


def work(at: Path, studies: int, seed: int, folds: Sequence[int], epochs: int) -> dict[str, Any]:
    """All steps, by commands; what an earlier run finished is kept."""
    few = ("--train.epochs", epochs) if epochs else ()
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    lumbargrade("phantom", at / "data", "--studies", studies, "--seed", seed)
    lumbargrade("prepare", at / "data", "--out", at / "store")
    trainings((*KEYPOINTS, *ONE_STAGE), folds, at, *few)
    runs = at / "runs" / "cpu-small"
    guides = [runs / k for k in KEYPOINTS]
    store = ("--store", at / "store")
    quick = ("--pictures", 4)
    lumbargrade("validate", *guides, *store, "--out", at / "keypoints", *quick)
    points = ("--data.points", at / "keypoints" / "oof-points.csv")
    trainings((TWO_STAGE,), folds, at, *points, *few)
    one = [runs / r for r in ONE_STAGE]
    lumbargrade("validate", *one, *store, "--out", at / "one-stage", *quick)
    two = (runs / TWO_STAGE, *store, "--guides", *guides, "--out", at / "two-stage")
    lumbargrade("validate", *two, *quick)
    lumbargrade("blend", at / "one-stage", at / "two-stage", "--out", at / "blend.toml")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"minutes": (time.perf_counter() - start) / 60, "cpu_minutes": cpu / 60}


def nested_blend(files: Mapping[str, Path], store: VolumeStore) -> dict[str, StudyPrediction]:
    """Blended predictions of each part of the studies with a blend fitted on the others alone."""
    members = [read_member(path, name) for name, path in files.items()]
    said = {name: read_predictions(path) for name, path in files.items()}
    studies = np.array(sorted({study for of in said.values() for study in of}))
    folds = [store.folds[int(study)] for study in studies]
    found = {}
    for part in held_out_parts(studies, folds):
        held_out = set(studies[part])
        others = [
            replace(m, rows={k: r for k, r in m.rows.items() if k[0] not in held_out})
            for m in members
        ]
        blend = fit_blend(others).blend()
        for study in held_out:
            mine = {name: of[study] for name, of in said.items() if study in of}
            found[study] = correct_any_severe(combine(blend, mine), blend.any_severe)
    return found


def document(found: dict[str, Any]) -> str:
    """The page."""
    systems, parts = found["systems"], list(next(iter(found["systems"].values())))
    header = ("", *systems)
    cells = []
    for part in parts:
        row = [part]
        for scores in systems.values():
            cell = scores[part]
            row.append(f"{cell['value']:.3f} ({cell['low']:.3f}, {cell['high']:.3f})")
        cells.append(row)
    gains = [
        [f"{name}, {part}", f"{gain['low']:+.3f}", f"{gain['high']:+.3f}"]
        for name, of_parts in found["gains"].items()
        for part, gain in of_parts.items()
    ]
    return "\n\n".join(
        [
            "# Results on phantoms",
            wrapped(
                f"`make results` makes this page. {found['made']} phantom studies (seed "
                f"{found['seed']}), `cpu-small` recipes trained from nothing on a CPU over folds "
                f"{found['folds']}; every study of these folds ({found['studies']}) is predicted "
                "by models that have not seen it. Weighted log loss (weights 1, 2, 4) and official "
                "score, lower is better, with 95% intervals from resampled studies. Prevalence is "
                "the share of each grade in the other folds. The blend's choices for a study "
                "are made on other studies alone."
            ),
            markdown_table(header, cells),
            wrapped(
                "Differences of the same resampled studies (95% interval; above 0 the second is "
                "better):"
            ),
            markdown_table(("difference", "low", "high"), gains),
            wrapped(
                f"Findings that a system did not predict and prevalence filled: {found['filled']}. "
                f"The trainings took {found['training']:.0f} minutes of one thread each, counted "
                "together."
            ),
            "## What each view is worth\n\n"
            + wrapped(
                "Loss of the second stage on validation studies from which a view was taken away "
                "(mean over folds; crops are cut around out-of-fold points):"
            ),
            markdown_table(("without", *found["without"]["header"]), found["without"]["cells"]),
            wrapped(
                "Phantoms are easier than patients: their grades follow exactly from their anatomy "
                "and no reader disagrees about them. Nothing here says how well a real scan is "
                "read."
            ),
            "",
        ]
    )


def without_views(runs: Path) -> dict[str, Any]:
    """What the second stage's models measured without each view, mean over folds."""
    metas = [read_meta(p) for p in sorted((runs / TWO_STAGE).glob("fold*/model"))]
    names = [c.name.lower() for c in Condition]
    rows = [["(all views)", *(f"{np.mean([m.scores[n] for m in metas]):.3f}" for n in names)]]
    for kind in SeriesKind:
        lost = [m.provenance["without"][kind.name.lower()] for m in metas]
        rows.append([kind.value, *(f"{np.mean([x[n] for x in lost]):.3f}" for n in names)])
    return {"header": [c.value.replace("_", " ") for c in Condition], "cells": rows}


def judge(at: Path, folds: Sequence[int]) -> dict[str, Any]:
    """All systems on the studies of the folds, from the files that the commands left."""
    store = VolumeStore.open(at / "store")
    files = {"one stage": at / "one-stage" / "oof.csv", "two stages": at / "two-stage" / "oof.csv"}
    said: dict[str, dict[str, StudyPrediction]] = {"prevalence": {}}
    said |= {name: read_predictions(path) for name, path in files.items()}
    said["blend"] = nested_blend(files, store)
    systems, filled = {}, {}
    for name, predictions in said.items():
        systems[name], filled[name] = completed(predictions, store, folds)
    counts = ", ".join(f"{name} {n}" for name, n in filled.items() if name != "prevalence")
    found = compared(systems, store)
    runs = at / "runs" / "cpu-small"
    training = training_minutes(runs)
    return {**found, "filled": counts, "training": training, "without": without_views(runs)}


def training_minutes(runs: Path) -> float:
    """Wall-clock minutes of all trainings, each of one thread, added up."""
    seconds = 0.0
    for metrics in runs.glob("*/fold*/metrics.csv"):
        with metrics.open(newline="") as lines:
            seconds += sum(float(row["seconds"]) for row in csv.DictReader(lines))
    return seconds / 60


def main(argv: Sequence[str] | None = None) -> int:
    """Run everything and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at", type=Path, default=ROOT / "build" / "results", help="work folder")
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--folds", default="0,1", help="folds that are trained and judged")
    parser.add_argument("--epochs", type=int, default=0, help="0 leaves them to the recipes")
    parser.add_argument("--out", type=Path, default=DOCUMENT, help="the page")
    options = parser.parse_args(argv)
    folds = [int(f) for f in options.folds.split(",")]
    cost = work(options.at, options.studies, options.seed, folds, options.epochs)
    found = judge(options.at, folds)
    found |= {"made": options.studies, "seed": options.seed, "folds": options.folds}
    progress(f"{cost['minutes']:.0f} min, {cost['cpu_minutes']:.0f} CPU minutes")
    write_text(options.at / "results.json", json.dumps({**found, **cost}, indent=1))
    write_text(options.out, document(found))
    print(options.out.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
