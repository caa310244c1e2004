"""The cells of the kit's notebook, as a script that `lumbargrade kaggle-kit` makes it from."""

# %% [markdown]
# # A submission with lumbargrade, without a network
#
# The kit, a dataset that `lumbargrade kaggle-kit` made, has the packages and the models. This
# notebook installs what is missing, predicts the studies of the competition and checks the
# submission.
#
# When Kaggle reruns the notebook on the hidden studies, nothing that goes wrong ends it: what
# cannot be predicted is filled with constants, and the output says what and why. In your own run,
# an error that is not one of a single study fails the last cell, so that you see it before you
# submit.

# %%
import csv
import json
import math
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

# %% parameters
INPUT = "/kaggle/input"
WORKING = "/kaggle/working"
# The competition allows 9 hours. Predictions end half an hour earlier; the rest is then filled.
HOURS = 8.5
# A single study may take this long, in minutes.
STUDY_MINUTES = 15

# %%
BEGAN = time.monotonic()
RERUN = bool(os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))
OUT = Path(WORKING) / "submission.csv"
# What rows are filled with: the constants that minimise the score on the training grades.
FILL: dict[str, list[float]] = {}
failures: list[str] = []


def folders(root: str) -> Iterator[Path]:
    """All folders except image folders and what is below them."""
    for folder, inside, _ in os.walk(root, followlinks=True):
        inside[:] = sorted(name for name in inside if not name.endswith("_images"))
        yield Path(folder)


def with_files(*names: str) -> Path | None:
    """The first folder that has all these files."""
    return next((f for f in folders(INPUT) if all((f / n).is_file() for n in names)), None)


SAMPLE = "sample_submission.csv"
DATA = with_files(SAMPLE, "test_series_descriptions.csv") or with_files(SAMPLE)
KIT = with_files("kit.json")
print("Python", sys.version.split()[0], "| rerun on hidden studies:", RERUN)
print("competition:", DATA)
print("kit:", KIT)
if DATA is None:
    raise FileNotFoundError(f"no {SAMPLE} below {INPUT}: add the competition's data")
OUT.unlink(missing_ok=True)

# %% [markdown]
# ## Install
#
# pip takes packages from the kit only, and only those that the image lacks or has too old. The kit
# has no torch: the image's is used.


# %%
def shown(command: Sequence[object], limit: float = 3600) -> int:
    """Run a command, show its output as it comes, and return its exit code."""
    words = [str(word) for word in command]
    print("$", *words, flush=True)
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    watch = threading.Timer(limit, process.kill)
    watch.start()
    for line in process.stdout or ():
        print(line, end="", flush=True)
    watch.cancel()
    return process.wait()


def unmet(requirements: Sequence[str]) -> list[str]:
    """Requirements that the installed packages do not meet."""
    from packaging.requirements import Requirement

    found = []
    for requirement in map(Requirement, requirements):
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = "absent"
        if version == "absent" or not requirement.specifier.contains(version, prereleases=True):
            found.append(f"{requirement} (here: {version})")
    return found


try:
    if KIT is None:
        raise FileNotFoundError(f"no kit.json below {INPUT}: add the kit's dataset")
    kit = json.loads((KIT / "kit.json").read_text())
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--isolated"]
    pip += ["--disable-pip-version-check", "--find-links", str(KIT / "wheels")]
    code = shown([*pip, *kit["install"]])
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if code or (lacking := unmet(kit["needs"])):
        failures.append(
            f"the kit, for Python {kit['python']}, does not fit this image: "
            + ("pip failed, see above. " if code else f"{'; '.join(lacking)}. ")
            + "Run `pip freeze > image.txt` in a notebook and build the kit again with "
            f"--image image.txt --python {python}"
        )
except Exception as error:
    traceback.print_exc(file=sys.stdout)
    failures.append(f"installation: {error!r}")

# %% [markdown]
# ## Predict
#
# `submit` writes a complete submission at once, with all rows filled, and updates it every few
# minutes. Exit code 1 means that some inputs failed; they are named.

# %%
try:
    left = HOURS * 3600 - (time.monotonic() - BEGAN)
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
        gpus = sum(line.startswith("GPU") for line in listed.stdout.splitlines())
    except OSError:
        gpus = 0
    print("GPUs:", gpus)
    command: list[object] = [sys.executable, "-m", "lumbargrade.cli.main", "submit"]
    command += [DATA, "--out", OUT]
    command += [word.replace("@kit", str(KIT)) for word in kit["options"]]
    command += ["--time-limit", f"{left:.0f}s", "--study-limit", f"{STUDY_MINUTES}m"]
    command += ["--workers", max(gpus, 1)]
    code = shown(command, limit=left + 600)
    print("exit code of submit:", code)
    if code not in (0, 1):
        failures.append(f"submit ended with exit code {code} (see above)")
except Exception as error:
    traceback.print_exc(file=sys.stdout)
    failures.append(f"prediction: {error!r}")

# %% [markdown]
# ## Check


# %%
def rows_of(path: Path) -> dict[str, dict[str, str]]:
    """The rows of a table by their row_id."""
    with path.open(newline="") as stream:
        return {row["row_id"]: row for row in csv.DictReader(stream)}


def faults() -> list[str]:
    """What is wrong with the submission."""
    if not OUT.is_file():
        return ["there is no submission"]
    found = rows_of(OUT)
    wrong = [f"row {r} is missing" for r in wanted if r not in found]
    wrong += [f"row {r} is not in the sample" for r in found if r not in wanted]
    for name, row in found.items():
        values = [float(row[grade]) for grade in ("normal_mild", "moderate", "severe")]
        if not all(math.isfinite(v) and v >= 0 for v in values) or abs(sum(values) - 1) > 1e-3:
            wrong.append(f"row {name} is not a distribution")
    return wrong


wanted = rows_of(DATA / SAMPLE)
try:
    wrong = faults()
except Exception as error:
    traceback.print_exc(file=sys.stdout)
    wrong = [repr(error)]
if wrong:
    failures.append(f"{'; '.join(wrong[:3])} ({len(wrong)} faults); all rows are filled instead")
    with OUT.open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["row_id", "normal_mild", "moderate", "severe"])
        for name in wanted:
            table.writerow([name, *FILL.get(name.partition("_")[2], [1 / 3] * 3)])
print(len(wanted), "rows in", OUT)
summary = Path(f"{OUT}.json")
if summary.is_file():
    result = json.loads(summary.read_text())
    print("models:", *result["models"])
    print("filled rows:", result["filled"], "of", result["rows"])
    for study, findings in list(result["filled_studies"].items())[:20]:
        print("  study", study, "-", len(findings), "findings filled")
    lost = [p for p in result["problems"] if p["fatal"]]
    print("problems:", len(lost))
    for problem in lost[:20]:
        print("  study", problem["study"], problem["series"], problem["file"], problem["what"])
print(f"time: {(time.monotonic() - BEGAN) / 60:.1f} minutes")

# %%
for failure in failures:
    print("FAILED:", failure)
if failures and not RERUN:
    raise RuntimeError(failures[0])
