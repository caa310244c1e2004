"""What a word or phrase in a header can mean."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Meaning(Enum):
    """One member per distinction that a decision needs; no word has two."""

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
    #: known, and of no consequence for the kind: planes, technique, options
    NEUTRAL = auto()


@dataclass(frozen=True, slots=True)
class Entry:
    """Words of one meaning.

    Attributes:
        meaning: of all of them.
        words: words and phrases with commas between them, in small letters without accents; a
            final ``*`` stands for any ending.
        examples: header texts with semicolons between them, each of which contains the meaning.
    """

    meaning: Meaning
    words: str
    examples: str

    def phrases(self) -> list[str]:
        return [phrase.strip() for phrase in self.words.split(",")]


def words(text: str) -> frozenset[str]:
    """The words of a text with blanks between them."""
    return frozenset(text.split())
