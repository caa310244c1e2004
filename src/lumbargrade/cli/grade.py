"""Grade DICOM studies; write findings as JSON and CSV, pictures, and a page for each study.

A path may hold one study or many, in any layout: studies and series are identified from their DICOM
headers. Several models are averaged, and so are several series of one kind. With a blend file or
--calibration, findings have calibrated probabilities beside those of the models. A finding that no
model predicts from the study's images is not graded, and the reason is given. A study that the same
models graded before from the same images is skipped; its results are kept.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

import tyro

from lumbargrade.cli.model_options import ModelOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """Options of `lumbargrade grade`."""

    studies: tyro.conf.Positional[tuple[Path, ...]]
    """DICOM folders or files; a folder may hold several studies"""
    out: Path
    """folder for the results: a folder per study, a page and a table of all studies"""
    calibration: Path | None = None
    """calibration file of `recalibrate`, used for the conditions that it holds"""
    restart: bool = False
    """also grade studies again that were graded before"""
    check_points: bool = True
    """do not grade findings whose points cannot be those of a lumbar spine; turn this off only to
    test models that were not trained to place points"""
    json: bool = False
    """also print the results as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from lumbargrade.dicom.scan import find_studies
    from lumbargrade.dicom.study import read_found
    from lumbargrade.domain.errors import BadDicom, NothingDone
    from lumbargrade.grading.predictor import recalibrated
    from lumbargrade.grading.study import grade_study
    from lumbargrade.report.grading import ResultFolder
    from lumbargrade.report.text import log_problems

    _check(options)
    predictor = recalibrated(options.open_predictor(), options.calibration)
    if not predictor.calibrated:
        log.info("probabilities are not calibrated; `blend` and `recalibrate` fit a calibration")
    found = find_studies(options.studies)
    log_problems(log, found.problems)
    options.out.mkdir(parents=True, exist_ok=True)
    flip = predictor.flip and any(m.flips for m in predictor.members)
    how = f"{options.check_points}|{predictor.fingerprint()}"
    results = ResultFolder(options.out, found, how, restart=options.restart)
    for one in results.waiting():
        try:
            study = read_found(one.study)
            prediction = grade_study(study, predictor, check_points=options.check_points)
            results.write(one, study, prediction, flip=flip)
        except (BadDicom, NothingDone) as error:
            results.fail(one, error)
    summary = results.finish()
    log.info("%s", summary.text())
    if options.json:
        print(json.dumps(summary.as_dict()))
    if not summary.graded:
        return 3
    return 1 if any(p.fatal for p in summary.all_problems) else 0


def _check(options: Options) -> None:
    """Check the options before anything is read.

    Raises:
        UsageError: if they contradict each other or name no input.
    """
    from lumbargrade.domain.errors import UsageError

    if not options.studies:
        raise UsageError("no study given; give at least one DICOM folder or file")
    options.require_models()
    if not any(path.exists() for path in options.studies):
        raise UsageError(f"{' and '.join(map(str, options.studies))}: no such file or folder")
    if options.out.exists() and not options.out.is_dir():
        raise UsageError(f"--out {options.out} is a file; give a folder")
