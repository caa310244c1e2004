"""Weight files as other programs leave them: wrapped networks, numpy numbers, no weights at all."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from lumbargrade.cli.main import main
from lumbargrade.domain.errors import BadModel
from lumbargrade.inference.model_folder import read_meta
from lumbargrade.models.checkpoint import fresh_network, load_model
from lumbargrade.models.published import import_published, to_published
from lumbargrade.networks.one_stage import PlaneNetwork
from lumbargrade.networks.weights import read_weights, require_fit
from small_models import small_recipe

RECIPE = small_recipe("canal")


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A small network's weights under their published names; every recipe name means this one."""
    monkeypatch.setattr("lumbargrade.models.published.load_recipe", lambda name: RECIPE)
    network = fresh_network(RECIPE)
    assert isinstance(network, PlaneNetwork)
    return to_published(network)


def save(path: Path, weights: Mapping[str, torch.Tensor], **beside: object) -> Path:
    torch.save({"state_dict": dict(weights), **beside}, path)
    return path


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_of_a_wrapped_network_lose_what_was_put_before_them(
    prefix: str,
    published: dict[str, torch.Tensor],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    file = save(tmp_path / "w.pth", {prefix + k: t for k, t in published.items()}, epoch=3)
    import_published(file, "any", tmp_path / "model")
    assert f"removed the prefix {prefix} from every parameter name" in caplog.text
    network = load_model(tmp_path / "model").network
    assert isinstance(network, PlaneNetwork)
    for name, tensor in to_published(network).items():
        assert torch.equal(tensor, published[name])
    provenance = read_meta(tmp_path / "model").provenance
    assert (provenance["removed_prefix"], provenance["epoch"]) == (prefix, 3)


def test_a_beginning_that_not_every_name_has_stays(
    published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    weights = {f"module.{k}": t for k, t in published.items()} | {"loose": torch.zeros(1)}
    with pytest.raises(BadModel, match=r"unknown module\."):
        import_published(save(tmp_path / "w.pth", weights), "any", tmp_path / "model")
    import_published(save(tmp_path / "w.pth", published), "any", tmp_path / "model")
    assert "removed_prefix" not in read_meta(tmp_path / "model").provenance


def test_notes_of_a_file_do_not_replace_where_it_came_from(
    published: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    file = save(tmp_path / "w.pth", published, sha256="another", imported_from="elsewhere")
    import_published(file, "any", tmp_path / "model")
    provenance = read_meta(tmp_path / "model").provenance
    assert provenance["imported_from"] == "w.pth"
    assert len(provenance["sha256"]) == 64


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(
    "number",
    [
        np.float64(0.4125),
        np.float32(0.5),
        np.int64(-7),
        np.uint8(200),
        np.bool_(True),
        np.array(0.25, ">f8")[()],
        np.frombuffer(b"\x3f\xd0" + b"\0" * 6, ">f8")[0],
    ],
)
def test_a_numpy_number_beside_the_parameters_is_read_as_a_number(
    number: np.generic, new: bool, tmp_path: Path
) -> None:
    content = {"state_dict": {"a": torch.ones(2)}, "best": number}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
    allowed = torch.serialization.get_safe_globals()
    best = read_weights(tmp_path / "w.pth").notes["best"]
    assert best == number.item()
    assert type(best) is type(number.item())
    # nothing stays allowed for the rest of the program
    assert set(torch.serialization.get_safe_globals()) == set(allowed)


def test_numpy_values_other_than_numbers_are_refused(tmp_path: Path) -> None:
    for value in (np.str_("a"), np.datetime64("2020-01-01"), np.complex64(1), np.dtype("O")):
        file = save(tmp_path / "w.pth", {"a": torch.ones(2)}, best=value)
        with pytest.raises(BadModel, match="never loaded because they can run code"):
            read_weights(file)


def test_an_object_that_is_not_read_is_named_in_one_line_with_what_to_do(tmp_path: Path) -> None:
    settings = argparse.Namespace(lr=0.1)
    file = save(tmp_path / "w.pth", {"a": torch.ones(2)}, settings=settings)
    with pytest.raises(
        BadModel, match=r"\(argparse\.Namespace\).*save only the state_dict"
    ) as caught:
        read_weights(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (
            b"\n<!DOCTYPE html><html><body>Sign in \xc3\xa9</body></html>",
            "a web page instead of weights",
        ),
        (b"\xef\xbb\xbf<HTML>404</HTML>", "a web page instead of weights"),
        (b"Access denied\nask the owner\n", "which begins with 'Access denied'"),
        (b'{"error": "no such file"}', "a text file instead of weights"),
        (b"", "damaged: the file is empty"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_what_a_download_leaves_in_the_place_of_weights_is_told_in_one_line(
    content: bytes, said: str, suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"w{suffix}"
    file.write_bytes(content)
    name = "one-stage-scs/effnet_b4-decoder2d-01"
    line = ["import-weights", str(file), "--recipe", name, "--out", str(tmp_path / "model")]
    assert main(line) == 3
    error = capsys.readouterr().err
    assert re.search(rf"w{re.escape(suffix)}: .*{re.escape(said)}", error)
    assert len(error.strip().splitlines()) == 1
    # one of our own models that was not fetched is told alike
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "model.safetensors").write_bytes(content)
    with pytest.raises(BadModel, match=re.escape(said)):
        read_meta(tmp_path / "own")


def test_a_mismatch_names_ten_of_each_kind_and_counts_the_others() -> None:
    both = {f"both.{i}": torch.zeros(2) for i in range(11)}
    given = both | {f"new.{i}": torch.zeros(1) for i in range(300)}
    expected = dict.fromkeys(both, (3,)) | {f"old.{i}": (1,) for i in range(10)}
    with pytest.raises(BadModel) as caught:
        require_fit(given, expected, "it does not fit")
    lines = str(caught.value).splitlines()
    assert [line.split(".")[0].strip() for line in lines[1:]] == [
        *["missing old"] * 10,
        *["unknown new"] * 10,
        "",
        *["both"] * 10,
        "",
    ]
    assert lines[21].strip() == "... and 290 more unknown, 300 in all"
    assert lines[-1].strip() == "... and 1 more of another shape, 11 in all"
