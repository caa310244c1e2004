"""The published recipes on a GPU: whether they compute what the CPU does, and how fast.

``python -m benchmarks.gpu`` (or ``make gpu``) trains each of the seven published recipes for some
steps at full size, times its loader and its inference, and writes docs/gpu.md and a JSON file of
all figures. One process, phantom images, random weights, no network. It keeps to a time budget and
writes after every part, so a run that is killed leaves what it measured. ``--tiny`` runs the same
code with small networks on a CPU. Exit code 1: a part failed, was left out, or is wrong.
"""

from __future__ import annotations

import argparse
import gc
import json
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, Row, progress

# torch is imported when the work begins: the processes that make phantoms import this file too
from benchmarks.on_gpu.page import (
    DOCUMENT,
    LEFT_OUT,
    MEASURED,
    NOT_REACHED,
    derive,
    left_out,
    name_of,
    page,
    said,
)

from lumbargrade.config import recipe_names
from lumbargrade.domain.errors import LumbargradeError
from lumbargrade.files.writing import require_writable, write_text

#: Seconds of the whole run, and seconds reserved for a part whose duration is not known yet.
BUDGET, UNKNOWN = 540.0, 15.0

PUBLISHED = ("one-stage-nfn-", "one-stage-scs/")

#: Parts in the order in which they run: (part, precision), each for every recipe. What matters
#: most comes first, so that a short budget drops the same parts of all recipes.
ORDER = (
    ("reference", ""),
    ("training", "fp32"),
    ("training", "fp16"),
    ("loader", ""),
    ("inference", "fp32"),
    ("inference", "fp16"),
    ("training", "bf16"),
    ("training", "tf32"),
)
PRECISIONS = ("fp32", "tf32", "fp16", "bf16")

#: Changes of one recipe's step (``benchmarks.on_gpu.variants`` makes them), after this part.
VARIANTS = (
    "literal",
    "ours",
    "not channels_last",
    "optimiser not fused",
    "within 16GB",
    "all blocks recomputed",
    "compiled",
)
VARIED = "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01"
VARIED_AFTER = ("training", "fp16")


@dataclass
class Clock:
    """What is left of the time budget.

    Attributes:
        seconds: the budget.
        begun: when it began, by ``time.monotonic``.
        longest: seconds of the longest job of each kind so far.
        unknown: seconds assumed for the first job of a kind.
    """

    seconds: float
    unknown: float = 0.0
    begun: float = field(default_factory=time.monotonic)
    longest: dict[str, float] = field(default_factory=dict)

    def spent(self) -> float:
        return time.monotonic() - self.begun

    def left(self) -> float:
        return self.seconds - self.spent()

    def fits(self, kind: str) -> bool:
        """Whether a job that takes as long as the longest of its kind so far ends in time."""
        return self.left() > self.needed(kind)

    def needed(self, kind: str) -> float:
        return self.longest.get(kind, self.unknown)


def published_recipes() -> tuple[str, ...]:
    """Names of the recipes of the published experiments."""
    return tuple(n for n in recipe_names() if n.startswith(PUBLISHED))


def plan(recipes: Sequence[str]) -> list[Row]:
    """A row for every job, in the order of the run; nothing is measured yet."""
    rows: list[Row] = [{"part": "rate", "precision": p} for p in PRECISIONS]
    rows += [{"part": "copy"}, {"part": "store"}]
    for part, precision in ORDER:
        also = {"precision": precision} if precision else {}
        rows += [{"part": part, "recipe": recipe, **also} for recipe in recipes]
        if (part, precision) == VARIED_AFTER and VARIED in recipes:
            varied = {"part": "variant", "recipe": VARIED, **also}
            rows += [{**varied, "variant": name} for name in VARIANTS]
    return [{**row, "state": NOT_REACHED, "problems": []} for row in rows]


