"""Stages of a run: time inside other stages is counted once, threads apart."""

from __future__ import annotations

import threading
import time

import pytest

from lumbargrade.files import timing
from lumbargrade.files.timing import Profile, profiled, stage


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test sets, one time for each thread that reads it."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


def test_the_time_of_inner_stages_is_not_counted_twice(clock: list[float]) -> None:
    with profiled(Profile()) as profile:
        for _ in range(2):
            with stage("grade"):
                clock[0] += 1
                with stage("network"):
                    clock[0] += 10
                    with stage("decode"):
                        clock[0] += 100
                with stage("network"):
                    clock[0] += 10
                clock[0] += 1
    spent = {name: (one.wall, one.calls) for name, one in profile.stages.items()}
    assert spent == {"grade": (4, 2), "network": (40, 4), "decode": (200, 2)}
    assert profile.elapsed == 244
    lines = profile.text().splitlines()
    assert [line.split()[0] for line in lines[1:5]] == ["decode", "network", "grade", "whole"]
    assert lines[1].split() == ["decode", "200.00", "82%", "2"]


def test_a_stage_that_fails_is_counted_and_the_outer_one_too(clock: list[float]) -> None:
    def failing() -> None:
        with stage("grade"):
            clock[0] += 1
            with stage("network"):
                clock[0] += 2
                raise ValueError("x")

    with profiled(Profile()) as profile:
        with pytest.raises(ValueError, match="x"):
            failing()
        with stage("write"):
            clock[0] += 4
    assert {n: s.wall for n, s in profile.stages.items()} == {"grade": 1, "network": 2, "write": 4}


def test_stages_of_another_thread_are_no_part_of_this_thread(clock: list[float]) -> None:
    def other() -> None:
        with stage("read"):
            clock[0] += 5

    with profiled(Profile()) as profile, stage("grade"):
        clock[0] += 1
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert {n: s.wall for n, s in profile.stages.items()} == {"grade": 6, "read": 5}


def test_without_a_profile_nothing_is_kept() -> None:
    before = Profile()
    with stage("grade"):
        pass
    with profiled(before):
        pass
    with stage("grade"):
        pass
    assert not before.stages
    assert timing._active is None
