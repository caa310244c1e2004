"""``benchmarks.gpu`` on a CPU: every figure or a reason, faults stay with their recipe."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import common, gpu  # noqa: E402
from benchmarks.on_gpu import machine, page, precision, setup, training, work  # noqa: E402

from lumbargrade.models.registry import get_task  # noqa: E402
from lumbargrade.models.task import LossTerms  # noqa: E402

#: What a machine with a GPU has, by docs/gpu.md; all else that is imported must be carried there.
THERE = ("torch", "torchvision", "timm", "numpy", "scipy", "opencv-python-headless")
THERE += ("safetensors", "tqdm", "attrs", "typing-extensions")

COMMAND = (sys.executable, "-m", "benchmarks.gpu", "--tiny")

#: Makes a Python in which packages that are not there cannot be found, in its child processes too.
SITE = """
import os, sys

class Without:
    absent = set(os.environ["ABSENT"].split())

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in self.absent:
            return self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def with_requirements(names: tuple[str, ...]) -> set[str]:
    """Distributions and all that they need, as far as they are installed."""
    found: set[str] = set()
    waiting = [canonical(n) for n in names]
    while waiting:
        name = waiting.pop()
        try:
            needed = [Requirement(r) for r in requires(name) or []]
        except PackageNotFoundError:
            continue
        found.add(name)
        also = {canonical(r.name) for r in needed if not r.marker or r.marker.evaluate()}
        waiting += also - found
    return found


def carried() -> tuple[str, ...]:
    """The packages that docs/gpu.md says to download."""
    command = re.search(r"-d wheels ([a-z ]+)\n", page.DOCUMENT.read_text())
    assert command
    return tuple(command[1].split())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What ``--tiny`` leaves where only the packages of docs/gpu.md can be imported."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "sitecustomize.py").write_text(SITE)
    may = with_requirements((*THERE, *carried()))
    absent = [m for m, of in packages_distributions().items() if not may & set(map(canonical, of))]
    assert {"tyro", "tomli_w", "pylibjpeg"} <= set(absent)
    done = subprocess.run(
        [*COMMAND, "--json", folder / "gpu.json", "--page", folder / "gpu.md"],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (folder, ROOT / "src"))),
            "ABSENT": " ".join(absent),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return SimpleNamespace(
        done=done,
        found=json.loads((folder / "gpu.json").read_text()),
        page=(folder / "gpu.md").read_text(),
    )


def test_tiny_measures_everything_with_the_packages_that_the_page_names(tiny):
    assert tiny.done.returncode == 0, tiny.done.stderr
    found = tiny.found
    assert found["complete"]
    assert found["problems"] == found["left_out"] == []
    assert found["tiny"]
    assert found["machine"]["card"] == "none"


def test_every_recipe_and_precision_has_every_figure(tiny):
    recipes = gpu.published_recipes()
    assert len(recipes) == 7
    rows = tiny.found["rows"]
    variants = [r["variant"] for r in rows if r["part"] == "variant"]
    assert tuple(variants) == gpu.VARIANTS
    keys = [
        (r["part"], r.get("recipe"), r.get("precision")) for r in rows if r["part"] != "variant"
    ]
    wanted = {("rate", None, p) for p in ("fp32", "tf32", "fp16", "bf16")}
    wanted |= {("store", None, None), ("copy", None, None)}
    for recipe in recipes:
        wanted |= {("training", recipe, p) for p in ("fp32", "tf32", "fp16", "bf16")}
        wanted |= {("inference", recipe, p) for p in ("fp32", "fp16")}
        wanted |= {(part, recipe, None) for part in ("reference", "loader")}
    assert len(keys) == len(set(keys))
    assert set(keys) == wanted
    on_a_gpu = {"peak_gib", "share_of_rate"}
    for part, _, columns in page.TABLES:
        found = tiny.found["studies"] if part == "studies" else page.rows_of(tiny.found, part)
        assert found
        for row in found:
            missing = {figure for _, figure, _ in columns} - row.keys()
            if part == "variant":
                of_ours = {"share_of_rate", "share_of_copy"}
                assert missing == {"peak_gib"} | (set() if row["variant"] == "ours" else of_ours)
            else:
                assert missing == (on_a_gpu if part == "training" else set())
    for row in page.rows_of(tiny.found, "training"):
        assert row["step_s"] > 0
        assert row["operations"] > 1e8
        assert row["difference"] < (1e-5 if row["precision"].endswith("32") else row["tolerance"])
    assert all(r["headroom"] > 0 for r in page.rows_of(tiny.found, "loader"))
    for row in page.rows_of(tiny.found, "inference"):
        assert 0 < row["prepare_share"] < 1
        assert min(row["series_s"], row["series_flip_s"]) > 0


