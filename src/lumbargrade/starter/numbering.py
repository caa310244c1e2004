"""Name the discs of a study: a posterior over numberings of all visible discs.

The discs that were found, from head to feet, are a hidden Markov chain. The hidden position of a
disc is its place in the spine, counted so that T11/T12 is 2 and L5/S1 is 8 (the value of
`Segment`); discs above T11/T12 go on upwards from 1, discs below S1/S2 downwards from 10. Positions
strictly increase from disc to disc, so no two discs get the same segment of the lumbar spine. A
candidate can be false, and a disc can be missed.

What counts:

* the segment that the network sees at each candidate, with less weight than it claims (`TEMPER`,
  `FLOOR`). The network may also miscount the whole study by one level (`MISCOUNT`), since all discs
  come from one network and share its errors;
* the share of sacrum in the body below;
* the distance from disc to disc, relative to the size of the patient, which is unknown and summed
  over (`SIZES`);
* the angle between one step and the next;
* the detection score of each candidate.

All sums are over every numbering (forward-backward in log space), so probabilities are those of the
model, not of one path. `CERTAIN` is the limit below which a study's numbering is uncertain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lumbargrade.domain.geometry import FloatArray
from lumbargrade.domain.numbering import Numbering
from lumbargrade.domain.outlines import SEGMENT_OF, Segment
from lumbargrade.domain.vocabulary import Level

#: A numbering below this probability is uncertain.
CERTAIN = 0.8
#: Below this probability of the best numbering, nothing is named.
POSSIBLE = 0.1
#: Smallest number of discs that form a spine, and smallest sum of their detection scores.
ENOUGH, SUPPORT = 3, 1.5
#: Candidates beyond this number are false; those with the highest scores are kept.
MOST = 24
#: Factor of the network's log-probabilities, and the smallest probability of a segment.
TEMPER, FLOOR = 0.5, 0.01
#: Probability that all segments that the network sees are one level too high or too low, each.
MISCOUNT = 0.04
#: The share of sacrum in the body below a disc is limited to this and one minus this.
SACRUM_FLOOR = 0.1
#: Detection scores are limited to this and one minus this.
SCORE_FLOOR = 0.03
#: Factor of the probability that a candidate is false: a place that looks like a disc and fits into
#: the chain is one, even if its distance is unusual.
FALSE = 0.3
#: Probability that a disc of the spine has no candidate; at most two in a row are missed.
MISSED, LONGEST = 0.03, 3
#: Positions that a disc can have: from the neck (-15) to S4/S5 (12).
FIRST, LAST = -15, 12
#: Usual distance between the centres of a disc and the one above, mm, for position 2 (T10/T11 to
#: T11/T12) to 12. Bodies are 20 mm (T10) to 24 mm (L1 to L4) high behind, and higher in front below
#: L3 (Panjabi 1991, 1992); discs add 4 to 6 mm in the thorax and 8 to 12 mm in the lumbar spine
#: (Zhou 2000). Ratios between lumbar steps are those of `domain.curve.USUAL_STEPS`; sacral bodies
#: get smaller downwards.
STEPS = (26.0, 28.5, 31.5, 34.5, 35.5, 35.0, 32.5, 29.5, 25.0, 21.0, 18.0)
#: Distance for higher positions: less by 2 % per level upwards.
_SHRINK = 0.98
#: Spread of the logarithm of one step (LSDC labels: 0.05 to 0.12, see `domain.curve`), and the
#: share and spread of unusual ones (collapsed bodies, slipped vertebrae, points off the centre).
STEP_SPREAD, UNUSUAL, UNUSUAL_STEP = 0.12, 0.03, 0.35
#: Logarithm of the size of the patient relative to `STEPS`: values and spread.
SIZES, SIZE_SPREAD = np.linspace(-0.45, 0.45, 10), 0.15
#: Spread of the angle between two steps, degrees, and that of unusual ones. Lordosis bends the line
#: by up to 20 degrees at one disc, and the promontory by more.
TURN_SPREAD, UNUSUAL_TURN = 18.0, 50.0
#: Probability of four and of six lumbar bodies, each (Hughes and Saifuddin 2004 and others: numeric
#: variants in about 8 of 100 patients).
VARIANT = 0.04
#: Steps beyond this length are not looked at, mm.
REACH = 160.0

_COUNT = LAST - FIRST + 1
_LUMBAR = tuple(s - FIRST for s in SEGMENT_OF.values())
_NEVER = -1e6
#: Numberings below this probability are not named as runner-up.
_NEGLIGIBLE = 1e-6
#: What a study may be: as usual; with six or four lumbar bodies, so that discs above L2/L3 look one
#: level lower or higher than they are counted from the sacrum; miscounted by the network, so that
#: all discs look one level lower or higher. Each with the levels that a disc at L1/L2 or above and
#: at L2/L3 or below looks too low, and its probability.
_VARIANTS = (
    (0, 0, 1 - 2 * VARIANT - 2 * MISCOUNT),
    (1, 0, VARIANT),
    (-1, 0, VARIANT),
    (1, 1, MISCOUNT),
    (-1, -1, MISCOUNT),
)


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """A place that may be a disc.

    Attributes:
        centre: (3,) LPS mm.
        score: probability that it is a disc, 0 to 1.
        log_probabilities: (10,) natural logarithms over `Segment` 1 to 10 (without NONE), the mean
            of all series and slices that show it.
        sacrum: share of SACRUM among the pixels of SACRUM and BODY in the body below; None if too
            few are seen.
    """

    centre: FloatArray
    score: float
    log_probabilities: FloatArray
    sacrum: float | None = None


@dataclass(frozen=True, slots=True)
class DiscNumbering:
    """Names of the candidates of a study, in the order in which they were given.

    Attributes:
        positions: place in the spine of each candidate (see the module), None if it is false.
        confidence: probability that every lumbar disc (L1/L2 to L5/S1) is named right.
        runner_up: positions of the most probable other numbering (before a shift), empty if there
            is none.
        runner_up_probability: its probability.
        reason: what decided, or why there is no numbering, in plain words.
        lumbar_bodies: most probable number of lumbar bodies; 5 if they cannot be counted.
        count_differs: probability of four or six lumbar bodies; None unless L5/S1 and a disc above
            L1/L2 are seen, because bodies can then only be counted from one end.
        shift: number of levels by which the user has moved the numbering.
    """

    positions: tuple[int | None, ...]
    confidence: float
    runner_up: tuple[int | None, ...]
    runner_up_probability: float
    reason: str
    lumbar_bodies: int = 5
    count_differs: float | None = None
    shift: int = 0

    @property
    def segments(self) -> tuple[Segment | None, ...]:
        """The segment of each candidate, None if it is false."""
        return tuple(None if p is None else segment_at(p) for p in self.positions)

    @property
    def levels(self) -> dict[Level, int]:
        """The candidate of each graded level that was found, from L1/L2 down."""
        found = {s: i for i, s in enumerate(self.segments)}
        return {level: found[s] for level, s in SEGMENT_OF.items() if s in found}

    @property
    def certain(self) -> bool:
        """Whether the numbering can be used without a check: it is probable, or set by the user."""
        return self.shift != 0 or self.confidence >= CERTAIN

    def summary(self) -> Numbering:
        """Return what a study's result says about the numbering."""
        return Numbering(
            confidence=self.confidence,
            runner_up=_difference(self.shifted(-self.shift).positions, self.runner_up),
            runner_up_confidence=self.runner_up_probability,
            limit=CERTAIN,
            reason=self.reason,
            lumbar_bodies=self.lumbar_bodies,
            shift=self.shift,
        )

    def shifted(self, by: int) -> DiscNumbering:
        """Return the numbering moved by whole levels.

        Args:
            by: levels to the feet: 1 calls the disc that was L4/L5 now L5/S1. Discs that would be
                above or below every position lose their names. The confidence and the runner-up
                stay those before the shift.
        """
        if not by:
            return self
        moved = [None if p is None else p + by for p in self.positions]
        kept = tuple(p if p is not None and FIRST <= p <= LAST else None for p in moved)
        return replace(self, positions=kept, shift=self.shift + by)


