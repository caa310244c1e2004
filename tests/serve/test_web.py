"""The web page of a node: what it shows, to whom, and what it refuses."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_node import free_port, wait_until

from lumbargrade.domain.errors import UsageError
from lumbargrade.serve.inbox import Folders
from lumbargrade.serve.loop import Loop
from lumbargrade.serve.metrics import Metrics
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.settings import Settings, WebSettings
from lumbargrade.serve.states import About, Instance, State
from lumbargrade.serve.web import Site, serving

HOSTILE = "<script>alert(1)</script>\x1b[31m"


@dataclass
class Page:
    """A site with one failed study, which has a result."""

    queue: Queue
    folders: Folders
    port: int
    loops: list[Loop]

    def ask(
        self, path: str, method: str = "GET", **headers: str
    ) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        connection.request(method, path, headers=sent)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
        connection.close()
        return answer.status, text, {k.lower(): v for k, v in answer.getheaders()}

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    folders = Folders(tmp_path)
    queue = Queue(folders.queue)
    about = About(HOSTILE, "4711", "20240101", HOSTILE)
    study = queue.number_of("1.2.3", about)
    queue.add(study, Instance("1.2.3.4", "digest", 10), about)
    queue.complete(0, 0)
    claim = queue.claim()
    assert claim is not None
    result = folders.results / claim.folder
    result.mkdir(parents=True)
    (result / "report.html").write_text("<script>the report</script>")
    (result / "secret.key").write_text("not for browsers")
    (tmp_path / "outside.html").write_text("outside")
    (result / "link.html").symlink_to(tmp_path / "outside.html")
    queue.failed(claim, HOSTILE)
    settings = Settings(web=WebSettings(port=free_port(), names=("grader.example",)))
    loops: list[Loop] = []
    site = Site(settings, folders, queue, Metrics(queue, tmp_path), loops)
    with serving(site, settings.web):
        yield Page(queue, folders, settings.web.port, loops)
    queue.close()


@pytest.mark.parametrize("path", ["/", "/studies/1"])
def test_texts_of_headers_are_escaped(page: Page, path: str) -> None:
    status, text, headers = page.ask(path)
    assert status == 200
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\x1b" not in text
    assert "script-src" not in headers["content-security-policy"]
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["x-content-type-options"] == "nosniff"


def test_a_report_is_shown_but_reaches_no_network(page: Page) -> None:
    assert '<a href="/results/1/1/report.html">' in page.ask("/")[1]
    status, text, headers = page.ask("/results/1/1/report.html")
    assert (status, text) == (200, "<script>the report</script>")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    assert "form-action 'none'" in policy


@pytest.mark.parametrize(
    "path",
    [
        "/results/1/1/../../../queue.sqlite",
        "/results/1/1/%2e%2e/%2e%2e/%2e%2e/outside.html",
        "/results/1/1/..%2f..%2f..%2foutside.html",
        "/results/1/1//etc/passwd",
        "/results/1/1/link.html",
        "/results/1/1/secret.key",
        "/results/1/1/missing.html",
        "/results/1/9/report.html",
        "/results/9/1/report.html",
        "/studies/9",
        "/studies/99999999999999999999",
        "/nothing",
    ],
)
def test_only_files_of_results_are_served(page: Page, path: str) -> None:
    status, text, _ = page.ask(path)
    assert status == 404
    assert "outside" not in text


def test_retry_by_its_own_button(page: Page) -> None:
    assert '<form method="post" action="/studies/1/retry">' in page.ask("/")[1]
    status, _, headers = page.ask("/studies/1/retry", "POST", Origin=page.origin)
    assert (status, headers["location"]) == (303, "/studies/1")
    assert page.queue.counts()[State.WAITING] == 1
    assert page.ask("/studies/1/retry", "POST", Origin=page.origin)[0] == 409
    assert page.ask("/studies/9/retry", "POST", Origin=page.origin)[0] == 404
    assert page.ask("/studies/1/retry", Origin=page.origin)[0] == 405


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "OURS", "Sec_Fetch_Site": "cross-site"},
    ],
)
def test_other_sites_change_nothing(page: Page, headers: dict[str, str]) -> None:
    sent = {k: page.origin if v == "OURS" else v for k, v in headers.items()}
    assert page.ask("/studies/1/retry", "POST", **sent)[0] == 403
    assert page.queue.counts()[State.FAILED] == 1


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("[::1]:8080", 200),
        ("grader.example", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("[::1", 421),
    ],
)
def test_names_of_the_node(page: Page, host: str, status: int) -> None:
    assert page.ask("/", Host=host)[0] == status


def test_health_names_the_part_that_fails(page: Page) -> None:
    stop = threading.Event()

    def broken() -> float:
        raise ValueError("Doe^Jane")

    page.loops.append(Loop("good", lambda: 0.01, stop))
    assert page.ask("/health")[0] == 200
    page.loops.append(Loop("bad", broken, stop))
    wait_until(lambda: page.loops[1].fault)
    status, text, _ = page.ask("/health")
    stop.set()
    assert status == 503
    assert json.loads(text)["parts"] == {"good": "ok", "bad": "ValueError"}
    assert "Not working: bad: ValueError" in page.ask("/")[1]


def test_a_port_that_is_taken(page: Page) -> None:
    settings = WebSettings(port=page.port)
    site = Site(Settings(), page.folders, page.queue, Metrics(page.queue, page.folders.data), [])
    with pytest.raises(UsageError, match="cannot listen"), serving(site, settings):
        pass
