"""Grade a synthetic study with the starter and write its page.

The study is a phantom that the program draws itself, the same for the same seed. Grading it needs
no data, no GPU and no training: the starter comes with the package. Each step is one of the other
commands and is printed.
"""

from __future__ import annotations

import logging
import shlex
import time
import webbrowser
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

#: Number of the phantom; far from those that models are trained on with the same seed.
NUMBER = 100_000


@dataclass(frozen=True)
class Options:
    """Options of `lumbargrade demo`."""

    out: Path = Path("demo")
    """folder for the study and its result"""
    seed: int = 1
    """random seed of the phantom"""
    open: bool = False
    """open the page in a web browser"""


def run(options: Options) -> int:
    from lumbargrade.cli import grade, phantom
    from lumbargrade.domain.errors import UsageError

    if options.out.exists() and not options.out.is_dir():
        raise UsageError(f"--out {options.out} is a file; give a folder")

    start = time.perf_counter()
    study, result = options.out / "study", options.out / "result"
    made = phantom.Options(study, 1, options.seed, NUMBER, "test", workers=1)
    what = ("--studies", 1, "--seed", options.seed, "--first", NUMBER, "--split", "test")
    _log("phantom", study, *what, "--workers", 1)
    phantom.run(made)
    images = study / "test_images"
    _log("grade", images, "--out", result)
    code = grade.run(grade.Options(studies=(images,), out=result))
    if code == 3:
        return code
    (page,) = result.glob("*/report.html")
    seconds = time.perf_counter() - start
    print(f"\ndemo done in {seconds:.0f} s; open {page.resolve()}")
    print(f"the grades that the phantom was made with are in {study / 'solution.csv'}")
    if options.open:
        webbrowser.open(page.resolve().as_uri())
    return code


def _log(*arguments: object) -> None:
    log.info("\n$ %s", shlex.join(["lumbargrade", *map(str, arguments)]))
