"""Numbers of tables and command lines mean what they mean to every other program."""

from __future__ import annotations

import pytest

from lumbargrade.files.tables import real, whole


@pytest.mark.parametrize("text", ["0.5", " 0.5 ", "5e-1", "5E-1", ".5", "+0.5"])
def test_usual_spellings_are_read(text: str) -> None:
    assert real(text) == 0.5


@pytest.mark.parametrize("text", ["1_0", "\u0663", "\uff10.5", "", "0,5", "0x1", "1d-3"])
def test_what_python_alone_reads_is_refused(text: str) -> None:
    for read in (real, whole):
        with pytest.raises(ValueError, match=r"."):
            read(text)


@pytest.mark.parametrize("value", [5e-324, 1e308, 0.1 + 0.2, -0.0, 1 / 3])
def test_what_repr_writes_reads_back_to_the_bit(value: float) -> None:
    assert repr(real(repr(value))) == repr(value)
