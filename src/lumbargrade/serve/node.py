"""The DICOM node: answers C-ECHO, and takes instances by C-STORE."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from lumbargrade.domain.errors import UsageError
from lumbargrade.serve.inbox import Answer, Inbox
from lumbargrade.serve.settings import MEGABYTE, DicomSettings

log = logging.getLogger(__name__)

#: PDUs other than data may be so long: a request for an association lists up to 128 contexts.
_LONGEST_REQUEST = 1_000_000

#: Transfer syntaxes of images that can be read: not video, and nothing by reference.
SYNTAXES = (
    "1.2.840.10008.1.2.1",  # explicit VR little endian; first, so that it is preferred
    "1.2.840.10008.1.2",  # implicit VR little endian
    "1.2.840.10008.1.2.2",  # explicit VR big endian
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
)


class Node:
    """Listens for associations until `close`.

    Args:
        settings: of the node.
        inbox: takes the instances.
        noted: called with every answer.

    Raises:
        UsageError: if it cannot listen, or a certificate cannot be used.
    """

    def __init__(
        self, settings: DicomSettings, inbox: Inbox, noted: Callable[[Answer], None]
    ) -> None:
        self.settings, self.inbox, self.noted = settings, inbox, noted
        #: association -> bytes since its last whole message
        self._pending: dict[Association, int] = {}
        self._lock = threading.Lock()
        entity = AE(settings.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(settings.callers)
        entity.maximum_associations = settings.max_associations
        entity.maximum_pdu_size = settings.max_pdu
        entity.network_timeout = settings.idle_seconds
        entity.acse_timeout = entity.dimse_timeout = settings.idle_seconds
        entity.add_supported_context(Verification)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(context.abstract_syntax or "", list(SYNTAXES))
        handlers: list[Any] = [
            (evt.EVT_CONN_OPEN, self._opened),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_DATA_RECV, self._count),
            (evt.EVT_DIMSE_RECV, self._whole),
            (evt.EVT_CONN_CLOSE, self._whole),
            (evt.EVT_REJECTED, self._rejected),
        ]
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        try:
            # pynetdicom would leave its socket open if it cannot listen
            socket.create_server((settings.host, settings.port), family=family).close()
            self._server = entity.start_server(
                (settings.host, settings.port),
                block=False,
                ssl_context=_tls(settings),
                evt_handlers=handlers,
            )
        except OSError as error:
            raise UsageError(
                f"dicom.host = {settings.host!r}, dicom.port = {settings.port}: cannot listen "
                f"({error.strerror or error})"
            ) from None
        self._entity = entity

    def close(self) -> None:
        """Stop listening, and abort the associations."""
        self._entity.shutdown()

    @property
    def associations(self) -> int:
        """Number of open associations."""
        return len(self._entity.active_associations)

    def _store(self, event: Event) -> int:
        request = event.request
        answer = self.inbox.receive(
            event.encoded_dataset(),
            str(getattr(request, "AffectedSOPClassUID", "")),
            str(getattr(request, "AffectedSOPInstanceUID", "")),
        )
        if answer.reason:
            log.warning(
                "instance refused",
                extra={
                    "study": answer.study,
                    "status": f"0x{answer.status:04X}",
                    "reason": answer.reason,
                },
            )
        self.noted(answer)
        return answer.status

    def _opened(self, event: Event) -> None:
        """Bound what a connection can cost: pynetdicom alone would wait for the rest of a PDU for
        ever, and hold one of any length in memory."""
        connection: Any = event.assoc.dul.socket
        connection.socket.settimeout(self.settings.idle_seconds)
        plain = connection.recv
        most = max(self.settings.max_pdu, _LONGEST_REQUEST)

        def recv(count: int) -> bytearray:
            if count > most:
                raise OSError(f"a PDU of {count} bytes")
            received: bytearray = plain(count)
            return received

        connection.recv = recv

    def _count(self, event: Event) -> None:
        """End a connection that sends more than an object may have; it is held in memory."""
        with self._lock:
            pending = self._pending.get(event.assoc, 0) + len(event.data)
            self._pending[event.assoc] = pending
        if pending > 2 * self.settings.max_object_mb * MEGABYTE:
            # an abort would wait for the end of the object
            connection = event.assoc.dul.socket
            if connection is not None:
                log.warning("connection ended: the object is much larger than max_object_mb")
                connection.close()

    def _whole(self, event: Event) -> None:
        """A message is complete, or the connection has ended."""
        with self._lock:
            self._pending.pop(event.assoc, None)

    def _rejected(self, event: Event) -> None:
        log.warning("association rejected", extra={"caller": _caller(event.assoc)})


def _caller(link: Association) -> str:
    title = str(getattr(link.requestor, "ae_title", ""))
    return f"{title.strip()} at {link.requestor.address}"


def _tls(settings: DicomSettings) -> ssl.SSLContext | None:
    if not settings.tls_cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        if settings.tls_ca:
            context.load_verify_locations(settings.tls_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"dicom.tls_cert, tls_key, tls_ca: cannot be used ({error})") from None
    return context
