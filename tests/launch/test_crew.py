"""Handing out jobs: every job ends once, whichever workers die and whenever they do."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.domain.errors import BadModel, LumbargradeError
from lumbargrade.launch.crew import (
    ATTEMPTS,
    Died,
    Dispatch,
    Done,
    Event,
    GivenUp,
    NotOpened,
    Ready,
    Stumbled,
)


class ScriptedCrew:
    """Workers whose luck is drawn: each takes the next of ``luck`` when something may happen."""

    def __init__(self, luck: list[tuple[int, str]]) -> None:
        self.luck = luck
        self.state: dict[int, Any] = {}
        self.hired = 0
        self.given: Counter[int] = Counter()
        self.finished: Counter[int] = Counter()

    def hire(self) -> int:
        self.hired += 1
        self.state[self.hired] = "starting"
        return self.hired

    def give(self, worker: int, job: int) -> None:
        assert self.state[worker] == "free"
        self.state[worker] = job
        self.given[job] += 1

    def wait(self) -> Event:
        busy = [w for w, state in self.state.items() if state != "free"]
        assert busy, "waits for nothing"
        turn, luck = self.luck.pop() if self.luck else (0, "good")
        worker = busy[turn % len(busy)]
        state = self.state[worker]
        if luck == "dies" and state != "starting":
            del self.state[worker]
            return Died(worker, "died")
        self.state[worker] = "free"
        if state == "starting":
            return Ready(worker, "hello")
        if luck == "stumbles":
            return Stumbled(worker, "stumbled")
        self.finished[state] += 1
        return Done(worker, state * 10)

    def close(self) -> None:
        self.state.clear()


@given(
    jobs=st.integers(0, 12),
    size=st.integers(1, 4),
    luck=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["good", "dies", "stumbles"])), max_size=60
    ),
)
def test_every_job_ends_once_whatever_happens(
    jobs: int, size: int, luck: list[tuple[int, str]]
) -> None:
    crew = ScriptedCrew(luck)
    dispatch: Dispatch[int, int] = Dispatch(crew, size)
    dispatch.start()
    ended = list(dispatch.run(range(jobs)))
    assert sorted(job for job, _ in ended) == list(range(jobs))
    for job, outcome in ended:
        if isinstance(outcome, GivenUp):
            assert crew.given[job] == ATTEMPTS
            assert crew.finished[job] == 0
            assert outcome.reason.endswith("given up after 3 attempts")
        else:
            assert outcome == job * 10
            assert crew.finished[job] == 1


class FirstEvent(ScriptedCrew):
    """A crew in which every worker reports the same when it starts."""

    def __init__(self, event: type, *content: Any) -> None:
        super().__init__([])
        self.event, self.content = event, content

    def wait(self) -> Event:
        worker = next(w for w, state in self.state.items() if state == "starting")
        del self.state[worker]
        event: Event = self.event(worker, *self.content)
        return event


def test_models_that_cannot_be_opened_stop_the_run() -> None:
    with pytest.raises(BadModel, match="damaged"):
        Dispatch(FirstEvent(NotOpened, BadModel("damaged")), 2).start()


def test_workers_that_always_die_at_the_start_stop_the_run() -> None:
    crew = FirstEvent(Died, "out of memory")
    with pytest.raises(LumbargradeError, match="die while they open the models: out of memory"):
        Dispatch(crew, 2).start()
    assert crew.hired == 2 + ATTEMPTS
