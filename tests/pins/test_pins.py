"""Numbers that must stay: golden files of what the package makes of fixed phantoms and weights.

The networks are untrained, so the numbers say nothing about quality; they show that a change of the
code changed no result. ``pytest tests/pins --renew-pins`` writes the files anew and prints what
changed; a commit that renews a pin says why.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from golden import (
    OTHER_PROCESSOR,
    RENEW,
    SAME_PROCESSOR,
    differences,
    plain,
    processor,
    table,
    written,
)
from made import (
    PUBLISHED,
    published_output,
    rows,
    samples,
    save_filled_model,
    volumes_of_store,
    volumes_of_study,
)
from planted import plant_faults

from cohorts import drawn, write_findings_table, write_labels
from lsdc_layout import write_lsdc
from lumbargrade.cli.main import main
from lumbargrade.dicom.variants import Way
from oof_files import BOTH, write_oof
from stored_otherwise import read_series_files, write_study

HERE = Path(__file__).parent
FOLDS = (2, 4)

#: Keys of summaries that hold paths, times, hashes of whole files, or versions (`lumbargrade`).
VARYING = frozenset(
    {
        "out",
        "page",
        "sha256",
        "version",
        "lumbargrade",
        "seconds",
        "path",
        "file",
        "fingerprint",
        "engine",
        "time",
    }
)

Pin = Callable[[str, Any], None]


@pytest.fixture
def pin(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Pin:
    """Compares a value with its golden file, or writes the file anew."""
    renew = request.config.getoption("--renew-pins")

    def compare(name: str, value: Any) -> None:
        file, present = HERE / f"{name}.json", plain(value)
        pinned = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        same = pinned.pop("processor", processor()) == processor()
        tolerance = SAME_PROCESSOR if same else OTHER_PROCESSOR
        changed = list(differences(pinned, present, tolerance))
        if renew:
            if changed:
                file.write_text(
                    written({"processor": processor(), **present}) + "\n", encoding="utf-8"
                )
            with capsys.disabled():
                print("".join(f"\n{file.name} {line}" for line in changed))
        elif changed:
            shown = "\n".join(f"{file.name} {line}" for line in changed[:20])
            more = f"\n... and {len(changed) - 20} more" if len(changed) > 20 else ""
            pytest.fail(f"{shown}{more}\nIf this is meant, renew: {RENEW}", pytrace=False)

    return compare


@dataclass(frozen=True)
class Made:
    """Phantoms, stores and models that the pins are made from."""

    root: Path

    def __getattr__(self, name: str) -> Path:
        return self.root / name


def run(*arguments: object, code: int = 0) -> dict[str, Any]:
    """Run a command and return the JSON object that ends its output, without what may vary."""
    device = ("--device", "cpu") if arguments[0] in ("validate", "submit", "grade") else ()
    device += ("--workers", "0") if arguments[0] == "submit" else ()
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main([*map(str, (*arguments, *device))]) == code, arguments
    last = out.getvalue().splitlines()[-1:] if "--json" in arguments else []
    return _kept(json.loads(last[0])) if last else {}


def _kept(value: Any) -> Any:
    """JSON data without varying keys; of a path only its last part."""
    if isinstance(value, dict):
        return {_kept(k): _kept(v) for k, v in value.items() if k not in VARYING}
    if isinstance(value, list):
        return [_kept(v) for v in value]
    return re.sub(r"(?:(?<=[\s`])|^)/\S*/", "", value) if isinstance(value, str) else value


def steady_pixels(path: Path) -> None:
    """Replace the pixels of a DICOM file by blocks of drawn whole numbers.

    Those of a phantom may differ by one between processors, and untrained networks make much of it.
    """
    data = pydicom.dcmread(path)
    height, width = data.Rows, data.Columns
    seed = zlib.crc32(f"{path.parent.name}/{data.InstanceNumber}".encode())
    blocks = np.random.default_rng(seed).integers(0, 1000, (height // 16 + 1, width // 16 + 1))
    pixels = blocks.astype(np.uint16).repeat(16, axis=0).repeat(16, axis=1)[:height, :width]
    data.PixelData = np.ascontiguousarray(pixels).tobytes()
    data.save_as(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Four phantom studies, a store of them, one more study in two layouts, small models."""
    made = Made(tmp_path_factory.mktemp("pins"))
    run("phantom", made.data, "--studies", 4, "--seed", 3, "--workers", 1)
    run("phantom", made.test, "--studies", 1, "--first", 1000, "--split", "test", "--workers", 1)
    for path in sorted(made.root.glob("*/*_images/*/*/*.dcm")):
        steady_pixels(path)
    run("prepare", made.data, "--out", made.store, "--workers", 1)
    (study,) = (made.test / "test_images").iterdir()
    series = {p.name: read_series_files(p) for p in sorted(study.iterdir())}
    ways = [Way(transpose=True, numbers=True), Way(columns=True), Way(rows=True, columns=True)]
    write_study(made.export, series, dict(zip(series, ways, strict=True)), shuffle=1)
    for fold in FOLDS:
        for name in ("foraminal", "canal"):
            save_filled_model(made.one / f"{name}{fold}", name, fold, made.store)
        for name in ("two_stage", "subarticular"):
            save_filled_model(made.two / f"{name}{fold}", name, fold, made.store)
        for name in ("keypoints-t1", "keypoints-t2"):
            save_filled_model(made.guides / f"{name}{fold}", name, fold, made.store)
    yield made
    shutil.rmtree(made.root)


