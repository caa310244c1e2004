"""Whether the words of a header say that a series shows another region than the lumbar spine.

How much each tag counts, and why:

* SeriesDescription is of this series alone, so a region in it decides.
* ProtocolName (what was scanned), the order's descriptions (what was asked for: StudyDescription,
  and those of the requested and performed procedure, which copy each other and count once) and
  BodyPartExamined (a default of the scanner, often wrong) have one vote each. Where nothing names
  the lumbar spine, one is enough to decline; otherwise the majority decides.
* One against one, a region far from the lumbar spine (a knee beside "LWS") declines: one of the
  two is of another patient or examination, and nothing tells which. A neighbour (the cervical
  spine) does not: one examination often covers both.
* BodyPartExamined ABDOMEN has no vote: it stands on many spines.
"""

from __future__ import annotations

from typing import NamedTuple

from lumbargrade.dicom.header import Acquisition
from lumbargrade.dicom.kinds.meanings import Meaning
from lumbargrade.dicom.kinds.phrases import plain, read_words
from lumbargrade.dicom.kinds.region_words import UNTRUSTED_BODY_PARTS


class Vote(NamedTuple):
    """A tag that names a region: LUMBAR, NEAR_REGION or FAR_REGION."""

    tag: str
    value: str
    region: Meaning

    def __str__(self) -> str:
        return f"{self.tag} {self.value!r}"


def region_in(text: str) -> Meaning | None:
    """LUMBAR, NEAR_REGION or FAR_REGION, or None where a text names no region.

    Vertebrae name one too: T12-S1 spans the lumbar spine, C2-C7 does not.
    """
    found = [w.meaning for w in read_words(text)]
    if Meaning.COMPOSED in found:
        return None
    thoracic, sacral = Meaning.THORACIC_VERTEBRA, Meaning.SACRAL_VERTEBRA
    if Meaning.LUMBAR in found or (thoracic in found and sacral in found):
        return Meaning.LUMBAR
    if Meaning.FAR_REGION in found:
        return Meaning.FAR_REGION
    if Meaning.LUMBAR_VERTEBRA in found:
        return Meaning.LUMBAR
    # "C1" alone may be anything, such as a coil
    upper = sum(m in (thoracic, Meaning.CERVICAL_VERTEBRA) for m in found)
    return Meaning.NEAR_REGION if Meaning.NEAR_REGION in found or upper > 1 else None


def other_region(about: Acquisition) -> tuple[str | None, tuple[str, ...]]:
    """(why a series is of another region, or None; remarks on tags that contradict each other)."""
    votes = _votes(about)
    lumbar = [v for v in votes if v.region is Meaning.LUMBAR]
    others = [v for v in votes if v.region is not Meaning.LUMBAR]
    if (own := region_in(about.description)) is not None:
        name = Vote("SeriesDescription", about.description, own)
        if own is not Meaning.LUMBAR:
            return f"{name} names another region than the lumbar spine", ()
        lumbar, others = [name], others[:1] if len(others) > len(lumbar) else []
        return None, tuple(_contradiction(name, v) for v in others)
    if not others:
        return None, () if lumbar else _not_believed(about)
    if not lumbar:
        return f"{others[0]} names another region than the lumbar spine", ()
    even = len(lumbar) == len(others)
    far = any(v.region is Meaning.FAR_REGION for v in others)
    if len(others) > len(lumbar) or (even and far):
        return _contradiction(lumbar[0], others[0]), ()
    return None, (_contradiction(lumbar[0], others[0]),)


def _votes(about: Acquisition) -> list[Vote]:
    orders = [Vote(t, v, r) for t, v in about.order if (r := region_in(v)) is not None]
    orders.sort(key=lambda vote: vote.region is not Meaning.LUMBAR)
    votes = orders[:1]
    if (region := region_in(about.protocol)) is not None:
        votes.insert(0, Vote("ProtocolName", about.protocol, region))
    if not _untrusted(about) and (region := region_in(about.body_part)) is not None:
        votes.append(Vote("BodyPartExamined", about.body_part, region))
    return votes


def _untrusted(about: Acquisition) -> bool:
    return plain(about.body_part).strip() in UNTRUSTED_BODY_PARTS


def _not_believed(about: Acquisition) -> tuple[str, ...]:
    if not _untrusted(about):
        return ()
    return (f"BodyPartExamined {about.body_part!r} is often wrong for a spine and not believed",)


def _contradiction(lumbar: Vote, other: Vote) -> str:
    return f"{other} names another region, but {lumbar} the lumbar spine"
