from __future__ import annotations

import logging
from pathlib import Path

import pytest

from candelabra.errors import ConfigError
from candelabra.quiet import PrintableFormatter
from helpers.command_line import SMALL, called

NASTY = "bad\x1b[2Jlabel\u202e"


def test_log_records_cannot_control_a_terminal() -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, "label %s\nmore", (NASTY,), None)
    assert PrintableFormatter("%(message)s").format(record) == (
        "label bad\\u001b[2Jlabel\\u202e\nmore"
    )


def test_run_log_is_written_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("candelabra.commands.train.check_settings", lambda *_: _log())
    assert called("train", *SMALL, "hydra.run.dir=run").status == 2
    assert "bad\\u001b[2Jlabel\\u202e" in (tmp_path / "run" / "run.log").read_text()


def _log() -> None:
    logging.getLogger("candelabra.data").info("label %s", NASTY)
    raise ConfigError("no further")
