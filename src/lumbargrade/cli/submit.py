"""Predict a data set in the LSDC layout and write the submission, 25 rows per study.

The studies are those of the table of series descriptions. If sample_submission.csv lies beside a
test table, the studies are those of sample_submission.csv instead; studies without images are
filled. Study folders that no table lists are named.

Several models (folds, encoders) are averaged, and so are several series of one kind; a blend file
gives weights. The probabilities are those that minimise the competition's score. Findings that no
model predicts are filled with the constant that minimises the official score on the training
grades; the number of filled rows and the reasons are logged and stored in OUT.json.
OUT.findings.csv holds the models' predictions with their points.

No study can prevent the submission. If OUT does not exist, a complete submission is written at the
start, with all rows filled, and updated every few minutes; an OUT that exists is replaced at the
end. Studies are predicted in a process of their own. A study that fails, crashes its process three
times or takes longer than --study-limit is filled and named. After --time-limit, the rest is
filled.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from lumbargrade.cli.model_options import ModelOptions

if TYPE_CHECKING:
    from lumbargrade.domain.errors import Problem

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """Options of `lumbargrade submit`."""

    data: tyro.conf.Positional[Path]
    """folder in the LSDC layout, with test_images or train_images"""
    out: Path = Path("submission.csv")
    """submission to write"""
    split: str = "auto"
    """which tables and images to read: test, train, or auto (test if there is a test table)"""
    time_limit: str = ""
    """time for all studies, for example 8.5h, 30m or 90s; studies that are left then are filled; no
    limit if empty"""
    study_limit: str = ""
    """time for one study, for example 15m; a study that takes longer is filled; no limit if
    empty"""
    workers: int = 1
    """number of processes that predict, each with all models; several use all GPUs in turn; 0
    predicts in the process of the command, which a crash then ends"""
    json: bool = False
    """also print the results as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from lumbargrade.batch.submission import open_worker, predict_submission
    from lumbargrade.cli.durations import seconds_from_now, seconds_of
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.files.writing import require_writable
    from lumbargrade.grading.lsdc_studies import LsdcStudies
    from lumbargrade.grading.two_stage import sweep
    from lumbargrade.launch.dispatch import Limits
    from lumbargrade.report.submission import SubmissionDraft, write_submission

    end = seconds_from_now(options.time_limit, "--time-limit")
    limits = Limits(end, seconds_of(options.study_limit, "--study-limit"))
    if options.workers < 0 or (limits.job and not options.workers):
        raise UsageError("--workers is 0 or more, and 1 or more with --study-limit")
    options.require_models()
    studies = LsdcStudies.open(options.data, options.split)
    require_writable(options.out)
    listed = list(studies.series)
    draft = SubmissionDraft(options.out, listed)
    if options.logits is not None:
        predictor = options.open_trained()
        sweep(predictor, studies.unread(listed), end)
        del predictor  # the processes that predict open their own
    opener = partial(open_worker, studies, options.open_trained)
    predictions = []
    with (
        logging_redirect_tqdm(),
        predict_submission(opener, listed, workers=options.workers, limits=limits) as predicted,
    ):
        constants, results = predicted
        for prediction in tqdm(results, "studies", len(listed), unit="study", disable=None):
            predictions.append(prediction)
            draft.update(predictions, constants)
    summary = write_submission(options.out, predictions, constants, studies.problems)
    problems = [*studies.problems, *(q for p in predictions for q in p.problems)]
    _log(problems, options.out)
    log.info("%s", summary.text())
    if options.json:
        print(json.dumps(summary.as_dict()))
    if not any(p.findings for p in predictions):
        log.error("no study could be predicted: every row of %s is filled", options.out)
        return 3
    return 1 if any(q.fatal for q in problems) else 0


def _log(problems: Sequence[Problem], out: Path) -> None:
    """Log fatal problems before others; of many that say the same, the first ten."""
    for fatal in (True, False):
        alike: dict[str, list[Problem]] = {}
        for problem in problems:
            if problem.fatal is fatal:
                alike.setdefault(problem.what, []).append(problem)
        for group in alike.values():
            for problem in group[:10]:
                log.log(logging.ERROR if fatal else logging.WARNING, "%s", problem)
            if len(group) > 10:
                log.warning("... and %d more such studies; %s.json lists all", len(group) - 10, out)
