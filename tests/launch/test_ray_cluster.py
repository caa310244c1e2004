"""Connecting to Ray: what is wrong is said in one line, at once."""

from __future__ import annotations

import socket
import sys

import pytest

from lumbargrade.domain.errors import UsageError
from lumbargrade.launch.ray_cluster import ray_cluster


def test_a_cluster_that_does_not_answer_is_named() -> None:
    pytest.importorskip("ray")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = rf"{address}.*cannot connect to Ray \(.*refused.*ray start --head"
        with pytest.raises(UsageError, match=said), ray_cluster(address):
            pass
    with pytest.raises(UsageError, match=r"nonsense.*host:port"), ray_cluster("nonsense"):
        pass


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"lumbargrade\[ray\]"), ray_cluster():
        pass