def _difference(first: tuple[int | None, ...], other: tuple[int | None, ...]) -> str:
    """Say how another numbering differs from the first, in words."""
    pairs = list(zip(first, other, strict=False))
    moved = {b - a for a, b in pairs if a is not None and b is not None and _lumbar(a)}
    if len(moved) == 1 and moved != {0}:
        by = moved.pop()
        levels = "one level" if abs(by) == 1 else f"{abs(by)} levels"
        return f"{levels} {'lower' if by > 0 else 'higher'}"
    names = [_name(a) for a, b in pairs if a != b and a is not None and _lumbar(a)]
    return f"{', '.join(names)} elsewhere" if names else ""


def segment_at(position: int) -> Segment:
    """Return the segment at a place in the spine."""
    return Segment(int(np.clip(position, Segment.HIGHER, Segment.LOWER)))


def number(candidates: Sequence[Candidate]) -> DiscNumbering:
    """Name the candidates of a study.

    Args:
        candidates: any number, in any order, all in one patient space.

    Returns:
        The most probable numbering. Without a spine (more probably all candidates are false, fewer
        than `ENOUGH` are discs, their scores are low, or no numbering reaches `POSSIBLE`) no
        candidate has a position, and the reason says why.
    """
    if len(candidates) < ENOUGH:
        return _nothing(candidates, f"only {len(candidates)} discs were found")
    centres = np.array([c.centre for c in candidates], float)
    scores = np.array([c.score for c in candidates], float)
    best = np.argsort(-scores, kind="stable")[:MOST]
    order = best[np.lexsort((centres[best, 0], centres[best, 1], -centres[best, 2]))]
    chosen = [candidates[i] for i in order]
    chain = _Chain.of(chosen)
    found = chain.best()
    kept = [p for p in found if p is not None]
    if len(kept) < ENOUGH:
        what = f"{len(kept)} of {len(candidates)} candidates are discs of one spine"
        return _nothing(candidates, f"only {what}" if kept else f"none{what[1:]}")
    support = sum(c.score for c, p in zip(chosen, found, strict=True) if p is not None)
    if support < SUPPORT:
        return _nothing(candidates, "nothing looks clearly like a disc")
    total = chain.total()
    confidence = _probability(chain.given(found).total() - total)
    if confidence < POSSIBLE:
        return _nothing(candidates, "the places found do not form one")
    marginals = chain.marginals()
    second = _runner_up(chain, found, marginals)
    other = 0.0 if second is None else _probability(chain.given(second).total() - total)
    whole = min(kept) <= Segment.T12_L1 and max(kept) >= Segment.L5_S1
    six, four = chain.variants()[1:3].tolist() if whole else (0.0, 0.0)
    return DiscNumbering(
        positions=_in_order(found, order, len(candidates)),
        confidence=confidence,
        runner_up=() if second is None else _in_order(second, order, len(candidates)),
        runner_up_probability=other,
        reason=_reason(chosen, found),
        lumbar_bodies=6 if six > 0.5 else 4 if four > 0.5 else 5,
        count_differs=float(six + four) if whole else None,
    )


