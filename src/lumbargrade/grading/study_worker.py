"""A process that predicts studies: its end cannot end the run.

A damaged image can crash a decoder, a large study can exhaust the memory, and after a CUDA error
every later call fails. The parent sends a job, then one study after the other;
requests and answers are pickled. The process ends with its parent.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from lumbargrade.domain.errors import LumbargradeError
from lumbargrade.domain.findings import StudyPrediction

if TYPE_CHECKING:
    from lumbargrade.scoring.fill import Constants


class OpenJob(Protocol):
    """Opened models that predict studies by their ids."""

    @property
    def constants(self) -> Constants:
        """What absent findings are filled with."""

    def predict(self, study_id: str) -> tuple[StudyPrediction, bool]:
        """Predict a study; raises nothing.

        Returns:
            The prediction, and whether other studies can be predicted by the same process.
        """


class Job(Protocol):
    """How to open the models. It is pickled: this module imports only what every job needs."""

    def open(self, number: int) -> OpenJob:
        """Open the models.

        Args:
            number: of the process, from 0; several share the GPUs.

        Raises:
            LumbargradeError: if they cannot be used.
        """


#: Seconds that a process has to end by itself.
_PATIENCE = 5.0


class Died(Exception):
    """The process ended, or was killed, before it answered; the text says how.

    Attributes:
        opening: whether it died while it opened the models.
    """

    def __init__(self, text: str, *, opening: bool = False) -> None:
        super().__init__(text)
        self.opening = opening


class Worker:
    """The parent's side of a process.

    Attributes:
        stopped: why it was killed by `kill`; empty otherwise.
    """

    def __init__(self, job: Job, number: int = 0) -> None:
        """Start nothing yet.

        Args:
            job: opens the models, in the process.
            number: of this worker, from 0; it decides the GPU if there are several.
        """
        self._request = (job, number)
        self._process: subprocess.Popen[bytes] | None = None
        self._since: float | None = None
        self._lock = threading.Lock()
        self._ended = False
        self.stopped = ""

    def open(self) -> Constants:
        """Start the process and open the models in it.

        Raises:
            LumbargradeError: if the models cannot be used: the error in the process.
            Died: if it dies.
        """
        command = [sys.executable, "-m", __name__]
        with self._lock:
            if self._ended:
                raise Died(self.stopped)
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            found = self._ask(self._request)
        except Died as died:
            raise Died(f"{died} while it opened the models", opening=True) from None
        if isinstance(found, LumbargradeError):
            self.close()
            raise found
        constants: Constants = found
        return constants

    def predict(self, study_id: str) -> StudyPrediction:
        """Predict a study, in a new process if there is none.

        Raises:
            Died: if the process dies, is killed, or cannot be used any further.
        """
        if self._process is None:
            try:
                self.open()
            except LumbargradeError as error:
                raise Died(str(error), opening=True) from None
        self._since = time.monotonic()
        try:
            prediction: StudyPrediction
            prediction, usable = self._ask(study_id)
        finally:
            self._since = None
        if not usable:
            self.close()
            raise Died(prediction.problems[-1].what)
        return prediction

    @property
    def busy(self) -> float:
        """Seconds since it began the study that it predicts; 0 between studies."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def kill(self, why: str, *, for_good: bool = False) -> None:
        """Kill the process, from another thread; the thread that waits for its answer gets ``why``.

        Args:
            why: the reason.
            for_good: do not start another process.
        """
        with self._lock:
            self.stopped = why
            self._ended = self._ended or for_good
            if (process := self._process) is not None:
                process.kill()

    def close(self) -> int:
        """End the process; return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):
            process.stdin.close()
        try:
            code = process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        process.stdout.close()
        return code

    def _ask(self, request: object) -> Any:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump(request, process.stdin)
            process.stdin.flush()
            return pickle.load(process.stdout)
        except (OSError, EOFError, pickle.UnpicklingError):
            code = self.close()
            raise Died(self.stopped or f"its process died ({_how(code)})") from None


def _how(code: int) -> str:
    """Say how a process ended."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.strsignal(-code) or f"signal {-code}"
    memory = ", possibly out of memory" if -code == getattr(signal, "SIGKILL", None) else ""
    return f"{name}{memory}"


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer the requests of the parent until it closes the pipe."""

    def answer(found: object) -> None:
        pickle.dump(found, answers)
        answers.flush()

    job, number = pickle.load(requests)
    try:
        opened = job.open(number)
        answer(opened.constants)
    except LumbargradeError as error:
        answer(error)
        return
    while True:
        try:
            study_id = pickle.load(requests)
        except EOFError:
            return
        prediction, usable = opened.predict(study_id)
        answer((prediction, usable))
        if not usable:
            return


def _main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    with suppress(BrokenPipeError):
        _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    # by its full name, so that the classes of the answers are those that the parent knows
    from lumbargrade.grading import study_worker

    study_worker._main()
