"""Reading ahead and writing behind: order, how far ahead, and what happens to errors."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from lumbargrade.files.overlap import WriteBehind, read_ahead


def test_items_come_in_order_with_their_own_content() -> None:
    found = [(item, reading.result()) for item, reading in read_ahead(range(7), lambda i: i * i)]
    assert found == [(i, i * i) for i in range(7)]
    assert list(read_ahead([], lambda i: i)) == []


def test_the_next_item_is_read_while_the_present_one_is_worked_on_and_no_further() -> None:
    read: list[int] = []
    second = threading.Event()

    def note(item: int) -> int:
        read.append(item)
        if item == 1:
            second.set()
        return item

    ahead = read_ahead(range(5), note)
    item, reading = next(ahead)
    assert (item, reading.result()) == (0, 0)
    assert second.wait(20)  # item 1 is read although nobody has asked for it
    ahead.close()  # type: ignore[attr-defined]
    assert read == [0, 1]


def test_an_item_that_cannot_be_read_does_not_stop_the_others() -> None:
    def read(item: int) -> int:
        if item == 1:
            raise ValueError("damaged")
        return item

    good, bad = [], []
    for item, reading in read_ahead(range(4), read):
        if reading.exception():
            bad.append(item)
        else:
            good.append(reading.result())
    assert (good, bad) == ([0, 2, 3], [1])


def test_an_error_of_the_items_themselves_is_raised() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("disk full")

    ahead = read_ahead(items(), str)
    assert next(ahead)[0] == 1
    with pytest.raises(OSError, match="disk full"):
        list(ahead)


def test_calls_are_made_one_after_another_and_all_have_ended_at_the_end() -> None:
    done: list[int] = []
    running = threading.Semaphore(1)

    def call(number: int) -> None:
        assert running.acquire(blocking=False)
        done.append(number)
        running.release()

    with WriteBehind() as writer:
        for number in range(5):
            writer.submit(lambda n=number: call(n))
    assert done == [0, 1, 2, 3, 4]


def fail() -> None:
    raise OSError("disk full")


def test_an_error_of_a_call_is_raised_by_the_next_call_or_at_the_end() -> None:
    writer = WriteBehind()
    writer.submit(fail)
    with pytest.raises(OSError, match="disk full"):
        writer.submit(lambda: None)
    with pytest.raises(OSError, match="disk full"), writer:
        writer.submit(fail)


def test_an_error_of_the_caller_is_not_hidden_by_that_of_a_call() -> None:
    def interrupted() -> None:
        with WriteBehind() as writer:
            writer.submit(fail)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
