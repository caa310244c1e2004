"""Write a synthetic data set in the LSDC layout.

Each study shows a random spine in sagittal T1, sagittal T2 or STIR, and axial T2 series. The grades
follow from its geometry. Series, points and grades are missing as often as in the real tables. The
same seed and study number always give the same study. If interrupted, rerun it to start again.

`--sheet` draws samples of the stream on which the starter is trained, with their labels.
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

    out: tyro.conf.Positional[Path | None] = None
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
    sheet: Path | None = None
    """picture (.png or .jpg) of samples of the training stream and their labels; --seed and
    --first choose the samples"""


def run(options: Options) -> int:
    from lumbargrade.domain.errors import UsageError

    if options.out is None and options.sheet is None:
        raise UsageError("nothing to write: give a folder for studies, or --sheet FILE")
    if options.sheet is not None:
        from lumbargrade.phantom.sheet import write_sheet

        write_sheet(options.sheet, options.seed, options.first)
        log.info("%s: samples with their labels", options.sheet)
    if options.out is not None:
        _write_studies(options.out, options)
    return 0


def _write_studies(out: Path, options: Options) -> None:
    from lumbargrade.phantom.dataset import Settings, make_dataset

    settings = Settings(
        studies=options.studies,
        seed=options.seed,
        first=options.first,
        split=options.split,
        transfer_syntax=options.transfer_syntax,
        contrast=options.contrast,
    )
    files = make_dataset(out, settings, workers=options.workers)
    log.info("%s: %d studies, %d images", out, options.studies, files)
