"""Every benchmark, each in a process of its own, to docs/benchmarks.md.

``python -m benchmarks.run_all`` (or ``make bench``) replaces the document when all are through;
progress goes to stderr. With 2 idle cores it takes about ten minutes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.common import ROOT, Row, busy, progress, wrapped

from lumbargrade.files.writing import write_text

#: In the order of the document, which is that of the data flow.
BENCHMARKS = ("reading", "prepare", "augment", "network", "submit", "stages", "phantom")

DOCUMENT = ROOT / "docs" / "benchmarks.md"


def measure(name: str, quick: bool) -> list[Row]:
    """The rows of one benchmark; its own progress passes through to stderr.

    Raises:
        RuntimeError: if it fails.
    """
    command = [sys.executable, "-m", f"benchmarks.{name}", "--json", *["--quick"] * quick]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}")
    rows: list[Row] = json.loads(done.stdout.splitlines()[-1])
    return rows


def document(measured: dict[str, list[Row]]) -> str:
    """The whole page from the rows of every benchmark."""
    parts = [introduction()]
    for name, rows in measured.items():
        sections = importlib.import_module(f"benchmarks.{name}").sections(rows)
        parts += [s.markdown(f"python -m benchmarks.{name}") for s in sections]
    return "\n".join(parts)


def introduction() -> str:
    """What the numbers are, and of which machine."""
    packages = ("torch", "numpy", "pydicom", "opencv-python-headless", "SimpleITK", "torchio")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    ours = wrapped(
        "`make bench` measures all of this and rewrites this page. A ratio is ours (or the row) "
        "over the baseline named below the table, both measured in the same run: below 1 is less "
        "time or memory, above 1 is more. Times are CPU time of one thread, which other work on "
        "the machine disturbs least, unless a table says wall time. Ratios vary from machine to "
        "machine, and milliseconds more so. [gpu.md](gpu.md) is about GPUs (`make gpu`)."
    )
    machine = wrapped(
        f"This run: {os.cpu_count()} cores of {processor()}, no GPU used; {platform.system()}, "
        f"Python {platform.python_version()}, {versions}."
    )
    return f"# Benchmarks\n\n{ours}\n\n{machine}\n"


def processor() -> str:
    """The processor's name where the system tells, else its architecture."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run_all", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and few: is it working at all?")
    parser.add_argument("--out", type=Path, default=DOCUMENT, help="the page to write")
    options = parser.parse_args(argv)
    if warning := busy():
        progress(warning)
    measured = {}
    for name in BENCHMARKS:
        progress(f"{name} ...")
        start = time.monotonic()
        measured[name] = measure(name, options.quick)
        progress(f"{name}: {time.monotonic() - start:.0f} s")
    write_text(options.out, document(measured))
    progress(f"written: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
