"""Where `grade` spends its time, by stage and by function.

``python -m benchmarks.profile_grade [STUDIES ...]`` grades the studies with the starter, or with
``--models``; without studies, four phantom studies. It prints

* the table of `grade --profile`;
* the CPU time with one thread of the linear algebra and with all of them, in turns;
* the functions with the most time of their own (cProfile; its cost is included).
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common import ROOT, progress
from benchmarks.studies import make_studies

from lumbargrade.cli.main import main as command_line

#: Runs of each setting of the linear algebra.
_ROUNDS = 5


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("studies", nargs="*", type=Path, help="DICOM folders (default: phantoms)")
    parser.add_argument("--models", nargs="*", default=[], help="model folders (default: starter)")
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="runs of each setting")
    parser.add_argument("--functions", type=int, default=30, help="functions to list")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Print the profile."""
    given = _arguments(argv)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        studies = given.studies or [make_studies(work / "phantoms", 4) / "train_images"]
        command = ["grade", *map(str, studies)]
        if given.models:
            command += ["--models", *given.models]

        def timed(*more: str, threads: str = "") -> float:
            out = ["--out", str(work / "out"), "--restart", *more]
            chosen = {"OPENBLAS_NUM_THREADS": threads} if threads else {}
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, "-m", "lumbargrade.cli.main", *command, *out],
                cwd=ROOT,
                env={**os.environ, **chosen},
                stderr=None if more else subprocess.DEVNULL,
                check=False,
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        timed("--profile")
        progress("")
        runs: dict[str, list[float]] = {"1": [], str(os.cpu_count() or 1): []}
        for _ in range(given.rounds):
            for threads, seconds in runs.items():
                seconds.append(timed(threads=threads))
        for threads, seconds in runs.items():
            spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
            middle = statistics.median(seconds)
            print(f"OPENBLAS_NUM_THREADS={threads}: {middle:.2f} s of CPU time ({spread})")
        profile = cProfile.Profile()
        profile.runcall(command_line, [*command, "--out", str(work / "profiled")])
        pstats.Stats(profile).sort_stats("tottime").print_stats(given.functions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
