"""Build a kit and use it as Kaggle does: `python -m benchmarks.kaggle_offline [OUT]`.

1. Models: the small recipes, untrained, one stage and two stages, one of them exported to ONNX; or
   those of ``--models``.
2. ``lumbargrade kaggle-kit``, with wheels from the package index for this Python.
3. A fresh environment with the packages that Kaggle's image has (`kaggle/image.txt`) and no others.
4. Data as in the hidden test: no labels, missing tags, a damaged and a wrong file, a study without
   images.
5. The cells of the notebook, in a network namespace without a network, as in Kaggle's rerun.
6. The submission is checked against the sample, and scored with the true grades.

Prints a table of what was done and how long it took; exit code 1 if a check fails.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.offline.hidden import Hidden, make_hidden
from benchmarks.offline.image import Image, make_image
from benchmarks.offline.notebook import offline, run_notebook
from benchmarks.studies import save_untrained

from lumbargrade.cli.main import main as lumbargrade
from lumbargrade.kaggle.wheels import read_image
from lumbargrade.scoring.submissions import check_complete, read_submission

EXPORTED = "cpu-small/canal"
GRADERS = ("cpu-small/foraminal", "cpu-small/two-stage")
GUIDES = ("cpu-small/keypoints-t1", "cpu-small/keypoints-t2")


def model_options(folder: Path) -> list[str]:
    """Write untrained models of one and of two stages; return the options that name them."""
    save_untrained(folder / "graders", GRADERS)
    save_untrained(folder / "guides", GUIDES)
    save_untrained(folder / "source", (EXPORTED,))
    exported = folder / "exported" / EXPORTED
    source = str(folder / "source" / EXPORTED)
    code = lumbargrade(["export", source, "--to", "onnx", "--out", str(exported)])
    assert code == 0, f"export ended with {code}"
    graders = [str(folder / "graders"), str(folder / "exported")]
    return ["--models", *graders, "--guides", str(folder / "guides")]


def build_kit(options: list[str], image: Image, out: Path, *more: str) -> Path:
    """Build a kit for this Python and an image; return its folder."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    line = ["kaggle-kit", *options, "--python", python, "--image", str(image.freeze)]
    code = lumbargrade([*line, "--out", str(out), *more])
    assert code == 0, f"kaggle-kit ended with {code}"
    return out


def checked(hidden: Hidden, submission: Path) -> dict[str, object]:
    """Check that a submission has every row of the sample; return its summary and score."""
    found = read_submission(submission)
    check_complete(found, list(hidden.studies), submission)
    command = [sys.executable, "-m", "lumbargrade.cli.main", "score", "--json"]
    command += [str(submission), str(hidden.solution)]
    scored = subprocess.run(command, capture_output=True, text=True, check=True)
    summary = json.loads(submission.with_name(f"{submission.name}.json").read_text())
    return {"summary": summary, "score": json.loads(scored.stdout.splitlines()[-1])}


def run(out: Path, options: list[str]) -> int:
    """Do all steps in a folder."""
    steps: list[tuple[str, float]] = []
    began = time.monotonic()

    def done(step: str) -> None:
        nonlocal began
        steps.append((step, time.monotonic() - began))
        began = time.monotonic()

    options = options or model_options(out / "models")
    done("models")
    image = make_image(out / "image", read_image(None))
    done("environment as Kaggle's")
    kit = build_kit(options, image, out / "kit")
    done("kit, with wheels and trial")
    inputs = out / "kaggle" / "input"
    hidden = make_hidden(inputs, out)
    (inputs / "datasets" / "name").mkdir(parents=True)
    (kit / "dataset").rename(inputs / "datasets" / "name" / "lumbargrade-kit")
    done("hidden test")
    (notebook,) = (kit / "notebook").glob("*.ipynb")
    working = out / "kaggle" / "working"
    ran = run_notebook(notebook, image.python, inputs, working, rerun=True)
    print(ran.stdout)
    done("notebook, without a network")
    if ran.returncode or "FAILED" in ran.stdout:
        print("the notebook failed")
        return 1
    result = checked(hidden, working / "submission.csv")
    done("check and score")
    summary = result["summary"]
    assert isinstance(summary, dict)
    wheels = sorted(p.name for p in (inputs / "datasets/name/lumbargrade-kit/wheels").iterdir())
    print(f"{len(image.packages)} packages in the image, {len(wheels)} wheels in the kit")
    for name in wheels:
        print(f"  {name}")
    print(f"{summary['rows']} rows, {summary['filled']} filled; score {result['score']}")
    print("\n".join(f"{seconds:7.1f} s  {step}" for step, seconds in steps))
    return 0


def main() -> int:
    """Read the command line."""
    about = (__doc__ or "").split("\n", 1)[0]
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("out", nargs="?", type=Path, help="new folder; a temporary one if absent")
    parser.add_argument("--models", nargs="+", default=[], help="model folders to use")
    parser.add_argument("--guides", nargs="+", default=[], help="model folders that place points")
    given = parser.parse_args()
    if offline() is None:
        print("skipped: this machine permits no network namespace (unshare -n)")
        return 1
    options = ["--models", *given.models] if given.models else []
    options += ["--guides", *given.guides] if given.guides else []
    if given.out is not None:
        given.out.mkdir(parents=True)
        return run(given.out.resolve(), options)
    with tempfile.TemporaryDirectory(prefix="kaggle-offline.") as folder:
        return run(Path(folder), options)


if __name__ == "__main__":
    sys.exit(main())
