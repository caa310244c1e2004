"""The web page of a node: worklist, reports, errors and a retry button; health and metrics.

There is no login. The page is meant for this machine; `Site` checks that requests come from its own
pages.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route

from lumbargrade.domain.errors import BadInput, UsageError
from lumbargrade.serve.inbox import Folders
from lumbargrade.serve.loop import Loop
from lumbargrade.serve.metrics import Metrics
from lumbargrade.serve.queue import Queue
from lumbargrade.serve.reviews import Reviews
from lumbargrade.serve.settings import Settings, WebSettings
from lumbargrade.serve.states import State, StudyRow, result_folder

#: Pages of this room have no script; they show what the queue says.
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

#: A report is one file with its own script, which may reach no network.
_REPORT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src data:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'"
)

#: The page of a result: the first of these that it has.
_PAGES = ("report.html", "index.html")

#: Files of a result that are shown, and how. Anything else is not served.
_TYPES = {
    ".html": "text/html",
    ".json": "application/json",
    ".csv": "text/csv",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".txt": "text/plain",
    ".dcm": "application/dicom",
}

#: Largest request with a review, in bytes; texts of a review are bounded by its format.
_LARGEST_REVIEW = 2_000_000

#: Queue numbers are smaller: SQLite's integers have 64 bits.
_NUMBERS = 2**63

Handler = Callable[[Request], Awaitable[Response]]


class Site:
    """The pages.

    Args:
        settings: of the node.
        folders, queue, metrics: of the node.
        loops: its threads, for its health; more may be added later.
    """

    def __init__(
        self,
        settings: Settings,
        folders: Folders,
        queue: Queue,
        metrics: Metrics,
        loops: Sequence[Loop],
    ) -> None:
        self.settings, self.folders, self.queue = settings, folders, queue
        self.metrics, self.loops = metrics, loops
        self._reviews = Reviews(settings, folders, queue)
        pages = Environment(
            loader=PackageLoader("lumbargrade.serve"),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_printable,
        )
        pages.filters["time"] = _time
        self._pages = pages
        self._names = {"localhost", socket.gethostname().lower(), settings.web.host.lower()}
        self._names |= {name.lower() for name in settings.web.names}
        self.app = Starlette(
            routes=[
                Route("/", self._worklist),
                Route("/style.css", self._style),
                Route("/studies/{study:int}", self._study),
                Route("/studies/{study:int}/retry", self._retry, methods=["POST"]),
                Route("/studies/{study:int}/review", self._review, methods=["POST"]),
                Route("/results/{study:int}/index.html", self._up),
                Route("/results/{study:int}/{result:int}/{path:path}", self._result),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
            ],
            middleware=[Middleware(BaseHTTPMiddleware, dispatch=self._guarded)],
        )

    async def _guarded(self, request: Request, answer: Handler) -> Response:
        """Refuse names and origins that are not ours, and add the headers of every answer."""
        if not self._is_ours(request.headers.get("host", "")):
            what = "unknown host name; add it to web.names in the settings\n"
            return PlainTextResponse(what, 421)
        if request.method not in ("GET", "HEAD") and not _same_origin(request):
            return PlainTextResponse("the request comes from another site\n", 403)
        response = await answer(request)
        headers = response.headers
        headers.setdefault("Content-Security-Policy", _POLICY)
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Referrer-Policy"] = "same-origin"
        headers["Cache-Control"] = "no-store"
        return response

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header names this node; a foreign name could be one that leads here.

        Addresses are always ours, because no name had to be resolved.
        """
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:  # a malformed address
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True

    def _page(self, name: str, **content: object) -> HTMLResponse:
        return HTMLResponse(self._pages.get_template(name).render(content))

    def _worklist(self, request: Request) -> Response:
        studies = self.queue.studies()
        return self._page(
            "worklist.html",
            studies=studies,
            counts=self.queue.counts(),
            faults=[f"{loop.name}: {loop.fault}" for loop in self.loops if not loop.healthy],
            title=self.settings.dicom.ae_title,
            sent=self.queue.sent(),
            instances=self.queue.instance_counts(),
            page=self._page_of,
            State=State,
        )

    def _page_of(self, study: StudyRow) -> str:
        """The address of the report of a study; empty if there is none."""
        if not study.result:
            return ""
        folder = result_folder(study.id, study.result)
        for name in _PAGES:
            if (self.folders.results / folder / name).is_file():
                return f"/results/{study.id}/{study.result}/{name}"
        return ""

    def _known(self, request: Request) -> StudyRow:
        number = request.path_params["study"]
        study = self.queue.study(number) if number < _NUMBERS else None
        if study is None:
            raise HTTPException(404, "no such study")
        return study

    def _study(self, request: Request) -> Response:
        study = self._known(request)
        return self._page(
            "study.html",
            study=study,
            instances=len(self.queue.instances(study.id)),
            sends=self.queue.sends(study.id),
            history=self.queue.history(study.id),
            page=self._page_of(study),
            files=self._files(study),
            State=State,
        )

    def _files(self, study: StudyRow) -> list[str]:
        folder = self.folders.results / result_folder(study.id, study.result)
        return (
            sorted(f.name for f in folder.glob("*") if f.suffix in _TYPES) if study.result else []
        )

    def _retry(self, request: Request) -> Response:
        study = self._known(request)
        hours = max((to.give_up_hours for to in self.settings.send), default=1.0)
        if not self.queue.retry(study.id, 3600 * hours):
            raise HTTPException(409, "there is nothing to try again: send the study again")
        return RedirectResponse(f"/studies/{study.id}", 303)

    async def _review(self, request: Request) -> Response:
        study = self._known(request)
        length = request.headers.get("content-length", "")
        if not length.isdigit() or int(length) > _LARGEST_REVIEW:
            raise HTTPException(413, f"a review has at most {_LARGEST_REVIEW} bytes")
        async with request.form(max_files=1, max_fields=1) as form:
            file = form.get("review")
            if not isinstance(file, UploadFile):
                raise HTTPException(400, "choose the file that the report has saved")
            content = await file.read()
        try:
            await run_in_threadpool(self._reviews.apply, study.id, content)
        except BadInput as error:
            raise HTTPException(400, str(error)) from None
        return RedirectResponse(f"/studies/{study.id}", 303)

    def _up(self, request: Request) -> Response:
        """The page of a result links to a page of all studies, which is the worklist here."""
        return RedirectResponse("/", 307)

    def _result(self, request: Request) -> Response:
        study, result = request.path_params["study"], request.path_params["result"]
        folder = (self.folders.results / result_folder(study, result)).resolve()
        file = (folder / request.path_params["path"]).resolve()
        if not file.is_relative_to(folder) or file.suffix not in _TYPES or not file.is_file():
            raise HTTPException(404, "no such file")
        return FileResponse(
            file,
            media_type=_TYPES[file.suffix],
            headers={"Content-Security-Policy": _REPORT_POLICY},
        )

    def _style(self, request: Request) -> Response:
        return FileResponse(Path(__file__).parent / "templates" / "style.css")

    def _health(self, request: Request) -> Response:
        parts = {loop.name: loop.fault or "ok" for loop in self.loops}
        healthy = all(loop.healthy for loop in self.loops)
        content = {"status": "ok" if healthy else "failing", "parts": parts}
        return Response(
            json.dumps(content) + "\n", 200 if healthy else 503, media_type="application/json"
        )

    def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")


def _same_origin(request: Request) -> bool:
    """Whether a page of this site has sent a request, as browsers say."""
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    return urlsplit(request.headers.get("origin", "")).netloc == request.headers.get("host", "")


def _printable(value: object) -> object:
    """A text of a header without control characters; what is safe already stays as it is."""
    if type(value) is not str:
        return value
    return "".join(
        c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in value
    )


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


@contextmanager
def serving(site: Site, settings: WebSettings) -> Iterator[None]:
    """Answer browsers until the block ends.

    Raises:
        UsageError: if it cannot listen.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.create_server((settings.host, settings.port), family=family)
    except OSError as error:
        raise UsageError(
            f"web.host = {settings.host!r}, web.port = {settings.port}: cannot listen "
            f"({error.strerror or error})"
        ) from None
    config = uvicorn.Config(
        site.app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        limit_concurrency=100,
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="web", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(10.0)
        listener.close()