def test_the_page_replaces_its_figures_and_nothing_else(tiny):
    kept = page.DOCUMENT.read_text()
    before, after = kept.split(common.BEGIN)[0], kept.split(common.END)[1]
    assert tiny.page.startswith(before + common.BEGIN)
    assert tiny.page.endswith(common.END + after)
    assert "say nothing of the published ones" in tiny.page
    for recipe in gpu.published_recipes():
        assert tiny.page.count(recipe) >= 7
    assert "benchmarks.gpu --tiny" in tiny.page
    assert str(ROOT) not in tiny.page
    assert page.page(tiny.found) == tiny.page


FAULTY = {
    "raises": "one-stage-nfn-fixed/convnext_small-decoder3d-01",
    "nan": "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01",
    "memory": "one-stage-nfn-fixed/effnet_b5-decoder3d-01",
    "differs": "one-stage-scs/convnext_base-decoder2d-01",
    "gradient": "one-stage-scs/effnet_b4-decoder2d-01",
}
SOUND = "one-stage-scs/pvt_v2_b4-decoder2d-01"


def faulty_loss(fault: str | None, loss: Callable[..., LossTerms]) -> Callable[..., LossTerms]:
    """A loss with a fault; all but the one that raises are right on the CPU, without gradients.

    The infinite gradient is that of the last of two steps: the weights are still finite.
    """
    backwards = itertools.count(1)

    def wrong(output: Any, batch: Any) -> LossTerms:
        terms = loss(output, batch)
        if fault == "raises":
            raise ValueError("no such level\nand more")
        if not terms.total.requires_grad:
            return terms
        if fault == "nan":
            return LossTerms(terms.total * float("nan"), terms.parts, terms.counts)
        if fault == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        if fault == "differs":
            return LossTerms(terms.total * 1.5, terms.parts, terms.counts)
        if fault == "gradient":
            terms.total.register_hook(lambda g: g * (float("inf") if next(backwards) > 1 else 1))
        return terms

    return wrong


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny run in which every recipe but one has a fault of its own, with few parts."""
    by_recipe = {recipe: fault for fault, recipe in FAULTY.items()}

    def task_of(recipe: Any) -> Any:
        task = get_task(recipe)
        task.loss = faulty_loss(by_recipe.get(recipe.name), task.loss)  # type: ignore[method-assign]
        return task

    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "get_task", task_of)
        patch.setattr(gpu, "published_recipes", lambda: (*FAULTY.values(), SOUND))
        patch.setattr(gpu, "ORDER", (("reference", ""), ("training", "fp32")))
        patch.setattr(gpu, "VARIANTS", ())
        files = ["--json", str(folder / "gpu.json"), "--page", str(folder / "gpu.md")]
        code = gpu.main(["--tiny", *files])
    found = json.loads((folder / "gpu.json").read_text())
    rows = {(r["part"], r.get("recipe")): r for r in found["rows"]}
    return SimpleNamespace(code=code, found=found, rows=rows, page=(folder / "gpu.md").read_text())


def test_a_fault_of_one_recipe_is_reported_and_the_others_still_run(faults):
    assert faults.code == 1
    assert not faults.found["complete"]
    sound = faults.rows["training", SOUND]
    assert (sound["state"], sound["problems"]) == ("measured", [])
    assert len(faults.found["problems"]) == 6
    for recipe in FAULTY.values():
        row = faults.rows["training", recipe]
        assert row["problems"]
        assert row["problems"][0] in faults.page
        assert any(recipe in line for line in faults.found["problems"])


@pytest.mark.parametrize(
    ("fault", "state", "words"),
    [
        ("raises", "failed", "ValueError: no such level"),
        ("nan", "failed", "Wrong: the loss is not finite before the first step: loss nan"),
        ("memory", "out of memory", "2 volumes, 17 slices of 64 x 64: CUDA out of memory."),
        ("differs", "measured", "the loss differs from the CPU's by 0.5 of it, more than 0.001"),
        ("gradient", "measured", "gradients are not finite after the last step: encoder."),
    ],
)
def test_a_fault_is_named(faults, fault, state, words):
    row = faults.rows["training", FAULTY[fault]]
    assert row["state"] == state
    assert row["problems"][0].startswith(words)


def test_without_the_cpu_s_loss_training_is_measured_and_says_so(faults):
    assert faults.rows["reference", FAULTY["raises"]]["state"] == "failed"
    session = setup.Session(torch.device("cpu"), setup.TINY, True, Path())
    subject = SimpleNamespace(reference=None)
    trainee = training.Trainee.__new__(training.Trainee)
    trainee.session, trainee.subject = session, subject  # type: ignore[assignment]
    assert trainee.compared_with_cpu() == {}


def test_a_spent_budget_ends_the_run_and_says_what_was_left_out(tmp_path, capsys):
    files = ["--json", str(tmp_path / "gpu.json"), "--page", str(tmp_path / "gpu.md")]
    assert gpu.main(["--tiny", "--budget", "1", *files]) == 1
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert not found["complete"]
    states = {r["state"] for r in found["rows"] if "recipe" in r}
    assert states == {"left out"}
    lines = "\n".join(found["left_out"])
    assert "training bf16: left out: the time budget of 1 s is spent" in lines
    for recipe in gpu.published_recipes():
        assert lines.count(recipe) == 8 + (len(gpu.VARIANTS) if recipe == gpu.VARIED else 0)
    text = (tmp_path / "gpu.md").read_text()
    said = capsys.readouterr().err
    for line in found["left_out"]:
        assert line in text
        assert line in said


def test_a_part_starts_only_if_the_longest_of_its_kind_would_end_in_time(monkeypatch):
    now = 0.0
    monkeypatch.setattr(gpu.time, "monotonic", lambda: now)
    clock = gpu.Clock(100.0, unknown=15.0, begun=0.0)
    now = 84.0
    assert clock.fits("training")
    now = 86.0
    assert not clock.fits("training")
    clock.longest["training"] = 13.0
    assert clock.fits("training")
    assert not clock.fits("loader")


def test_steps_end_with_the_budget(monkeypatch):
    """Fewer steps than the fewest are no measurement; more are made only while there is time."""
    session = setup.Session(torch.device("cpu"), setup.TINY, True, Path())
    trainee = training.Trainee.__new__(training.Trainee)
    trainee.session = session
    trainee.subject = SimpleNamespace(operations=1)  # type: ignore[assignment]
    monkeypatch.setattr(trainee, "step", lambda number: 1.0)
    left = iter([5.0, -1.0])
    with pytest.raises(setup.OutOfTime, match="ended after 1 of 2 steps"):
        trainee.steps(9.0, SimpleNamespace(left=lambda: next(left)))
    assert trainee.steps(9.0, SimpleNamespace(left=lambda: 5.0))["steps"] == 2


def test_a_run_that_is_killed_leaves_what_it_measured(tmp_path, monkeypatch):
    def killed(session: Any, row: Any, allowance: float, clock: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setitem(work.PARTS, "store", killed)
    with pytest.raises(KeyboardInterrupt):
        gpu.main(["--tiny", "--json", str(tmp_path / "a.json"), "--page", str(tmp_path / "a.md")])
    found = json.loads((tmp_path / "a.json").read_text())
    assert [r["state"] for r in found["rows"]][:6] == ["measured"] * 5 + ["not reached"]
    assert not found["complete"]
    assert any(line.startswith("store: not reached") for line in found["left_out"])
    assert "| fp32 |" in (tmp_path / "a.md").read_text()


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
def test_full_size_without_a_gpu_is_refused(tmp_path, capsys):
    before = page.DOCUMENT.read_text()
    assert gpu.main(["--json", str(tmp_path / "gpu.json")]) == 2
    assert "--tiny" in capsys.readouterr().err
    assert page.DOCUMENT.read_text() == before
    assert list(tmp_path.iterdir()) == []


def gpu_rows() -> dict[str, Any]:
    """A run on a card of 100 Tflop/s in fp16 and 10 in fp32, with one pair of networks."""
    t1, t2 = "one-stage-nfn-fixed/pvt_v2_b4-decoder3d-01", "one-stage-scs/pvt_v2_b4-decoder2d-01"
    rows = [
        {"part": "rate", "precision": "fp16", "operations_per_s": 1e14, "matrix": 8192},
        {"part": "rate", "precision": "fp32", "operations_per_s": 1e13, "matrix": 8192},
    ]
    same = {"volumes": 4, "slices": 60, "operations": 1e13, "difference": 2e-4, "steps": 10}
    for recipe in (t1, t2):
        for name, seconds, peak in (("fp32", 2.0, 40.0), ("fp16", 0.5, 20.0)):
            rows.append(
                {"part": "training", "recipe": recipe, "precision": name, "step_s": seconds}
                | {**same, "peak_gib": peak, "tolerance": 0.01}
            )
        rows.append({"part": "loader", "recipe": recipe, "samples_per_s": 20.0, "workers": 8})
        rows.append(
            {"part": "inference", "recipe": recipe, "precision": "fp32", "slices": 15}
            | {"series_s": 0.1, "series_flip_s": 0.18, "prepare_s": 0.02}
        )
    about = {"device": "cuda", "card": "Card 9, 80 GiB", "driver": "1.2.3"}
    versions = ("processor", "python", "torch", "torchvision", "timm", "date", "command")
    return {
        "machine": about | dict.fromkeys(versions, "x"),
        "tiny": False,
        "budget_s": 450.0,
        "spent_s": 300.0,
        "rows": [{**r, "state": "measured", "problems": []} for r in rows],
    }


def test_shares_and_headroom_follow_from_what_was_measured():
    found = gpu_rows()
    page.derive(found)
    assert found["complete"]
    fp32, fp16 = page.rows_of(found, "training")[:2]
    assert fp32["share_of_rate"] == pytest.approx(0.5)
    assert fp16["share_of_rate"] == pytest.approx(0.2)
    assert (fp16["samples_per_s"], fp16["slices_per_s"]) == (8.0, 120.0)
    loader = page.rows_of(found, "loader")[0]
    assert loader["headroom"] == pytest.approx(20 / 8)
    assert loader["fastest_step"] == "fp16"
    (study,) = found["studies"]
    assert (study["series_s"], study["series_flip_s"]) == pytest.approx((0.2, 0.36))
    text = page.figures(found)
    assert "* card: Card 9, 80 GiB\n* driver: 1.2.3\n" in text
    assert "| fp16 | 4 | 60 | 500 | 120 | 20.0 | 0.20 | 0.0002 | 0.01 |" in text
    assert "| 8 | 20.0 | fp16 | 2.50 |" in text
    assert "Complete in 300 of 450 s; every check passed." in text


def test_a_share_needs_the_rate_of_its_precision():
    found = gpu_rows()
    found["rows"][0] |= {"state": "failed", "problems": ["no"]}
    page.derive(found)
    fp16 = page.rows_of(found, "training")[1]
    assert "share_of_rate" not in fp16
    assert found["problems"] == ["rate fp16: failed: no"]
    text = page.figures(found)
    assert "## Wrong\n\n* rate fp16: failed: no" in text
    assert "| fp16 | 4 | 60 | 500 | 120 | 20.0 | - |" in text


def test_grades_of_other_points_are_not_compared():
    trainee = training.Trainee.__new__(training.Trainee)
    trainee.session = setup.Session(torch.device("cpu"), setup.TINY, True, Path())
    batch = SimpleNamespace(to=lambda device: None)
    known = {"loss": 10.0, "xy": 9.0, "grade": 1.0, "n_matched": 4}
    trainee.subject = SimpleNamespace(  # type: ignore[assignment]
        reference=known, compared=1, batch=lambda volumes: batch
    )
    parts = {"xy": torch.tensor(9.009), "grade": torch.tensor(2.0)}
    total = torch.tensor(11.0)
    trainee.terms = lambda _: LossTerms(total, parts, {"matched": 4})  # type: ignore[method-assign]
    assert trainee.compared_with_cpu()["difference"] == pytest.approx(1.0)
    trainee.terms = lambda _: LossTerms(total, parts, {"matched": 5})  # type: ignore[method-assign]
    found = trainee.compared_with_cpu()
    assert found["difference"] == pytest.approx(1e-3, rel=1e-2)
    assert not found["same_points_matched"]


def test_dropout_and_stochastic_depth_are_off():
    import timm

    model = timm.create_model("convnext_atto", drop_rate=0.5, drop_path_rate=0.5)
    rates = [m.drop_prob for m in model.modules() if hasattr(m, "drop_prob")]
    assert max(rates) > 0
    setup.without_dropout(model.train())
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(image), model(image))


def test_tf32_is_as_before_after_the_block():
    places = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [p.allow_tf32 for p in places]
    for name, allowed in (("fp32", False), ("tf32", True)):
        with precision.arithmetic(precision.precision_of(name)):
            assert [p.allow_tf32 for p in places] == [allowed, allowed]
        assert [p.allow_tf32 for p in places] == before


def test_the_card_is_named(monkeypatch):
    memory = SimpleNamespace(total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card 9")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: memory)
    monkeypatch.setenv("PATH", "")
    found = machine.about(torch.device("cuda"))
    assert (found["card"], found["driver"]) == ("Card 9, 80 GiB", "unknown")


def test_peak_memory_is_that_of_the_steps_after_the_warm_up(monkeypatch):
    calls: list[str] = []
    for name in ("reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda device, name=name: calls.append(name))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**30)
    trainee = training.Trainee.__new__(training.Trainee)
    trainee.session = setup.Session(torch.device("cuda"), setup.TINY, True, Path())
    trainee.subject = SimpleNamespace(operations=1)  # type: ignore[assignment]
    monkeypatch.setattr(trainee, "step", lambda number: calls.append(f"step {number}") or 1.0)
    found = trainee.steps(0.0, SimpleNamespace(left=lambda: 5.0))
    assert found["peak_gib"] == 3.0
    wait = "synchronize"
    steps = [wait, "step 1", wait, "reset_peak_memory_stats", wait, "step 2", wait]
    assert calls == steps


@pytest.mark.parametrize("place", ["json", "page"])
def test_a_place_that_cannot_be_written_is_said_before_the_work(tmp_path, capsys, place):
    files = {"json": str(tmp_path / "j.json"), "page": str(tmp_path / "p.md"), place: str(tmp_path)}
    line = [part for k, v in files.items() for part in (f"--{k}", v)]
    assert gpu.main(["--tiny", "--device", "cpu", *line]) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("budget", ["nan", "-1", "soon"])
def test_a_budget_that_is_none_is_refused(tmp_path, capsys, budget):
    with pytest.raises(SystemExit) as stop:
        gpu.main(["--tiny", f"--budget={budget}", "--json", str(tmp_path / "j.json")])
    assert stop.value.code == 2
    assert "--budget" in capsys.readouterr().err
