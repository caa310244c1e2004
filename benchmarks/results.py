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
from benchmarks.common import ROOT, markdown_table, progress, with_figures

from lumbargrade.domain.findings import StudyPrediction
from lumbargrade.domain.vocabulary import (
    FINDINGS,
    Condition,
    Grade,
    SeriesKind,
    Target,
    plain_name,
)
from lumbargrade.files.writing import write_text
from lumbargrade.grading.combine import combine, correct_any_severe
from lumbargrade.grading.predictions_file import read_predictions
from lumbargrade.inference.model_folder import read_meta
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.scoring.local import prevalence
from lumbargrade.scoring.official import official_score
from lumbargrade.scoring.resampling import held_out_parts
from lumbargrade.validation.fit_blend import fit_blend, read_member

DOCUMENT = ROOT / "docs" / "results.md"

ONE_STAGE = ("foraminal", "canal", "subarticular")
KEYPOINTS = ("keypoints-t1", "keypoints-t2")
TWO_STAGE = "two-stage"

#: Resamples of the studies behind an interval.
RESAMPLES = 2000

#: Parts of the official score, and their mean.
PARTS = (*(plain_name(c) for c in Condition), "any severe canal", "official score")

Probabilities = Mapping[str, Mapping[Target, tuple[float, float, float]]]
Solution = Mapping[str, Mapping[Target, Grade]]


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
        said = predictions[study].findings if study in predictions else {}
        found[study] = {t: said[t].probabilities if t in said else constant[t] for t in FINDINGS}
        filled += sum(t not in said for t in FINDINGS if t in store.grades[study])
    return found, filled


def scores(solution: Solution, submission: Probabilities, studies: Sequence[str]) -> list[float]:
    """Parts of the official score of some studies, each as often as it is named, and their mean."""
    drawn = [(str(i), study) for i, study in enumerate(studies)]
    found = official_score(
        {i: solution[study] for i, study in drawn}, {i: submission[study] for i, study in drawn}
    )
    return [*found.conditions.values(), found.any_severe, found.score]


def compared(systems: Mapping[str, Probabilities], solution: Solution) -> dict[str, Any]:
    """Every system's scores with 95% bootstrap intervals by study, and paired differences.

    The same resamples serve every system, so a difference is of the same studies.
    """
    studies = np.array(sorted(next(iter(systems.values()))))
    draws = np.random.default_rng(0).choice(studies, (RESAMPLES, len(studies)))
    resampled = {n: np.array([scores(solution, p, d) for d in draws]) for n, p in systems.items()}
    found: dict[str, Any] = {"studies": len(studies), "systems": {}, "gains": {}}
    for name, probabilities in systems.items():
        value = scores(solution, probabilities, studies)
        found["systems"][name] = {
            part: {"value": v, **interval}
            for v, (part, interval) in zip(value, _intervals(resampled[name]), strict=True)
        }
    for better, worse in (("two stages", "one stage"), ("blend", "two stages")):
        gain = resampled[worse] - resampled[better]
        found["gains"][f"{worse} - {better}"] = dict(_intervals(gain))
    return found


def _intervals(values: np.ndarray) -> list[tuple[str, dict[str, float]]]:
    low, high = np.percentile(values, [2.5, 97.5], axis=0)
    return [
        (part, {"low": float(lo), "high": float(hi)})
        for part, lo, hi in zip(PARTS, low, high, strict=True)
    ]


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
    folds = [store.folds[study] for study in studies]
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


def tables(found: dict[str, Any]) -> str:
    """The figures of the page."""
    systems = found["systems"]
    scores = [
        [
            part,
            *("{value:.3f} ({low:.3f}, {high:.3f})".format(**of[part]) for of in systems.values()),
        ]
        for part in next(iter(systems.values()))
    ]
    gains = [
        [f"{name}, {part}", f"{gain['low']:+.3f}", f"{gain['high']:+.3f}"]
        for name, of_parts in found["gains"].items()
        for part, gain in of_parts.items()
    ]
    facts = [
        ["phantom studies", f"{found['made']} (seed {found['seed']})"],
        ["folds trained and judged", found["folds"]],
        ["studies judged", str(found["studies"])],
        *([f"findings filled, {name}", str(n)] for name, n in found["filled"].items()),
        ["minutes of training, one thread each", f"{found['training']:.0f}"],
    ]
    without = found["without"]
    parts = {
        "The run": markdown_table(["", ""], facts),
        "Scores": markdown_table(["", *systems], scores),
        "Differences": markdown_table(["difference", "low", "high"], gains),
        "Without a view": markdown_table(["without", *without["header"]], without["cells"]),
    }
    return "\n\n".join(f"## {title}\n\n{table}" for title, table in parts.items())


def without_views(runs: Path) -> dict[str, Any]:
    """What the second stage's models measured without each view, mean over folds."""
    metas = [read_meta(p) for p in sorted((runs / TWO_STAGE).glob("fold*/model"))]
    names = [c.name.lower() for c in Condition]
    rows = [["(all views)", *(f"{np.mean([m.scores[n] for m in metas]):.3f}" for n in names)]]
    for kind in SeriesKind:
        lost = [m.provenance["without"][kind.name.lower()] for m in metas]
        rows.append([kind.value, *(f"{np.mean([x[n] for x in lost]):.3f}" for n in names)])
    return {"header": [plain_name(c) for c in Condition], "cells": rows}


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
    del filled["prevalence"]
    found = compared(systems, store.grades)
    runs = at / "runs" / "cpu-small"
    training = training_minutes(runs)
    return {**found, "filled": filled, "training": training, "without": without_views(runs)}


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
    write_text(options.out, with_figures(DOCUMENT, tables(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
