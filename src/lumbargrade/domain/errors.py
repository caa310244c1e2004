"""Errors, which stop a command, and problems, which are reported while it goes on.

LumbargradeError
+-- UsageError          the command or recipe asks for something impossible (exit code 2)
+-- BadInput            a file, table or study that cannot be used
|   +-- BadDicom        a DICOM file or series
|   +-- BadTable        a CSV table; the text names the file, the row and the reason
|   +-- BadStore        a store that is damaged or of another version
|   +-- BadModel        a model file that does not fit what it is loaded into
+-- NothingDone         no input could be used at all (exit code 3)
+-- TrainingFailed      a non-finite loss; the text names where the batch was saved
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass


class LumbargradeError(Exception):
    """Base class of all errors of this package; the text is written for the user."""


class UsageError(LumbargradeError):
    """The command line or a recipe asks for something impossible."""


class BadInput(LumbargradeError):
    """An input cannot be used."""


class BadDicom(BadInput):
    """A DICOM file or series cannot be used."""


class BadTable(BadInput):
    """A table has missing columns, unknown names or impossible values."""


class BadStore(BadInput):
    """A volume store is damaged, incomplete or of another version."""


class BadModel(BadInput):
    """A model or checkpoint file does not fit what it is loaded into."""


class NothingDone(LumbargradeError):
    """No input could be used, so there is no result."""


class TrainingFailed(LumbargradeError):
    """Training cannot continue."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with the input that did not stop the command.

    Attributes:
        what: what is wrong, in plain words.
        study: study id or folder, if known.
        series: series id or folder, if known.
        file: path of the file, if one file is the cause.
        advice: what the user can do about it.
        fatal: True if something was skipped because of it (the exit code is then 1).
    """

    what: str
    study: str = ""
    series: str = ""
    file: str = ""
    advice: str = ""
    fatal: bool = True

    def __str__(self) -> str:
        names = (("study", self.study), ("series", self.series), ("file", self.file))
        where = ", ".join(f"{n} {v}" for n, v in names if v)
        text = f"{where}: {self.what}" if where else self.what
        return f"{text} ({self.advice})" if self.advice else text

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def in_short(problems: Iterable[Problem], longest: int = 400) -> str:
    """What is wrong, each once with its number, in at most ``longest`` characters."""
    counts = Counter(problem.what for problem in problems)
    return "; ".join(f"{what} ({n} x)" if n > 1 else what for what, n in counts.items())[:longest]


def one_line(error: BaseException) -> str:
    """An error's text on one line, or the name of its type if it has no text."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def described(error: Exception) -> str:
    """What an error says; an unexpected one on one line, with its type."""
    if isinstance(error, LumbargradeError):
        return str(error)
    name, text = type(error).__name__, one_line(error)
    return text if text == name else f"{name}: {text}"
