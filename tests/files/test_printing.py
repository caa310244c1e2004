"""Nothing that is printed controls the terminal."""

from __future__ import annotations

import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumbargrade.files.printing import PrintableFormatter, printable, printable_stdout


@given(st.text())
def test_no_control_character_is_left(text: str) -> None:
    shown = printable(text)
    assert not {c for c in shown if unicodedata.category(c) == "Cc"} - {"\n", "\t"}
    assert not {c for c in shown if unicodedata.bidirectional(c) in ("LRO", "RLO", "LRE", "RLE")}
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


def test_escapes_show_what_was_there() -> None:
    assert printable("a\x1b[2Jb\x9b\u202ec\r\n") == "a\\x1b[2Jb\\x9b\\u202ec\\x0d\n"


def test_standard_output_and_logs_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    with printable_stdout():
        print("red \x1b[31m", "ü", sep="")
    assert capsys.readouterr().out == "red \\x1b[31mü\n"
    record = logging.LogRecord("x", logging.INFO, "", 0, "study %s", ("\x1b]0;title\x07",), None)
    assert PrintableFormatter("%(message)s").format(record) == "study \\x1b]0;title\\x07"
