"""Connect to a Ray cluster, or start Ray on this machine."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from lumbargrade.domain.errors import UsageError
from lumbargrade.files.extras import needs_extra

#: Seconds to wait for an answer of the cluster's head node. Ray itself tries for minutes.
_PATIENCE = 10.0


@contextmanager
def ray_cluster(address: str = "") -> Iterator[ModuleType]:
    """Connect to a Ray cluster and yield the module ``ray``; disconnect at the end.

    A program that is connected already stays so. Ray sends no usage statistics, shows no dashboard,
    and the output of its workers is not repeated here.

    Args:
        address: ``host:port`` of the cluster, ``ray://host:port``, or ``auto`` for the cluster that
            this machine belongs to. Empty: the cluster of the environment variable ``RAY_ADDRESS``;
            if it is not set, Ray is started on this machine alone.

    Raises:
        UsageError: if Ray is not installed, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # a task without GPUs sees none; without this, Ray warns that a later version may change it
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    with needs_extra("--launcher ray"):
        import ray
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS", "")
    try:
        _require_answer(address)
        ray.init(
            address=address or None,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        advice = "start a cluster with `ray start --head` and give its address as host:port"
        if not address:
            advice = "give the address of a cluster"
        raise UsageError(
            f"--ray-address {address!r}: cannot connect to Ray ({reason}); {advice}"
        ) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Check that a port at the address is open.

    Raises:
        OSError: if it is not.
        ValueError: if the address has no port.
    """
    if address in ("", "auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("not of the form host:port")
    socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
