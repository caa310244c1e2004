"""Prepare may die at any moment: what is left is never half a store, and the next run ends it."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest

from lsdc_layout import AXIAL, SAGITTAL, write_lsdc, write_slice
from lumbargrade.domain.errors import BadStore, UsageError
from lumbargrade.lsdc.prepare import prepare
from lumbargrade.lsdc.series_file import read_record, series_paths
from lumbargrade.lsdc.store import VolumeStore

STUDIES = 30


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill") / "data"
    write_lsdc(folder, STUDIES, depth=6)
    return folder


@pytest.fixture(scope="module")
def fingerprint(data: Path) -> str:
    return prepare(data, data.parent / "undisturbed").fingerprint


class Killed(BaseException):
    """Stands for the end of the process: nothing of the program catches it."""


def start(data: Path, out: Path, workers: int = 2) -> subprocess.Popen[bytes]:
    arguments = ["prepare", str(data), "--out", str(out), "--workers", str(workers)]
    return subprocess.Popen(
        [sys.executable, "-m", "lumbargrade.cli.main", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # a shell lets what it starts in the background ignore Ctrl-C, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finished(out: Path) -> int:
    return len(list(out.glob("volumes/*/[!.]*.json")))


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.002)


def assert_whole(out: Path) -> None:
    """Every series that claims to be there has exactly the pixels it names."""
    for file in out.glob("volumes/*/[!.]*.json"):
        study, series = file.parent.name, file.stem
        record = read_record(out, study, series)
        assert record is not None
        pixels = np.load(series_paths(out, study, series)[0])
        assert hashlib.sha256(pixels).hexdigest() == record.digest


def test_killed_again_and_again_it_comes_to_the_same_store(data, fingerprint, tmp_path):
    out = tmp_path / "store"
    rng = np.random.default_rng(5)
    for share in (0.0, 0.3, 0.6):
        process = start(data, out)
        wait_until(lambda at=share: finished(out) > at * 3 * STUDIES)
        time.sleep(rng.uniform(0, 0.02))
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=20)
        assert not alive, "workers outlive the killed program"
        assert 0 < finished(out) < 3 * STUDIES
        assert_whole(out)
        with pytest.raises(BadStore, match="did not finish"):
            VolumeStore.open(out)
    kept = finished(out)
    summary = prepare(data, out)
    assert summary.written == 3 * STUDIES - kept
    assert summary.fingerprint == fingerprint
    assert not [p for p in out.rglob(".*") if p.name != ".lock"]


def test_ctrl_c_keeps_what_is_finished(data, fingerprint, tmp_path):
    out = tmp_path / "store"
    process = start(data, out)
    wait_until(lambda: finished(out) > 5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert_whole(out)
    assert not list(out.glob("volumes/*/.*"))
    assert prepare(data, out).fingerprint == fingerprint


def test_dying_at_each_single_step_of_writing_does_no_harm(tmp_path, monkeypatch):
    """Death before every rename and every deletion, one after the other, of new and old files."""
    data, out = tmp_path / "data", tmp_path / "store"
    write_lsdc(data, 1)
    prepare(data, out)
    real_replace, real_unlink = Path.replace, Path.unlink
    steps = {"left": 0}

    def stepping(real):
        def step(self, *args, **kwargs):
            if steps["left"] == 0:
                raise Killed
            steps["left"] -= 1
            return real(self, *args, **kwargs)

        return step

    deaths = 0
    for allowed in range(100):
        # Other pixels every time, so that all steps happen again and old pixels are wrong.
        for series, orientation in ((10000, SAGITTAL), (10001, SAGITTAL), (10002, AXIAL)):
            file = data / f"train_images/1000/{series}/1.dcm"
            write_slice(file, 1, [0.0, -10.0, 0.0], orientation, seed=allowed + 1)
        expected = prepare(data, tmp_path / f"undisturbed{allowed}").fingerprint
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", stepping(real_replace))
            patch.setattr(Path, "unlink", stepping(real_unlink))
            steps["left"] = allowed
            try:
                prepare(data, out)
                break
            except Killed:
                deaths += 1
        assert_whole(out)
        # Opens, or says that it is unfinished or none: never anything else.
        with suppress(BadStore):
            VolumeStore.open(out)
        assert prepare(data, out).fingerprint == expected
    assert deaths > 15


def test_two_at_once_are_kept_apart(data, tmp_path):
    out = tmp_path / "store"
    process = start(data, out, workers=1)
    try:
        wait_until(lambda: finished(out) > 0)
        with pytest.raises(UsageError, match="another"):
            prepare(data, out)
    finally:
        process.kill()
        process.wait()
