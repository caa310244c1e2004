"""A DICOM node, called by pynetdicom."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from small_node import OURS, THEIRS, call, fetch, free_port, small_node, small_settings, wait_until

from fake_models import calls
from lsdc_layout import AXIAL, write_slice
from lumbargrade.domain.errors import UsageError
from lumbargrade.pacs.store import StoreNode
from lumbargrade.serve.inbox import Answer, Folders, Inbox, Received
from lumbargrade.serve.node import Node
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.settings import DicomSettings
from lumbargrade.serve.states import State
from small_studies import write_noise_study

_ECHO, _MR = "1.2.840.10008.1.1", "1.2.840.10008.5.1.4.1.1.4"


@contextmanager
def node(folder: Path, **settings: object) -> Iterator[tuple[DicomSettings, list[Answer]]]:
    """A node that grades nothing; yields its settings, and a list of its answers."""
    chosen = DicomSettings(OURS, port=free_port(), callers=(THEIRS,), free_mb=0)
    chosen = replace(chosen, **settings)  # type: ignore[arg-type]
    folder.mkdir(exist_ok=True)
    folders, answers = Folders(folder), list[Answer]()
    queue = Queue(folders.queue)
    inbox = Inbox(folders, queue, chosen)
    inbox.clean()
    listening = Node(chosen, inbox, answers.append)
    try:
        yield chosen, answers
    finally:
        listening.close()
        queue.close()


def associated(settings: DicomSettings, *, caller: str = THEIRS, called: str = OURS) -> Association:
    entity = AE(caller)
    entity.add_requested_context(_ECHO)
    entity.add_requested_context(_MR, ExplicitVRLittleEndian)
    link = entity.associate("127.0.0.1", settings.port, ae_title=called)
    if link.dul.socket is not None and link.dul.socket.socket is not None:
        _connections.append(link.dul.socket.socket)
    return link


_connections: list[socket.socket] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Close connections of callers; pynetdicom leaves those open that the other side has cut."""
    yield
    while _connections:
        _connections.pop().close()


def test_a_study_is_received_graded_and_shown(tmp_path: Path) -> None:
    files = sorted(write_noise_study(tmp_path / "one").rglob("*.dcm"))
    settings = small_settings()
    with small_node(tmp_path, settings) as queue:
        assert call(settings, files) == [0] * len(files)
        wait_until(lambda: queue.counts()[State.DONE])
        assert call(settings, files) == [0] * len(files)  # duplicates
        assert queue.counts()[State.DONE] == 1
        assert "/results/1/1/report.html" in fetch(settings, "/")
        assert "severe" in fetch(settings, "/results/1/1/report.html").lower()
        health = json.loads(fetch(settings, "/health"))
        assert health["status"] == "ok"
        assert set(health["parts"].values()) == {"ok"}
        metrics = fetch(settings, "/metrics").splitlines()
    assert f'lumbargrade_instances_total{{outcome="stored"}} {len(files)}.0' in metrics
    assert f'lumbargrade_instances_total{{outcome="duplicate"}} {len(files)}.0' in metrics
    assert 'lumbargrade_studies{state="done"} 1.0' in metrics
    assert 'lumbargrade_grading_seconds_count{outcome="graded"} 1.0' in metrics
    assert len(calls(tmp_path)) == 1


