"""The command line as a user meets it: help, exit codes, and light commands that stay light."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lumbargrade.cli.main import COMMANDS, GROUPS, help_text, main
from lumbargrade.domain.errors import BadInput, LumbargradeError, NothingDone, UsageError

LIGHT = ("phantom", "inspect", "combine", "score", "evaluate", "recalibrate", "recipes")


def modules_after(code: str) -> set[str]:
    """Names of the modules that a fresh interpreter has loaded after running some code."""
    text = f"{code}\nimport sys\nprint(' '.join(sys.modules), file=sys.__stdout__)"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in LIGHT)])
def test_help_and_light_commands_never_import_torch(arguments: list[str]) -> None:
    loaded = modules_after(f"from lumbargrade.cli.main import main\nassert main({arguments}) == 0")
    assert "lumbargrade.cli.main" in loaded
    assert not {"torch", "timm", "torchvision"} & loaded


@pytest.mark.parametrize(
    "module", ["report.submission", "report.evaluation", "report.recalibration", "grading.results"]
)
def test_measuring_what_was_predicted_needs_no_torch(module: str) -> None:
    loaded = modules_after(f"import lumbargrade.{module}")
    assert not {"torch", "timm", "torchvision"} & loaded


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"lumbargrade.cli.{COMMANDS[name][0]}")
    assert main([name, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"lumbargrade {name}" in text
    assert (module.__doc__ or "").split("\n")[0].rstrip(".")[:40] in text


def test_the_help_lists_every_command_once_in_its_group() -> None:
    text = help_text()
    listed = re.findall(r"^  ([a-z-]+) ", text, re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)
    first = text.split(f"{next(iter(GROUPS))}:\n")[1].split("\n\n")[0]
    assert {"inspect", "grade", "review", "serve"} <= set(re.findall(r"^  (\S+)", first, re.M))


def test_no_command_and_an_unknown_one_are_usage_errors(capsys) -> None:
    assert main([]) == 2
    assert main(["frobnicate"]) == 2
    assert "unknown command 'frobnicate'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no such fold"), 2),
        (BadInput("broken table"), 3),
        (NothingDone("no series"), 3),
        (LumbargradeError("other"), 3),
        (OSError(28, "No space left on device", "/out/x.npy"), 3),
    ],
)
def test_an_error_ends_in_one_line_and_its_exit_code(error, code, monkeypatch, capsys) -> None:
    import lumbargrade.cli.recipes as command

    def fail(options: object) -> int:
        raise error

    monkeypatch.setattr(command, "run", fail)
    assert main(["recipes"]) == code
    said = capsys.readouterr().err.strip()
    assert said.startswith("lumbargrade recipes: ")
    assert "Traceback" not in said
    if isinstance(error, OSError):
        assert "No space left on device: /out/x.npy" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "s3://bucket/studies"],
        ["validate", "s3://bucket/runs", "--store", "STORE"],
        ["submit", "DATA", "--blend", "s3://bucket/blend.toml"],
        ["train", "cpu-small/canal", "--store", "STORE", "--out", "s3://bucket/runs"],
        ["train", "--recipes", "cpu-small/canal", "--store", "STORE", "--out", "s3://bucket/runs"],
    ],
)
def test_a_url_where_only_a_path_is_possible_is_told_as_it_was_given(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (url,) = (a for a in arguments if a.startswith("s3:"))
    assert f"{url}: a URL cannot be used here; copy it to this machine first" in (
        capsys.readouterr().err
    )


def test_a_file_url_is_a_path_in_every_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", f"file://{tmp_path}/nothing"]) == 2
    assert f"no such file or folder: {tmp_path}/nothing" in capsys.readouterr().err
