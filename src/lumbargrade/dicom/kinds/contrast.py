"""Whether a text says that a contrast agent was given."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto

from lumbargrade.dicom.kinds.contrast_words import AGENT_FILLERS, NO_AGENT
from lumbargrade.dicom.kinds.meanings import Meaning
from lumbargrade.dicom.kinds.phrases import Word, plain, read_words


class Agent(Enum):
    """What is said of a contrast agent."""

    GIVEN = auto()
    NOT_GIVEN = auto()
    #: nothing, or both with and without, as names of whole examinations do
    UNSAID = auto()


_QUALIFIERS: dict[Meaning | None, Agent] = {
    Meaning.WITH: Agent.GIVEN,
    Meaning.POST: Agent.GIVEN,
    Meaning.WITHOUT: Agent.NOT_GIVEN,
    Meaning.PRE: Agent.NOT_GIVEN,
}


def agent_in(words: Sequence[Word]) -> Agent:
    """What a text says: the words before the agent's name decide, "post" alone is an agent.

    "Post" is none where an operation follows it: "post laminectomy".
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
    """Whether a value of ContrastBolusAgent is an agent, and not a word for none."""
    tokens = plain(value).replace("/", " ").replace("\\", " ").replace("-", " ").split()
    words = [t.strip(".,;:()[]<>*?+") for t in tokens]
    words = [w for w in words if w and not _zero(w)]
    if not words or all(w in NO_AGENT for w in words):
        # "KM" or "contrast" alone is an agent without its name
        said = agent_in(read_words(value))
        return said is Agent.GIVEN
    return agent_in(read_words(value)) is not Agent.NOT_GIVEN


def _zero(word: str) -> bool:
    return word.strip("0.,mlgc") == "" and any(c.isdigit() for c in word)
