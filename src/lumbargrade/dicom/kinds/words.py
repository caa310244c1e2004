"""Read header text word by word, with the meanings in ``words.toml``.

Case, accents, underscores and punctuation do not matter. Joined words are split if they consist of
known words only: ``SagT2TSE``, ``eT2W_TSE_SAG``, ``t2_tse_sag_320``.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from importlib import resources


class Meaning(Enum):
    """Meaning of a word or phrase; each phrase has exactly one."""

    # weighting
    T1 = auto()
    T2 = auto()
    STIR = auto()
    PROTON_DENSITY = auto()
    FLAIR = auto()
    # images that are no ordinary T1 or T2 series
    GRADIENT_ECHO = auto()
    STEADY_STATE = auto()
    SINGLE_SHOT = auto()
    DIFFUSION = auto()
    ANGIOGRAPHY = auto()
    LOCALIZER = auto()
    DOCUMENT = auto()
    COMPUTED = auto()
    # fat
    FAT_SUPPRESSED = auto()
    DIXON = auto()
    WATER = auto()
    FAT = auto()
    IN_PHASE = auto()
    OPPOSED_PHASE = auto()
    # contrast agent
    AGENT = auto()
    WITH = auto()
    WITHOUT = auto()
    POST = auto()
    PRE = auto()
    NATIVE = auto()
    NONE = auto()
    JOIN = auto()
    # surgery
    OPERATED = auto()
    SURGERY = auto()
    # region
    LUMBAR = auto()
    NEAR_REGION = auto()
    FAR_REGION = auto()
    COMPOSED = auto()
    CERVICAL_VERTEBRA = auto()
    THORACIC_VERTEBRA = auto()
    LUMBAR_VERTEBRA = auto()
    SACRAL_VERTEBRA = auto()
    #: known words that do not affect the kind: planes, technique, options
    NEUTRAL = auto()


@dataclass(frozen=True, slots=True)
class Entry:
    """Phrases with the same meaning.

    Attributes:
        meaning: of all phrases.
        phrases: in lower case without accents; a final ``*`` stands for any ending.
        examples: header texts; each contains the meaning.
    """

    meaning: Meaning
    phrases: tuple[str, ...]
    examples: tuple[str, ...] = ()


def _parts(text: str, separator: str = ",") -> tuple[str, ...]:
    """The parts of a text of the table, with white space normalised."""
    return tuple(" ".join(part.split()) for part in text.split(separator))


_TABLE = tomllib.loads(
    (resources.files("lumbargrade.dicom.kinds") / "words.toml").read_text("utf-8")
)
ENTRIES = tuple(
    Entry(Meaning[e["meaning"]], _parts(e["words"]), _parts(e["examples"], ";"))
    for e in _TABLE["entries"]
)
#: Meaning -> values of ImageType.
IMAGE_TYPES = {Meaning[name]: _parts(values) for name, values in _TABLE["image_types"].items()}
#: Words that name the part of a Dixon series; in other series they have no meaning.
DIXON_PARTS = {w: Meaning[name] for name, ws in _TABLE["dixon_parts"].items() for w in _parts(ws)}
AGENT_FILLERS, NO_AGENT, UNTRUSTED_BODY_PARTS = (
    frozenset(_parts(_TABLE["sets"][name]))
    for name in ("agent_fillers", "no_agent", "untrusted_body_parts")
)

#: Number of characters of a header value that are read; DICOM allows 64 in a description.
_LONGEST = 1024

_VERTEBRA = re.compile(r"th(?:1[0-2]|[1-9])|[ctdls](?:1[0-2]|[1-9])")
#: Two lumbar vertebrae without a separator: L45 is L4/5.
_LEVELS = re.compile(r"l[1-5][1-5]")
_LOWER_VERTEBRA = re.compile(r"[ls][1-6]")
_REGION_OF_LETTER = {
    "c": Meaning.CERVICAL_VERTEBRA,
    "t": Meaning.THORACIC_VERTEBRA,
    "d": Meaning.THORACIC_VERTEBRA,
    "l": Meaning.LUMBAR_VERTEBRA,
    "s": Meaning.SACRAL_VERTEBRA,
}
_TO = r"\s*(?:-|–|—|\bto\b|\bbis\b|\btot\b)\s*"
#: "T1-T12" and "C7-T1" name vertebrae; "T1 T2", "T1/T2" and "T1-T2" name weightings.
_THORACIC_START = re.compile(rf"(?<![a-z0-9-])t([12])(?={_TO}(?:th?|d)(?:1[0-2]|[3-9])(?!\d))")
_LONG_RANGE = re.compile(r"(?<![a-z0-9-])t([12])(?=[-–—][ls][1-6](?!\d))")
_THORACIC_END = re.compile(rf"(?<![a-z0-9])(c[1-8]{_TO})t([12])(?![a-z0-9])")
#: A token with one of these is split even if a stem fits it: "lumbart2".
_WEIGHTING = re.compile(r"t[12]|stir|tirm")
#: Words that are never split off, because other words contain them.
_NEVER_GLUED = frozenset(["se", "en", "et", "un", "na", "no", "wo", "non", "in", "we", "xl"])


@dataclass(frozen=True, slots=True)
class Word:
    """A phrase of a text, and its meaning; None if the table does not contain it."""

    text: str
    meaning: Meaning | None


class Lexicon:
    """Phrases with their meanings; the longest match wins, and an exact match beats a stem.

    Raises:
        ValueError: if a phrase has two meanings.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.exact: dict[tuple[str, ...], Meaning] = {}
        self.stems: dict[tuple[str, ...], Meaning] = {}
        for entry in entries:
            for phrase in entry.phrases:
                table = self.stems if phrase.endswith("*") else self.exact
                words = tuple(phrase.rstrip("*").split())
                if table.setdefault(words, entry.meaning) is not entry.meaning:
                    both = f"{table[words].name} and {entry.meaning.name}"
                    raise ValueError(f"{phrase!r} has two meanings: {both}; keep one")
        self._longest = max(map(len, (*self.exact, *self.stems)))
        known = {w[0] for w in (*self.exact, *self.stems) if len(w) == 1}
        self._glued = {w for w in known if len(w) > 1 and w not in _NEVER_GLUED}

    def find(self, words: tuple[str, ...]) -> Meaning | None:
        """The meaning of exactly these words."""
        if (meaning := self.exact.get(words)) is not None:
            return meaning
        last = words[-1]
        for end in range(len(last), 0, -1):
            if (meaning := self.stems.get((*words[:-1], last[:end]))) is not None:
                return meaning
        return None

    def read(self, text: str) -> tuple[Word, ...]:
        """The phrases of a text, from left to right."""
        tokens = [t for token in _tokens(text) for t in self._apart(token)]
        words: list[Word] = []
        while tokens:
            for length in range(min(self._longest, len(tokens)), 0, -1):
                phrase = tuple(tokens[:length])
                meaning = self.find(phrase)
                if meaning is None and length == 1:
                    meaning = _vertebra(phrase[0])
                if meaning is not None or length == 1:
                    words.append(Word(" ".join(phrase), meaning))
                    del tokens[:length]
                    break
        return tuple(words)

    def _apart(self, token: str) -> list[str]:
        """The known words that a token consists of, or the token itself."""
        whole = self.find((token,)) is not None and not _WEIGHTING.search(token)
        if (token,) in self.exact or whole or len(token) < 3:
            return [token]
        vertebrae = _VERTEBRA.findall(token)
        if "".join(vertebrae) == token:
            return vertebrae
        return self._pieces(token) or [token]

    def _pieces(self, token: str, before: str = "") -> list[str] | None:
        if not token:
            return []
        if not before and re.match(r"[a-z]t[12]w", token):  # Philips: eT2W, sT2W, dT1W
            token = token[1:]
        for end in range(len(token), 0, -1):
            piece = token[:end]
            # a number after T1 or T2 may belong to the word or to a vertebra
            number = piece.isdigit() and before not in ("t1", "t2", "")
            if number or piece in self._glued or (before and _LOWER_VERTEBRA.fullmatch(piece)):
                rest = self._pieces(token[end:], piece)
                if rest is not None:
                    return [piece, *rest]
        return None


