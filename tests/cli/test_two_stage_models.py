"""The released two-stage networks grade and submit like any models, alone and in a blend."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lsdc_layout import write_lsdc
from lumbargrade.cli.main import main
from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.vocabulary import Condition, SeriesKind
from lumbargrade.grading.blend_file import read_blend, shipped_blends, write_blend
from lumbargrade.grading.ensembles import BlendedEnsembles, open_ensembles
from lumbargrade.grading.study import grade_study
from lumbargrade.grading.two_stage import TwoStageUse, two_stage_parts
from lumbargrade.kaggle.kit import Chosen, copy_models
from lumbargrade.team_two_stage import networks
from lumbargrade.team_two_stage.choice import Choice
from lumbargrade.team_two_stage.folders import TorchNetworks
from lumbargrade.team_two_stage.members import load_members
from small_models import save_small_model
from small_studies import write_noise_study
from stub_networks import made_study
from tiny_two_stage import make_tiny, write_tiny_models

#: Few networks, so that their models take a moment to write.
FOLD = ("fold0",)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    make_tiny(monkeypatch)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of one fold of set 8620; every grading network has the logit 1 for severe."""
    folder = tmp_path_factory.mktemp("team") / "TEAM"
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        write_tiny_models(folder, Choice(networks=FOLD).of(load_members()))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of noise in the LSDC layout."""
    folder = tmp_path_factory.mktemp("data")
    write_lsdc(folder, 2, split="test", depth=6, shape=(40, 48))
    return folder


def rows(path: Path) -> dict[str, tuple[float, ...]]:
    with path.open() as file:
        return {row.pop("row_id"): tuple(map(float, row.values())) for row in csv.DictReader(file)}


#: Probabilities of the logits 0, 0, 1.
SEVERE = np.exp([0, 0, 1]) / np.exp([0, 0, 1]).sum()


def test_from_dicom_to_a_submission_resumed_from_its_logits(
    team: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 50 rows are predicted, none filled; with the kept logits no network runs again."""
    out, logits = tmp_path / "submission.csv", tmp_path / "LOGITS"
    line = ["submit", str(data), "--models", str(team), "--networks", *FOLD, "--out", str(out)]
    line += ["--workers", "0", "--logits", str(logits)]
    assert main(line) == 0
    found = rows(out)
    assert len(found) == 50
    np.testing.assert_allclose(list(found.values()), [SEVERE] * 50, atol=1e-6)
    assert len(list(logits.glob("*.npz"))) == 2
    out.unlink()
    # a network that is built now fails
    monkeypatch.setattr(networks, "NETWORKS", {})
    assert main(line) == 0
    assert rows(out) == found


