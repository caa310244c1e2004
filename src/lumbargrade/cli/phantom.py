"""Write a synthetic data set in the LSDC layout.

Each study shows a random spine in sagittal T1, sagittal T2 or STIR, and axial T2 series. The grades
follow from its geometry. Series, points and grades are missing as often as in the real tables. The
same seed and study number always give the same study. If interrupted, rerun it to start again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade phantom`."""

    out: tyro.conf.Positional[Path]
    """folder to write: new, empty, or an unfinished phantom data set with the same settings"""
    studies: int = 12
    """number of studies"""
    seed: int = 1
    """random seed of the data set"""
    first: int = 0
    """number of the first study; give different ranges to make sets without common studies"""
    split: Literal["train", "test"] = "train"
    """train: with grades and points; test: without; the reference grades are in solution.csv"""
    transfer_syntax: Literal["explicit", "rle"] = "explicit"
    """how pixels are stored: uncompressed (explicit), or as in the LSDC files (rle)"""
    contrast: Literal["usual", "wide"] = "usual"
    """usual: brightness of tissues and faults as of one scanner; wide: of many, as the starter's
    networks learn from"""
    workers: int = 0
    """number of processes; 0: one per CPU core"""


def run(options: Options) -> int:
    from lumbargrade.phantom.dataset import Settings, make_dataset

    settings = Settings(
        studies=options.studies,
        seed=options.seed,
        first=options.first,
        split=options.split,
        transfer_syntax=options.transfer_syntax,
        contrast=options.contrast,
    )
    files = make_dataset(options.out, settings, workers=options.workers)
    log.info("%s: %d studies, %d images", options.out, options.studies, files)
    return 0
