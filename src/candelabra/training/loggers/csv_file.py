"""`metrics.csv`: every logged row, kept through full disks, kills and resumes."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from candelabra.files import write_text
from candelabra.training import internals

_log = logging.getLogger(__name__)

Row = dict[str, str]


class MetricsFile(Logger):
    """Lightning's logger into `folder/metrics.csv`: a row a call, columns sorted by name.

    A row is in the file once `save` returns, which Lightning calls after each of its rows: it is
    appended, or the whole file is replaced at once where there are new columns. Where that fails,
    one warning is given, the rows stay in memory, and every later `save` tries again.

    Args:
        folder: The run folder. A file of an earlier run is replaced by the first row, unless
            `resume_at` is called before.
    """

    def __init__(self, *, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._rows: list[Row] = []
        self._num_written = 0
        self._columns: list[str] = []
        self._outdated = True  # the file holds something else than the first rows
        self._repeatable: list[Row] = []
        self._error: OSError | None = None

    @property
    def name(self) -> str:
        """Empty: the file lies in the run folder itself."""
        return ""

    @property
    def version(self) -> str:
        """Empty, as the name."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    @rank_zero_only
    def resume_at(self, step: int) -> None:
        """Goes on with the file of the run that a checkpoint resumes.

        Lightning logs under step `s` what the step from `s` to `s + 1` gives, and the validation
        and the end of an epoch that follow it. So the rows below `step` stay and the others come
        again. Of the rows of `step - 1` some may come again, too: those take the old ones' place.

        Args:
            step: The checkpoint's `global_step`.

        Raises:
            OSError: The file is there, and cannot be read.
        """
        found = _read(self.path) if self.path.is_file() else []
        self._rows = [row for row in found if int(row["step"]) < step]
        self._repeatable = [row for row in self._rows if int(row["step"]) == step - 1]
        self._num_written, self._outdated = len(self._rows), True

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Adds a row; `save` writes it."""
        self._add(metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: `config.yaml` has them."""

    @rank_zero_only
    def save(self) -> None:
        """Writes what the file lacks; never raises OSError."""
        self._write(durable=False)

    @rank_zero_only
    def flush(self) -> None:
        """As `save`, and waits for the disk."""
        self._write(durable=True)

    @rank_zero_only
    def before_checkpoint(self, trainer: pl.Trainer) -> None:
        """Brings every row of the steps that a checkpoint holds to the disk; call it first.

        Lightning logs a step's row only after `on_train_batch_end`, and a run resumed from there
        never does. So the row is logged here, and Lightning's own takes its place.
        """
        steps = internals.before_end_of_batch(trainer) and not internals.accumulates(trainer)
        due = steps and internals.writes_metrics(trainer)
        if due and (metrics := internals.logged_metrics(trainer)):
            row = {**metrics, "epoch": trainer.current_epoch}
            self._repeatable.append(self._add(row, internals.num_stepped_batches(trainer)))
        self.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Tries once more, and tells how many rows the file lacks."""
        self.flush()
        if lost := len(self._rows) - self._num_written:
            _log.warning("%s lacks the last %d rows: %s", self.path, lost, self._error)

    def _add(self, metrics: Mapping[str, Any], step: int | None) -> Row:
        row = {name: str(_plain(value)) for name, value in metrics.items()}
        row["step"] = str(len(self._rows) if step is None else step)
        for old in self._repeatable:
            if old["step"] == row["step"] and old.keys() <= row.keys():
                self._repeatable.remove(old)
                self._outdated |= old != row
                old.update(row)
                return old
        self._rows.append(row)
        return row

    def _write(self, *, durable: bool) -> None:
        pending = self._rows[self._num_written :]
        if not self._rows:
            return
        try:
            if self._outdated or set().union(*pending) - set(self._columns):
                columns = sorted(set().union(*self._rows))
                header = dict(zip(columns, columns, strict=True))
                write_text(self.path, _lines([header, *self._rows], columns))
                self._columns, self._outdated = columns, False
            elif pending or durable:
                _append(self.path, _lines(pending, self._columns), durable=durable)
            self._num_written = len(self._rows)
        except OSError as error:
            self._outdated = True
            if self._error is None:
                _log.warning("%s cannot be written, its rows wait in memory: %s", self.path, error)
            self._error = error


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


def _lines(rows: Iterable[Row], columns: list[str]) -> str:
    stream = io.StringIO()
    csv.DictWriter(stream, columns, restval="", lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _append(path: Path, text: str, *, durable: bool) -> None:
    size = path.stat().st_size
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
    except OSError:
        os.truncate(path, size)  # half a number would read as a number
        raise


def _read(path: Path) -> list[Row]:
    """The whole rows, without their empty cells."""
    text = path.read_text(encoding="utf-8", errors="replace")
    rows = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    found = [{name: cell for name, cell in row.items() if name and cell} for row in rows]
    return [row for row in found if row.get("step", "").isdigit()]
