"""The commands of docs/published-weights.md run in their order, with made weights on phantoms."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import distributions
from pathlib import Path

import pytest
import torch

from lumbargrade.cli.main import main
from lumbargrade.config import EncoderConfig, Recipe, load_recipe
from lumbargrade.files.structures import read_plain
from lumbargrade.lsdc.store import VolumeStore
from lumbargrade.models import published
from lumbargrade.models.checkpoint import fresh_network
from lumbargrade.models.published import to_published
from lumbargrade.validation import out_of_fold
from published_files import write_published

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "published-weights.md"

#: Folds that have studies in the store of phantoms.
FOLDS = (2, 4)

#: Networks that the test has; lines of others are deleted from the list, as the page says.
NETWORKS = {
    "nfn/nfn_model_effb5_weight": "one-stage-nfn-fixed/effnet_b5-decoder3d-01",
    "scs/scs_model_convnext_base_weight": "one-stage-scs/convnext_base-decoder2d-01",
    "scs/scs_model_effb4_weight": "one-stage-scs/effnet_b4-decoder2d-01",
}

#: What the page says -> what phantoms have.
INSTEAD = {
    "for fold in 0 1 2 3 4": f"for fold in {' '.join(map(str, FOLDS))}",
    " --label-fixes published": "",  # of series that phantoms do not have
    "--workers 8": "--workers 1",
}

ALSO = {
    "validate": "--pictures 0",
    "submit": "--workers 0",
    "grade": "--no-check-points",
    "kaggle-kit": f"--no-trial --image IMAGE --python 3.{sys.version_info.minor}",
}


def small(name: str) -> Recipe:
    """A published recipe with an encoder and images that take a moment."""
    recipe = load_recipe(name)
    encoder = EncoderConfig("regnetx_002", pretrained=False)
    return replace(recipe, encoder=encoder, data=replace(recipe.data, size=64))


def commands_of(text: str, folder: Path) -> list[list[str]]:
    """The commands that bash makes of the page's ``sh`` blocks: loops and file names expanded."""
    blocks = "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    for said, instead in INSTEAD.items():
        assert said in blocks
        blocks = blocks.replace(said, instead)
    lines = [
        line
        for line in blocks.splitlines()
        if not re.match(r"(nfn|scs)/", line) or line.split()[0] in NETWORKS
    ]
    record = 'lumbargrade() { printf "%q " "$@" </dev/null; echo; }'
    done = subprocess.run(
        ["bash", "-euc", "\n".join([record, *lines])],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return [shlex.split(line) for line in done.stdout.splitlines()]


@pytest.fixture
def place(phantom_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page names."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(phantom_store.parent / "data", tmp_path / "DATA")
    study = next(p for p in (tmp_path / "DATA" / "train_images").iterdir() if p.is_dir())
    shutil.copytree(study, tmp_path / "DATA" / "test_images" / study.name)
    shutil.copytree(study, tmp_path / "FOLDER")
    head, *rows = (tmp_path / "DATA" / "train_series_descriptions.csv").read_text().splitlines()
    own = [row for row in rows if row.startswith(study.name)]
    table = tmp_path / "DATA" / "test_series_descriptions.csv"
    table.write_text("\n".join([head, *own]) + "\n")
    freeze = [f"{d.name}=={d.version}" for d in distributions() if d.name != "lumbargrade"]
    (tmp_path / "IMAGE").write_text("\n".join(freeze))
    for folder, recipe in NETWORKS.items():
        (tmp_path / "WEIGHTS" / folder).mkdir(parents=True)
        for fold in FOLDS:
            torch.manual_seed(fold)
            weights = to_published(fresh_network(small(recipe)))  # type: ignore[arg-type]
            write_published(tmp_path / "WEIGHTS" / folder / f"fold{fold}-00001234.pth", weights)
    monkeypatch.setattr(published, "load_recipe", small)
    return tmp_path


def test_every_command_of_the_page_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = commands_of(PAGE.read_text("utf-8"), place)
    names = [words[0] for words in commands]
    assert names.count("import-weights") == len(NETWORKS) * len(FOLDS)
    once = ["inspect", "prepare", "validate", "blend", "submit", "combine", "kaggle-kit", "grade"]
    assert set(names) == {"import-weights", *once}
    for words in commands:
        if words[0] == "validate":  # phantoms have other studies than the training data
            folds = VolumeStore.open(Path("STORE")).folds
            print_of = out_of_fold.fold_fingerprint(folds)
            monkeypatch.setattr(out_of_fold, "PUBLISHED_FOLDS", print_of)
        if words[0] == "combine":
            shutil.copy("plain.csv", "two-stage.csv")
        line = [*words, *shlex.split(ALSO.get(words[0], ""))]
        with torch.random.fork_rng():
            assert main(line) == 0, line
    kit = place / "KIT" / "dataset"
    assert len(list((kit / "models").iterdir())) == len(NETWORKS) * len(FOLDS)
    assert len(read_plain(kit / "blend.toml")["members"]) == 2


def test_the_table_of_released_files_has_the_recipes_as_they_are() -> None:
    text = PAGE.read_text("utf-8")
    rows = re.findall(r"^\| `(\S+)` \| `(\S+)` \| (\w+) \| (\d+) \|", text, re.MULTILINE)
    assert len(rows) == 7
    for folder, name, grades, size in rows:
        recipe = load_recipe(name)
        assert recipe.data.size == int(size)
        assert {"foramina": "foraminal", "canal": "canal"}[grades] == recipe.task
        assert len(recipe.published.epochs) == 5
        assert re.search(rf"^{re.escape(folder)} +{re.escape(name)}$", text, re.MULTILINE)
