"""Blend weights given on the command line, per condition."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lumbargrade.domain.errors import UsageError
from lumbargrade.domain.numbers import real
from lumbargrade.domain.vocabulary import Condition

#: Condition -> a weight per member or file, in their order.
FixedWeights = Mapping[Condition, Sequence[float]]


def fixed_weights(
    texts: Sequence[str], count: int, what: str = "members"
) -> dict[Condition, list[float]]:
    """Weights as a command line gives them: ``0.75 0.25`` for all, ``foraminal=0.7,0.3`` for one.

    Args:
        texts: values of ``--weights``; weights of one condition have priority over those of all.
        count: how many weights there must be.
        what: name of the things that are weighted, for messages.

    Returns:
        The conditions that have weights; these are as given, not normalised.

    Raises:
        UsageError: for other texts, a wrong number of weights, weights that are negative or all
            zero, and two lists of weights for one condition.
    """
    plain = [text for text in texts if "=" not in text]
    given: dict[Condition, list[float]] = {}
    if plain:
        given = dict.fromkeys(Condition, _numbers(" ".join(plain), ",".join(plain), count, what))
    named: dict[Condition, list[float]] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if equals:
            condition = _condition(name.strip(), text)
            if condition in named:
                raise UsageError(f"--weights {text}: {name.strip()} is given twice")
            named[condition] = _numbers(text, values, count, what)
    return {**given, **named}


def _condition(name: str, text: str) -> Condition:
    known = {alias: c for c in Condition for alias in (c.value, c.name.lower())}
    if name not in known:
        words = ", ".join(c.name.lower() for c in Condition)
        raise UsageError(f"--weights {text}: {name!r} is not one of {words}")
    return known[name]


def _numbers(text: str, listed: str, count: int, what: str) -> list[float]:
    """Numbers from a list with commas; `text` is what was given, for messages."""
    try:
        values = [real(part) for part in listed.split(",")]
    except ValueError:
        raise UsageError(f"--weights {text}: not numbers") from None
    if min(values) < 0 or not 0 < sum(values) < math.inf:
        raise UsageError(
            f"--weights {text}: give finite weights that are not negative and not all zero"
        )
    if len(values) != count:
        raise UsageError(
            f"--weights {text}: {len(values)} weights for {count} {what}; give one for each"
        )
    return values
