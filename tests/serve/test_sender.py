"""Results are sent until a destination has stored them, whatever it does meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from small_node import OURS, THEIRS, archive, fake_sr, free_port

from lumbargrade.pacs.store import StoreNode
from lumbargrade.serve.inbox import Folders
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.sender import Sender
from lumbargrade.serve.settings import Destination
from lumbargrade.serve.states import About, Instance, SendState, State

#: pynetdicom does not close the socket of a connection that was refused.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture
def report(tmp_path: Path) -> Path:
    data, file = fake_sr("1.2.3"), tmp_path / "sr.dcm"
    data.save_as(file, enforce_file_format=True)
    return file


def node(port: int, seconds: float = 5.0) -> StoreNode:
    return StoreNode(THEIRS, "127.0.0.1", port, OURS, seconds)


def test_files_are_stored_over_one_association(report: Path) -> None:
    with archive() as store:
        assert node(store.port).send([report, report]) == ["", ""]
        assert len(store.stored) == 2
        assert node(store.port).send([]) == []


def test_an_archive_that_refuses(report: Path) -> None:
    with archive() as store:
        store.refuse.set()
        (why,) = node(store.port).send([report])
        assert why == f"ARCHIVE at 127.0.0.1:{store.port}: refused with status 0xA700"
        (why,) = replace(node(store.port), ae_title="OTHER").send([report])
        assert "the association was rejected; check the AE titles" in why


def test_an_archive_that_drops_the_association(report: Path) -> None:
    with archive() as store:
        store.hang.set()
        reasons = node(store.port, 0.5).send([report, report])
        assert all(why.startswith(f"ARCHIVE at 127.0.0.1:{store.port}: ") for why in reasons)
        store.hang.clear()
        assert node(store.port).send([report]) == [""]


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_an_archive_that_hangs_or_is_down(report: Path) -> None:
    with silent() as port:
        (why,) = node(port, 0.3).send([report])
        assert "no answer within 0.3 s" in why
    (why,) = node(free_port()).send([report])
    assert "no connection" in why


def test_a_file_that_cannot_be_sent(tmp_path: Path) -> None:
    file = tmp_path / "sr.dcm"
    file.write_bytes(b"no DICOM")
    (why,) = node(free_port()).send([file])
    assert "sr.dcm: cannot be sent" in why
    (why,) = node(free_port()).send([tmp_path / "gone.dcm"])
    assert "gone.dcm: cannot be sent" in why


class Sending:
    """A study with a result that waits to be sent, and a clock."""

    def __init__(self, folder: Path, port: int) -> None:
        self.now = 1000.0
        folders = Folders(folder)
        self.queue = Queue(folders.queue, lambda: self.now)
        study = self.queue.number_of("1.2.3", About())
        self.queue.add(study, Instance("1.2.3.4", "digest", 1), About())
        self.queue.complete(0, 0)
        claim = self.queue.claim()
        assert claim is not None
        result = folders.results / claim.folder
        result.mkdir(parents=True)
        fake_sr("1.2.3").save_as(result / "sr.dcm", enforce_file_format=True)
        self.queue.graded(claim, {"sr.dcm": "1.9"}, {"archive": 3600.0})
        to = Destination("archive", THEIRS, "127.0.0.1", port, timeout_seconds=2.0)
        self.tried: list[SendState] = []
        note = lambda _, state: self.tried.append(state)  # noqa: E731
        self.sender = Sender(to, OURS, folders, self.queue, note)

    def state(self) -> State:
        study = self.queue.study(1)
        assert study is not None
        return study.state


def test_waits_double_until_the_archive_is_back(tmp_path: Path) -> None:
    port = free_port()
    sending = Sending(tmp_path, port)
    waits = []
    for _ in range(4):
        sending.sender.step()
        before = sending.now
        while not sending.queue.due("archive"):
            sending.now += 1
        waits.append(sending.now - before)
    assert waits == [5, 10, 20, 40]
    assert sending.tried == [SendState.PENDING] * 4
    (send,) = sending.queue.sends(1)
    assert "no connection" in send.error
    with archive(port) as store:
        sending.sender.step()
        sending.now += 10_000
        sending.sender.step()
    assert len(store.stored) == 1
    assert sending.state() is State.DONE


def test_sending_is_given_up(tmp_path: Path) -> None:
    sending = Sending(tmp_path, free_port())
    sending.now += 3600
    sending.sender.step()
    assert sending.state() is State.FAILED
    study = sending.queue.study(1)
    assert study is not None
    assert study.reason.startswith("not sent: archive: ARCHIVE at 127.0.0.1:")


def test_a_result_that_is_gone_is_not_lost_silently(tmp_path: Path) -> None:
    sending = Sending(tmp_path, free_port())
    for file in tmp_path.rglob("sr.dcm"):
        file.unlink()
    sending.sender.step()
    (send,) = sending.queue.sends(1)
    assert (send.state, "cannot be sent" in send.error) == (SendState.PENDING, True)
