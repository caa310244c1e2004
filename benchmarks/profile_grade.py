"""Where `grade` spends its time, by stage and by function.

``python -m benchmarks.profile_grade [STUDIES ...]`` grades the studies with the starter, or with
``--models``; without studies, four phantom studies. It prints the table of `grade --profile`, and
the functions with the most time of their own in a second run (cProfile; its cost is included, and
threads beside the main one are not seen).
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import tempfile
from pathlib import Path

from benchmarks.studies import make_studies

from lumbargrade.cli.main import main as command_line


def main(argv: list[str] | None = None) -> int:
    """Print the profile; return the exit code of `grade`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("studies", nargs="*", type=Path, help="DICOM folders (default: phantoms)")
    parser.add_argument("--models", nargs="*", default=[], help="model folders (default: starter)")
    parser.add_argument("--functions", type=int, default=30, help="functions to list")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        studies = given.studies or [make_studies(work / "phantoms", 4) / "train_images"]
        models = ["--models", *given.models] if given.models else []
        command = ["grade", *map(str, studies), *models, "--restart", "--out", str(work / "out")]
        if code := command_line([*command, "--profile"]):
            return code
        profile = cProfile.Profile()
        profile.runcall(command_line, command)
        pstats.Stats(profile).sort_stats("tottime").print_stats(given.functions)
    return 0


if __name__ == "__main__":
    sys.exit(main())
