"""Run all benchmarks several times in turns, and write their ratios and plots.

``python -m benchmarks.passes`` runs every benchmark once, then all of them again, and so on: what
disturbs the machine for a minute then disturbs one pass, not one benchmark. Each pass is kept in
``build/benchmarks/``; if the command is interrupted, rerun it to resume. At the end it rewrites the
figures of docs/benchmarks.md and its plots.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks import plots, ratios
from benchmarks.common import ROOT, processor, progress, with_figures

from lumbargrade.files.cpus import usable_cpus

PAGE = ROOT / "docs" / "benchmarks.md"
PLOTS = ROOT / "docs" / "images" / "benchmarks.png"

#: Packages whose versions decide about the figures.
_PACKAGES = (
    *("torch", "onnxruntime", "numpy", "pydicom", "opencv-python-headless"),
    *("simpleitk", "torchio"),
)


def machine() -> str:
    """The machine and the versions, as a sentence."""
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    return (
        f"{usable_cpus()} cores of {processor()}, {platform.system()}, "
        f"Python {platform.python_version()}, {packages}."
    )


def main(argv: list[str] | None = None) -> int:
    """Run the passes and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--kept", type=Path, default=ROOT / "build" / "benchmarks")
    parser.add_argument("--restart", action="store_true", help="delete the passes that are kept")
    parser.add_argument("--print", action="store_true", help="print the table, change no file")
    parser.add_argument("pytest", nargs="*", help="arguments of pytest, such as files and --tiny")
    given = parser.parse_args(argv)
    if given.restart:
        shutil.rmtree(given.kept, ignore_errors=True)
    given.kept.mkdir(parents=True, exist_ok=True)
    files = [given.kept / f"pass-{number}.json" for number in range(1, given.passes + 1)]
    for number, file in enumerate(files, start=1):
        if file.exists():
            progress(f"pass {number}: kept from an earlier run ({file})")
            continue
        progress(f"pass {number} of {given.passes}")
        part = file.with_suffix(".part")
        chosen = given.pytest or [str(ROOT / "benchmarks")]
        command = [sys.executable, "-m", "pytest", "-q", *chosen, f"--benchmark-json={part}"]
        if code := subprocess.run(command, cwd=ROOT, check=False).returncode:
            progress(f"pass {number} failed; the earlier passes are kept in {given.kept}")
            return code
        part.replace(file)
    passes = [json.loads(file.read_text(encoding="utf-8"))["benchmarks"] for file in files]
    table = ratios.table(passes)
    figures = f"{len(passes)} passes on {machine()}\n\n{table}"
    if given.print:
        print(figures)
        return 0
    PAGE.write_text(with_figures(PAGE, figures), encoding="utf-8")
    plots.draw(passes, PLOTS)
    progress(f"wrote {PAGE} and {PLOTS}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
