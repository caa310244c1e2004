"""A node whose worker or whole process is killed grades each study once."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_node import THEIRS, archive, call, of_a_patient, small_node, small_settings, wait_until

from fake_models import calls
from lumbargrade.launch import processes
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.settings import Destination, Settings
from lumbargrade.serve.states import State
from small_studies import write_noise_study

_PROGRAM = """
import pickle, sys
from pathlib import Path
from functools import partial
from lumbargrade.serve.logs import log_as_json
from lumbargrade.serve.run import serve
from fake_models import open_fake
if __name__ == "__main__":
    folder = Path(sys.argv[1])
    log_as_json()
    settings = pickle.loads((folder / "settings.pickle").read_bytes())
    serve(partial(open_fake, folder, seconds=float(sys.argv[2])), settings, folder / "data")
"""


def files_of(folder: Path) -> list[Path]:
    return sorted(of_a_patient(write_noise_study(folder, depth=2)).rglob("*.dcm"))


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    settings = small_settings()
    files = files_of(tmp_path / "anna")
    with small_node(tmp_path, settings) as queue:
        uid = str(call(settings, files[:1]) and queue.studies()[0].uid)
        (tmp_path / f"{uid}.kill").touch()
        call(settings, files[1:])
        wait_until(lambda: queue.counts()[State.DONE])
        assert queue.studies()[0].result == 1
    assert calls(tmp_path) == [uid, uid]


@contextmanager
def node_process(
    folder: Path, settings: Settings, seconds: float
) -> Iterator[subprocess.Popen[bytes]]:
    """A node as a process of its own."""
    (folder / "settings.pickle").write_bytes(pickle.dumps(settings))
    script = folder / "node.py"
    script.write_text(_PROGRAM)
    paths = os.pathsep.join(p for p in sys.path if p)
    with (folder / "node.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(script), str(folder), str(seconds)],
            env={**os.environ, "PYTHONPATH": paths},
            stderr=log,
        )
    try:
        wait_until(lambda: listening(settings) or process.poll() is not None)
        assert process.poll() is None, (folder / "node.log").read_text()
        yield process
    finally:
        process.kill()
        process.wait()


def listening(settings: Settings) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", settings.dicom.port)) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is of POSIX")
def test_kill_9_in_every_state(tmp_path: Path) -> None:
    """Killed while it receives and grades, then while it sends: one result, which is sent once."""
    with archive() as store:
        to = Destination("archive", THEIRS, "127.0.0.1", store.port, timeout_seconds=5.0)
        settings = small_settings(to, quiet_seconds=600.0, expected_instances=6)
        files = files_of(tmp_path / "anna")
        with node_process(tmp_path, settings, 60.0) as process:
            call(settings, files)
            wait_until(lambda: calls(tmp_path))
            call(settings, files_of(tmp_path / "ben")[:3])
            process.kill()
        store.refuse.set()
        with node_process(tmp_path, settings, 0.0) as process:
            wait_until(lambda: store.refused)
            process.kill()
        graded = calls(tmp_path)
        store.refuse.clear()
        with node_process(tmp_path, settings, 0.0) as process:
            call(settings, files_of(tmp_path / "ben"))  # the sender tries again
            wait_until(lambda: states(tmp_path) == {State.DONE})
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    assert len(store.stored) == len(set(store.stored)) == 2
    anna, ben = graded[0], next(uid for uid in calls(tmp_path) if uid != graded[0])
    assert sorted(calls(tmp_path)) == sorted([anna, anna, ben])  # the first time was cut off
    assert len(list((tmp_path / "data" / "results").rglob("findings.json"))) == 2
    log = (tmp_path / "node.log").read_text()
    assert '"event": "stopped"' in log
    assert all(word not in log for word in (anna, "4711", "Doe", "Jane"))


def states(folder: Path) -> set[State]:
    queue = Queue(folder / "data" / "queue.sqlite")
    try:
        return {study.state for study in queue.studies()}
    finally:
        queue.close()


def test_images_that_are_lost_are_told(tmp_path: Path) -> None:
    settings = small_settings(quiet_seconds=600.0, expected_instances=6)
    files = files_of(tmp_path / "anna")
    with small_node(tmp_path, settings) as queue:
        call(settings, files[:5])
        next((tmp_path / "data" / "images").rglob("*.dcm")).unlink()
        call(settings, files[5:])
        wait_until(lambda: queue.counts()[State.FAILED])
        assert queue.studies()[0].reason == "1 images are lost; send the study again"
        call(settings, files)
        wait_until(lambda: queue.counts()[State.DONE])
    assert len(calls(tmp_path)) == 1


def test_a_stop_while_grading_costs_no_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_PATIENCE", 0.1)
    settings = small_settings()
    with small_node(tmp_path, settings, seconds=600.0):
        call(settings, files_of(tmp_path / "anna"))
        wait_until(lambda: calls(tmp_path))
    queue = Queue(tmp_path / "data" / "queue.sqlite")
    (study,) = queue.studies()
    queue.close()
    assert (study.state, study.attempts, study.result) == (State.WAITING, 0, 1)
