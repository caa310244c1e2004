"""Prepare the next item and finish the last one in threads, while the present one is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Ready = TypeVar("Ready")


def read_ahead(
    items: Iterable[Item], read: Callable[[Item], Ready]
) -> Iterator[tuple[Item, Future[Ready]]]:
    """Yield each item with what was read of it, and read the next item meanwhile.

    At most two items are in memory: the present one and the next. ``items`` is iterated over in the
    caller's thread, one item ahead.

    Args:
        items: what to read.
        read: called in a thread, for one item at a time.

    Yields:
        The item and its future, which raises the exception of ``read``, if any.
    """
    with ThreadPoolExecutor(1, "reader") as pool:
        present: tuple[Item, Future[Ready]] | None = None
        for item in items:
            following = (item, pool.submit(read, item))
            if present is not None:
                yield present
            present = following
        if present is not None:
            yield present


class WriteBehind:
    """Runs calls one after another in a thread; at most one call waits or runs at a time.

    Used as a context manager. An exception of a call is raised by the next `submit` or at the end.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "writer")
        self._last: Future[None] | None = None

    def submit(self, call: Callable[[], None]) -> None:
        """Wait until the last call has ended, then start this one."""
        self.wait()
        self._last = self._pool.submit(call)

    def wait(self) -> None:
        """Wait until the last call has ended, and raise its exception, if any."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if error[0] is None:
                self.wait()
        finally:
            self._pool.shutdown()
