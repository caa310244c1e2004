"""Identify the kind of a series, with the reason in words."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from numpy.typing import ArrayLike

from lumbargrade.dicom.header import Acquisition
from lumbargrade.dicom.kinds.evidence import (
    Agent,
    Weighting,
    agent_in,
    names_agent,
    other_region,
    weighting_by_times,
)
from lumbargrade.dicom.kinds.words import DIXON_PARTS, IMAGE_TYPES, Meaning, read_words
from lumbargrade.dicom.places import Orientation, orientation_of
from lumbargrade.domain.vocabulary import SeriesKind

#: Bumped when the same header gives a different kind than before.
KINDS_VERSION = 2

_BY_WORD = {
    Meaning.T1: Weighting.T1,
    Meaning.T2: Weighting.T2,
    Meaning.STIR: Weighting.STIR,
    Meaning.PROTON_DENSITY: Weighting.PROTON_DENSITY,
}
#: Meaning -> text for series that are excluded; the first that fits is the reason.
_OTHER_IMAGES = {
    Meaning.LOCALIZER: "a localizer",
    Meaning.DOCUMENT: "a document or screenshot",
    Meaning.COMPUTED: "images computed from others",
    Meaning.DIFFUSION: "diffusion",
    Meaning.ANGIOGRAPHY: "angiography or perfusion",
    Meaning.SINGLE_SHOT: "a myelogram or single shot",
    Meaning.STEADY_STATE: "a steady-state gradient echo",
    Meaning.GRADIENT_ECHO: "a gradient echo",
    Meaning.FLAIR: "FLAIR",
}
#: Series with these meanings are used as T1 if T1 is named too: T1 FLAIR, T1 FFE.
_ALSO_T1 = (Meaning.GRADIENT_ECHO, Meaning.FLAIR)
_PARTS = (Meaning.WATER, Meaning.FAT, Meaning.IN_PHASE, Meaning.OPPOSED_PHASE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The kind of a series.

    Attributes:
        kind: one of the three kinds, or None for an excluded series.
        reason: the tags and values that decided.
        remarks: notes for the reader, such as tags that contradict each other.
        fat_suppressed: whether fat is dark, as far as the header says.
    """

    kind: SeriesKind | None
    reason: str
    remarks: tuple[str, ...] = ()
    fat_suppressed: bool = False


def classify(about: Acquisition, normal: ArrayLike) -> Verdict:
    """Identify the kind of a series.

    SeriesDescription has priority over ProtocolName, which often names all series of an
    examination. If words and times contradict each other, the times decide. A series of unknown
    weighting is excluded, not guessed.

    Args:
        about: acquisition values of its header.
        normal: slice normal in the patient, (3,), LPS.
    """
    plane = orientation_of(normal)
    if about.modality not in ("", "MR"):
        return Verdict(None, f"modality {about.modality}, not MR")
    if plane is Orientation.CORONAL:
        return Verdict(None, "coronal")
    region, remarks = other_region(about)
    reason = region or _other_image(about) or _given_agent(about)
    if reason:
        return Verdict(None, reason, remarks)
    weighting, why, doubts = _weighting(about)
    if weighting is None:
        return Verdict(None, f"{plane}, {why}", (*remarks, *doubts))
    if reason := _unusable_contrast(about, weighting):
        return Verdict(None, reason, remarks)
    if plane is Orientation.AXIAL and weighting is Weighting.T1:
        return Verdict(None, f"axial T1, {why}", (*remarks, *doubts))
    kind = SeriesKind.SAGITTAL_T1 if weighting is Weighting.T1 else SeriesKind.SAGITTAL_T2
    if plane is Orientation.AXIAL:
        kind = SeriesKind.AXIAL_T2
    dark = weighting is Weighting.STIR or suppresses_fat(about)
    return Verdict(kind, why, (*remarks, *doubts, *_operated(about)), dark)


def _texts(about: Acquisition) -> tuple[tuple[str, str], ...]:
    return (("SeriesDescription", about.description), ("ProtocolName", about.protocol))


def _meanings(text: str) -> set[Meaning]:
    return {w.meaning for w in read_words(text) if w.meaning is not None}


def _naming(about: Acquisition) -> tuple[str, set[Meaning]]:
    """The tag and value that name the kind of image, and the meanings of its words.

    This is SeriesDescription, or ProtocolName if only ProtocolName names a weighting or kind of
    image, and it names a single one.
    """
    telling = {*_BY_WORD, *_OTHER_IMAGES}
    own = _meanings(about.description)
    if own & telling:
        return f"SeriesDescription {about.description!r}", own
    protocol = _meanings(about.protocol)
    named = protocol & telling
    if len(named) == 1 or named in (
        {Meaning.T2, Meaning.STIR},
        *({Meaning.T1, m} for m in _ALSO_T1),
    ):
        return f"ProtocolName {about.protocol!r}", protocol | own
    return "", own


def _image_types(about: Acquisition) -> set[Meaning]:
    values = {v.strip().upper() for v in about.image_type}
    return {meaning for meaning, known in IMAGE_TYPES.items() if values & set(known)}


def _other_image(about: Acquisition) -> str | None:
    """Why a series is excluded by its ImageType or words; None if it is not."""
    types = _image_types(about)
    source, words = _naming(about)
    for meaning, what in _OTHER_IMAGES.items():
        if meaning in _ALSO_T1 and _is_t1(about, words):
            continue
        if meaning in types:
            return f"{what}, ImageType '{'|'.join(about.image_type)}'"
        if meaning in words:
            return f"{what}, {source}"
    return None


