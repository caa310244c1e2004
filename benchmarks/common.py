"""What the benchmarks share: taking turns, peak memory, child processes, tables in Markdown."""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

Row = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """One table of docs/benchmarks.md with what it shows.

    Attributes:
        title: heading.
        shows: one plain sentence or a few, with numbers from the rows.
        baseline: what ratios are against.
        method: what is done, in words.
        header, cells: the table; every cell is text.
    """

    title: str
    shows: str
    baseline: str
    method: str
    header: Sequence[str]
    cells: Sequence[Sequence[str]]

    def markdown(self, command: str) -> str:
        """The section as it stands in the document."""
        table = markdown_table(self.header, self.cells)
        about = f"Baseline: {self.baseline}. {self.method} Measured by `{command}`."
        return f"## {self.title}\n\n{wrapped(self.shows)}\n\n{table}\n\n{wrapped(about)}\n"


def wrapped(text: str) -> str:
    """Lines of at most 100 characters; code is not broken."""
    kept = re.sub("`[^`]*`", lambda code: code[0].replace(" ", "\0"), text)
    filled = textwrap.fill(kept, 100, break_long_words=False, break_on_hyphens=False)
    return filled.replace("\0", " ")


def markdown_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """First column left, numbers right.

    Raises:
        ValueError: if a row has another number of cells than the header.
    """
    for row in cells:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under {len(header)} headings: {row}")
    rule = ["---", *["--:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *cells))


def number(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    if value >= 100:
        return f"{value:,.0f}"
    digits = 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{digits}f}"


def ratio(value: float) -> str:
    """A ratio of ours to a baseline; two digits are all that such timings are worth."""
    return f"{value:.2f}" if value < 9.95 else f"{value:.0f}"


def against(share: float, baseline: str) -> str:
    """How fast something is that takes this share of the baseline's time."""
    if 0.97 <= share <= 1.03:
        return f"as fast as {baseline}"
    factor, word = (share, "slower") if share > 1 else (1 / share, "faster")
    if factor < 1.5:
        return f"{100 * (factor - 1):.0f} % {word} than {baseline}"
    return f"{factor:.1f} times {word} than {baseline}"


#: Peaks of equal runs differ by a few per cent; one volume kept of each study would be far more.
FLAT = 1.05


def cost_against_work(rows: Sequence[Row]) -> str:
    """What rows of ever more studies say; see :func:`work_table`."""
    first, last = rows[0], rows[-1]
    more = last["peak_mib"] - first["peak_mib"]
    flat = last["peak_mib"] <= FLAT * first["peak_mib"]
    verdict = "memory stays flat" if flat else "memory grows"
    return (
        f"{last['studies']} studies cost {ratio(last['ms'] / first['ms'])} times as much each as "
        f"{first['studies']}, and peak memory changes by {round(more):+d} MiB: {verdict}."
    )


def work_table(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of rows with ``studies``, CPU ``ms``, ``peak_mib`` and ``work_mib``."""
    first = rows[0]
    header = ["studies", "CPU ms per study", "ratio", "peak MiB", "ratio", "of it the work's"]
    cells = [
        [
            str(row["studies"]),
            number(row["ms"]),
            ratio(row["ms"] / first["ms"]),
            number(row["peak_mib"]),
            ratio(row["peak_mib"] / first["peak_mib"]),
            number(row["work_mib"]),
        ]
        for row in rows
    ]
    return header, cells


def take_turns(
    functions: Mapping[str, Callable[[], object]], rounds: int, warm_up: bool = True
) -> dict[str, list[float]]:
    """CPU seconds of every run of every function in this process.

    The functions take turns, and every other round in the opposite order, so that a slow moment of
    the machine strikes all of them alike. A first round that warms caches up does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    names = list(functions)
    for turn in range(-1 if warm_up else 0, rounds):
        for name in names if turn % 2 == 0 else reversed(names):
            start = time.process_time()
            functions[name]()
            if turn >= 0:
                seconds[name].append(time.process_time() - start)
    return seconds


def medians(
    functions: Mapping[str, Callable[[], object]], rounds: int, warm_up: bool = True
) -> dict[str, float]:
    """Median CPU seconds of each function; see :func:`take_turns`."""
    return {n: statistics.median(s) for n, s in take_turns(functions, rounds, warm_up).items()}


def peak_mib() -> float:
    """The most memory that this process has held, MiB."""
    # not ru_maxrss alone: on Linux that begins with the size of the process that started this one
    if (peak := _status_mib("VmHWM")) is not None:
        return peak
    per_mib = 1024**2 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / per_mib


def held_mib() -> float:
    """The memory that this process holds now, MiB; its peak where the system does not say."""
    held = _status_mib("VmRSS")
    return peak_mib() if held is None else held


def _status_mib(name: str) -> float | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return int(fields[name].split()[0]) / 1024


@contextmanager
def one_thread():
    """OpenCV, SimpleITK and torch on one thread each, for whoever of them is loaded or needed."""
    import cv2
    import SimpleITK

    itk = SimpleITK.ProcessObject
    before = cv2.getNumThreads(), itk.GetGlobalDefaultNumberOfThreads()
    cv2.setNumThreads(1)
    itk.SetGlobalDefaultNumberOfThreads(1)
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    if torch:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before[0])
        itk.SetGlobalDefaultNumberOfThreads(before[1])
        if torch:
            torch.set_num_threads(threads)


def run_child(module: str, *arguments: object) -> Any:
    """What ``python -m module arguments`` prints as its last line, as JSON; its log is dropped.

    It computes on one thread: several wait for each other, which on a busy machine costs far more
    than the work itself, and counts as CPU time.

    Raises:
        RuntimeError: with the end of its log if it fails.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        log = done.stderr[-2000:]
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}\n{log}")
    return json.loads(done.stdout.splitlines()[-1])


def progress(text: str) -> None:
    """A line for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def main(
    name: str,
    run: Callable[[bool], list[Row]],
    sections: Callable[[list[Row]], list[Section]],
    argv: Sequence[str] | None = None,
) -> None:
    """The command line of a benchmark: prints its sections of the document, or its rows."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}")
    parser.add_argument("--json", action="store_true", help="print the rows as one JSON list")
    parser.add_argument("--quick", action="store_true", help="small and few: is it working at all?")
    options = parser.parse_args(argv)
    rows = run(options.quick)
    if options.json:
        print(json.dumps(rows))
    else:
        print("\n".join(s.markdown(f"python -m {name}") for s in sections(rows)), end="")


def busy() -> str:
    """A warning where other work shares the machine, else nothing."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"load average {load:.1f} on {cores} cores: expect noise" if load > 0.5 * cores else ""
