"""Stands in for the training of a fold in a process of its own, and starts without torch."""

from __future__ import annotations

import os
import signal
import threading
import time

from lumbargrade.cli.train_options import Options
from lumbargrade.config import Recipe


def train_in_child(options: Options, recipe: Recipe, fold: int) -> bool:
    """Leave a sign of life, then do as the run's name says: finish, die, or wait for SIGTERM."""
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    (options.out / f"begun-{fold}").touch()
    if options.name == "finish":
        return True
    if options.name == "die" and fold == 0:
        while not (options.out / "begun-1").exists():
            time.sleep(0.01)
        os._exit(9)
    if asked.wait(20):
        (options.out / f"stopped-{fold}").touch()
        return False
    return True
