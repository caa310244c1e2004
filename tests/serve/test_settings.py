"""Settings files of a node, and the command that reads them."""

from __future__ import annotations

import io
import json
import logging
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lumbargrade.cli.main import main
from lumbargrade.domain.errors import UsageError
from lumbargrade.serve.logs import JsonLines, log_as_json
from lumbargrade.serve.settings import Settings, is_loopback, read_settings


def settings(folder: Path, text: str) -> Settings:
    path = folder / "node.toml"
    path.write_text(text)
    return read_settings(path)


def test_an_empty_file_has_the_defaults(tmp_path: Path) -> None:
    assert settings(tmp_path, "") == Settings()
    assert is_loopback(Settings().dicom.host)
    assert is_loopback(Settings().web.host)


def test_the_files_of_the_documentation(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "pacs.md"
    blocks = re.findall(r"^( *)```toml\n(.*?)```", page.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    short, full = (re.sub(f"^{indent}", "", text, flags=re.MULTILINE) for indent, text in blocks)
    assert settings(tmp_path, short).send[0].ae_title == "ORTHANC"
    shown = settings(tmp_path, full)
    assert shown.send[0].credentials == "ARCHIVE"
    # its values are the defaults, except those that have to be given
    assert shown.studies == Settings().studies
    assert shown.web == Settings().web
    named = tomllib.loads(full)
    default = Settings().dicom
    assert {k: v for k, v in named["dicom"].items() if k != "callers"} == {
        k: getattr(default, k) for k in named["dicom"] if k != "callers"
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[dicom]\nport = 0", "dicom.port = 0: give 1 to 65535"),
        ('[dicom]\nport = "104"', "port"),
        ("[dicom]\nprot = 104", "prot"),
        ('[dicom]\nae_title = "MUCH TOO LONG TITLE"', "dicom.ae_title = 'MUCH TOO LONG TITLE'"),
        ('[dicom]\ncallers = ["A\\\\B"]', "dicom.callers[0]"),
        ('[dicom]\nhost = "0.0.0.0"', "name those that may in dicom.callers"),
        ('[dicom]\ntls_cert = "a.pem"', "give both tls_cert and tls_key"),
        ("[dicom]\nmax_pdu = 10", "give at least 4096"),
        ("[dicom]\nmax_object_mb = 0", "dicom.max_object_mb = 0.0: give more than 0"),
        ("[studies]\nkeep_days = -1", "studies.keep_days = -1.0: give 0 or more"),
        ("[studies]\nworkers = 0", "studies.workers = 0: give more than 0"),
        ('[[send]]\nname = "a"', "send[0]: give either url, or ae_title, host and port"),
        ('[[send]]\nname = "a"\nurl = "pacs"', "it must begin with http:// or https://"),
        ('[[send]]\nname = "a"\nhost = "pacs"', "send[0].ae_title = ''"),
        ('[[send]]\nurl = "http://pacs"', "name"),
        ('[[send]]\nname = "a"\nurl = "http://a"\n' * 2, "the name 'a' must be given once"),
        ('[[send]]\nname = "a"\nurl = "http://a"\nretry_seconds = 0', "send[0].retry_seconds"),
    ],
)
def test_faults_are_named_with_file_and_key(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(UsageError) as error:
        settings(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path}/node.toml: ")
    assert why in str(error.value)


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("pacs", False)],
)
def test_hosts_that_only_this_machine_reaches(host: str, alone: bool) -> None:
    assert is_loopback(host) == alone


def test_wrong_usage_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--data", str(tmp_path / "data")]
    assert main(["serve"]) == 2
    assert main(["serve", *data, "--config", str(tmp_path / "missing.toml")]) == 2
    assert "missing.toml: cannot be read" in capsys.readouterr().err
    assert main(["serve", *data, "--models", "a", "--blend", "b"]) == 2
    assert not (tmp_path / "data").exists()
    (tmp_path / "data").write_text("")
    assert main(["serve", *data]) == 2
    assert "data is a file; give a folder" in capsys.readouterr().err


def test_what_the_container_is_built_from_is_there() -> None:
    project = Path(__file__).parents[2]
    lines = (project / "Containerfile").read_text().splitlines()
    copied = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--" not in line]
    allowed = (project / ".dockerignore").read_text().split()
    for name in (name for names in copied for name in names):
        assert (project / name).exists()
        assert f"!{name}" in allowed
    locked = (project / "serve.lock").read_text()
    named = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    for package in (*named["dependencies"], *named["optional-dependencies"]["serve"]):
        assert f"\n{re.split('[<>=]', package)[0]}==" in f"\n{locked}"


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The root logger, which is as before after the test."""
    monkeypatch.setenv("PYTHONWARNINGS", "")
    found = logging.getLogger()
    handlers, level = found.handlers[:], found.level
    network = logging.getLogger("pynetdicom")
    propagate, silenced = network.propagate, network.handlers[:]
    yield found
    found.handlers[:], found.level = handlers, level
    network.propagate, network.handlers[:] = propagate, silenced


def test_the_log_has_only_our_lines_and_keys(root: logging.Logger) -> None:
    stream = io.StringIO()
    log_as_json(stream)
    logging.getLogger("lumbargrade.serve.node").warning("refused", extra={"study": 7, "x": "Doe"})
    logging.getLogger("lumbargrade.batch.steps").error("study 1.2.3: /data/Doe_Jane")
    logging.getLogger("pynetdicom.acse").error("Doe^Jane")
    logging.getLogger("pydicom").error("Doe^Jane")
    (line,) = stream.getvalue().splitlines()
    written = json.loads(line)
    assert {k: v for k, v in written.items() if k != "time"} == {
        "level": "warning",
        "event": "refused",
        "study": 7,
    }
    assert isinstance(root.handlers[0].formatter, JsonLines)