@pytest.fixture(scope="module")
def validated(made: Made) -> Mapping[str, Any]:
    """`validate` of one stage and of two; the files lie in ``oof`` of the made folder."""
    common = ("--store", made.store, "--pictures", 0, "--json")
    one = run("validate", made.one, *common, "--out", made.oof / "one")
    two = run("validate", made.two, "--guides", made.guides, *common, "--out", made.oof / "two")
    return {"one": one, "two": two}


def test_volumes_of_a_store(made: Made, pin: Pin) -> None:
    pin("volumes", volumes_of_store(made.store) | {"tables": _store_tables(made.store)})


def _store_tables(store: Path) -> dict[str, Any]:
    index = json.loads((store / "store.json").read_text(encoding="utf-8"))
    return {"points": table(store / "points.csv"), "mean_shapes": index["mean_shapes"]}


def test_volumes_of_noise_in_the_published_layout(tmp_path: Path, pin: Pin) -> None:
    """Whole numbers only: these hashes hold on every machine."""
    write_lsdc(tmp_path, 1)
    pin("volumes-noise", volumes_of_study(tmp_path / "train_images" / "1000"))


def test_volumes_of_an_export(made: Made, pin: Pin) -> None:
    pin("volumes-export", volumes_of_study(made.export))


def test_training_rows(made: Made, pin: Pin) -> None:
    pin("rows", rows(made.store))


@pytest.mark.parametrize("augmented", [False, True], ids=["plain", "augmented"])
def test_samples_outputs_and_losses_of_every_task(made: Made, pin: Pin, augmented: bool) -> None:
    name = "samples-augmented" if augmented else "samples"
    pin(name, dict(samples(made.store, augmented=augmented)))


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_published_networks(recipe: str, pin: Pin) -> None:
    pin(f"network-{recipe.replace('/', '-')}", published_output(recipe))


@pytest.mark.parametrize("stages", ["one", "two"])
def test_validate(made: Made, validated: Mapping[str, Any], pin: Pin, stages: str) -> None:
    folder = made.oof / stages
    files = {p.name: table(p) for p in sorted(folder.glob("*.csv")) if p.name != "metrics.csv"}
    summary = {k: v for k, v in validated[stages].items() if k != "agreement"}
    pin(f"validate-{stages}", {"files": files, "summary": summary})


def _submission(out: Path) -> dict[str, Any]:
    found = {"findings": table(Path(f"{out}.findings.csv")), "submission": table(out)}
    summary = json.loads(Path(f"{out}.json").read_text(encoding="utf-8"))
    return found | {"summary": _kept(summary)}


