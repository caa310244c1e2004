"""Show a study with its DICOM results in a real OHIF, and take screenshots.

    python tools/view_in_ohif.py IMAGES RESULT --out SHOTS

IMAGES is a folder with one DICOM study, RESULT a folder with its `sr.dcm` and `seg-*.dcm`. Both
are stored in an Orthanc that runs for this only. OHIF is the package `@ohif/app` of npm, which is
fetched once; it is served on a free port of this machine together with Orthanc's DICOMweb, and
opened in headless Chromium. Needs the Debian packages orthanc, orthanc-dicomweb, chromium and npm.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import json
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import HTTPError
from urllib.request import Request, urlopen

_TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(_TESTS), str(_TESTS / "serve")]

from orthanc import Orthanc, running_orthanc  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

PACKAGE = "@ohif/app@3.13.2"

_CONFIGURATION = """
window.config = {
  routerBasename: '/',
  extensions: [], modes: [], customizationService: {},
  showStudyList: true, maxNumberOfWebWorkers: 1,
  showWarningMessageForCrossOrigin: false, showCPUFallbackMessage: false,
  investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'orthanc',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
    sourceName: 'orthanc',
    configuration: {
      friendlyName: 'Orthanc', name: 'orthanc',
      wadoUriRoot: '/dicom-web', qidoRoot: '/dicom-web', wadoRoot: '/dicom-web',
      qidoSupportsIncludeField: false, supportsReject: false,
      imageRendering: 'wadors', thumbnailRendering: 'wadors',
      enableStudyLazyLoad: true, supportsFuzzyMatching: false, supportsWildcard: false,
      bulkDataURI: { enabled: true, relativeResolution: 'studies' },
    },
  }],
};
"""

#: Milliseconds after which images and marks are drawn, without a GPU.
_DRAWN_MS = 7000

#: Slices from the first to the middle of a series.
_HALF = 8

#: Chromium draws without a GPU.
_DRAW = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def fetch_ohif(folder: Path) -> Path:
    """Fetch the package into a folder, unless it is there; return the folder of its pages."""
    pages = folder / "package" / "dist"
    if not (pages / "index.html").exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, timeout=600)
        (packed,) = folder.glob("*.tgz")
        with tarfile.open(packed) as archive:
            archive.extractall(folder, filter="data")
    (pages / "app-config.js").write_text(_CONFIGURATION)
    return pages


class _Pages(http.server.SimpleHTTPRequestHandler):
    """OHIF's pages, and DICOMweb passed on to Orthanc, so that both have one origin."""

    def __init__(self, *args: object, orthanc: str, **more: object) -> None:
        self.orthanc = orthanc
        super().__init__(*args, **more)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if self.path.startswith("/dicom-web"):
            self._pass_on()
            return
        path = self.path.partition("?")[0]
        if not Path(self.translate_path(path)).is_file():
            self.path = "/index.html"
        super().do_GET()

    def _pass_on(self) -> None:
        request = Request(self.orthanc + self.path)
        for name in ("Accept", "Accept-Language"):
            if value := self.headers.get(name):
                request.add_header(name, value)
        # Orthanc writes addresses with the host that it is asked by
        request.add_header("Host", self.headers["Host"])
        try:
            with urlopen(request, timeout=60) as answer:
                status, kind, body = answer.status, answer.headers["Content-Type"], answer.read()
        except HTTPError as error:
            status, kind, body = error.code, "text/plain", error.read()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(pages: Path, orthanc: Orthanc) -> Iterator[str]:
    """Serve OHIF until the block ends; yields its address."""
    handler = functools.partial(
        _Pages, directory=str(pages), orthanc=f"http://127.0.0.1:{orthanc.http}"
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def show(page: Page, address: str, study_uid: str, out: Path) -> None:
    """Open the study, load its report and outlines, and take screenshots."""
    page.goto(f"{address}/viewer?StudyInstanceUIDs={study_uid}", timeout=120_000)
    report = page.get_by_text("lumbargrade findings").first
    report.wait_for(timeout=120_000)
    page.get_by_text("Skip all").click(timeout=60_000)
    _take(page, out / "1-study.png")
    report.dblclick()
    _take(page, out / "2-report.png")
    page.get_by_text("Yes", exact=True).first.click()
    page.locator("[data-cy=trackedMeasurements-btn]").click()
    _take(page, out / "3-measurements.png")
    outlines = page.get_by_text("lumbargrade outlines")
    for number in range(outlines.count()):
        outlines.nth(number).dblclick()
        load = page.get_by_text("Yes", exact=True).first
        load.wait_for(timeout=60_000)
        load.click()
        page.mouse.move(800, 500)
        for _ in range(_HALF):
            page.mouse.wheel(0, 100)
            page.wait_for_timeout(100)
        _take(page, out / f"{4 + number}-outlines.png")


def _take(page: Page, path: Path) -> None:
    """Take a screenshot when what was asked for is drawn."""
    page.wait_for_timeout(_DRAWN_MS)
    page.screenshot(path=path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ohif", type=Path, default=Path("build/ohif"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pages = fetch_ohif(options.ohif)
    with TemporaryDirectory() as folder, running_orthanc(Path(folder), 9) as orthanc:
        study = orthanc.upload(options.images)
        for file in sorted(options.result.glob("*.dcm")):
            orthanc.ask("/instances", file.read_bytes())
        tags = orthanc.ask(f"/studies/{study}")["MainDicomTags"]
        print(json.dumps(orthanc.ask(f"/studies/{study}/statistics")))
        with served(pages, orthanc) as address, sync_playwright() as playwright:
            program = shutil.which("chromium") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=program, args=_DRAW)
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            log = (options.out / "console.txt").open("w")
            page.on("console", lambda m: print(m.type, m.text, file=log))
            page.on("pageerror", lambda e: print("ERROR", e, file=log))
            try:
                show(page, address, tags["StudyInstanceUID"], options.out)
            finally:
                page.screenshot(path=options.out / "last.png")
                browser.close()
                log.close()
    print(f"{options.out}: look at the screenshots")


if __name__ == "__main__":
    main()
