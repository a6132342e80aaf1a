"""What reaches a terminal, a log or a card."""

from __future__ import annotations

import json

import pytest
from rich.table import Table
from rich.text import Text

from candelabra.cli import main
from candelabra.data.files.table import shown
from candelabra.errors import QUOTED, UNPRINTABLE, message_of, nearest, printable
from candelabra.exporting import card
from candelabra.tables import show

HOSTILE = "a\x1b[2J\x07\x9b31m\x00\r\u202eb\x7f"


def test_control_characters_become_escapes_that_json_reads() -> None:
    said = printable(HOSTILE)
    assert said.startswith("a\\u001b[2J\\u0007")
    assert not UNPRINTABLE.search(said)
    assert json.loads(printable(json.dumps(HOSTILE, ensure_ascii=False))) == HOSTILE
    assert printable("é 日本 👍\n\ufeff") == "é 日本 👍\n\ufeff"


def test_a_message_repeats_little_of_a_value() -> None:
    said = message_of(f"labels: {'x' * 5000!r} stands twice; it isn't one")
    assert said == f"labels: '{'x' * QUOTED}...' stands twice; it isn't one"
    assert len(nearest("y" * 10**6, ["y" * 300])) < 300
    assert len(shown("z" * 10**6)) < 100


def test_tables_and_lines_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(Text(HOSTILE))
    table.add_row(HOSTILE)
    show(table, HOSTILE)
    out = capsys.readouterr().out
    assert "2J" in out
    assert not UNPRINTABLE.search(out)


def test_an_error_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([HOSTILE]) == 2
    assert not UNPRINTABLE.search(capsys.readouterr().err)


def test_a_cell_of_a_card_is_text() -> None:
    found = card.table(["a"], [["<img src=x onerror=y>|\n![x](http://y)" + HOSTILE]])
    assert "<img" not in found
    assert "](" not in found
    assert not UNPRINTABLE.search(found)
    assert len(found.splitlines()) == 3
