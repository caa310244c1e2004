"""Two processes that share every batch train as one process does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from two_processes import CASES, gradients

from lumbargrade.lsdc.store import VolumeStore

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def shared(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the gradients of two processes, see `two_processes.py`."""
    out = tmp_path_factory.mktemp("shared")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    common = {**os.environ, "PYTHONPATH": path, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    script = [sys.executable, str(TESTS / "training" / "two_processes.py")]
    both = [
        subprocess.Popen(
            [*script, str(small_store), str(out)],
            env={**common, "MASTER_PORT": port, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    return out


@pytest.mark.parametrize(("task", "norm"), CASES)
def test_two_processes_have_the_gradients_of_the_joint_batch(
    task: str, norm: str, shared: Path, small_store: Path, tmp_path: Path
) -> None:
    alone = gradients(task, norm, VolumeStore.open(small_store), tmp_path)
    for rank in range(2):
        both = torch.load(shared / f"{task}-{norm}-{rank}.pt", weights_only=True)
        assert both.keys() == alone.keys()
        if task == "two_stage":  # in fp32
            ours, theirs = (torch.cat([t.reshape(-1) for t in g.values()]) for g in (both, alone))
            assert (ours - theirs).norm() < 1e-4 * theirs.norm()
            continue
        for name, value in alone.items():
            torch.testing.assert_close(both[name], value, rtol=1e-6, atol=1e-8, msg=name)
