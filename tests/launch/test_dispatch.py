"""Handing out jobs: every job ends once, whichever workers die and whenever they do."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.domain.errors import BadModel, LumbargradeError
from lumbargrade.launch import dispatch as module
from lumbargrade.launch.crew import GONE, Died, Done, Event, NotOpened, Ready, Stumbled
from lumbargrade.launch.dispatch import ATTEMPTS, OUT_OF_TIME, Dispatch, GivenUp, Limits
from lumbargrade.launch.notes import Note

#: What can happen to a worker that opens its models or does a job.
LUCK = ["good", "dies", "stumbles", "hangs", "is slow"]

#: Seconds that a job may take, and that it takes if nothing happens.
LONGEST, USUAL = 10.0, 1.0


class ScriptedCrew:
    """Workers whose luck is drawn: each takes the next of ``luck`` when something may happen.

    Attributes:
        clock: what stands for the time.
    """

    def __init__(self, luck: list[tuple[int, str]]) -> None:
        self.luck = luck
        self.clock = 0.0
        self.state: dict[int, Any] = {}
        self.places: dict[int, int] = {}
        self.since: dict[int, float] = {}
        self.hanging: set[int] = set()
        self.hired = 0
        self.welcome = False
        self.given: Counter[int] = Counter()
        self.finished: Counter[int] = Counter()

    def hire(self, place: int) -> int:
        self.hired += 1
        assert place not in {self.places[w] for w in self.state}, "two at one place"
        self.state[self.hired] = "starting"
        self.places[self.hired] = place
        return self.hired

    def give(self, worker: int, job: int) -> None:
        assert self.state[worker] == "free"
        self.state[worker] = job
        self.since[worker] = self.clock
        self.given[job] += 1

    def wait(self, seconds: float | None = None) -> Event | None:
        busy = [w for w, state in self.state.items() if state != "free"]
        assert busy, "waits for nothing"
        turn, luck = self.luck.pop() if self.luck else (0, "good")
        worker = busy[turn % len(busy)]
        state = self.state[worker]
        if luck == "hangs" and state != "starting":
            self.hanging.add(worker)
        if worker in self.hanging or luck == "is slow":
            if seconds is not None:
                self.clock += seconds
                return None
            self.hanging.clear()
        self.clock += USUAL
        if luck == "dies" and (self.welcome or state != "starting"):
            del self.state[worker]
            return Died(worker, "died")
        self.state[worker] = "free"
        if state == "starting":
            self.welcome = True
            return Ready(worker, "hello")
        if luck == "stumbles":
            return Stumbled(worker, "stumbled")
        self.finished[state] += 1
        return Done(worker, state * 10)

    def dismiss(self, worker: int) -> None:
        self.state.pop(worker, None)

    def close(self) -> None:
        self.state.clear()


def ended(crew: ScriptedCrew, size: int, jobs: int, limits: Limits) -> list[tuple[int, Any]]:
    dispatch: Dispatch[int, int] = Dispatch(crew, size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: crew.clock))
        dispatch.start()
        dispatch.limits = limits
        return list(dispatch.run(range(jobs)))


def require_reason(crew: ScriptedCrew, job: int, reason: str, limits: Limits) -> None:
    """Check that a job was given up for a good reason."""
    if reason == f"died; given up after {ATTEMPTS} attempts":
        assert crew.given[job] == ATTEMPTS
    elif reason == OUT_OF_TIME:
        assert limits.end is not None
        assert crew.clock >= limits.end
    elif reason == "the models could not be opened again: died":
        assert crew.hired > ATTEMPTS
    elif reason == "it took longer than 10 s":
        assert limits.job is not None
        assert crew.clock >= LONGEST
    else:
        assert reason == "stumbled"
        assert crew.given[job] >= 1


@given(
    jobs=st.integers(0, 12),
    size=st.integers(1, 4),
    luck=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(LUCK)), max_size=60),
    end=st.one_of(st.none(), st.floats(0, 40)),
    job_limit=st.booleans(),
)
def test_every_job_ends_once_whatever_happens(
    jobs: int, size: int, luck: list[tuple[int, str]], end: float | None, job_limit: bool
) -> None:
    crew = ScriptedCrew(luck)
    limits = Limits(end, LONGEST if job_limit else None)
    found = ended(crew, size, jobs, limits)
    assert sorted(job for job, _ in found) == list(range(jobs))
    for job, outcome in found:
        if isinstance(outcome, GivenUp):
            require_reason(crew, job, outcome.reason, limits)
            assert crew.finished[job] == 0
        else:
            assert outcome == job * 10
            assert crew.finished[job] == 1
            assert crew.given[job] <= ATTEMPTS


class FirstEvent(ScriptedCrew):
    """A crew in which every worker reports the same when it starts."""

    def __init__(self, event: type, *content: Any) -> None:
        super().__init__([])
        self.event, self.content = event, content

    def wait(self, seconds: float | None = None) -> Event | None:
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


def test_time_that_is_over_before_a_worker_is_ready_stops_the_run() -> None:
    crew = ScriptedCrew([(0, "is slow")])
    with pytest.raises(LumbargradeError, match="limit was reached while the models were opened"):
        Dispatch(crew, 1, Limits(end=0.0)).start()


class Listed(ScriptedCrew):
    """A crew that reports what is listed."""

    def __init__(self, *events: Event | None) -> None:
        super().__init__([])
        self.events = list(events)

    def give(self, worker: int, job: int) -> None:
        self.given[job] += 1

    def wait(self, seconds: float | None = None) -> Event | None:
        event = self.events.pop(0)
        if event is None:
            assert seconds is not None
            self.clock += seconds
        elif isinstance(event, GONE):
            del self.state[event.worker]
        return event


def test_a_job_that_is_finished_when_the_time_is_over_counts() -> None:
    crew = Listed(Ready(1, "hello"), Ready(2, "hello"), None, Done(2, 10), None)
    found = ended(crew, 2, 3, Limits(end=5.0))
    jobs = dict(found)
    assert sorted(str(o) for o in jobs.values() if not isinstance(o, GivenUp)) == ["10"]
    assert list(jobs.values()).count(GivenUp(OUT_OF_TIME)) == 2


def test_a_job_whose_workers_die_is_given_up_in_the_end() -> None:
    deaths = [event for n in (1, 2, 3) for event in (Ready(n, "hello"), Died(n, "died"))]
    why = GivenUp("died; given up after 3 attempts")
    assert ended(Listed(*deaths), 1, 1, Limits()) == [(0, why)]


def test_models_that_cannot_be_opened_again_give_up_what_is_left() -> None:
    lost = [NotOpened(number, BadModel("the file is gone")) for number in range(2, 6)]
    crew = Listed(Ready(1, "hello"), Done(1, 0), Died(1, "died"), *lost)
    why = GivenUp("the models could not be opened again: the file is gone")
    assert dict(ended(crew, 1, 3, Limits())) == {0: 0, 1: why, 2: why}


def test_a_worker_that_was_ready_is_replaced_even_if_others_never_start() -> None:
    never = [Died(number, "died") for number in range(2, 3 + ATTEMPTS)]
    died, again = Died(1, "died"), 3 + ATTEMPTS
    crew = Listed(Ready(1, "hello"), *never, died, Ready(again, "hello"), Done(again, 0))
    assert ended(crew, 2, 1, Limits()) == [(0, 0)]


def test_what_workers_log_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    note = Note("lumbargrade.models", 30, "model canal fold 1")
    crew = Listed(Ready(1, "hello", (note,)), Ready(2, "hello", (note,)), Done(2, 0), Done(1, 10))
    ended(crew, 2, 2, Limits())
    assert caplog.messages == ["model canal fold 1"]
