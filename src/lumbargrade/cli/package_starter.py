"""Write trained networks of the starter as ONNX files, with a manifest of where they come from.

Each network is compared with torch before its file is written. If OUT already has a manifest, its
other files stay in it; results of the whole starter are removed, because they were those of the
earlier files.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade package-starter`."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """runs of `lumbargrade train starter/sagittal` and `starter/axial`, at most one of each"""
    out: Path
    """folder of the files; src/lumbargrade/starter/weights is the one that is shipped"""
    grader: Path | None = None
    """model folder in a run of `lumbargrade train starter/grader`"""
    held_out: Path | None = None
    """store of phantom studies that the grader was not trained on; it is evaluated on them"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.domain.vocabulary import plain_name
    from lumbargrade.lsdc.store import VolumeStore
    from lumbargrade.phantom import stream
    from lumbargrade.training.grader_files import package_grader
    from lumbargrade.training.starter_files import package

    if (options.grader is None) != (options.held_out is None):
        raise UsageError("--grader and --held-out go together; give both or neither")
    if not options.runs and options.grader is None:
        raise UsageError("nothing to package; give runs, or --grader with --held-out")
    for exported in package(options.runs, options.out, stream) if options.runs else ():
        log.info(
            "%s: %.1f MB, %d steps, probabilities within %.2g of torch's",
            exported.path,
            exported.path.stat().st_size / 1e6,
            exported.meta.steps,
            exported.deviation,
        )
    if options.grader is not None and options.held_out is not None:
        found = package_grader(options.grader, VolumeStore.open(options.held_out), options.out)
        log.info(
            "%s: %.1f MB, probabilities within %.2g of torch's",
            found.path,
            found.path.stat().st_size / 1e6,
            found.deviation,
        )
        for shift, agreements in found.agreements.items():
            for condition, agreement in agreements.items():
                log.info(
                    "held-out phantoms, points shifted by %g mm, %s: kappa %.3f, log loss %.3f, "
                    "confusion %s",
                    shift,
                    plain_name(condition),
                    agreement.measures["kappa"].value,
                    agreement.measures["log_loss"].value,
                    agreement.confusion,
                )
    return 0