def _is_t1(about: Acquisition, words: set[Meaning]) -> bool:
    """Whether the words name T1, or the times are those of T1 (as for FLAIR that is T1 FLAIR)."""
    return Meaning.T1 in words or weighting_by_times(about)[0] is Weighting.T1


def _given_agent(about: Acquisition) -> str | None:
    """Why a contrast agent was given, by SeriesDescription, else by ContrastBolusAgent."""
    said = agent_in(read_words(about.description))
    if said is Agent.GIVEN:
        return f"after contrast agent, SeriesDescription {about.description!r}"
    if said is Agent.UNSAID and names_agent(about.agent):
        return f"after contrast agent, ContrastBolusAgent {about.agent!r}"
    return None


def _unusable_contrast(about: Acquisition, weighting: Weighting) -> str | None:
    """Why a T1 or T2 series is excluded because of contrast agent, fat suppression or Dixon part.

    If only ProtocolName names a contrast agent, T1 is excluded and T2 is not: ProtocolName often
    describes the whole examination, and an agent hardly changes T2. T1 with fat suppression is
    excluded, because it does not show the foramina. The fat and opposed-phase images of a Dixon
    series are excluded; the in-phase images are like an ordinary series.
    """
    parts = _image_types(about) & set(_PARTS) or _dixon_part(about)
    for part, name in ((Meaning.FAT, "fat"), (Meaning.OPPOSED_PHASE, "opposed-phase")):
        if part in parts:
            return f"the {name} images of a Dixon series"
    if weighting is not Weighting.T1:
        return None
    own = agent_in(read_words(about.description))
    if own is Agent.UNSAID and agent_in(read_words(about.protocol)) is Agent.GIVEN:
        return f"T1 after contrast agent, ProtocolName {about.protocol!r}"
    if Meaning.WATER in parts:
        return "T1 without fat (the water images of a Dixon series)"
    for tag, text in _texts(about)[: 1 if _meanings(about.description) & _BY_WORD.keys() else 2]:
        if _suppresses_fat(text) and Meaning.IN_PHASE not in parts:
            return f"T1 with fat suppression, {tag} {text!r}"
    return None


def suppresses_fat(about: Acquisition) -> bool:
    """Whether words or ImageType say that fat is dark: fat suppression, STIR, water of a Dixon."""
    if Meaning.WATER in (_image_types(about) & set(_PARTS) or _dixon_part(about)):
        return True
    own = _meanings(about.description)
    texts = _texts(about)[: 1 if own & _BY_WORD.keys() else 2]
    return Meaning.STIR in _naming(about)[1] or any(_suppresses_fat(text) for _, text in texts)


def _suppresses_fat(text: str) -> bool:
    words = (None, *(w.meaning for w in read_words(text)))
    return any(
        word is Meaning.FAT_SUPPRESSED and before is not Meaning.WITHOUT
        for before, word in pairwise(words)
    )


def _dixon_part(about: Acquisition) -> set[Meaning]:
    for _, text in _texts(about):
        words = read_words(text)
        found = {w.meaning for w in words if w.meaning in _PARTS}
        if any(w.meaning is Meaning.DIXON for w in words):
            found |= {DIXON_PARTS[w.text] for w in words if w.text in DIXON_PARTS}
        if found:
            return {m for m in found if m is not None}
    return set()


def _weighting(about: Acquisition) -> tuple[Weighting | None, str, tuple[str, ...]]:
    """(T1, T2, STIR or None; reason; remarks)."""
    source, words = _naming(about)
    named = {_BY_WORD[m] for m in words if m in _BY_WORD}
    kinds = {Weighting.T2 if w is Weighting.STIR else w for w in named}
    measured, times = weighting_by_times(about)
    if len(kinds) > 1:
        source = f"{source} names {' and '.join(sorted(named))}"
    if len(kinds) != 1:
        if measured in (Weighting.T1, Weighting.T2, Weighting.STIR):
            return measured, times, (f"{source}; the times decide ({times})",) if kinds else ()
        what = f"{measured} by {times}" if measured else "unknown weighting"
        return None, f"{source}; {what}" if kinds else what, ()
    word = Weighting.STIR if Weighting.STIR in named else kinds.pop()
    if measured is None or _agree(word, measured, flair="flair" in source.lower()):
        usable = word is not Weighting.PROTON_DENSITY
        return (word, source, ()) if usable else (None, f"proton density, {source}", ())
    doubt = f"{source} says {word}, but {times} is that of {measured}"
    if measured in (Weighting.T1, Weighting.T2, Weighting.STIR):
        return measured, times, (f"{doubt}; the times decide",)
    return None, doubt, ()


def _agree(word: Weighting, measured: Weighting, *, flair: bool) -> bool:
    """Whether the weighting by words fits the weighting by times."""
    if word is Weighting.STIR:
        # the echo may be short, and not every scanner stores the inversion time (nor of T1 FLAIR)
        return measured in (Weighting.STIR, Weighting.T2, Weighting.PROTON_DENSITY)
    if word is Weighting.T2:
        return measured in (Weighting.T2, Weighting.STIR)
    if word is Weighting.T1:
        long = flair and measured is Weighting.PROTON_DENSITY
        return long or measured in (Weighting.T1, Weighting.GRADIENT_ECHO)
    return measured is word


def _operated(about: Acquisition) -> tuple[str, ...]:
    """A note if a tag says that the spine may be operated."""
    for tag, text in (*_texts(about), *about.order):
        if _meanings(text) & {Meaning.OPERATED, Meaning.SURGERY}:
            return (f"the spine may be operated ({tag} {text!r}); grades there are less certain",)
    return ()
