"""Settings of `lumbargrade serve`, as they stand in its TOML file."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from lumbargrade.domain.errors import UsageError
from lumbargrade.files.structures import read_plain, structured

MEGABYTE = 1_000_000

_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")


@dataclass(frozen=True)
class DicomSettings:
    """The DICOM node.

    Attributes:
        ae_title: its application entity title; calls to another title are rejected.
        host, port: where it listens; ``0.0.0.0`` is every network of this machine.
        callers: application entity titles that may call; empty: any, which is refused unless
            ``host`` is this machine alone.
        max_associations: connections at the same time.
        max_pdu: largest protocol data unit, in bytes.
        idle_seconds: a connection on which nothing happens for so long is ended.
        max_object_mb: largest object, in megabytes of 10^6 bytes.
        max_study_mb: largest study.
        free_mb: objects are refused if less than this would stay free on the disk.
        tls_cert, tls_key: files of a certificate and its key; connections are then encrypted.
        tls_ca: certificates that callers must have one of; empty: callers need none.
    """

    ae_title: str = "LUMBARGRADE"
    host: str = "127.0.0.1"
    port: int = 11112
    callers: tuple[str, ...] = ()
    max_associations: int = 10
    max_pdu: int = 65_536
    idle_seconds: float = 60.0
    max_object_mb: float = 512.0
    max_study_mb: float = 4_096.0
    free_mb: float = 2_048.0
    tls_cert: str = ""
    tls_key: str = ""
    tls_ca: str = ""


@dataclass(frozen=True)
class StudySettings:
    """What happens to studies.

    Attributes:
        quiet_seconds: a study is complete if no image of it has arrived for so long.
        expected_instances: a study is also complete with so many images; 0: only if the images
            themselves tell their number (Number of Study Related Instances).
        workers: number of processes that grade.
        grade_minutes: a study that takes longer to grade has failed.
        keep_days: images and results are removed so long after a study has ended; results only if
            they were sent. 0: nothing is removed.
    """

    quiet_seconds: float = 60.0
    expected_instances: int = 0
    workers: int = 1
    grade_minutes: float = 30.0
    keep_days: float = 30.0


@dataclass(frozen=True)
class WebSettings:
    """The web page.

    Attributes:
        host, port: where it listens. It has no login: whoever reaches it sees all studies.
        names: further names by which browsers may call it, for example those of a proxy.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Destination:
    """Where results are sent: a node that takes C-STORE, or a DICOMweb server (STOW-RS).

    Attributes:
        name: for the page and the log; its own for each destination.
        ae_title, host, port: of a node.
        url: of a DICOMweb server, for example ``https://pacs.example/dicom-web``.
        credentials: beginning of the names of the environment variables with a user and password,
            or a token; see `pacs.dicomweb`.
        timeout_seconds: the longest wait for an answer.
        retry_seconds: wait before the second attempt; each further wait is twice as long, up to
            ten minutes.
        give_up_hours: how long sending is tried.
        tls, tls_ca, tls_cert, tls_key: encryption to a node; see `pacs.store.StoreNode`.
    """

    name: str
    ae_title: str = ""
    host: str = ""
    port: int = 104
    url: str = ""
    credentials: str = "LUMBARGRADE_DICOMWEB"
    timeout_seconds: float = 30.0
    retry_seconds: float = 5.0
    give_up_hours: float = 72.0
    tls: bool = False
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""


@dataclass(frozen=True)
class Settings:
    """All settings; a key that is absent in the file has its default."""

    dicom: DicomSettings = DicomSettings()
    studies: StudySettings = StudySettings()
    web: WebSettings = WebSettings()
    send: tuple[Destination, ...] = field(default=())

    @property
    def tried_for(self) -> dict[str, float]:
        """Names of the destinations, and for how many seconds sending is tried."""
        return {to.name: 3600 * to.give_up_hours for to in self.send}

    def check(self, origin: str) -> None:
        """Check what a single value cannot show.

        Args:
            origin: the file, for the messages.

        Raises:
            UsageError: if a value is impossible.
        """
        for fault in _faults(self):
            raise UsageError(f"{origin}: {fault}")


def read_settings(path: Path) -> Settings:
    """Read a TOML file.

    Raises:
        UsageError: if it cannot be read, has unknown keys or impossible values.
    """
    settings = structured(read_plain(path), Settings, path, "settings", partial=True)
    settings.check(str(path))
    return settings


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a host name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _faults(settings: Settings) -> list[str]:
    dicom, studies = settings.dicom, settings.studies
    faults = []
    titles = {"dicom.ae_title": dicom.ae_title}
    titles |= {f"dicom.callers[{i}]": title for i, title in enumerate(dicom.callers)}
    for number, to in enumerate(settings.send):
        where = f"send[{number}]"
        if bool(to.url) == bool(to.host):
            faults.append(f"{where}: give either url, or ae_title, host and port")
        elif to.url and not to.url.startswith(("http://", "https://")):
            faults.append(f"{where}.url = {to.url!r}: it must begin with http:// or https://")
        elif to.host:
            titles[f"{where}.ae_title"] = to.ae_title
    faults += [
        f"{key} = {title!r}: an AE title has 1 to 16 printable characters, no backslash"
        for key, title in titles.items()
        if not _AE_TITLE.fullmatch(title) or not title.strip()
    ]
    numbers = {
        "dicom.max_associations": dicom.max_associations,
        "dicom.idle_seconds": dicom.idle_seconds,
        "dicom.max_object_mb": dicom.max_object_mb,
        "dicom.max_study_mb": dicom.max_study_mb,
        "studies.workers": studies.workers,
        "studies.grade_minutes": studies.grade_minutes,
        **{f"send[{i}].timeout_seconds": to.timeout_seconds for i, to in enumerate(settings.send)},
        **{f"send[{i}].retry_seconds": to.retry_seconds for i, to in enumerate(settings.send)},
    }
    faults += [f"{key} = {n}: give more than 0" for key, n in numbers.items() if not n > 0]
    at_least = {
        "dicom.free_mb": dicom.free_mb,
        "studies.quiet_seconds": studies.quiet_seconds,
        "studies.expected_instances": studies.expected_instances,
        "studies.keep_days": studies.keep_days,
    }
    faults += [f"{key} = {n}: give 0 or more" for key, n in at_least.items() if not n >= 0]
    if dicom.max_pdu and dicom.max_pdu < 4096:
        faults.append(f"dicom.max_pdu = {dicom.max_pdu}: give at least 4096")
    ports = {"dicom.port": dicom.port, "web.port": settings.web.port}
    ports |= {f"send[{i}].port": to.port for i, to in enumerate(settings.send)}
    faults += [f"{k} = {p}: give 1 to 65535" for k, p in ports.items() if not 0 < p < 65_536]
    for name, count in Counter(to.name for to in settings.send).items():
        if count > 1 or not name:
            faults.append(f"send: the name {name!r} must be given once, and not be empty")
    if bool(dicom.tls_cert) != bool(dicom.tls_key):
        faults.append("dicom: give both tls_cert and tls_key")
    if not dicom.callers and not is_loopback(dicom.host):
        faults.append(
            f"dicom.host = {dicom.host!r} lets other machines call; name those that may in "
            'dicom.callers, for example callers = ["ORTHANC"]'
        )
    return faults