_Positions = list[int | None]


def _nothing(candidates: Sequence[Candidate], why: str) -> DiscNumbering:
    return DiscNumbering((None,) * len(candidates), 0.0, (), 0.0, f"no lumbar spine: {why}")


def _in_order(found: _Positions, order: NDArray[np.intp], count: int) -> tuple[int | None, ...]:
    places = dict(zip(order.tolist(), found, strict=True))
    return tuple(places.get(i) for i in range(count))


def _probability(log: float) -> float:
    return float(np.exp(min(log, 0.0)))


def _lumbar(position: int | None) -> bool:
    return position is not None and position - FIRST in _LUMBAR


def _runner_up(chain: _Chain, found: _Positions, marginals: FloatArray) -> _Positions | None:
    """Return the best numbering with another name for the lumbar disc that is least certain."""
    others = marginals.copy()
    for i, position in enumerate(found):
        others[i, -1 if position is None else position - FIRST] = 0
        if not _lumbar(position):
            others[i, [e for e in range(_COUNT + 1) if e not in _LUMBAR]] = 0
    i, e = divmod(int(others.argmax()), _COUNT + 1)
    return chain.fixed(i, e).best() if others[i, e] > _NEGLIGIBLE else None


def _reason(candidates: Sequence[Candidate], found: _Positions) -> str:
    """Say what the numbering rests on."""
    placed = [(c, p) for c, p in zip(candidates, found, strict=True) if p is not None]
    lowest = placed[-1][1]
    said = []
    if lowest < Segment.L5_S1:
        said.append(f"the field ends at {_name(lowest)}, counted from above")
    elif any((c.sacrum or 0) > 0.5 for c, p in placed if p == Segment.L5_S1):
        said.append("sacrum seen below")
    else:
        said.append("no clear sacrum seen below L5/S1")
    agree = sum(segment_at(p) == 1 + int(np.argmax(c.log_probabilities)) for c, p in placed)
    said.append(f"{agree} of {len(placed)} discs look like their level")
    missed = [_name(p) for (_, a), (_, b) in pairwise(placed) for p in range(a + 1, b)]
    if missed:
        said.append(f"spacing: {', '.join(missed)} not found")
    if false := len(found) - len(placed):
        said.append(f"{false} other place{'s' * (false > 1)} left out")
    if placed[0][1] > Segment.T12_L1 and lowest >= Segment.L5_S1:
        said.append("counted from the sacrum, T12 is not seen")
    return "; ".join(said)


