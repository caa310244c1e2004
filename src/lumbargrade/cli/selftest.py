"""Store a study in other ways, grade each copy, and report whether the findings stay the same.

The copies have other file names and instance numbers, other transfer syntaxes (also compressed
without loss), and pixels that are stored transposed or reversed, with the geometry to match. All
must get the findings of the study. In another copy the patient is mirrored: there, left and right
findings must be exchanged. The exit code is 1 if a copy differs by more than the tolerances of the
table, or could not be made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from lumbargrade.cli.model_options import ModelOptions

if TYPE_CHECKING:
    from lumbargrade.dicom.scan import Scan
    from lumbargrade.grading.selftest import Difference


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """Options of `lumbargrade selftest`."""

    study: tyro.conf.Positional[Path]
    """folder of the DICOM files of one study, or one file"""
    scratch: Path | None = None
    """folder for the copies, which are removed; the system's temporary folder if omitted"""
    check_points: bool = True
    """do not grade findings whose points cannot be those of a lumbar spine; see `grade`"""
    json: bool = False
    """also print the differences as one JSON object, in the last line, for scripts"""


def run(options: Options) -> int:
    from tempfile import TemporaryDirectory

    from lumbargrade.domain.findings import StudyPrediction
    from lumbargrade.grading.selftest import self_test
    from lumbargrade.grading.study import grade_study

    study = _study(options.study)
    models = options.open_any()

    def grade(folder: Path) -> StudyPrediction:
        return grade_study(folder, models, check_points=options.check_points)

    print(f"{'what was done':50}  probability  point mm  measured  result")
    found = []
    with TemporaryDirectory(dir=options.scratch) as scratch:
        for difference in self_test(study, grade, Path(scratch)):
            found.append(difference)
            print(_line(difference), flush=True)
    _tell(found)
    if options.json:
        differences = [d.as_dict() for d in found]
        print(json.dumps({"study_id": study.series[0].study_id, "differences": differences}))
    return 0 if all(d.within for d in found) else 1


def _study(path: Path) -> Scan:
    from lumbargrade.dicom.scan import scan
    from lumbargrade.domain.errors import BadDicom, UsageError

    found = scan(path)
    if found.archives:
        raise UsageError(f"{found.archives[0]}: a zip file; unpack it, and give the folder")
    if not found.series:
        raise BadDicom(f"{path}: no DICOM images; `lumbargrade inspect {path}` shows what is there")
    studies = sorted({series.study_id for series in found.series})
    if len(studies) > 1:
        raise UsageError(
            f"{path}: contains {len(studies)} studies ({', '.join(studies[:5])}); give one of them"
        )
    return found


def _line(d: Difference) -> str:
    if d.failed:
        return f"{d.variant:50}  NOT TESTED: {d.failed}"
    worst = f"{d.probability:11.6f}  {d.millimetres:8.3f}  {d.measured:8.1%}"
    return f"{d.variant:50}  {worst}  {'same' if d.within else 'DIFFERENT'}"


def _tell(found: Sequence[Difference]) -> None:
    """Print what the columns cannot show, and the conclusion."""
    from lumbargrade.grading.selftest import VARIANTS

    mirrored = {v.name for v in VARIANTS if v.mirrored}
    for d in found:
        if d.graded_once:
            print(f"{d.variant}: graded in one of the two only: {', '.join(d.graded_once)}")
        if d.measured_once:
            print(f"{d.variant}: measured in one of the two only: {', '.join(d.measured_once)}")
        if d.grades:
            print(f"{d.variant}: another grade: {', '.join(d.grades)}")
        if d.variant in mirrored and not d.within and not d.failed:
            print(
                f"{d.variant}: to a model that is not symmetric, as the starter is, a mirrored "
                "patient is another image. A point on the wrong side differs by 20 mm or more; "
                "smaller differences are those of the model, not of how files are read"
            )
    bad = sum(not d.within for d in found)
    print(f"{len(found) - bad} of {len(found)} copies have the findings of the study")
