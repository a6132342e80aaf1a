"""Logger that writes `metrics.csv`, and keeps it complete after a full disk, kill or resume."""

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
    """Lightning logger that adds a row to `metrics.csv` for each call; columns are sorted by name.

    A row is in the file when `save` returns, which Lightning calls after each row. The row is
    appended, or the whole file is replaced if there are new columns. If that fails, the logger
    warns once and keeps the rows in memory, and every later `save` tries again.

    Args:
        folder: Run folder. The first row replaces the file of an earlier run, unless `resume_at`
            was called.
    """

    def __init__(self, *, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._rows: list[Row] = []
        self._num_written = 0
        self._columns: list[str] = []
        self._outdated = True  # the file differs from the first rows
        self._repeatable: list[Row] = []
        self._error: OSError | None = None

    @property
    def name(self) -> str:
        """Return an empty name, since the file is in the run folder itself."""
        return ""

    @property
    def version(self) -> str:
        """Return an empty version, for the same reason."""
        return ""

    @property
    def save_dir(self) -> str:
        """Return the run folder."""
        return str(self.path.parent)

    @rank_zero_only
    def resume_at(self, step: int) -> None:
        """Continue the file of the run that is resumed.

        Lightning logs the metrics of the step from `s` to `s + 1` under `s`, and also those of the
        validation and the end of an epoch after it. So the rows below `step` are kept, and the
        others will be logged again. Some rows of `step - 1` may be logged again too; they then
        replace the old ones.

        Args:
            step: `global_step` of the checkpoint.

        Raises:
            OSError: If the file exists and cannot be read.
        """
        rows = _read(self.path) if self.path.is_file() else []
        self._rows = [row for row in rows if int(row["step"]) < step]
        self._repeatable = [row for row in self._rows if int(row["step"]) == step - 1]
        self._num_written, self._outdated = len(self._rows), True

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Add a row, which `save` writes."""
        self._add(metrics, step)

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing, since `config.yaml` has the hyperparameters."""

    @rank_zero_only
    def save(self) -> None:
        """Write the rows that the file lacks; this never raises OSError."""
        self._write(durable=False)

    @rank_zero_only
    def flush(self) -> None:
        """Write the rows that the file lacks, and wait for the disk."""
        self._write(durable=True)

    @rank_zero_only
    def before_checkpoint(self, trainer: pl.Trainer) -> None:
        """Write every row of the steps in a checkpoint to the disk; call this before saving it.

        Lightning logs the row of a step only after `on_train_batch_end`, and a run that resumes
        from there would never log it. So the row is logged here, and Lightning's row replaces it.
        """
        steps = internals.before_end_of_batch(trainer) and not internals.accumulates(trainer)
        due = steps and internals.writes_metrics(trainer)
        if due and (metrics := internals.logged_metrics(trainer)):
            row = {**metrics, "epoch": trainer.current_epoch}
            self._repeatable.append(self._add(row, internals.num_stepped_batches(trainer)))
        self.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the remaining rows, or warn how many of them the file lacks."""
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
        os.truncate(path, size)  # a partly written number would be read as another number
        raise


def _read(path: Path) -> list[Row]:
    """Return the complete rows, without empty cells."""
    text = path.read_text(encoding="utf-8", errors="replace")
    rows = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1]))
    filled = [{name: cell for name, cell in row.items() if name and cell} for row in rows]
    return [row for row in filled if row.get("step", "").isdigit()]
