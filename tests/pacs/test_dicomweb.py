"""DICOMweb servers that refuse, hang, or answer something else."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest

from lumbargrade.cli.main import main
from lumbargrade.domain.errors import BadInput, UsageError
from lumbargrade.pacs.dicomweb import Server

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """Run an HTTP server and yield its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.server_port}/dicom-web"
    finally:
        listener.shutdown()
        listener.server_close()


def with_status(status: int, text: str = "") -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", "application/dicom+json")
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text.encode())

    return answer


def hangs(request: BaseHTTPRequestHandler) -> None:
    time.sleep(3)


def drops(request: BaseHTTPRequestHandler) -> None:
    request.connection.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (with_status(503), "/dicom-web/studies/1.2/series: HTTP 503 Service Unavailable"),
        (with_status(401), "LUMBARGRADE_DICOMWEB_USER"),
        (with_status(200, "<html>"), "not an answer of DICOMweb"),
        (with_status(200, '[{"0020000E": {"vr": "UI"}}]'), "it has no images of the study 1.2"),
        (hangs, "/dicom-web/studies/1.2/series: no answer within 0.3 s"),
        (drops, "no connection"),
    ],
)
def test_errors_name_url_and_status(answer: Answer, why: str) -> None:
    with server(answer) as url, pytest.raises(BadInput, match=r"127\.0\.0\.1") as error:
        Server(url, 0.3).instances("1.2")
    assert why in str(error.value)


def test_a_server_that_is_not_there() -> None:
    with pytest.raises(BadInput, match=r"no connection .*[Rr]efused"):
        Server("http://127.0.0.1:1/dicom-web").instances("1.2")


def test_logins_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers["Authorization"])
        with_status(401)(request)

    with server(answer) as url:
        for name, value in (("USER", "anna"), ("PASSWORD", "secret"), ("TOKEN", "abc")):
            monkeypatch.setenv(f"PACS_{name}", value)
            with pytest.raises(BadInput) as error:
                Server(url, credentials="PACS").instances("1.2")
            assert "secret" not in str(error.value)
    assert seen == ["Basic YW5uYTo=", "Basic YW5uYTpzZWNyZXQ=", "Bearer abc"]


@pytest.mark.parametrize("url", ["pacs.example", "ftp://pacs.example", "http://anna:secret@pacs"])
def test_urls_that_are_none_or_have_a_login(url: str) -> None:
    with pytest.raises(UsageError) as error:
        Server(url)
    assert "secret" not in str(error.value)


def test_a_refused_object_is_named_with_its_reason(tmp_path: Path) -> None:
    refusal = {
        "00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0x0122]}}]},
    }
    (file,) = write_object(tmp_path)
    with server(with_status(200, json.dumps(refusal))) as url:
        assert Server(url).store([file]) == [f"{url}/studies: not stored, reason 0x0122"]
    with server(with_status(409)) as url:
        assert Server(url).store([file]) == [f"{url}/studies: HTTP 409 Conflict"]


def write_object(folder: Path) -> list[Path]:
    from lsdc_layout import AXIAL, write_slice

    write_slice(folder / "study" / "series" / "1.dcm", 1, [0.0, 0.0, 0.0], AXIAL)
    return sorted(folder.rglob("*.dcm"))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--dicomweb", "http://pacs.example/dicom-web"], "give both"),
        (["--dicomweb", "http://pacs.example", "--study", "../etc"], "not a StudyInstanceUID"),
        (["--study", "1.2"], "give both"),
    ],
)
def test_options(
    options: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["grade", *options, "--out", str(tmp_path / "out")]) == 2
    assert why in capsys.readouterr().err


def test_a_server_without_the_study_is_a_failed_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with server(with_status(404)) as url:
        code = main(["grade", "--dicomweb", url, "--study", "1.2", "--out", str(tmp_path / "out")])
    assert code == 3
    assert "studies/1.2/series: HTTP 404" in capsys.readouterr().err


def test_a_study_of_which_the_server_sends_less_than_it_lists_is_not_graded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else it would have gaps, count as graded, and never be fetched again."""
    (file,) = write_object(tmp_path)
    uid = str(pydicom.dcmread(file).SOPInstanceUID)
    series = [{"0020000E": {"vr": "UI", "Value": ["1.2.3"]}}]
    listed = [{"00080018": {"vr": "UI", "Value": [u]}} for u in (uid, "1.2.3.99")]
    part = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n--x--\r\n"

    def answer(request: BaseHTTPRequestHandler) -> None:
        if "/instances" in request.path:
            return with_status(200, json.dumps(listed))(request)
        if "1.2.3" not in request.path:
            return with_status(200, json.dumps(series))(request)
        request.send_response(200)
        request.send_header(
            "Content-Type", 'multipart/related; type="application/dicom"; boundary=x'
        )
        request.send_header("Content-Length", str(len(part)))
        request.end_headers()
        request.wfile.write(part)
        return None

    with server(answer) as url:
        code = main(["grade", "--dicomweb", url, "--study", "1.2", "--out", str(tmp_path / "out")])
    assert code == 3
    told = capsys.readouterr().err
    assert "lists 2 images, but did not send 1 of them, such as 1.2.3.99; run the same" in told
