"""Several processes of one training: if one fails, all end with its error."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from lumbargrade.launch.ranks import run_ranks


def command(text: str) -> list[str]:
    return [sys.executable, "-c", f"import os, sys, time; rank = os.environ['RANK']; {text}"]


def test_a_failing_process_ends_all_with_its_error(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lumbargrade.launch.ranks._PATIENCE", 0.2)
    text = "time.sleep(100) if rank == '0' else (print('it broke', file=sys.stderr), sys.exit(3))"
    assert run_ranks(command(text), 2) == 3
    assert capfd.readouterr().err == "it broke\n"


def test_an_error_of_all_is_said_once(capfd: pytest.CaptureFixture[str]) -> None:
    text = "print('wrong', file=sys.stderr); sys.exit(2)"
    assert run_ranks(command(text), 2) == 2
    assert capfd.readouterr().err == "wrong\n"


def test_each_process_knows_its_place_and_a_signal_reaches_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOLDER", str(tmp_path))
    text = (
        "import signal; from pathlib import Path; e = os.environ; here = Path(e['FOLDER']);"
        "stop = lambda *_: ((here / f'stopped-{rank}').touch(), sys.exit(1));"
        "signal.signal(signal.SIGTERM, stop);"
        "(here / '-'.join(e[k] for k in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE'))).touch();"
        "time.sleep(100)"
    )

    def stop() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    watcher = threading.Thread(target=stop)
    watcher.start()
    assert run_ranks(command(text), 2) == 1
    watcher.join()
    assert {p.name for p in tmp_path.iterdir()} == {"0-0-2", "1-1-2", "stopped-0", "stopped-1"}
