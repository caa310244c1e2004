"""What can go wrong, as types: errors that stop a command and problems that do not.

LumbargradeError
+-- UsageError          the command or recipe asks for something that cannot be (exit code 2)
+-- BadInput            a file, table or study that cannot be used
|   +-- BadDicom        a DICOM file or series
|   +-- BadTable        a CSV table: names the file, the row and the reason
|   +-- BadStore        a store that is damaged or of another version
|   +-- BadModel        a model file that does not fit what it is loaded into
+-- NothingDone         no input could be used at all (exit code 3)
+-- TrainingFailed      a non-finite loss; names where the batch was saved
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


class LumbargradeError(Exception):
    """Base of every error this package raises on purpose; its text is fit to show to a user."""


class UsageError(LumbargradeError):
    """The command line or a recipe asks for something that cannot be."""


class BadInput(LumbargradeError):
    """An input that cannot be used."""


class BadDicom(BadInput):
    """A DICOM file or series that cannot be used."""


class BadTable(BadInput):
    """A table with missing columns, unknown names or impossible values."""


class BadStore(BadInput):
    """A volume store that is damaged, incomplete or of another version."""


class BadModel(BadInput):
    """A model or checkpoint file that does not fit."""


class NothingDone(LumbargradeError):
    """No input could be used, so there is no result."""


class TrainingFailed(LumbargradeError):
    """Training cannot go on."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that was wrong with the input while the rest went on.

    Attributes:
        what: what is wrong, in plain words.
        study: study id or folder, where known.
        series: series id or folder, where known.
        file: path of the file, where one file is to blame.
        advice: what the user can do about it.
        fatal: True where something was left out because of it (makes the exit code 1).
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
