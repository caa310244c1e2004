"""Grade DICOM studies; write findings as JSON and CSV, pictures, and a page for each study.

A path may hold one study or many, in any layout: studies and series are identified from their DICOM
headers. Without --models or --blend, the starter that comes with the package grades; it was
trained on synthetic phantoms only. Several models are averaged. Of several series of one kind, the
best is used; the results and `inspect` say why. With a blend file or --calibration, findings have
calibrated probabilities beside those of the models. A finding that no model predicts from the
study's images is not graded, and the reason is given. A study that the same models graded before
from the same images is skipped; its results are kept.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from lumbargrade.cli.model_options import ModelOptions
from lumbargrade.cli.places import PlaceOption
from lumbargrade.cli.reading_options import ReadingOptions
from lumbargrade.files.urls import Url

if TYPE_CHECKING:
    from lumbargrade.batch.remote import RemoteStudy
    from lumbargrade.batch.steps import Opened
    from lumbargrade.grading.predictor import Predictor
    from lumbargrade.report.wording import Wording

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions, ReadingOptions):
    """Options of `lumbargrade grade`."""

    studies: tyro.conf.Positional[tuple[PlaceOption, ...]]
    """DICOM folders or files; a folder may hold several studies. A URL such as s3://bucket/studies
    is a study, or a folder with a folder per study"""
    dicomweb: str = ""
    """URL of a DICOMweb server, such as https://pacs.example/dicom-web; --study names what to
    fetch. LUMBARGRADE_DICOMWEB_TOKEN, or LUMBARGRADE_DICOMWEB_USER and _PASSWORD, give a login"""
    study: list[str] = field(default_factory=list)
    """StudyInstanceUIDs of studies on the DICOMweb server"""
    dicomweb_timeout: float = 60.0
    """the longest wait in seconds for the next part of an answer of the DICOMweb server"""
    out: PlaceOption
    """folder or URL for the results: a folder per study, a page and a table of all studies"""
    bids: Path | None = None
    """also write BIDS derivatives into this folder: findings as JSON and TSV, and label maps of
    what is outlined as NIfTI"""
    calibration: PlaceOption | None = None
    """calibration file of `recalibrate`, used for the conditions that it holds"""
    shift_levels: int = 0
    """only with the starter: move the names of the discs by this many levels if they are numbered
    wrongly; 1: what was L4/L5 becomes L5/S1, -1: what was L5/S1 becomes L4/L5"""
    workers: int = 1
    """number of workers that grade; each opens the models. 0: one per CPU core. A worker that dies
    loses nothing: its study is graded again"""
    launcher: Literal["local", "ray"] = "local"
    """where the workers are: processes of this machine, or actors on a Ray cluster, whose machines
    must see all folders at the same paths"""
    ray_address: str = ""
    """the Ray cluster: host:port, or auto; if empty, Ray is started on this machine alone"""
    restart: bool = False
    """also grade studies again that were graded before"""
    pictures: bool = True
    """draw pictures and put the images into report.html; without them, it has only tables"""
    dicom: bool = True
    """write a DICOM structured report (sr.dcm) and the outlines (seg-1.dcm ...) for viewers and
    archives"""
    dicom_summary: bool = False
    """also write a picture of all findings as a DICOM image (summary.dcm, Secondary Capture), for
    viewers that show nothing but images"""
    wording: PlaceOption | None = None
    """TOML file with the words of the draft report (docs/report.md)"""
    profile: bool = False
    """print at the end where the time went, and the peak memory"""
    check_points: bool = True
    """do not grade findings whose points cannot be those of a lumbar spine; turn this off only to
    test models that were not trained to place points"""
    json: bool = False
    """also print the results as one JSON object, in the last line, for scripts"""

    def read_wording(self) -> Wording | None:
        """Read the words of the draft report, if a file is given."""
        from lumbargrade.files.mirror import local_copy
        from lumbargrade.report.wording import read_wording

        return None if self.wording is None else read_wording(local_copy(self.wording))

    @property
    def in_batch(self) -> bool:
        """Whether workers grade, instead of this process."""
        return self.workers != 1 or self.launcher != "local"


def run(options: Options) -> int:
    from lumbargrade.files.timing import Profile, profiled

    if not options.profile:
        return _run(options)
    with profiled(Profile()) as profile:
        code = _run(options)
    print(profile.text(), file=sys.stderr)
    return code


def _run(options: Options) -> int:
    from lumbargrade.files.timing import stage

    with stage("start the program"):
        from lumbargrade.batch.launch import Launch
        from lumbargrade.batch.run import grade_studies

        _check(options)
    launch = Launch(
        options.workers,
        ray=options.launcher == "ray",
        ray_address=options.ray_address,
        gpu=options.names_models and options.device != "cpu",
    )
    summary = grade_studies(
        partial(open_models, options.absolute() if options.in_batch else options),
        [*options.studies, *_on_server(options)],
        options.out,
        launch=launch if options.in_batch else None,
        restart=options.restart,
        request=options.request(),
    )
    log.info("%s", summary.text())
    if options.json:
        print(json.dumps(summary.as_dict()))
    if not summary.graded:
        return 3
    return 0 if summary.complete else 1


def _on_server(options: Options) -> list[RemoteStudy]:
    """The studies of the DICOMweb server."""
    if not options.dicomweb:
        return []
    from lumbargrade.batch.dicomweb import study_on
    from lumbargrade.pacs.dicomweb import Server

    server = Server(options.dicomweb, options.dicomweb_timeout)
    return [study_on(server, uid) for uid in dict.fromkeys(options.study)]


def open_models(options: Options, place: int) -> Opened:
    """Open the models, as each process does that grades."""
    from lumbargrade.batch.steps import Opened
    from lumbargrade.files.mirror import local_copy
    from lumbargrade.grading.predictor import recalibrated

    calibration = None if options.calibration is None else local_copy(options.calibration)
    predictor = recalibrated(_open(options, place), calibration)
    wording = options.read_wording()
    written = (options.check_points, options.pictures, options.dicom, options.dicom_summary)
    how = f"{'|'.join(map(str, written))}|{predictor.fingerprint()}"
    if wording is not None:
        how += f"|{wording}"
    return Opened(predictor, how, *written, wording, options.bids)


def _open(options: Options, place: int) -> Predictor:
    """Open the models that are given, or the starter."""
    from lumbargrade.starter.model import open_starter

    if options.names_models:
        from lumbargrade.grading.ensembles import use_gpu

        use_gpu(place)
        return options.open_trained()
    return open_starter(shift=options.shift_levels)


def check_models(options: Options) -> None:
    """Check the options that say what grades.

    Raises:
        UsageError: if they contradict each other.
    """
    from lumbargrade.domain.errors import UsageError

    if not options.names_models:
        _check_starter(options)
        return
    options.require_models()
    if options.shift_levels:
        raise UsageError("--shift-levels works only with the starter; omit it with --models")


def _check_starter(options: Options) -> None:
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.starter.model import MOST_SHIFT

    options.require_starter()
    if abs(options.shift_levels) > MOST_SHIFT:
        raise UsageError(
            f"--shift-levels {options.shift_levels}: give a number from {-MOST_SHIFT} to "
            f"{MOST_SHIFT}"
        )


def _check_server(options: Options) -> None:
    from lumbargrade.domain.errors import UsageError

    if bool(options.dicomweb) != bool(options.study):
        raise UsageError("give both --dicomweb URL and --study UID")
    for uid in options.study:
        if not re.fullmatch(r"[0-9][0-9.]{0,63}", uid):
            raise UsageError(f"--study {uid!r}: not a StudyInstanceUID, which has digits and dots")
    if not options.dicomweb_timeout > 0:
        raise UsageError(f"--dicomweb-timeout {options.dicomweb_timeout}: give more than 0")


def _check(options: Options) -> None:
    """Check the options before anything is read.

    Raises:
        UsageError: if they contradict each other or name no input.
    """
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.files.extras import needs_extra

    _check_server(options)
    if not options.studies and not options.study:
        raise UsageError("no study given; give at least one DICOM folder or file")
    options.request()
    if options.bids is not None:
        with needs_extra("--bids"):
            import nibabel  # noqa: F401  # before any study is read
        if options.bids.exists() and not options.bids.is_dir():
            raise UsageError(f"--bids {options.bids} is a file; give a folder")
    options.read_wording()
    check_models(options)
    if options.workers < 0:
        raise UsageError(f"--workers {options.workers}: give 0 or more")
    if options.launcher == "ray" and options.device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {options.device}: Ray chooses the GPU; give cuda")
    if options.ray_address and options.launcher != "ray":
        raise UsageError("--ray-address works only with --launcher ray")
    if options.profile and options.in_batch:
        raise UsageError("--profile shows the time of one process; omit --workers and --launcher")
    if options.studies and not any(
        isinstance(path, Url) or path.exists() for path in options.studies
    ):
        raise UsageError(f"{' and '.join(map(str, options.studies))}: no such file or folder")
    if isinstance(options.out, Path) and options.out.exists() and not options.out.is_dir():
        raise UsageError(f"--out {options.out} is a file; give a folder")
