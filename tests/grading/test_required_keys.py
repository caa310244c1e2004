"""Every key that we write to a file is required when the file is read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from lumbargrade.domain.errors import BadInput, BadModel, LumbargradeError, Problem
from lumbargrade.domain.findings import Finding, ModelSource, StudyPrediction
from lumbargrade.domain.point import Point
from lumbargrade.domain.vocabulary import FINDINGS, Condition, SeriesKind
from lumbargrade.files.structures import plain, read_plain, structured
from lumbargrade.grading.blend_file import (
    FORMAT,
    Blend,
    BlendMember,
    ConditionBlend,
    Measured,
    read_blend,
    write_blend,
)
from lumbargrade.grading.calibration_file import (
    FittedCalibration,
    LocalCalibration,
    read_calibration,
    write_calibration,
)
from lumbargrade.grading.findings_file import read_findings, write_findings
from lumbargrade.grading.graded import GradedStudy, SeriesLine
from lumbargrade.grading.model_record import (
    ModelRecord,
    OofRecord,
    oof_record_path,
    read_oof_record,
    write_oof_record,
)
from lumbargrade.lsdc.series_file import read_record, series_paths, write_series
from lumbargrade.scoring.blend_weights import Origin
from lumbargrade.scoring.calibration import Calibration
from lumbargrade.training.state import Progress
from made_series import make_volume

RECORD = ModelRecord("m", "small/canal", 0, "0" * 64)
PROBLEM = Problem("odd", "1", "2", "3.dcm", "look", fatal=False)
#: Keys of these tables are data, not fields: without one of them the file is still complete.
DATA = {"weights", "members", "conditions", "pictures"}


def keys(value: Any, named: bool = True) -> Iterator[tuple[dict[str, Any], str]]:
    """Every table with each of its keys, at any depth."""
    if isinstance(value, dict):
        for key in list(value):
            if named:
                yield value, key
            yield from keys(value[key], named=key not in DATA)
    elif isinstance(value, list):
        for one in value:
            yield from keys(one)


def blend_file(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    measured = Measured(10, {"one": 0.5}, 0.4, 0.3, 0.25)
    canal = ConditionBlend({"one": 1.0}, Origin.FITTED, Calibration(), measured)
    members = (BlendMember("one", True, (RECORD,), (RECORD,)),)
    write_blend(folder / "b.toml", Blend(FORMAT, "abc", members, {Condition.CANAL: canal}))
    return folder / "b.toml", read_blend


def calibration_file(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    fitted = FittedCalibration(Calibration(), 2, 10, 0.5, 0.4)
    write_calibration(folder / "c.toml", LocalCalibration({Condition.CANAL: fitted}, ("r",)))
    return folder / "c.toml", read_calibration


def findings_file(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    first, *others = FINDINGS
    source = ModelSource("r", 0)
    point = Point(first, "2", 1, (1.0, 2.0, 3.0), (0.0, 0.0, 1.0))
    finding = Finding(first, (0.5, 0.3, 0.2), point, (source,), (0.6, 0.3, 0.1))
    absent = dict.fromkeys(others, "no series")
    prediction = StudyPrediction("1", {first: finding}, (source,), (PROBLEM,), absent)
    line = SeriesLine("2", SeriesKind.SAGITTAL_T2, 1, 8, 8, {"canal": "2.jpg"})
    write_findings(folder / "f.json", GradedStudy(prediction, (line,), True, "abc"))
    return folder / "f.json", read_findings


def out_of_fold_record(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    table = folder / "oof.csv"
    write_oof_record(table, OofRecord(1, "abc", True, (RECORD,), (RECORD,)))
    return oof_record_path(table), lambda _: read_oof_record(table)


def stored_series(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    volume = make_volume(2, 8, 8)
    write_series(folder, "1", "2", signature="s", volume=volume, problems=(PROBLEM,))

    def read(_: Path) -> Any:
        if (record := read_record(folder, "1", "2")) is None:
            raise BadInput("damaged")
        return record

    return series_paths(folder, "1", "2")[1], read


def run_state(folder: Path) -> tuple[Path, Callable[[Path], Any]]:
    path = folder / "state.json"
    path.write_text(json.dumps(plain(Progress(best=1.0))))
    return path, lambda _: structured(read_plain(path), Progress, path, "progress", BadModel)


@pytest.mark.parametrize(
    "made",
    [blend_file, calibration_file, findings_file, out_of_fold_record, stored_series, run_state],
)
def test_a_file_without_a_key_that_we_write_is_refused(
    tmp_path: Path, made: Callable[[Path], tuple[Path, Callable[[Path], Any]]]
) -> None:
    path, read = made(tmp_path)
    content = read_plain(path)
    dump = json.dumps if path.suffix == ".json" else tomli_w.dumps
    whole = read(path)
    tried = 0
    for table, key in keys(content):
        kept = dict(table)
        del table[key]
        path.write_text(dump(content))
        later = {"spare", "calibrated", "named", "about", "measured"}
        if key in (later if path.suffix == ".toml" else {"engines"}):
            read(path)  # earlier versions did not write them, or they may be unknown
        else:
            with pytest.raises(LumbargradeError):
                read(path)
            tried += 1
        table.clear()
        table.update(kept)
    path.write_text(dump(content))
    assert read(path) == whole
    assert tried > 5


@pytest.mark.parametrize("key", ["scale", "bias", "class_weights", "method"])
@pytest.mark.parametrize("made", [blend_file, calibration_file])
def test_a_calibration_without_a_key_is_refused_with_its_name(
    tmp_path: Path, made: Callable[[Path], tuple[Path, Callable[[Path], Any]]], key: str
) -> None:
    path, read = made(tmp_path)
    content = read_plain(path)
    del content["conditions"][Condition.CANAL.value]["calibration"][key]
    path.write_text(tomli_w.dumps(content))
    with pytest.raises(LumbargradeError, match=rf"missing {key} @ .*calibration"):
        read(path)
