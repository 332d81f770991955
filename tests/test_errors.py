"""A refusal is one line that does nothing to a terminal, whatever was put into it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise.cli.main import main
from poise.errors import Refused, unknown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("one\n two\r\n\tthree ", "one two three"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("nul \0, delete \x7f, next \x9b", r"nul \x00, delete \x7f, next \x9b"),
        ("run\u202egnp.exe\u2066", r"run\u202egnp.exe\u2066"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("half \ud800, beyond \U000e0001", r"half \ud800, beyond \U000e0001"),
        ("Λ-DARTS · größer \\x1b", "Λ-DARTS · größer \\x1b"),
    ],
)
def test_what_cannot_be_printed_is_escaped(message: str, shown: str) -> None:
    assert str(Refused(message)) == shown


@given(st.text())
def test_any_message_is_one_printable_line(message: str) -> None:
    for refused in (Refused(message), unknown("name", message, [message])):
        assert str(refused).isprintable()


def test_so_is_what_the_parser_says(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["search", "--\x1b[2J\u202e", "3"])
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert line.removesuffix("\n").isprintable()
    assert r"\x1b[2J\u202e" in line
