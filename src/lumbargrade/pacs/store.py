"""Send DICOM files to another node by C-STORE."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from lumbargrade.domain.errors import BadInput, one_line


@dataclass(frozen=True)
class StoreNode:
    """A node that takes C-STORE.

    Attributes:
        ae_title: its application entity title.
        host, port: where it listens.
        calling: the application entity title that we call from.
        seconds: the longest wait for a connection or an answer.
        tls: whether the connection is encrypted; its certificate must be valid for ``host``.
        tls_ca: a file with certificates that are trusted; empty: those of the system.
        tls_cert, tls_key: our own certificate and its key, if the node asks for one.
    """

    ae_title: str
    host: str
    port: int
    calling: str
    seconds: float = 30.0
    tls: bool = False
    tls_ca: str = ""
    tls_cert: str = ""
    tls_key: str = ""

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}:{self.port}"

    def send(self, files: Sequence[Path]) -> list[str]:
        """Send files over one association.

        Args:
            files: DICOM files.

        Returns:
            For each file the reason why it was not stored; an empty text if it was stored.
        """
        if not files:
            return []
        try:
            kinds = {_kind(file) for file in files}
        except BadInput as error:
            return [str(error)] * len(files)
        entity = AE(self.calling)
        entity.connection_timeout = entity.acse_timeout = self.seconds
        entity.dimse_timeout = entity.network_timeout = self.seconds
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in sorted(kinds)]
        tls = (self._tls(), self.host) if self.tls else None
        link = entity.associate(
            self.host, self.port, contexts=contexts, ae_title=self.ae_title, tls_args=tls
        )
        try:
            if not link.is_established:
                return [self._why_not(link)] * len(files)
            return [self._send(link, file) for file in files]
        finally:
            if link.is_established:
                link.release()
            connection = link.dul.socket
            if connection is not None and connection.socket is not None:
                connection.socket.close()  # pynetdicom leaves it open if the other side has cut it

    def _send(self, link: Association, file: Path) -> str:
        if not link.is_established:
            return f"{self}: the connection was lost"
        try:
            status = link.send_c_store(file)
        except (ValueError, RuntimeError, OSError) as error:  # no context accepted, file vanished
            return f"{self}: {one_line(error)}"
        code = status.get("Status")
        if code is None:
            return f"{self}: no answer within {self.seconds:g} s, or the connection was lost"
        if code == 0x0000 or 0xB000 <= code <= 0xBFFF:  # stored, perhaps with a warning
            return ""
        comment = str(status.get("ErrorComment", ""))[:100]
        return f"{self}: refused with status 0x{code:04X}" + (f" ({comment})" if comment else "")

    def _why_not(self, link: Association) -> str:
        if link.is_rejected:
            return f"{self}: the association was rejected; check the AE titles on both sides"
        if link.is_aborted:
            return f"{self}: no connection, or no answer within {self.seconds:g} s"
        return f"{self}: no association"

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.tls_ca or None)
        if self.tls_cert:
            context.load_cert_chain(self.tls_cert, self.tls_key or None)
        return context


def _kind(file: Path) -> tuple[str, str]:
    """SOP class and transfer syntax of a file."""
    try:
        meta = dcmread(file, stop_before_pixels=True, specific_tags=[]).file_meta
        return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    except (OSError, InvalidDicomError, AttributeError) as error:
        raise BadInput(f"{file}: cannot be sent: {one_line(error)}") from None