def _name(position: int) -> str:
    segment = segment_at(position)
    if segment is Segment.HIGHER:
        return "a disc above T11/T12"
    return "a disc below S1/S2" if segment is Segment.LOWER else segment.label


@dataclass(frozen=True, eq=False)
class _Chain:
    """Log weights of all numberings of N candidates from head to feet.

    E is the number of positions, M that of combinations of body size and number of lumbar bodies.

    Attributes:
        prior: (M,).
        keep: (M, N, E) of each candidate at each position.
        false: (N,) of each candidate being none.
        steps: (i, j) -> (M, LONGEST, E) of the step from candidate i to the next one j, by the
            number of positions and the position of j.
        turns: (h, i, j) -> of two steps that follow each other.
    """

    prior: FloatArray
    keep: FloatArray
    false: FloatArray
    steps: dict[tuple[int, int], FloatArray]
    turns: FloatArray = field(repr=False)

    @classmethod
    def of(cls, candidates: Sequence[Candidate]) -> _Chain:
        centres = np.array([c.centre for c in candidates], float)
        sizes = np.repeat(SIZES, len(_VARIANTS))
        variants = np.tile(np.arange(len(_VARIANTS)), len(SIZES))
        share = np.array([v[2] for v in _VARIANTS])[variants]
        prior = -0.5 * (sizes / SIZE_SPREAD) ** 2
        prior = np.log(share) + prior - np.log(np.exp(prior).sum() / len(_VARIANTS))
        each = np.stack([_emission(c) for c in candidates], axis=1)  # (variants, N, E)
        score = np.clip([c.score for c in candidates], SCORE_FLOOR, 1 - SCORE_FLOOR)
        false = np.log(FALSE * (1 - score)) + TEMPER * np.log(1 / len(Segment))
        keep = each[variants] + np.log(score)[:, None]
        n = len(candidates)
        steps = {}
        for i in range(n):
            for j in range(i + 1, n):
                length = float(np.linalg.norm(centres[j] - centres[i]))
                if 1.0 < length < REACH:
                    steps[i, j] = _step(length, sizes)
        return cls(prior, keep, false, steps, _turns(centres))

    def given(self, found: _Positions) -> _Chain:
        """Return the chain of all numberings with the same lumbar discs as this one."""
        keep, false = self.keep.copy(), self.false.copy()
        for i, position in enumerate(found):
            if position is not None and _lumbar(position):
                only = keep[:, i, position - FIRST].copy()
                keep[:, i], false[i] = _NEVER, _NEVER
                keep[:, i, position - FIRST] = only
            else:
                keep[:, i, list(_LUMBAR)] = _NEVER
        return replace(self, keep=keep, false=false)

    def fixed(self, candidate: int, place: int) -> _Chain:
        """Return the chain with one candidate at index ``place``; `_COUNT` means it is false."""
        keep, false = self.keep.copy(), self.false.copy()
        only = keep[:, candidate, place].copy() if place < _COUNT else None
        keep[:, candidate] = _NEVER
        if only is not None:
            keep[:, candidate, place], false[candidate] = only, _NEVER
        return replace(self, keep=keep, false=false)

    def total(self) -> float:
        """Return the log weight of all numberings together."""
        return float(np.logaddexp.reduce(self._by_patient))

    def variants(self) -> FloatArray:
        """Return the probability of each of `_VARIANTS`."""
        logs = self._by_patient
        shares = np.exp(logs - logs.max()).reshape(len(SIZES), len(_VARIANTS)).sum(axis=0)
        return np.asarray(shares / shares.sum())

    def marginals(self) -> FloatArray:
        """Return the probability of each position of each candidate, (N, E + 1), the last false."""
        alone, nodes = self._joined
        logs = np.full((len(self.false), _COUNT), -np.inf)
        onward: dict[tuple[int, int], FloatArray] = {}
        followers = self._followers()
        for j in reversed(range(len(self.false))):
            for i in [i for i in range(j) if (i, j) in self.steps]:
                after = self._after(j, [onward[j, k] + self.turns[i, j, k] for k in followers[j]])
                logs[j] = np.logaddexp(logs[j], np.logaddexp.reduce(nodes[i, j] + after, axis=0))
                arrived = self.steps[i, j] + (self.keep[:, j] + after)[:, None]
                left = np.full((LONGEST, *after.shape), _NEVER)
                for d in range(1, LONGEST + 1):
                    left[d - 1, :, :-d] = arrived[:, d - 1, d:]
                onward[i, j] = np.logaddexp.reduce(left, axis=0) + self._between(i, j)
            after = self._after(j, [onward[j, k] for k in followers[j]])
            logs[j] = np.logaddexp(logs[j], np.logaddexp.reduce(alone[j] + after, axis=0))
        placed = np.exp(logs - self.total())
        return np.column_stack([placed, np.clip(1 - placed.sum(axis=1), 0, 1)])

    def best(self) -> _Positions:
        """Return the most probable numbering (Viterbi)."""
        alone, nodes = self._forward(np.maximum)
        found: _Positions = [None] * len(self.false)
        ends = {(-1, i): w + self._behind(i) for i, w in enumerate(alone)}
        ends |= {(i, j): w + self._behind(j) for (i, j), w in nodes.items()}
        key = max(ends, key=lambda k: float(ends[k].max()))
        if ends[key].max() <= self.false.sum() + self.prior.max():
            return found
        (i, j), (m, e) = key, divmod(int(ends[key].argmax()), _COUNT)
        found[j] = e + FIRST
        while i >= 0:
            options = []
            for d in range(1, min(LONGEST, e) + 1):
                step = self.steps[i, j][m, d - 1, e]
                options.append((alone[i][m, e - d] + step, -1, d))
                options += [
                    (nodes[h, i][m, e - d] + self.turns[h, i, j] + step, h, d)
                    for h in range(i)
                    if (h, i) in nodes
                ]
            _, before, d = max(options)
            i, j, e = before, i, e - d
            found[j] = e + FIRST
        return found

    @cached_property
    def _joined(self) -> tuple[list[FloatArray], dict[tuple[int, int], FloatArray]]:
        """The weights of all numberings together up to each disc and pair."""
        return self._forward(np.logaddexp)

    @cached_property
    def _by_patient(self) -> FloatArray:
        """Return the log weight of all numberings for each size and number of bodies, (M,)."""
        alone, nodes = self._joined
        ends = [w + self._behind(i) for i, w in enumerate(alone)]
        ends += [w + self._behind(j) for (_, j), w in nodes.items()]
        logs = np.logaddexp.reduce(np.logaddexp.reduce(np.stack(ends), axis=0), axis=1)
        return np.asarray(np.logaddexp(logs, self.prior + self.false.sum()))

    def _forward(
        self, join: np.ufunc
    ) -> tuple[list[FloatArray], dict[tuple[int, int], FloatArray]]:
        """Return the weights (M, E) up to each candidate as the first disc, and to each pair.

        Args:
            join: logaddexp to add numberings, maximum to take the best.
        """
        count = len(self.false)
        alone = [self.prior[:, None] + self.false[:i].sum() + self.keep[:, i] for i in range(count)]
        nodes: dict[tuple[int, int], FloatArray] = {}
        for j in range(count):
            for i in [i for i in range(j) if (i, j) in self.steps]:
                before = [nodes[h, i] + self.turns[h, i, j] for h in range(i) if (h, i) in nodes]
                start = join.reduce(np.stack([alone[i], *before]), axis=0)
                moved = np.full((LONGEST, *start.shape), _NEVER)
                for d in range(1, LONGEST + 1):
                    moved[d - 1, :, d:] = start[:, :-d]
                moved += self.steps[i, j].swapaxes(0, 1)
                arrived = join.reduce(moved, axis=0)
                nodes[i, j] = arrived + self._between(i, j) + self.keep[:, j]
        return alone, nodes

    def _followers(self) -> list[list[int]]:
        each = range(len(self.false))
        return [[k for k in each if (j, k) in self.steps] for j in each]

    def _after(self, j: int, onward: list[FloatArray]) -> FloatArray:
        """Join the weights of everything after candidate j, (M, E)."""
        end = np.full(self.keep[:, j].shape, self._behind(j))
        return np.asarray(np.logaddexp.reduce(np.stack([end, *onward]), axis=0))

    def _between(self, i: int, j: int) -> float:
        return float(self.false[i + 1 : j].sum())

    def _behind(self, j: int) -> float:
        return float(self.false[j + 1 :].sum())


