"""A reader's review that is uploaded becomes the next result, and is sent."""

from __future__ import annotations

import http.client
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_node import free_port

from fake_models import graded
from lumbargrade.domain.vocabulary import Grade
from lumbargrade.grading.findings_file import read_findings
from lumbargrade.grading.review_file import write_review
from lumbargrade.serve.inbox import Folders, Inbox
from lumbargrade.serve.metrics import Metrics
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.settings import Destination, Settings, WebSettings
from lumbargrade.serve.states import About, Instance, SendState, State
from lumbargrade.serve.web import Site, serving
from made_reviews import review_of
from small_studies import write_noise_study

_CANAL = "spinal_canal_stenosis_l4_l5"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a study."""
    folder = tmp_path_factory.mktemp("graded")
    graded(write_noise_study(folder / "anna"), folder, launch=None)
    (found,) = (folder / "out").glob("*/findings.json")
    return found.parent


class Reviewed:
    """A page of a node with one study that is done, and its review."""

    def __init__(self, folder: Path, results: Path) -> None:
        (folder / "node").mkdir()
        self.folders = Folders(folder / "node")
        self.queue = Queue(self.folders.queue)
        to = Destination("archive", url="http://127.0.0.1:1/dicom-web")
        self.settings = Settings(web=WebSettings(port=free_port()), send=(to,))
        inbox = Inbox(self.folders, self.queue, self.settings.dicom)
        inbox.clean()
        self.receive("1.2.3.4")
        self.queue.complete(0, 0)
        claim = self.queue.claim()
        assert claim is not None
        shutil.copytree(results, self.folders.results / claim.folder)
        tried = self.settings.tried_for
        self.queue.graded(claim, {"sr.dcm": "9.1"}, tried, "all normal or mild")
        for send in self.queue.due("archive"):
            self.queue.answered(send, "")
        before = read_findings(results / "findings.json")
        self.review = folder / "review.json"
        write_review(self.review, review_of(before, {_CANAL: Grade.SEVERE}))
        self.clean = inbox.clean

    def receive(self, uid: str) -> None:
        study = self.queue.number_of("1.2.3", About())
        self.queue.add(study, Instance(uid, "digest", 1), About())

    def upload(self, content: bytes, origin: str | None = None) -> tuple[int, str]:
        port = self.settings.web.port
        body = (
            b'--x\r\nContent-Disposition: form-data; name="review"; filename="review.json"\r\n'
            b"Content-Type: application/json\r\n\r\n" + content + b"\r\n--x--\r\n"
        )
        headers = {
            "Origin": origin or f"http://127.0.0.1:{port}",
            "Content-Type": "multipart/form-data; boundary=x",
        }
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/studies/1/review", body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    @property
    def result(self) -> int:
        study = self.queue.study(1)
        assert study is not None
        return study.result


@pytest.fixture
def page(tmp_path: Path, results: Path) -> Iterator[Reviewed]:
    found = Reviewed(tmp_path, results)
    metrics = Metrics(found.queue, found.folders.data)
    site = Site(found.settings, found.folders, found.queue, metrics, [])
    with serving(site, found.settings.web):
        yield found
    found.queue.close()


def test_a_review_is_applied_and_sent(page: Reviewed) -> None:
    assert page.upload(page.review.read_bytes()) == (303, "")
    study = page.queue.study(1)
    assert study is not None
    assert (study.result, study.state) == (2, State.SENDING)
    assert study.summary == "1 severe"
    found = page.folders.results_of(1) / "2"
    assert (found / "report.txt").exists()
    sends = {(send.result, send.state) for send in page.queue.sends(1)}
    assert sends == {(1, SendState.SENT), (2, SendState.PENDING)}
    (send,) = page.queue.due("archive")
    assert send.file == "sr.dcm"
    assert "a reader's review was applied" in [what for _, what in page.queue.history(1)]
    page.clean()  # of a new start
    assert found.exists()


def test_a_review_of_another_result_is_refused(page: Reviewed) -> None:
    content = page.review.read_bytes()
    fingerprint = read_findings(page.folders.results_of(1) / "1" / "findings.json").fingerprint
    status, text = page.upload(content.replace(fingerprint.encode(), b"0" * len(fingerprint)))
    assert (status, "fingerprint" in text or "other" in text) == (400, True)
    status, text = page.upload(b"{")
    assert (status, text.startswith("the review: not valid JSON")) == (400, True)
    assert page.upload(content, "https://evil.example")[0] == 403
    assert page.upload(content + b" " * 2_000_000)[0] == 413
    page.receive("1.2.3.5")
    assert page.upload(content)[0] == 400
    assert page.result == 1
    assert not (page.folders.results_of(1) / "2").exists()


def test_a_review_that_was_not_registered_is_removed(page: Reviewed) -> None:
    (page.folders.results_of(1) / "2").mkdir()
    page.clean()
    assert [folder.name for folder in page.folders.results_of(1).iterdir()] == ["1"]