def test_submit_score_and_combine(
    made: Made, validated: Mapping[str, Any], tmp_path: Path, pin: Pin
) -> None:
    one, two, blended = (tmp_path / f"{name}.csv" for name in ("one", "two", "blended"))
    run("submit", made.test, "--models", made.one, "--out", one)
    run("submit", made.test, "--models", made.two, "--guides", made.guides, "--out", two)
    members = (made.oof / "one", made.oof / "two")
    blend = tmp_path / "blend.toml"
    run("blend", *members, "--weights", 0.75, 0.25, "--out", blend)
    run("submit", made.test, "--blend", blend, "--out", blended)
    truth, combined = made.test / "solution.csv", tmp_path / "combined.csv"
    weights = ("--weights", "foraminal=0.7,0.3", "canal=0.2,0.8")
    said = run("combine", one, two, *weights, "--out", combined, "--truth", truth, "--json")
    pin("submit-one", _submission(one))
    pin("submit-two", _submission(two))
    pin("submit-blend", _submission(blended))
    pin("combine", {"submission": table(combined), "summary": said})
    pin("score", run("score", two, truth, "--training", made.data / "train.csv", "--json"))


@pytest.mark.parametrize("stages", ["one", "two"])
def test_grade(made: Made, tmp_path: Path, pin: Pin, stages: str) -> None:
    """Points of untrained models are not checked; if they are, every finding is absent."""
    models = ["--models", getattr(made, stages)]
    models += ["--guides", made.guides] if stages == "two" else []
    run("grade", made.export, *models, "--no-check-points", "--out", tmp_path / "out")
    (found,) = (tmp_path / "out").glob("*/findings.json")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    checked = run("grade", made.export, *models, "--out", tmp_path / "x", "--json", code=3)
    pin(
        f"grade-{stages}",
        {
            "findings.json": _kept(json.loads(found.read_text(encoding="utf-8"))),
            "findings.csv": table(found.with_name("findings.csv")),
            "summary": _kept(summary),
            "checked": checked,
        },
    )


def test_blend(tmp_path: Path, pin: Pin) -> None:
    write_oof(tmp_path / "good", noise=0.8)
    write_oof(tmp_path / "poor", noise=1.2, seed=2, conditions=BOTH[1:])
    out = tmp_path / "blend.toml"
    said = run("blend", tmp_path / "good", tmp_path / "poor", "--out", out, "--json")
    kept = [x for x in out.read_text(encoding="utf-8").splitlines() if str(tmp_path) not in x]
    pin("blend", {"summary": said, "file": _toml("\n".join(kept))})


def _toml(text: str) -> Any:
    import tomllib

    return _kept(tomllib.loads(text))


def test_evaluate_and_recalibrate(tmp_path: Path, pin: Pin) -> None:
    graded, results, labels = drawn(60, sharpness=2), tmp_path / "r.csv", tmp_path / "labels.csv"
    write_findings_table(results, graded)
    write_labels(labels, graded, {"vendor": [("A", "B")[i % 3 == 0] for i in range(60)]})
    options = ("--groups", "vendor", "--out", tmp_path / "evaluation", "--json")
    said = run("evaluate", results, labels, *options)
    pin("evaluate", {k: v for k, v in said.items() if k != "parts"} | {"parts": _brief(said)})
    out = tmp_path / "calibration.toml"
    said = run("recalibrate", results, labels, "--out", out, "--json")
    pin("recalibrate", {"summary": said, "file": _toml(out.read_text(encoding="utf-8"))})


def _brief(said: Mapping[str, Any]) -> list[Any]:
    """Of parts by level and side only the first measure; of the others all."""
    return [
        p if p["by"] not in ("level", "side") else {**p, "measures": _first(p["measures"])}
        for p in said["parts"]
    ]


def _first(measures: Mapping[str, Any]) -> dict[str, Any]:
    return dict(list(measures.items())[:1])


def test_audit(tmp_path: Path, pin: Pin) -> None:
    data, out = plant_faults(tmp_path / "data"), tmp_path / "audit"
    said = run("audit", data, "--out", out, "--json")
    tables = {p.name: table(p) for p in sorted(out.glob("*.csv"))}
    pin("audit", {"summary": said, "tables": tables})