def plain(text: str) -> str:
    """Lower case without accents; words that begin with a capital are separated."""
    text = unicodedata.normalize("NFKD", text[:_LONGEST].replace("ß", "ss"))
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    return text.lower().replace("_", " ")


def _tokens(text: str) -> list[str]:
    text = re.sub(r"t2w?\s?\*", " t2 star ", plain(text))
    text = re.sub(r"(?<=t1)(?=c\s?\+)", " ", text)  # T1C+
    text = re.sub(r"\b(gd|gad|km)-(?![a-z0-9])", r" without \1 ", text)  # GD-
    text = _THORACIC_START.sub(r"th\1", text)
    text = _LONG_RANGE.sub(r"th\1", text)
    text = _THORACIC_END.sub(r"\1th\2", text)
    return re.findall(r"[a-z0-9]+|\+", text)


def _vertebra(token: str) -> Meaning | None:
    if _VERTEBRA.fullmatch(token) or _LEVELS.fullmatch(token):
        return _REGION_OF_LETTER[token[0]]
    return None


LEXICON = Lexicon(ENTRIES)


@lru_cache(maxsize=4096)
def read_words(text: str) -> tuple[Word, ...]:
    """The phrases of a header's text with their meanings, by ``words.toml``."""
    return LEXICON.read(text)
