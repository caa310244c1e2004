"""Run a DICOM node that grades the studies it receives and sends the results back.

It answers C-ECHO and C-STORE, knows when a study is complete, grades it in a process of its own,
and sends the DICOM files of the result to the destinations of the settings. A web page shows the
worklist and the reports. docs/pacs.md explains the settings, which are a TOML file. Stop it with
Ctrl-C or SIGTERM; after any other end, the next start goes on where it was.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from lumbargrade.cli.model_options import ModelOptions
from lumbargrade.cli.places import PlaceOption

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """Options of `lumbargrade serve`."""

    data: Path
    """folder of the node: its queue, the images that it received, and their results"""
    config: Path | None = None
    """settings as a TOML file; without it, the node listens to programs of this machine only and
    sends nothing"""
    host: str | None = None
    """address of the web page, in place of that of the settings. The page has no login: an address
    other than 127.0.0.1 shows all studies to everybody who reaches it"""
    calibration: PlaceOption | None = None
    """calibration file of `recalibrate`, used for the conditions that it holds"""
    wording: PlaceOption | None = None
    """TOML file with the words of the draft report (docs/report.md)"""
    dicom_summary: bool = False
    """also send a picture of all findings as a DICOM image (Secondary Capture), for viewers that
    show nothing but images"""


def run(options: Options) -> int:
    from lumbargrade.cli import grade
    from lumbargrade.domain.errors import UsageError
    from lumbargrade.serve.logs import log_as_json
    from lumbargrade.serve.run import serve
    from lumbargrade.serve.settings import Settings, is_loopback, read_settings

    settings = Settings() if options.config is None else read_settings(options.config)
    if options.host is not None:
        settings = replace(settings, web=replace(settings.web, host=options.host))
    shared = {f.name for f in fields(Options)} & {f.name for f in fields(grade.Options)}
    chosen: dict[str, Any] = {name: getattr(options, name) for name in shared}
    grading = grade.Options(studies=(), out=options.data, **chosen)
    grade.check_models(grading)
    if options.data.exists() and not options.data.is_dir():
        raise UsageError(f"--data {options.data} is a file; give a folder")
    if not is_loopback(settings.web.host):
        log.warning(
            "the web page listens on %s and has no login: everybody who reaches it sees names, "
            "images and reports of all patients",
            settings.web.host,
        )
    os.umask(0o077)  # images and results are for this user only
    log_as_json()
    serve(partial(grade.open_models, grading.absolute()), settings, options.data)
    return 0