def run_job(session: Any, clock: Clock, row: Row, allowance: float) -> None:
    """Measure one row in place; errors are recorded in the row.

    Args:
        allowance: seconds that the job may take where it has a choice.
    """
    import torch
    from benchmarks.on_gpu import setup, work

    if not clock.fits(row["part"]):
        row |= {"state": LEFT_OUT, "problems": [_why(clock, row["part"])]}
        return
    start = time.monotonic()
    try:
        session.free()
        row |= work.measure(session, row, allowance, clock)
        row["state"] = MEASURED
    except setup.OutOfTime as error:
        row |= {"state": LEFT_OUT, "problems": [str(error)]}
    except torch.OutOfMemoryError as error:
        tried = session.tried(row.get("recipe", ""))
        row |= {"state": "out of memory", "problems": [f"{tried}: {_first_line(error)}"]}
    except Exception as error:  # noqa: BLE001  # a fault of one recipe must not hide the others
        message = f"{type(error).__name__}: {_first_line(error)}"
        row |= {"state": "failed", "problems": [message]}
    row["seconds"] = time.monotonic() - start
    clock.longest[row["part"]] = max(clock.longest.get(row["part"], 0.0), row["seconds"])


def _why(clock: Clock, kind: str) -> str:
    if clock.left() <= 0:
        return f"the time budget of {clock.seconds:.0f} s is spent"
    return (
        f"{clock.left():.0f} s of the time budget of {clock.seconds:.0f} s are left, and such a "
        f"part may take {clock.needed(kind):.0f} s"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]


def run(clock: Clock, device: str, tiny: bool, files: Mapping[str, Path], command: str) -> bool:
    """Everything, in order.

    Args:
        clock: the time budget.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        tiny: small networks and images.
        files: where ``json`` and ``page`` are written, after every job.
        command: the command line, for the page.

    Returns:
        Whether everything was measured and nothing is wrong.

    Raises:
        UsageError: without a CUDA device, unless the run is tiny.
    """
    from benchmarks.on_gpu import machine, setup

    for path in files.values():
        require_writable(path)
    with tempfile.TemporaryDirectory(prefix="lumbargrade-gpu-") as folder, quick_collections():
        session = setup.Session.begin(device, tiny, Path(folder))
        found: dict[str, Any] = {
            "machine": {**machine.about(session.device), "command": command},
            "tiny": tiny,
            "budget_s": clock.seconds,
            "rows": plan(published_recipes()),
        }
        write(found, clock, files)
        rows = found["rows"]
        for number, row in enumerate(rows):
            run_job(session, clock, row, max(clock.left(), 0.0) / (len(rows) - number))
            write(found, clock, files)
            if row["state"] != LEFT_OUT:
                progress(f"[{clock.spent():4.0f} s] {name_of(row)}: {said(row)}")
        for line in left_out(rows):
            progress(f"[{clock.spent():4.0f} s] {line}")
    return bool(found["complete"])


@contextmanager
def quick_collections() -> Iterator[None]:
    """Exclude everything imported so far from garbage collection, which runs at every job."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def write(found: dict[str, Any], clock: Clock, files: Mapping[str, Path]) -> None:
    """Write all figures measured so far."""
    found["spent_s"] = clock.spent()
    derive(found)
    write_text(files["json"], json.dumps(found, indent=1) + "\n")
    write_text(files["page"], page(found))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of the whole run")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--tiny", action="store_true", help="small networks: does it work at all?")
    build = ROOT / "build"
    parser.add_argument("--json", type=Path, default=build / "gpu.json", help="all figures")
    parser.add_argument("--page", type=Path, help="default: docs/gpu.md, --tiny: build/gpu.md")
    options = parser.parse_args(argv)
    if not options.budget >= 0:
        parser.error(f"--budget {options.budget}: give seconds, such as {BUDGET:g}")
    # files may be named by the folders of one machine, so the page names only what changes figures
    changed = ["--tiny"] * options.tiny
    changed += [f"--budget={options.budget:g}"] * (options.budget != BUDGET)
    command = shlex.join(["python", "-m", "benchmarks.gpu", *changed])
    pages = options.page or (build / "gpu.md" if options.tiny else DOCUMENT)
    files = {"json": options.json, "page": pages}
    try:
        clock = Clock(options.budget, unknown=0.0 if options.tiny else UNKNOWN)
        complete = run(clock, options.device, options.tiny, files, command)
    except (LumbargradeError, OSError) as error:
        progress(f"error: {error}")
        return 2
    progress(f"written: {files['json']} and {files['page']}")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
