"""`demo-train` at its smallest: every step runs in this process; the page shows what they made."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

from lumbargrade.cli import demo_train
from lumbargrade.cli.main import main
from lumbargrade.domain.errors import LumbargradeError


class InTurn(Executor):
    """Runs each training in this thread: those of this process need the main thread for signals."""

    def __init__(self, jobs: int) -> None:
        assert jobs == 1

    def submit(self, step: Any, /, *arguments: Any, **_: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(step(*arguments))
        return future


def test_the_demo_ends_with_a_page_of_held_out_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
        assert command[:3] == [sys.executable, "-m", "lumbargrade.cli.main"]
        ran.append(command[3])
        return subprocess.CompletedProcess(command, main(command[3:]))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(demo_train, "ThreadPoolExecutor", InTurn)
    out = tmp_path / "demo"
    line = ["demo-train", "--out", str(out), "--seed", "31", "--studies", "4", "--held-out", "1"]
    assert main([*line, "--folds", "2,0"]) == 2
    assert re.search(r"have none in fold 0; .*--folds 2", capsys.readouterr().err)
    assert ran == ["phantom"]
    ran.clear()
    assert main([*line, "--folds", "2", "--epochs", "1", "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert ran == [
        *("phantom", "phantom", "prepare", "train", "train", "train"),
        *("validate", "submit", "score"),
    ]
    assert "official score" in said
    assert str((out / "index.html").resolve()) in said
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "lumbargrade validate" in page
    pictures = re.findall(r'<img src="([^"]+)"', page)
    assert pictures
    assert all((out / picture).is_file() for picture in pictures)


def test_a_step_that_fails_ends_the_demo(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LumbargradeError, match=r"`lumbargrade score none.csv` failed"):
        demo_train._step("score", "none.csv")
    assert "lumbargrade score --help" in capfd.readouterr().err
