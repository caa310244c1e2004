"""A whole release is imported file by file; what is missing, left over or damaged is named."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from lumbargrade.cli.main import main
from lumbargrade.team_two_stage import networks, release
from lumbargrade.team_two_stage.members import Member, load_members
from lumbargrade.team_two_stage.model_files import ReleasedMeta, import_released, load_released
from lumbargrade.team_two_stage.networks import NETWORKS


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every released network is a small one of its own."""
    small = {name: partial(nn.Linear, number + 1, 1) for number, name in enumerate(NETWORKS)}
    monkeypatch.setattr(networks, "NETWORKS", small)


def _write(root: Path, member: Member, place: int = 0) -> Path:
    file = root / member.roots[place] / member.folder / member.file
    file.parent.mkdir(parents=True, exist_ok=True)
    number = list(NETWORKS).index(member.network)
    values = torch.arange(number + 1.0)[None] + 100 * member.fold
    torch.save({"weight": values, "bias": torch.zeros(1)}, file)
    return file


def _import(root: Path, out: Path, *more: str) -> int:
    line = ["import-weights", str(root), "--recipe", "team-two-stage", "--out", str(out)]
    return main([*line, *more])


def test_a_complete_release(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    root, out = tmp_path / "release", tmp_path / "models"
    for number, member in enumerate(load_members()):
        _write(root, member, number % len(member.roots))
    assert _import(root, out) == 0
    for member in load_members():
        model = load_released(out / member.model_folder)
        assert (model.meta.network, model.meta.fold) == (member.network, member.fold)
        assert model.network.weight[0, 0] == 100 * member.fold
    assert "set 8620: 144 of 144 networks, complete" in caplog.text
    assert "set 666: 144 of 144 networks, complete" in caplog.text
    assert "250 networks imported, 0 were already there" in caplog.text
    assert "missing" not in caplog.text
    assert "left over" not in caplog.text
    caplog.clear()
    assert _import(root, out) == 0
    assert "0 networks imported, 250 were already there" in caplog.text


def test_what_is_missing_left_over_or_damaged_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    root, out = tmp_path / "release", tmp_path / "models"
    fused = [m for m in load_members() if m.group == "fused"][:5]
    points = [m for m in load_members() if m.group == "sagittal_2d_t1"][:5]
    for member in [*fused[1:], *points]:
        _write(root, member)
    second = _write(root, points[0], 1)
    damaged = _write(root, fused[2])
    damaged.write_bytes(b"\0" * 100)
    (root / "wkdir_final/v2_cond/log.txt").write_text("epoch 1")
    assert _import(root, out) == 1
    text = caplog.text
    assert f"missing: wkdir_final/{fused[0].folder}/{fused[0].file}" in text
    assert f"not imported: {damaged}" in text
    assert f"left over, no network of the table: {second.relative_to(root)}" in text
    assert "left over, no network of the table: wkdir_final/v2_cond/log.txt" in text
    # a folder of which nothing is there is one line
    pattern = "best_wll_model_fold-{0..4}_ema.pt (sag-lstm-pvt_v2_b5-z5, set 8620)"
    assert text.count("sag-lstm-pvt_v2_b5-z5") == text.count(pattern) == 1
    assert "keypoint_3d_v2_axial/densenet161_lr_0.0006/best_fold_{0..2}_ema.pt" in text
    assert "wkdir_final or wkdir_final2/keypoint_2d_v20_sag_t2" in text
    assert "not used by either set" in text
    assert "8 networks imported" in text
    assert "set 8620: 8 of 144 networks, incomplete" in text
    assert not (out / fused[2].model_folder).exists()


def test_a_file_that_changed_and_a_model_that_is_damaged_are_imported_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    root, out = tmp_path / "release", tmp_path / "models"
    some = load_members()[:3]
    files = [_write(root, member) for member in some]
    assert _import(root, out) == 1
    torch.save({"weight": torch.load(files[0])["weight"] + 1, "bias": torch.ones(1)}, files[0])
    (out / some[1].model_folder / "model.safetensors").write_bytes(b"")
    caplog.clear()
    assert _import(root, out) == 1
    assert "2 networks imported, 1 were already there" in caplog.text
    assert load_released(out / some[0].model_folder).network.bias == 1
    assert load_released(out / some[1].model_folder).network.bias == 0


def test_a_file_that_cannot_be_read_stops_no_other_but_a_full_disk_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    root, out = tmp_path / "release", tmp_path / "models"
    first, second = (_write(root, member) for member in load_members()[:2])

    def unreadable(file: Path, network: str, folder: Path, fold: int) -> ReleasedMeta:
        if file == first:
            raise PermissionError(13, "Permission denied", str(file))
        return import_released(file, network, folder, fold)

    monkeypatch.setattr(release, "import_released", unreadable)
    assert _import(root, out) == 1
    assert f"not imported: {first}: Permission denied" in caplog.text
    assert "1 networks imported" in caplog.text

    def full(file: Path, network: str, folder: Path, fold: int) -> ReleasedMeta:
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(release, "import_released", full)
    second.write_bytes(b"")
    with pytest.raises(OSError, match="No space left"):
        release.import_release(root, out)


def test_wrong_use_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "release"
    root.mkdir()
    assert _import(root, tmp_path / "models") == 2
    assert "wkdir_final or wkdir_final2" in capsys.readouterr().err
    (root / "wkdir_final").mkdir()
    assert _import(root, root / "models") == 2
    assert "choose another folder" in capsys.readouterr().err
    assert _import(root, tmp_path / "models", "--fold", "1") == 2
    assert "omit it" in capsys.readouterr().err
    assert _import(root, tmp_path / "models") == 3
    assert "no network could be imported" in capsys.readouterr().err
