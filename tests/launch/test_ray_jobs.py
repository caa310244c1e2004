"""A table of experiments on a Ray cluster of two nodes, one of which dies."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lumbargrade.cli.main import main
from lumbargrade.launch.run_status import read_run_status
from small_runs import assert_same_run

ray = pytest.importorskip("ray")

SMALL = (
    *("--data.size", "64", "--encoder.name", "lcnet_050", "--encoder.stages", "3"),
    *("--network.widths", "16", "8", "--pictures", "0", "--train.epochs", "10"),
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cores, and two nodes on which one job each fits."""
    from ray.cluster_utils import Cluster

    monkeypatch = pytest.MonkeyPatch()
    folder = tempfile.mkdtemp(prefix="r")  # paths of sockets must be short
    monkeypatch.setenv("RAY_TMPDIR", folder)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    small = {"object_store_memory": 80_000_000, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    for _ in range(2):
        made.add_node(num_cpus=1, **small)
    yield made
    made.shutdown()
    monkeypatch.undo()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_job_of_a_lost_node_resumes_on_another(
    cluster: Any, small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, whole = tmp_path / "runs", tmp_path / "whole"
    recipe = "cpu-small/canal"
    line = ["train", "--recipes", recipe, "--store", str(small_store), *SMALL]
    line += ["--launcher", "ray", "--ray-address", cluster.address, "--gpus", "0", "--json"]
    folder = runs / "cpu-small" / "canal" / "fold4"
    lost: list[str] = []

    def lose_its_node() -> None:
        end = time.monotonic() + 120
        while (status := read_run_status(folder)).epoch < 2:
            assert time.monotonic() < end
            time.sleep(0.02)
        lost.append(status.node)
        (node,) = [n for n in cluster.worker_nodes if n.node_id[:6] in status.node]
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        # as if the machine was switched off; the training itself has to notice
        for process in [raylet, *raylet.children()]:
            process.kill()

    killer = threading.Thread(target=lose_its_node)
    killer.start()
    # fold 0 of the store is empty
    assert main([*line, "--out", str(runs), "--folds", "4,0"]) == 1
    killer.join()
    jobs = {j["job"]: j for j in json.loads(capsys.readouterr().out.splitlines()[-1])["jobs"]}
    good, bad = jobs[f"{recipe} fold 4"], jobs[f"{recipe} fold 0"]
    assert (good["state"], good["epoch"], good["tries"]) == ("finished", 10, 2)
    assert good["node"] not in ["", *lost]
    assert (bad["state"], bad["tries"]) == ("failed", 1)
    assert "to validate fold 0" in bad["error"]

    alone = ["train", recipe, "--store", str(small_store), *SMALL, "--out", str(whole)]
    assert main([*alone, "--folds", "4"]) == 0
    assert_same_run(folder, whole / "cpu-small" / "canal" / "fold4")


def test_a_signal_stops_jobs_on_their_nodes_and_those_that_wait(
    cluster: Any, small_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "cpu-small" / "canal" / "fold4"

    def stop() -> None:
        end = time.monotonic() + 120
        while not read_run_status(folder).epoch:
            assert time.monotonic() < end
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop)
    stopper.start()
    line = [
        "train",
        "--recipes",
        "cpu-small/canal",
        "--store",
        str(small_store),
        *SMALL[:-1],
        "9999",
    ]
    line += ["--launcher", "ray", "--ray-address", cluster.address, "--gpus", "0", "--json"]
    assert main([*line, "--out", str(tmp_path), "--folds", "4,2,3"]) == 1
    stopper.join()
    jobs = json.loads(capsys.readouterr().out.splitlines()[-1])["jobs"]
    assert {job["state"] for job in jobs} == {"stopped"}
    assert jobs[0]["epoch"] < 9999
    assert "stopped; the same command resumes it" in (folder / "train.log").read_text()