def _emission(candidate: Candidate) -> FloatArray:
    """Return the log weight of what is seen at a candidate, (variants, E)."""
    seen = np.logaddexp(np.asarray(candidate.log_probabilities, float), np.log(FLOOR))
    positions = np.arange(FIRST, LAST + 1)
    upper = positions <= Segment.L1_L2
    moved = np.array([positions + np.where(upper, a, b) for a, b, _ in _VARIANTS])
    segments = np.clip(moved, Segment.HIGHER, Segment.LOWER)
    weight = TEMPER * seen[segments - 1]
    if candidate.sacrum is not None:
        share = float(np.clip(candidate.sacrum, SACRUM_FLOOR, 1 - SACRUM_FLOOR))
        sacral = positions >= Segment.L5_S1
        weight = weight + np.log(np.where(sacral, share, 1 - share))
    return np.asarray(weight)


def _step(length: float, sizes: FloatArray) -> FloatArray:
    """Return the log weight of a step of a length in mm, (M, LONGEST, E)."""
    upwards = STEPS[0] * _SHRINK ** np.arange(Segment.T11_T12 - FIRST - 1, 0, -1)
    place = np.concatenate([[0], np.cumsum(np.concatenate([upwards, STEPS]))])
    weight = np.full((len(sizes), LONGEST, _COUNT), _NEVER)
    for d in range(1, LONGEST + 1):
        usual = np.log(place[d:] - place[:-d])
        off = np.log(length) - usual - sizes[:, None]
        weight[:, d - 1, d:] = (d - 1) * np.log(MISSED) + _mixture(
            off, STEP_SPREAD / np.sqrt(d), UNUSUAL_STEP, density=True
        )
    return weight


def _turns(centres: FloatArray) -> FloatArray:
    """Return the log weight of the angle at j between the steps from i and to k, (N, N, N)."""
    steps = centres[None] - centres[:, None]
    unit = steps / np.maximum(np.linalg.norm(steps, axis=-1, keepdims=True), 1e-6)
    cosine = np.einsum("ijc,jkc->ijk", unit, unit)
    angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    return _mixture(angle, TURN_SPREAD, UNUSUAL_TURN, density=False)


def _mixture(off: FloatArray, spread: float, unusual: float, *, density: bool) -> FloatArray:
    """Return the log of a normal distribution with rare large deviations."""

    def one(share: float, sigma: float) -> FloatArray:
        scale = -np.log(sigma * np.sqrt(2 * np.pi)) if density else 0.0
        return np.asarray(np.log(share) + scale - 0.5 * (off / sigma) ** 2)

    return np.asarray(np.logaddexp(one(1 - UNUSUAL, spread), one(UNUSUAL, unusual)))