def test_a_dicom_folder_is_graded_with_places(
    team: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`grade` writes findings with places; the networks read the stored values of the files.

    The study has two T1 series, of which one is used; each network is opened once.
    """
    opened = []
    open_network = TorchNetworks.open
    monkeypatch.setattr(
        TorchNetworks, "open", lambda self, m: opened.append(m) or open_network(self, m)
    )
    write_noise_study(tmp_path / "STUDY", [SeriesKind.SAGITTAL_T1, *SeriesKind], depth=6)
    out, logits = tmp_path / "RESULT", tmp_path / "LOGITS"
    line = ["grade", str(tmp_path / "STUDY"), "--models", str(team), "--networks", *FOLD]
    line += ["--out", str(out), "--logits", str(logits), "--no-check-points", "--no-pictures"]
    assert main(line) == 0
    (file,) = out.glob("*/findings.json")
    content = json.loads(file.read_text())
    text = json.dumps(content)
    assert "team-two-stage/8620-fused" in text
    assert "8-bit pixels" not in text
    assert len(list(logits.glob("*.npz"))) == 1
    assert len(content["findings"]) == 25
    assert len(opened) == len(set(opened)) == 30
    assert all(finding["place"] for finding in content["findings"])


def test_a_study_is_graded_from_python(tmp_path: Path) -> None:
    """`grade_study` takes the folder of all networks; one that is missing is named."""
    study = write_noise_study(tmp_path / "STUDY", depth=4)
    write_tiny_models(tmp_path / "TEAM", Choice().of(load_members()))
    found = grade_study(study, tmp_path / "TEAM", check_points=False)
    assert len(found.findings) == 25
    assert {use.engine.split(" ")[0] for use in found.engines} == {"PyTorch"}
    shutil.rmtree(next(iter((tmp_path / "TEAM").rglob("fold3"))))
    with pytest.raises(UsageError, match=r"1 of the 144 networks are missing: .*/fold3; import"):
        grade_study(study, tmp_path / "TEAM")


def test_a_blend_joins_them_with_models_named_by_recipe(team: Path, tmp_path: Path) -> None:
    """Weights are those of the file; the one-stage model is found by recipe and fold."""
    one = tmp_path / "ONE"
    for fold in (1, 2):
        save_small_model(one / f"fold{fold}", "foraminal", fold)
    published = read_blend(Path("as-submitted"))
    two, other = published.members
    named = (replace(other.named[0], recipe="small/foraminal", folds=(2,)),)
    mine = replace(published, members=(two, replace(other, named=named)))
    path = tmp_path / "mine.toml"
    write_blend(path, mine)
    use = TwoStageUse(networks=FOLD)
    opened = open_ensembles([team, one], path, "cpu", flip=False, two_stage=use)
    assert isinstance(opened, BlendedEnsembles)
    assert not opened.calibrated
    assert [str(m.source) for m in opened.members] == ["small/foraminal#2"]
    assert two_stage_parts(opened)[0].conditions == set(Condition)
    volumes = made_study(depth=5)
    both = opened.predict("study", volumes)
    parts = {n: e.predict("study", volumes).findings for n, e in opened.ensembles.items()}
    assert len(both.findings) == 25
    for target, finding in both.findings.items():
        expected = np.array(parts["two-stage"][target].probabilities)
        if target.condition is Condition.FORAMINAL:
            one_stage = np.array(parts["one-stage"][target].probabilities)
            expected = 0.75 * expected + 0.25 * one_stage
        np.testing.assert_allclose(finding.probabilities, expected, atol=1e-6)
        assert finding.calibrated is None
        assert finding.point == parts["two-stage"][target].point
    with pytest.raises(UsageError, match=r"--models holds no model of small/foraminal fold 2"):
        open_ensembles([team], path, "cpu", flip=False, two_stage=use)
    with pytest.raises(UsageError, match="names its models by recipe; give --models"):
        open_ensembles([], path, "cpu", flip=False, two_stage=use)
    with pytest.raises(UsageError, match=r"give --blend as-submitted or another blend"):
        open_ensembles([team, one], None, "cpu", flip=False, two_stage=use)


def test_a_published_blend_is_given_by_its_name(team: Path, data: Path, tmp_path: Path) -> None:
    """--blend two-stage with the models gives what --models alone gives."""
    out = tmp_path / "submission.csv"
    line = ["submit", str(data), "--blend", "two-stage", "--models", str(team), "--workers", "0"]
    assert main([*line, "--networks", *FOLD, "--out", str(out)]) == 0
    np.testing.assert_allclose(list(rows(out).values()), [SEVERE] * 50, atol=1e-6)


def test_a_published_fault_is_reproduced_by_an_option_or_by_a_blend(
    team: Path, tmp_path: Path
) -> None:
    """Four slices are graded, but with `short_series_fail` the study fails and is filled."""
    data, path = tmp_path / "DATA", tmp_path / "mine.toml"
    write_lsdc(data, 1, split="test", depth=4, shape=(40, 48))
    two_stage = read_blend(Path("two-stage"))
    (member,) = two_stage.members
    assert member.two_stage is not None
    faulty = replace(member.two_stage, as_published=("short_series_fail",))
    write_blend(path, replace(two_stage, members=(replace(member, two_stage=faulty),)))
    out = tmp_path / "x.csv"
    line = ["submit", str(data), "--models", str(team), "--workers", "0", "--out", str(out)]
    line += ["--networks", *FOLD]

    def all_graded(*options: str) -> bool:
        out.unlink(missing_ok=True)
        main([*line, *options])
        return np.allclose(list(rows(out).values()), SEVERE, atol=1e-6)

    assert all_graded()
    assert not all_graded("--as-published", "short-series-fail")
    assert not all_graded("--blend", str(path))
    assert all_graded("--blend", str(path), "--as-published", "no-short-series-fail")


def test_published_blends_have_the_published_weights() -> None:
    """A quarter of the foraminal probabilities is one-stage, nothing else."""
    assert set(shipped_blends()) == {"two-stage", "as-submitted", "after-deadline"}
    models = {"two-stage": 0, "as-submitted": 7, "after-deadline": 15}
    for name, count in models.items():
        blend = read_blend(Path(name))
        for condition in Condition:
            share = 0.25 if condition is Condition.FORAMINAL and count else 0
            assert blend.conditions[condition].weights.get("one-stage", 0) == share
            assert blend.conditions[condition].weights["two-stage"] == 1 - share
        named = [n for member in blend.members for n in member.named]
        assert sum(len(n.folds) for n in named) == count
        assert not blend.calibrated


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--networks", "fold1"], "of the 30 networks are missing: first-stage/"),
        (["--networks", "all"], "--networks all: not in set 8620"),
        (["--networks", "fold0", "--as-published", "everything"], "--as-published everything"),
        (["--two-stage-set", "666", "--networks", "fold0"], "networks are missing: "),
        (["--guides", "{team}"], "--guides cannot be used with the two-stage networks"),
        (["--blend", "two-stages"], "two-stages: no such blend file"),
    ],
)
def test_wrong_options_are_named(
    team: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    says: str,
) -> None:
    line = ["submit", str(data), "--models", str(team), "--out", str(tmp_path / "x.csv")]
    code = main([*line, "--workers", "0", *(o.format(team=team) for o in options)])
    assert code == 2
    assert says in capsys.readouterr().err


def test_options_of_two_stage_networks_need_such_networks(tmp_path: Path) -> None:
    save_small_model(tmp_path / "MODEL", "canal")
    with pytest.raises(UsageError, match="are for the released two-stage networks"):
        open_ensembles([tmp_path / "MODEL"], None, flip=False, two_stage=TwoStageUse("666"))


def test_a_model_at_another_place_is_refused(team: Path, tmp_path: Path) -> None:
    """The place of a model says which checkpoint it is, because several are alike."""
    write_tiny_models(tmp_path / "X", load_members()[:1])
    (model,) = (tmp_path / "X").rglob("fold0")
    moved = model.rename(tmp_path / "moved")
    with pytest.raises(UsageError, match="its place does not say which network"):
        open_ensembles([moved], None, flip=False, two_stage=TwoStageUse(networks=FOLD))


def test_a_kit_for_kaggle_does_not_take_them(team: Path, tmp_path: Path) -> None:
    """Neither as models, nor by a published blend."""
    folder = next(path.parent for path in team.rglob("model.json"))
    for chosen in (Chosen([folder]), Chosen(blend=Path("as-submitted"))):
        with pytest.raises(UsageError, match="a kit cannot hold the released two-stage networks"):
            copy_models(chosen, tmp_path)
