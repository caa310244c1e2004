"""A DICOMweb server: lists and fetches studies (QIDO-RS, WADO-RS), stores results (STOW-RS).

A server that asks for a login gets it from environment variables, so that it is in no file, command
line or log: ``PREFIX_TOKEN`` is sent as a bearer token, ``PREFIX_USER`` and ``PREFIX_PASSWORD`` by
basic authentication. The prefix is ``LUMBARGRADE_DICOMWEB`` unless another one is given.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from dicomweb_client import DICOMwebClient
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from lumbargrade.domain.errors import BadInput, UsageError, one_line

#: Beginning of the names of the environment variables with a login.
CREDENTIALS = "LUMBARGRADE_DICOMWEB"

#: Modalities of series without images to grade.
_NO_IMAGES = frozenset({"SR", "SEG", "PR", "KO", "DOC", "OT", "RTSTRUCT", "REG", "RWV", "AU"})


@dataclass(frozen=True)
class RemoteInstance:
    """An instance of a server, by its UIDs."""

    series_uid: str
    uid: str


@dataclass(frozen=True)
class Server:
    """A DICOMweb server.

    Attributes:
        url: of its root; ``/studies`` follows it.
        seconds: the longest wait for a connection, and for the next part of an answer.
        credentials: beginning of the names of the environment variables with a login.
    """

    url: str
    seconds: float = 30.0
    credentials: str = CREDENTIALS

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{self.url}: give a URL such as https://pacs.example/dicom-web")
        if parts.username or parts.password:
            raise UsageError(
                f"{parts.scheme}://{parts.hostname}: a login does not belong into the URL; set "
                f"{self.credentials}_USER and {self.credentials}_PASSWORD"
            )

    def instances(self, study: str) -> tuple[RemoteInstance, ...]:
        """List the images of a study, sorted.

        Raises:
            BadInput: if there are none, or the server cannot be asked; names the URL.
        """
        with self._asking(f"studies/{study}/series") as client:
            series = client.search_for_series(study)
            found = []
            for line in series:
                uid, modality = _value(line, "0020000E"), _value(line, "00080060")
                if uid and modality not in _NO_IMAGES:
                    listed = client.search_for_instances(study, uid)
                    found += [RemoteInstance(uid, _value(i, "00080018")) for i in listed]
        if not found:
            raise BadInput(f"{self.url}: it has no images of the study {study}")
        return tuple(sorted(found, key=lambda i: (i.series_uid, i.uid)))

    def fetch(self, study: str, series: Sequence[str], folder: Path) -> set[str]:
        """Fetch series of a study into a folder, a file per instance, as they are stored.

        Returns:
            The SOPInstanceUIDs of what the server has sent, which may be less than it lists.

        Raises:
            BadInput: if the server cannot be asked, or sends something else; names the URL.
        """
        sent = set()
        for number, uid in enumerate(series):
            with self._asking(f"studies/{study}/series/{uid}") as client:
                parts = client.iter_series(study, uid, media_types=(("application/dicom", "*"),))
                folder.mkdir(parents=True, exist_ok=True)
                for count, data in enumerate(parts):
                    data.save_as(folder / f"{number:03d}-{count:05d}.dcm")
                    sent.add(str(data.get("SOPInstanceUID", "")))
        return sent

    def store(self, files: Sequence[Path]) -> list[str]:
        """Store files.

        Returns:
            For each file the reason why it was not stored; an empty text if it was stored.
        """
        return [self._store(file) for file in files]

    def _store(self, file: Path) -> str:
        try:
            data = dcmread(file)
            with self._asking("studies") as client:
                answer = client.store_instances([data])
        except (BadInput, OSError, InvalidDicomError) as error:
            return one_line(error)
        for failed in answer.get("FailedSOPSequence") or ():
            code = int(failed.get("FailureReason") or 0)
            return f"{self.url}/studies: not stored, reason 0x{code:04X}"
        return ""

    @contextmanager
    def _asking(self, what: str) -> Iterator[DICOMwebClient]:
        """Yield a client; whatever goes wrong becomes a `BadInput` that names the URL."""
        where = f"{self.url.rstrip('/')}/{what}"
        with requests.Session() as session:
            session.trust_env = False  # no login from a .netrc file
            self._log_in(session)
            client = DICOMwebClient(
                self.url.rstrip("/"), session=session, timeout=(self.seconds, self.seconds)
            )
            client.set_http_retry_params(retry=False)
            try:
                yield client
            except requests.HTTPError as error:
                raise BadInput(f"{where}: {_status(error.response)}{self._hint(error)}") from None
            except requests.Timeout:
                raise BadInput(f"{where}: no answer within {self.seconds:g} s") from None
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
                raise BadInput(f"{where}: no connection ({_cause(error)})") from None
            except Exception as error:
                if isinstance(error, OSError) and not isinstance(error, requests.RequestException):
                    raise  # a file of this machine
                raise BadInput(f"{where}: not an answer of DICOMweb ({one_line(error)})") from None

    def _log_in(self, session: requests.Session) -> None:
        token, user, password = (
            os.environ.get(f"{self.credentials}_{key}", "") for key in ("TOKEN", "USER", "PASSWORD")
        )
        if token:
            session.headers["Authorization"] = f"Bearer {token}"
        elif user:
            session.auth = (user, password)

    def _hint(self, error: requests.HTTPError) -> str:
        if error.response is None or error.response.status_code not in (401, 403):
            return ""
        names = ", ".join(f"{self.credentials}_{key}" for key in ("TOKEN", "USER", "PASSWORD"))
        return f"; the environment variables {names} give a login"


def _status(response: requests.Response | None) -> str:
    if response is None:
        return "no answer"
    return f"HTTP {response.status_code} {response.reason or ''}".strip()


def _cause(error: Exception) -> str:
    """The innermost reason, which is what a reader can use."""
    cause: BaseException = error
    while cause.args and isinstance(cause.args[0], BaseException):
        cause = cause.args[0]
    reason = getattr(cause, "reason", None)
    return one_line(reason if isinstance(reason, BaseException) else cause)


def _value(line: dict[str, Any], tag: str) -> str:
    """The first value of an element in DICOM JSON."""
    values = line.get(tag, {}).get("Value") or [""]
    return str(values[0])
