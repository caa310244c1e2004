"""The notebook of a kit runs without a network, on data like the hidden test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.kaggle_offline import build_kit, checked  # noqa: E402
from benchmarks.offline.hidden import Hidden, make_hidden  # noqa: E402
from benchmarks.offline.image import Image, make_image  # noqa: E402
from benchmarks.offline.notebook import offline, run_notebook  # noqa: E402

from lumbargrade.scoring.fill import training_fill  # noqa: E402
from lumbargrade.scoring.submissions import read_submission  # noqa: E402
from small_models import save_small_model  # noqa: E402

pytestmark = pytest.mark.skipif(offline() is None, reason="`unshare -n` is not permitted here")

FILL = training_fill([])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kaggle")


@pytest.fixture(scope="module")
def image(place: Path) -> Image:
    """An environment with all packages of this one, except this project."""
    return make_image(place / "image")


@pytest.fixture(scope="module")
def hidden(place: Path) -> Hidden:
    return make_hidden(place / "input", place, studies=3)


@pytest.fixture(scope="module")
def notebook(place: Path, image: Image, hidden: Hidden) -> Path:
    """The notebook of a kit, whose dataset is where Kaggle has it."""
    for task in ("foraminal", "canal"):
        save_small_model(place / "models" / task, task)
    kit = build_kit(["--models", str(place / "models")], image, place / "kit", "--no-trial")
    (kit / "dataset").rename(place / "input" / "kit")
    (path,) = (kit / "notebook").glob("*.ipynb")
    return path


def filled(submission: Path) -> set[str]:
    return {study for study, rows in read_submission(submission).items() if rows == FILL}


def test_a_kit_submits_without_a_network(
    place: Path, image: Image, hidden: Hidden, notebook: Path
) -> None:
    assert [p.name.split("-")[0] for p in (place / "input/kit/wheels").iterdir()] == ["lumbargrade"]
    working = place / "working"
    ran = run_notebook(notebook, image.python, place / "input", working, rerun=False)
    assert ran.returncode == 0, ran.stdout
    assert "FAILED" not in ran.stdout
    result = checked(hidden, working / "submission.csv")
    summary = result["summary"]
    assert isinstance(summary, dict)
    assert summary["rows"] == 75
    assert filled(working / "submission.csv") == {hidden.lost}
    lost = {p["study"] for p in summary["problems"] if p["fatal"]}
    assert lost == {hidden.lost, hidden.damaged}
    assert hidden.damaged in ran.stdout
    assert isinstance(result["score"], dict)
    assert 0 < result["score"]["official"] < 2
    listed = subprocess.run(
        [image.python, "-c", "import lumbargrade; print(lumbargrade.__file__)"],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    assert listed.stdout.startswith(str(place / "image" / "venv")), "not the kit's package"


def test_without_a_kit_a_rerun_still_submits_and_your_own_run_fails(
    place: Path, image: Image, hidden: Hidden, notebook: Path
) -> None:
    inputs = hidden.data.parent
    for rerun in (True, False):
        working = place / f"alone-{rerun}"
        ran = run_notebook(notebook, image.python, inputs, working, rerun=rerun)
        assert (ran.returncode == 0) == rerun, ran.stdout
        assert "FAILED: installation: FileNotFoundError" in ran.stdout
        assert filled(working / "submission.csv") == set(hidden.studies)


def test_an_image_without_a_package_of_the_kit_is_said(
    place: Path, image: Image, hidden: Hidden, notebook: Path
) -> None:
    inputs = place / "other"
    inputs.mkdir()
    (inputs / "competition").symlink_to(hidden.data)
    (inputs / "kit").mkdir()
    kit = json.loads((place / "input" / "kit" / "kit.json").read_text())
    for change in ({"install": ["not-in-the-kit>=1"]}, {"install": ["pip"], "needs": ["numpy<1"]}):
        (inputs / "kit" / "kit.json").write_text(json.dumps({**kit, **change, "options": ["--x"]}))
        working = place / f"working-{len(change)}"
        ran = run_notebook(notebook, image.python, inputs, working, rerun=True)
        assert ran.returncode == 0, ran.stdout
        assert "does not fit this image" in ran.stdout
        assert "build the kit again with --image image.txt" in ran.stdout
        assert filled(working / "submission.csv") == set(hidden.studies)
