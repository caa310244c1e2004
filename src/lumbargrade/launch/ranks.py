"""Start several processes of one training on this machine, as torchrun does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO

from lumbargrade.launch.signals import LAUNCHED, StopSignals, ask_to_stop

#: Environment variables of torchrun: number of a process, its number on its machine, and how many.
RANK, LOCAL_RANK, WORLD_SIZE = "RANK", "LOCAL_RANK", "WORLD_SIZE"

#: Seconds that the other processes have to end after one has failed.
_PATIENCE = 10.0


def is_rank() -> bool:
    """Return whether this process is one of several of a training."""
    return RANK in os.environ and int(os.environ.get(WORLD_SIZE, "1")) > 1


def run_ranks(command: Sequence[str], processes: int) -> int:
    """Run a command in several processes that find each other, and return its exit code.

    If one fails, the others are ended, and what it wrote to its standard error is shown.

    Args:
        command: the command line.
        processes: their number.
    """
    common = {
        **os.environ,
        WORLD_SIZE: str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        LAUNCHED: "1",
    }
    with StopSignals(f"{processes} processes") as signals, tempfile.TemporaryFile() as said:
        ranks: list[subprocess.Popen[bytes]] = []
        for number in range(processes):
            ranks.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stderr=said if number else None,
                    env={**common, RANK: str(number), LOCAL_RANK: str(number)},
                )
            )
        try:
            return _watch(ranks, signals, said)
        finally:
            _end(ranks)


def _watch(ranks: Sequence[subprocess.Popen[bytes]], signals: StopSignals, said: IO[bytes]) -> int:
    """Wait for the end of all processes, or the failure of one; return the exit code."""
    told = False
    while not (codes := [code for rank in ranks if (code := rank.poll())]):
        if all(rank.poll() == 0 for rank in ranks):
            return 0
        if signals.asked and not told:
            told = True
            ask_to_stop(ranks)
        time.sleep(0.05)
    if not signals.asked and not _ends_with(ranks[0], codes[0]):
        said.seek(0)
        sys.stderr.write(said.read().decode(errors="replace"))
    return codes[0] if codes[0] > 0 else 128 - codes[0]


def _ends_with(rank: subprocess.Popen[bytes], code: int) -> bool:
    """Return whether a process ends with the same code as another, so that it has said the same."""
    try:
        return rank.wait(timeout=_PATIENCE / 10) == code
    except subprocess.TimeoutExpired:
        return False


def _end(ranks: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait some time for processes to end, then kill them."""
    end = time.monotonic() + _PATIENCE
    while any(rank.poll() is None for rank in ranks) and time.monotonic() < end:
        time.sleep(0.05)
    for rank in ranks:
        rank.kill()
        rank.communicate()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
