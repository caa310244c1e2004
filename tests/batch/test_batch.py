"""Grading by several processes: one result per study, whatever happens to the processes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pydicom
import pytest

from fake_models import TWO, calls, graded, open_fake
from lumbargrade.batch.launch import Launch
from lumbargrade.batch.run import grade_studies
from lumbargrade.domain.errors import LumbargradeError
from lumbargrade.domain.vocabulary import SeriesKind
from lumbargrade.grading.findings_file import read_findings
from small_studies import write_noise_study

NAMES = ("anna", "ben", "carl", "dora", "emil")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name in NAMES:
        write_noise_study(folder / name, (SeriesKind.SAGITTAL_T2,), depth=2)
    return folder


@pytest.fixture(scope="module")
def uids(images: Path) -> dict[str, str]:
    first = {name: next((images / name).rglob("*.dcm")) for name in NAMES}
    return {name: str(pydicom.dcmread(path).StudyInstanceUID) for name, path in first.items()}


def require_one_result_each(out: Path, uids: dict[str, str]) -> None:
    folders = sorted(p.name for p in out.iterdir() if p.is_dir())
    assert folders == sorted(uids.values())
    for folder in folders:
        assert read_findings(out / folder / "findings.json").prediction.study_id == folder
    summary = json.loads((out / "summary.json").read_text())
    assert sorted(s["study_id"] for s in summary["studies"]) == folders


@pytest.mark.parametrize("ray", [False, True], ids=["processes", "ray"])
def test_every_study_gets_one_result_though_a_worker_is_killed_and_a_study_fails(
    images: Path, uids: dict[str, str], tmp_path: Path, ray: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ray:
        pytest.importorskip("ray")
        # where Ray's workers find the modules of the tests
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    (tmp_path / f"{uids['ben']}.kill").touch()
    (tmp_path / f"{uids['dora']}.raise").write_text("no such luck")
    summary = graded(images, tmp_path, launch=Launch(2, ray=ray))
    assert not summary.complete
    good = {n: u for n, u in uids.items() if n != "dora"}
    require_one_result_each(tmp_path / "out", good)
    told = {p.study: p.what for p in summary.failed}
    assert told == {uids["dora"]: "RuntimeError: no such luck"}
    assert calls(tmp_path) == sorted([*good.values(), uids["ben"], uids["dora"]])
    (tmp_path / f"{uids['dora']}.raise").unlink()
    (tmp_path / "calls.txt").unlink()
    again = graded(images, tmp_path, launch=Launch(1))  # results of Ray are kept, too
    assert again.complete
    assert calls(tmp_path) == [uids["dora"]]
    assert {line.folder for line in again.graded if line.reused} == set(good.values())


def what_happened(
    images: Path,
    uids: dict[str, str],
    notes: Path,
    launch: Launch | None,
    caplog: pytest.LogCaptureFixture,
) -> tuple[dict[str, str], list[str]]:
    """Why studies failed, and what was logged, if three of five studies fail in different ways."""
    notes.mkdir()
    (notes / f"{uids['anna']}.nothing").touch()
    (notes / f"{uids['ben']}.raise").write_text("no such luck")
    (notes / "out").mkdir()
    (notes / "out" / uids["carl"]).touch()  # where its folder should be
    caplog.clear()
    summary = graded(images, notes, launch=launch)
    assert not summary.complete
    assert sorted(line.folder for line in summary.graded) == sorted([uids["dora"], uids["emil"]])
    assert calls(notes) == sorted(uids.values())
    told = {p.study: p.what.replace(str(notes), "") for p in summary.failed}
    return told, sorted(message.replace(str(notes), "") for message in caplog.messages)


def test_studies_fail_in_one_process_as_they_do_in_many(
    images: Path, uids: dict[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "lumbargrade")
    here = what_happened(images, uids, tmp_path / "here", None, caplog)
    assert here == what_happened(images, uids, tmp_path / "there", TWO, caplog)
    told, logged = here
    assert set(told) == {uids[name] for name in ("anna", "ben", "carl")}
    assert told[uids["anna"]].startswith("no finding could be graded: ")
    assert told[uids["ben"]] == "RuntimeError: no such luck"
    assert told[uids["carl"]].startswith("the results cannot be written: File exists: /out/")
    assert any("(check free space and rights of --out)" in line for line in logged)
    for name in ("dora", "emil"):
        assert any(line.startswith(f"study {uids[name]}: 25 normal/mild") for line in logged)
    for study, what in told.items():
        assert any(line.startswith(f"study {study}: {what}") for line in logged)


def test_after_a_cuda_error_another_process_grades_and_this_one_goes_on(
    images: Path, uids: dict[str, str], tmp_path: Path
) -> None:
    for launch, end in ((None, ""), (Launch(1), "; given up after 3 attempts")):
        notes = tmp_path / f"{launch is None}"
        notes.mkdir()
        (notes / f"{uids['anna']}.raise").write_text("CUDA error")
        (failed,) = graded(images, notes, launch=launch).failed
        assert failed.what == f"RuntimeError: CUDA error{end}"
        assert len(list(notes.glob("out/*/findings.json"))) == 4


DRIVER = """
import sys
from pathlib import Path
from fake_models import graded

if __name__ == "__main__":
    graded(Path(sys.argv[1]), Path(sys.argv[2]), seconds=0.3)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_second_run_after_a_killed_driver_grades_only_what_is_missing(
    images: Path, uids: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    path = os.pathsep.join(sys.path)
    driver = subprocess.Popen(
        [sys.executable, str(script), str(images), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    out = tmp_path / "out"
    while not list(out.glob("*/findings.json")):
        assert driver.poll() is None
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    while _alive(driver.pid):  # its workers end by themselves
        time.sleep(0.05)
    done = {p.parent.name for p in out.glob("*/findings.json")}
    assert 0 < len(done) < len(uids)
    (tmp_path / "calls.txt").unlink()
    assert graded(images, tmp_path, launch=Launch(1)).complete
    require_one_result_each(out, uids)
    assert calls(tmp_path) == sorted(set(uids.values()) - done)


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_results_never_go_among_the_images(images: Path, tmp_path: Path) -> None:
    study = write_noise_study(tmp_path / "in" / "same", (SeriesKind.SAGITTAL_T2,), named=False)
    with pytest.raises(LumbargradeError, match="refusing to write results"):
        grade_studies(partial(open_fake, tmp_path), [study], tmp_path / "in", launch=Launch(2))
    assert calls(tmp_path) == []
