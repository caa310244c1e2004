"""A kit has its models, whole, and says what it cannot have."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lumbargrade.cli.main import main
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import FINDINGS, Condition
from lumbargrade.grading.blend_file import (
    FORMAT,
    Blend,
    BlendMember,
    ConditionBlend,
    Measured,
    write_blend,
)
from lumbargrade.grading.ensembles import load_blend
from lumbargrade.grading.model_record import record_of
from lumbargrade.inference.model_folder import read_meta
from lumbargrade.kaggle.kit import (
    Chosen,
    copy_models,
    require_slug,
    requirements_of,
    write_notebook,
)
from lumbargrade.kaggle.notebook import notebook_of
from lumbargrade.kaggle.own_wheel import read_project
from lumbargrade.scoring.blend_weights import Origin
from lumbargrade.scoring.calibration import Calibration
from lumbargrade.scoring.fill import training_fill
from small_models import save_small_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = save_small_model(tmp_path / "runs" / "canal" / "fold2" / "model", "canal", 2)
    (folder / "more").mkdir()
    (folder / "more" / "file.onnx").write_text("opaque")
    return folder


def test_models_are_copied_whole_and_once(model: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(model)
    kit = tmp_path / "kit"
    options = copy_models(Chosen([model], [link], [], flip=False), kit)
    (place,) = (kit / "models").iterdir()
    assert place.name.endswith("runs-canal-fold2")
    assert options == [
        *("--engine", "auto", "--no-flip"),
        *("--models", f"@kit/models/{place.name}"),
        *("--guides", f"@kit/models/{place.name}"),
    ]
    assert (place / "more" / "file.onnx").read_text() == "opaque"
    assert read_meta(place).fold == 2


def blend_of(model: Path, path: Path) -> Path:
    record = record_of(model, read_meta(model))
    measured = Measured(10, {"a": 0.5}, 0.5, 0.5)
    entry = ConditionBlend({"a": 1.0}, Origin.EQUAL, Calibration(), measured)
    member = BlendMember("a", False, (record,))
    write_blend(path, Blend(FORMAT, "folds", (member,), {Condition.CANAL: entry}))
    return path


def test_a_blend_finds_its_models_in_the_kit_wherever_that_lies(
    model: Path, tmp_path: Path
) -> None:
    blend = blend_of(model, tmp_path / "blend.toml")
    options = copy_models(Chosen(blend=blend), tmp_path / "kit")
    assert options == ["--engine", "auto", "--blend", "@kit/blend.toml"]
    shutil.rmtree(model)
    (tmp_path / "kit").rename(tmp_path / "moved")
    (loaded,) = load_blend(tmp_path / "moved" / "blend.toml", "cpu").members
    assert loaded.path.is_relative_to(tmp_path / "moved")


def test_a_blend_whose_model_has_changed_is_refused(model: Path, tmp_path: Path) -> None:
    blend = blend_of(model, tmp_path / "blend.toml")
    save_small_model(model, "canal", 2, changed=True)
    with pytest.raises(UsageError, match="has changed since it was validated"):
        copy_models(Chosen(blend=blend), tmp_path / "kit")


def said(capsys: pytest.CaptureFixture[str], code: int, *line: object) -> str:
    assert main(["kaggle-kit", *map(str, line)]) == code
    return capsys.readouterr().err.strip()


def test_what_cannot_be_is_said_before_the_work(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models, out = ("--models", model), ("--out", tmp_path / "kit")
    assert "give either --models" in said(capsys, 2, *out)
    assert "--slug 'A_b'" in said(capsys, 2, *models, *out, "--slug", "A_b")
    assert "--python '3'" in said(capsys, 2, *models, *out, "--python", "3")
    assert "no such folder" in said(capsys, 2, *models, *out, "--wheels", tmp_path / "none")
    assert "is not a kit" in said(capsys, 2, *models, "--out", tmp_path)
    assert "holds no model" in said(capsys, 2, "--models", model / "more", *out)
    assert not (tmp_path / "kit").exists()


def test_models_that_fail_on_a_study_make_no_kit(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    text = said(capsys, 3, "--models", model, "--out", tmp_path / "kit")
    assert "fails with these models on a phantom study" in text
    assert "damaged" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["runs"]


def test_slugs_are_those_that_kaggle_accepts() -> None:
    require_slug("my-kit-2")
    for wrong in ("kit", "My-kit", "my--kit", "-my-kit", "a" * 44):
        with pytest.raises(UsageError, match="--slug"):
            require_slug(wrong)


def test_the_notebook_and_its_metadata(tmp_path: Path) -> None:
    path = write_notebook(tmp_path, "anna", "my-kit", gpu=True)
    metadata = json.loads((tmp_path / "kernel-metadata.json").read_text())
    assert metadata["id"] == "anna/my-kit-submit"
    assert metadata["title"].replace(" ", "-") == "my-kit-submit"
    assert metadata["code_file"] == path.name
    assert metadata["dataset_sources"] == ["anna/my-kit"]
    assert metadata["competition_sources"] == ["rsna-2024-lumbar-spine-degenerative-classification"]
    assert (metadata["enable_internet"], metadata["is_private"]) == (False, True)
    notebook = json.loads(path.read_text())
    require_notebook(notebook)
    code = "\n\n".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code")
    compile(code, "notebook", "exec")
    (line,) = [row for row in code.splitlines() if row.startswith("FILL")]
    names: dict[str, Any] = {"json": json}
    exec(line, names)
    assert names["FILL"] == {t.column: list(row) for t, row in training_fill([]).items()}
    assert set(names["FILL"]) == {t.column for t in FINDINGS}


def require_notebook(notebook: dict[str, Any]) -> None:
    """What the schema of nbformat 4.5 requires of such a notebook."""
    assert {*notebook} == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert {"name", "display_name"} <= notebook["metadata"]["kernelspec"].keys()
    assert "name" in notebook["metadata"]["language_info"]
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    for cell in notebook["cells"]:
        always = {"cell_type", "id", "metadata", "source"}
        more = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert {*cell} == always | more
        assert cell["cell_type"] in ("code", "markdown")
        assert all(isinstance(line, str) for line in cell["source"])


def test_cells_of_a_script() -> None:
    text = (
        '"""Left out."""\n\n# %% [markdown]\n# # Title\n#\n# Text\n\n'
        "# %% parameters\nA = 1\n\n\n# %%\nB = 2\n"
    )
    first, second, third = notebook_of(text)["cells"]
    assert (first["cell_type"], "".join(first["source"])) == ("markdown", "# Title\n\nText")
    assert (second["source"], second["metadata"]) == (["A = 1"], {"tags": ["parameters"]})
    assert (third["source"], third["metadata"], third["outputs"]) == (["B = 2"], {}, [])


def test_what_a_kit_needs_follows_from_its_models(model: Path, tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    copy_models(Chosen([model]), kit)
    project = read_project()
    assert [r.name for r in requirements_of(kit, project)] == ["safetensors", "timm"]
    assert all(r.marker is None and r.specifier for r in requirements_of(kit, project))
    (weights,) = kit.rglob("model.safetensors")
    weights = weights.rename(weights.with_name("model.onnx"))
    assert requirements_of(kit, project) == []
    weights.rename(weights.with_name("model.xml"))
    assert [r.name for r in requirements_of(kit, project)] == ["openvino"]