def test_echo_and_titles(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with node(tmp_path) as (settings, _):
        link = associated(settings)
        assert link.send_c_echo().Status == 0
        link.release()
        assert associated(settings, caller="STRANGER").is_rejected
        assert associated(settings, called="OTHER").is_rejected
    rejected = [r for r in caplog.records if r.getMessage() == "association rejected"]
    assert [vars(r)["caller"] for r in rejected] == [
        f"{c} at 127.0.0.1" for c in ("STRANGER", THEIRS)
    ]


def test_no_more_associations_than_allowed(tmp_path: Path) -> None:
    with node(tmp_path, max_associations=1) as (settings, _):
        first = associated(settings)
        assert first.is_established
        assert associated(settings).is_rejected
        first.release()

        def free() -> bool:
            link = associated(settings)
            link.release()
            return not link.is_rejected

        wait_until(free)


def test_an_idle_association_is_ended(tmp_path: Path) -> None:
    with node(tmp_path, idle_seconds=0.3) as (settings, _):
        link = associated(settings)
        wait_until(lambda: link.is_aborted)


def test_a_connection_without_association_is_ended(tmp_path: Path) -> None:
    with (
        node(tmp_path, idle_seconds=0.3) as (settings, _),
        socket.create_connection(("127.0.0.1", settings.port), timeout=20) as silent,
    ):
        assert silent.recv(100) == b""


@pytest.mark.parametrize(
    ("idle", "sent"),
    [
        (0.3, b"\1\0\0\0\1\0half a request"),  # 256 bytes are announced
        (60.0, b"\1\0\xff\xff\xff\xffa request of 4 GB"),
        (60.0, b"GET / HTTP/1.1\r\n\r\n"),
    ],
)
def test_connections_that_send_nonsense_are_ended(tmp_path: Path, idle: float, sent: bytes) -> None:
    with node(tmp_path, idle_seconds=idle) as (settings, _):
        with socket.create_connection(("127.0.0.1", settings.port), timeout=20) as caller:
            caller.sendall(sent)
            answer = b"."
            while answer:
                try:
                    answer = caller.recv(100)
                except ConnectionError:
                    answer = b""
        link = associated(settings)
        assert link.send_c_echo().Status == 0
        link.release()


def large_file(folder: Path, side: int) -> Path:
    file = folder / "study" / "series" / "1.dcm"
    write_slice(file, 1, [0.0, 0.0, 0.0], AXIAL, shape=(side, side))
    return file


def test_a_large_object_is_refused_and_a_huge_one_ends_the_association(tmp_path: Path) -> None:
    with node(tmp_path / "node", max_object_mb=0.1) as (settings, answers):
        link = associated(settings)
        data = dcmread(large_file(tmp_path, 280))  # 157 kB
        assert link.send_c_store(data).Status == 0xA700
        data = dcmread(large_file(tmp_path, 2000))  # 8 MB
        assert "Status" not in link.send_c_store(data)
        wait_until(lambda: not link.is_established)
    assert [answer.received for answer in answers] == [Received.REFUSED]


def test_a_sender_that_drops_the_connection(tmp_path: Path) -> None:
    with node(tmp_path / "node") as (settings, answers):
        link = associated(settings)
        file = large_file(tmp_path, 50)
        data = dcmread(file)
        assert link.send_c_store(data).Status == 0
        link.abort()
        again = associated(settings)
        assert again.send_c_store(data).Status == 0
        again.release()
    assert [answer.received for answer in answers] == [Received.STORED, Received.DUPLICATE]


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with (
        node(tmp_path / "one") as (settings, _),
        pytest.raises(UsageError, match=rf"dicom\.port = {settings.port}: cannot listen"),
        node(tmp_path / "two", port=settings.port),
    ):
        pass


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext"
    try:
        subprocess.run(
            [*command.split(), "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return cert, key


def test_tls(tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    cert, key = map(str, certificate)
    file = large_file(tmp_path, 50)
    with node(tmp_path / "node", tls_cert=cert, tls_key=key) as (settings, answers):
        to = StoreNode(OURS, "127.0.0.1", settings.port, THEIRS, 5.0, tls=True, tls_ca=cert)
        assert to.send([file]) == [""]
        assert replace(to, tls=False, seconds=1.0).send([file]) != [""]
        assert replace(to, tls_ca="").send([file]) != [""]
    assert [answer.received for answer in answers] == [Received.STORED]


def test_a_certificate_that_cannot_be_used(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="tls_cert"),
        node(tmp_path, tls_cert="missing.pem", tls_key="missing.pem"),
    ):
        pass
