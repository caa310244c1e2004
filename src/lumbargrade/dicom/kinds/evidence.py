"""Derive contrast agent, weighting and region from a header.

These tags decide the region:

* SeriesDescription decides if it names a region, because it describes this series alone.
* There is one vote each for ProtocolName (what was scanned), for the order (what was requested:
  StudyDescription and the descriptions of the requested and performed procedure, which are often
  equal and count once), and for BodyPartExamined (a default of the scanner, often wrong). If no tag
  names the lumbar spine, one vote for another region excludes the series; otherwise the majority
  decides.
* With equal votes, a region far from the lumbar spine (a knee beside "LWS") excludes the series:
  one tag belongs to another patient or examination, and it is unknown which. A near region (the
  cervical spine) does not, because one examination often covers both.
* BodyPartExamined ABDOMEN has no vote, because many spine studies carry it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, StrEnum, auto
from typing import NamedTuple

from lumbargrade.dicom.header import Acquisition
from lumbargrade.dicom.kinds.words import (
    AGENT_FILLERS,
    NO_AGENT,
    UNTRUSTED_BODY_PARTS,
    Meaning,
    Word,
    plain,
    read_words,
)


class Agent(Enum):
    """Whether a text says that a contrast agent was given."""

    GIVEN = auto()
    NOT_GIVEN = auto()
    #: the text says nothing, or both (as names of whole examinations do)
    UNSAID = auto()


_QUALIFIERS: dict[Meaning | None, Agent] = {
    Meaning.WITH: Agent.GIVEN,
    Meaning.POST: Agent.GIVEN,
    Meaning.WITHOUT: Agent.NOT_GIVEN,
    Meaning.PRE: Agent.NOT_GIVEN,
}


def agent_in(words: Sequence[Word]) -> Agent:
    """Whether a text says that a contrast agent was given; the words before the agent decide.

    "Post" alone means an agent, except before an operation: "post laminectomy".
    """
    said: set[Agent] = set()
    before: set[Agent] = set()
    alone: set[Agent] = set()
    for number, word in enumerate((*words, Word("", None))):
        meaning = word.meaning
        if meaning in _QUALIFIERS:
            before.add(_QUALIFIERS[meaning])
            if meaning is Meaning.PRE or (
                meaning is Meaning.POST and not _surgery_after(words, number)
            ):
                alone.add(_QUALIFIERS[meaning])
            continue
        if meaning is Meaning.JOIN or word.text in AGENT_FILLERS:
            continue
        if meaning is Meaning.AGENT:
            denied = number + 1 < len(words) and words[number + 1].meaning is Meaning.NONE
            said |= {Agent.NOT_GIVEN} if denied else before or {Agent.GIVEN}
        else:
            said |= alone
            ends = number == len(words) and before == {Agent.NOT_GIVEN}  # "T1 W/O"
            if meaning is Meaning.NATIVE or ends:
                said.add(Agent.NOT_GIVEN)
        before, alone = set(), set()
    return said.pop() if len(said) == 1 else Agent.UNSAID


def _surgery_after(words: Sequence[Word], number: int) -> bool:
    return any(w.meaning is Meaning.SURGERY for w in words[number + 1 :])


def names_agent(value: str) -> bool:
    """Whether a value of ContrastBolusAgent is an agent, and not a word that means none."""
    tokens = plain(value).replace("/", " ").replace("\\", " ").replace("-", " ").split()
    words = [t.strip(".,;:()[]<>*?+") for t in tokens]
    words = [w for w in words if w and not _zero(w)]
    if not words or all(w in NO_AGENT for w in words):
        # "KM" or "contrast" alone means an agent
        said = agent_in(read_words(value))
        return said is Agent.GIVEN
    return agent_in(read_words(value)) is not Agent.NOT_GIVEN


def _zero(word: str) -> bool:
    return word.strip("0.,mlgc") == "" and any(c.isdigit() for c in word)


class Weighting(StrEnum):
    """Weighting of a series, as far as the kinds need it."""

    T1 = "T1"
    T2 = "T2"
    STIR = "STIR"
    PROTON_DENSITY = "proton density"
    FLAIR = "FLAIR"
    GRADIENT_ECHO = "gradient echo"
    ECHO_PLANAR = "echo planar"
    MYELOGRAM = "myelogram"


#: Echo time of a spin echo, ms: up to the first, T1 if the repetition time is short; up to the
#: second, proton density if it is long; from the third on, T2. Between the second and the third,
#: "T2 fat sat" and "proton density" overlap, so the times do not decide.
_SHORT_ECHO, _DENSITY_ECHO, _LONG_ECHO = 30.0, 45.0, 60.0
#: From this echo time on, ms, only water has signal, as in a myelogram. T2 series usually have at
#: most 250, and at most 400 with the variable flip angles of 3-D sequences.
_WATER_ECHO = 500.0
#: Repetition time, ms: up to the first, T1; from the second on, proton density or T2.
_SHORT_REPETITION, _LONG_REPETITION = 1200.0, 1800.0
#: Inversion times that null fat (STIR), from low field to 3 T, ms.
_FAT_NULL = (70.0, 320.0)
#: Inversion times of T1 FLAIR, and the minimum that nulls cerebrospinal fluid in T2 FLAIR, ms.
_T1_INVERSION = (500.0, 1300.0)
_FLUID_NULL = 1500.0


def weighting_by_times(about: Acquisition) -> tuple[Weighting | None, str]:
    """The weighting that follows from echo, repetition and inversion time, and these times as text.

    The weighting is None if times are absent or fit several weightings. A time of zero counts as
    absent. The inversion time is ignored if ScanningSequence is present without IR: then it is a
    delay of fat suppression.
    """
    te, tr = _positive(about.echo_time), _positive(about.repetition_time)
    inverted = "IR" in about.sequence or not about.sequence
    ti = _positive(about.inversion_time) if inverted else None
    times = (("echo", te), ("repetition", tr), ("inversion", ti))
    text = ", ".join(f"{name} time {value:g} ms" for name, value in times if value is not None)
    if "EP" in about.sequence:
        return Weighting.ECHO_PLANAR, "ScanningSequence EP"
    if "GR" in about.sequence and "SE" not in about.sequence:
        return Weighting.GRADIENT_ECHO, "ScanningSequence GR"
    if ti is not None:
        return _inverted(te, ti), text
    if "IR" in about.sequence:
        return None, text
    return _spin_echo(te, tr), text


def _positive(value: float | None) -> float | None:
    return value if value is not None and value > 0 else None


def _inverted(te: float | None, ti: float) -> Weighting | None:
    if _FAT_NULL[0] <= ti <= _FAT_NULL[1]:
        return Weighting.STIR
    if ti >= _FLUID_NULL:
        return Weighting.FLAIR
    if _T1_INVERSION[0] <= ti <= _T1_INVERSION[1] and te is not None and te <= _LONG_ECHO:
        return Weighting.T1
    return None


def _spin_echo(te: float | None, tr: float | None) -> Weighting | None:
    if te is None:
        return None
    if te >= _WATER_ECHO:
        return Weighting.MYELOGRAM
    if te >= _LONG_ECHO:
        return Weighting.T2
    if tr is None:
        return None
    if te <= _SHORT_ECHO and tr <= _SHORT_REPETITION:
        return Weighting.T1
    if te <= _DENSITY_ECHO and tr >= _LONG_REPETITION:
        return Weighting.PROTON_DENSITY
    return None


class Vote(NamedTuple):
    """A tag that names a region: LUMBAR, NEAR_REGION or FAR_REGION."""

    tag: str
    value: str
    region: Meaning

    def __str__(self) -> str:
        return f"{self.tag} {self.value!r}"


def region_in(text: str) -> Meaning | None:
    """LUMBAR, NEAR_REGION or FAR_REGION; None if a text names no region.

    Vertebrae name a region too: T12-S1 contains the lumbar spine, C2-C7 does not.
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
    # "C1" alone may mean something else, such as a coil
    upper = sum(m in (thoracic, Meaning.CERVICAL_VERTEBRA) for m in found)
    return Meaning.NEAR_REGION if Meaning.NEAR_REGION in found or upper > 1 else None


def other_region(about: Acquisition) -> tuple[str | None, tuple[str, ...]]:
    """(why a series shows another region, or None; notes on tags that contradict each other)."""
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
        return None, () if lumbar else _ignored_body_part(about)
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


def _ignored_body_part(about: Acquisition) -> tuple[str, ...]:
    if not _untrusted(about):
        return ()
    return (f"BodyPartExamined {about.body_part!r} is ignored: it is often wrong for a spine",)


def _contradiction(lumbar: Vote, other: Vote) -> str:
    return f"{other} names another region, but {lumbar} names the lumbar spine"
